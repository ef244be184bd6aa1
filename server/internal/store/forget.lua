-- forget.lua: undoes a note, whatever its state.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]  noted: when the note was made, in milliseconds since 1970
-- ARGV[3]  replicas: 1 if the answer needs replicas, else 0
--
-- Replies, now in milliseconds:
--   DONE line now       the note as it was
--   NOT_FOUND now       the note is forgotten, or never existed
--   PAST_DEADLINE now   the call came too late
--   VERSION version     a later release, or another program, has written here
--
-- Writes KEYS[1], and its expiry, for DONE. After the last note the floor remains for the
-- default retention. Without it a note that is made in the same millisecond, or after the
-- clock was set back, could get the forgotten note's name. The other replies change
-- nothing. With replicas, NOT_FOUND rewrites the series unchanged, so that WAIT covers
-- it.
local key = KEYS[1]
local deadline = ARGV[1] + 0
local noted = ARGV[2] + 0
local replicas = ARGV[3] == '1'

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
for i, note in ipairs(notes) do
  if note.noted == noted then
    table.remove(notes, i)
    notes.floor = math.max(notes.floor, note.noted)
    local lines = { VERSION .. '~' .. base36(notes.floor) }
    for _, other in ipairs(notes) do
      lines[#lines + 1] = line(other)
    end
    redis.call('PERSIST', key)
    redis.call('SET', key, table.concat(lines, '\n'), 'PXAT', forget_at(notes))
    return { 'DONE', line(note), now }
  end
end
if replicas then
  confirm(key, forget_at(notes))
end
return { 'NOT_FOUND', now }
