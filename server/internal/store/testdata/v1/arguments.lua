-- arguments.lua: turns today's arguments of note.lua into those of the first release, for
-- tests that run that release's script behind today's code. All other scripts still take
-- the arguments that they took then.
local ARGV = (function(today)
  local amount, message, transaction = string.match(today[3], '^(%S+) (%S+) (%S+)$')
  if not amount then -- it has extras
    amount, message, transaction = string.match(today[3], '^(%S+) %*%w+ (%S+) (%S+)$')
  end
  local replicas, match, arrival, ahead, limit, hold, agreeing =
    string.match(today[5], '^(%d) (%d+) (%d+) (%d+) (%d+) (%w+) (%S+)$')
  local retention = today[6] and string.format('%.0f', tonumber(today[6], 36) * 1000) or '3888000000'
  return {
    today[1], string.sub(today[2], 1, 1), string.sub(today[2], 2), message, transaction, amount, today[4],
    today[7] or '-', string.format('%.0f', tonumber(hold, 36)), match, arrival, retention, ahead, agreeing,
    limit, replicas,
  }
end)(ARGV)
