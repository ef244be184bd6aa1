-- stream: puts an event into a stream, once for its id.
--
-- KEYS[1]  the stream
-- KEYS[2]  the guard of the event's id: a string, in the stream's slot
-- ARGV[1]  how long the guard lives, in milliseconds
-- ARGV[2…] the names and values of the entry's fields
--
-- Replies: {"added", ENTRY} the entry's id in the stream
--          {"known", ENTRY} the id that it was added under before, though it may have been trimmed since
-- Writes:  the entry, then the guard; nothing where the guard is there.

local stream, guard, life = KEYS[1], KEYS[2], ARGV[1]

local known = redis.call('GET', guard)
if known then
  return {'known', known}
end
local entry = redis.call('XADD', stream, '*', unpack(ARGV, 2))
redis.call('SET', guard, entry, 'PX', life)
return {'added', entry}
