-- list.lua: lists the notes of a series that are not forgotten.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]  transaction: only notes whose line has this text; "-" for all
--
-- Replies, now in milliseconds:
--   NOTES now line …    one line for each note, in the order they were made
--   PAST_DEADLINE now   the call came too late
--   VERSION version     a later release, or another program, has written here
--
-- Writes nothing.
local key = KEYS[1]
local deadline = ARGV[1] + 0
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
