-- exists.lua: decides as note.lua does, and notes nothing.
--
-- KEYS[1]   the series' key
-- ARGV[1]   deadline: the store's time in milliseconds after which nothing is said
-- ARGV[2]   event: its letter
-- ARGV[3]   message
-- ARGV[4]   transaction: its id, or "-"
-- ARGV[5]   amount: amount and currency, or "-"
-- ARGV[6]   occurred: milliseconds since 1970, or "-"
-- ARGV[7]   match: the match window in milliseconds
-- ARGV[8]   arrival: the arrival window in milliseconds
-- ARGV[9]   retention: milliseconds
-- ARGV[10]  ahead: how far ahead occurred may lie, in milliseconds
-- ARGV[11]  shared: 1 if transaction ids are shared between channels, else 0
--
-- Replies, now in milliseconds:
--   FOUND evidence line now       the note that the message tells of
--   NONE now                      there is none
--   TOO_EARLY now, TOO_LATE now   occurred is out of range, and there is none
--   PAST_DEADLINE now             it came too late
--   VERSION version               a later release, or another program, has written this series
--
-- Writes nothing.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])
local ask = {
  event = ARGV[2],
  message = ARGV[3],
  transaction = ARGV[4],
  amount = ARGV[5],
  occurred = ARGV[6] ~= '-' and tonumber(ARGV[6]),
  match = tonumber(ARGV[7]),
  arrival = tonumber(ARGV[8]),
  retention = tonumber(ARGV[9]),
  ahead = tonumber(ARGV[10]),
  shared = ARGV[11] == '1',
}

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
local note, evidence = find(notes, ask, now)
if not note then
  return out_of_range(ask, now) or { 'NONE', now }
end
return { 'FOUND', evidence, note.line, now }
