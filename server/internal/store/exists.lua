-- exists.lua: decides as note.lua does, and notes nothing.
--
-- KEYS[1]   the series' key
-- ARGV[1]   deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]   event: its letter
-- ARGV[3]   message
-- ARGV[4]   transaction: its id, or "-"
-- ARGV[5]   amount: amount and currency, or "-"
-- ARGV[6]   occurred: milliseconds since 1970, or "-"
-- ARGV[7]   received: when the message first arrived, in milliseconds, or "-" for now
-- ARGV[8]   match: the match window in milliseconds
-- ARGV[9]   arrival: the arrival window in milliseconds
-- ARGV[10]  retention: milliseconds
-- ARGV[11]  ahead: how far ahead occurred may lie, in milliseconds
-- ARGV[12]  agreeing: the channels whose transaction ids agree with the message's
--
-- Replies, now in milliseconds:
--   FOUND evidence line now  the note of the message
--   NONE now                 no note matches
--   TOO_EARLY now            no note matches; occurred is before the retention
--   RECEIVED_TOO_EARLY now   no note matches; received is before the retention
--   TOO_LATE now             no note matches; occurred is too far ahead
--   PAST_DEADLINE now        the call came too late
--   VERSION version          a later release, or another program, has written here
--
-- Writes nothing.
local key = KEYS[1]
local deadline = ARGV[1] + 0
local ask = {
  event = ARGV[2],
  message = ARGV[3],
  transaction = ARGV[4],
  amount = ARGV[5],
  occurred = ARGV[6] ~= '-' and ARGV[6] + 0,
  received = ARGV[7] ~= '-' and ARGV[7] + 0,
  match = ARGV[8] + 0,
  arrival = ARGV[9] + 0,
  agreeing = ARGV[12],
}
local retention = ARGV[10] + 0
local ahead = ARGV[11] + 0

local notes, now, unread = open(key, deadline, ask)
if unread then
  return unread
end
if ask.received and ask.received >= now then
  ask.received = false
end
local note, evidence
if notes[1] then
  if appears(notes, ask) then
    note, evidence = find_seen(notes, ask)
    if not note then
      note, evidence = find_transaction(notes, ask)
    end
  end
  if not note then
    local nearby = near(notes, ask, now)
    if nearby[1] then
      note, evidence = find_pair(notes, nearby, ask)
    end
  end
end
if not note then
  return out_of_range(now, ask.occurred, ask.received, retention, ahead) or { 'NONE', now }
end
return { 'FOUND', evidence, line(note), now }
