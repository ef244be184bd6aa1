-- list.lua: the notes of a series that are not forgotten.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which nothing is said
-- ARGV[2]  transaction: only notes in which this id may stand, the caller looks closer; or "-"
--
-- Replies, now in milliseconds:
--   NOTES now line …    a line a note, in the order they were made
--   PAST_DEADLINE now   it came too late
--   VERSION version     a later release, or another program, has written here
--
-- Writes nothing.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])
local transaction = ARGV[2]

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
local reply = { 'NOTES', now }
for _, note in ipairs(notes) do
  local text = line(note)
  if transaction == '-' or string.find(text, ' ' .. transaction, 1, true) then
    reply[#reply + 1] = text
  end
end
return reply
