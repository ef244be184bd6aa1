-- forget.lua: undoes a note, whatever its state.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which nothing is done
-- ARGV[2]  noted: when the note was made, in milliseconds since 1970
-- ARGV[3]  replicas: 1 if the answer needs replicas, else 0
--
-- Replies, now in milliseconds:
--   DONE line now       the note as it was
--   NOT_FOUND now       the note is forgotten, or never was
--   PAST_DEADLINE now   it came too late
--   VERSION version     a later release, or another program, has written here
--
-- Writes KEYS[1], and its expiry, for DONE. With the last note there remains the floor,
-- for the default retention: without it a note made in the same millisecond, or after the
-- clock was set back, could get the forgotten note's name. The other replies change
-- nothing. Where replicas is 1, NOT_FOUND writes what is there as it is, so that WAIT
-- waits for it.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])
local noted = tonumber(ARGV[2])
local replicas = ARGV[3] == '1'

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
for i, note in ipairs(notes) do
  if note.noted == noted then
    table.remove(notes, i)
    notes.floor = math.max(notes.floor, note.noted)
    redis.call('PERSIST', key)
    save(key, notes, redis.call)
    return { 'DONE', line(note), now }
  end
end
if replicas then
  confirm(key, notes)
end
return { 'NOT_FOUND', now }
