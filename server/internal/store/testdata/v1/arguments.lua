-- arguments.lua: turns today's arguments of note.lua into those of the first release, for
-- tests that run that release's script behind today's code. All other scripts still take
-- the arguments that they took then.
local ARGV = (function(today)
  local amount, message, transaction = string.match(today[3], '^ %S+ (%S+) (%S+) (%S+)$')
  if not amount then -- it has extras
    amount, message, transaction = string.match(today[3], '^ %S+ (%S+) %*%w+ (%S+) (%S+)$')
  end
  local replicas, occurred, match, arrival, ahead, limit, hold, agreeing =
    string.match(today[4], '^%d+ (%d) (%S+) (%d+) (%d+) (%d+) (%d+) (%w+) (%S+)$')
  local retention = today[5] and string.format('%.0f', tonumber(today[5], 36) * 1000) or '3888000000'
  return {
    today[1], string.sub(today[2], 2, 2), string.sub(today[2], 3, 11), message, transaction, amount, occurred,
    today[6] or '-', string.format('%.0f', tonumber(hold, 36)), match, arrival, retention, ahead, agreeing,
    limit, replicas,
  }
end)(ARGV)
