-- export.lua: gives the whole text of a series, without the notes that are forgotten.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
--
-- Replies, now and forget in milliseconds:
--   SERIES now text forget   the text, in the format of notes.lua, and when its last note is
--                            forgotten
--   NONE now                 all of it is forgotten, or there never was a note
--   PAST_DEADLINE now        the call came too late
--   VERSION version          a later release, or another program, has written here
--
-- Writes nothing.
local key = KEYS[1]
local deadline = ARGV[1] + 0

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
if notes.count == 0 and notes.floor == 0 then
  return { 'NONE', now }
end
return { 'SERIES', now, notes.text, forget_at(notes) }
