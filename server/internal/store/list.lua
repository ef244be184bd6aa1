-- list.lua: the notes of a series that are not forgotten.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which nothing is said
--
-- Replies, now in milliseconds:
--   NOTES now line …    a line a note, in the order they were made
--   PAST_DEADLINE now   it came too late
--   VERSION version     a later release, or another program, has written this series
--
-- Writes nothing.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
local reply = { 'NOTES', now }
for _, note in ipairs(notes) do
  reply[#reply + 1] = note.line
end
return reply
