-- arguments.lua: turns today's arguments of note.lua into those of the first release, for
-- tests that run that release's script behind today's code. All other scripts still take
-- the arguments that they took then.
local ARGV = (function(today)
  local message, transaction = string.match(today[3], '^(%S+) (%S+)$')
  local replicas, match, arrival, ahead, limit, agreeing =
    string.match(today[7], '^(%d) (%d+) (%d+) (%d+) (%d+) (%S+)$')
  local retention = today[8] and string.format('%.0f', tonumber(today[8], 36) * 1000) or '3888000000'
  return {
    today[1], string.sub(today[2], 1, 1), string.sub(today[2], 2), message, transaction, today[4], today[5],
    today[9] or '-', string.format('%.0f', tonumber(today[6], 36)), match, arrival, retention, ahead, agreeing,
    limit, replicas,
  }
end)(ARGV)
