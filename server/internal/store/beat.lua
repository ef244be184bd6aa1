-- beat.lua: lets the store's epoch go on by a beat, so that whoever has beaten before
-- notices a store that has gone back in time.
--
-- The marker is text: "1", the version of this format, the epoch's id, how many beats it
-- had, and the marks of the last of them, the latest first:
--
--   1 k7q2wvnxme 4711 b5xa 9c2k …
--
-- KEYS[1]  the marker
-- ARGV[1]  deadline: the store's time in milliseconds after which nothing is done
-- ARGV[2]  epoch: the one that the caller has beaten in, or "-"
-- ARGV[3]  beats: how many it had with the caller's last beat, 0 for none
-- ARGV[4]  mark: of that beat
-- ARGV[5]  next: the mark of this beat
-- ARGV[6]  fresh: the id of an epoch that may have to begin
--
-- Replies, now in milliseconds:
--   BEAT now epoch beats    the epoch goes on, be it the caller's or another
--   BEGUN now epoch beats   there was no marker, and fresh has begun
--   LOST now epoch beats    the caller's last beat is not in it, and fresh has begun, so that everybody notices
--   PAST_DEADLINE now       it came too late
--   VERSION version         a later release has written the marker
--
-- Writes KEYS[1], and its expiry in a year, for the first three. The other replies change
-- nothing.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])
local epoch = ARGV[2]
local beats = tonumber(ARGV[3])
local mark = ARGV[4]
local next = ARGV[5]
local fresh = ARGV[6]
local MOST_MARKS = 60
local YEAR = 31536000000

local now = clock()
if now > deadline then
  return { 'PAST_DEADLINE', now }
end
local words = {}
for word in string.gmatch(redis.call('GET', key) or '', '%S+') do
  words[#words + 1] = word
end
if #words > 0 and words[1] ~= VERSION then
  return { 'VERSION', words[1] }
end

-- go_on writes the marker with this beat. PERSIST first: after it, a store without memory
-- lets the rest be written.
local function go_on(id, before, marks)
  local t = { VERSION, id, decimal(before + 1), next }
  for i = 1, math.min(#marks, MOST_MARKS - 1) do
    t[#t + 1] = marks[i]
  end
  redis.call('PERSIST', key)
  redis.call('SET', key, table.concat(t, ' '), 'PXAT', decimal(now + YEAR))
  return decimal(before + 1)
end

if #words < 3 then
  return { 'BEGUN', now, fresh, go_on(fresh, 0, {}) }
end
local id, before, marks = words[2], tonumber(words[3]), {}
for i = 4, #words do
  marks[#marks + 1] = words[i]
end
if id == epoch and beats > 0 then
  -- The caller's beat stands where its number says, unless so many came after it that it
  -- has dropped out.
  local at = before - beats + 1
  if at < 1 or at <= #marks and marks[at] ~= mark then
    return { 'LOST', now, fresh, go_on(fresh, 0, {}) }
  end
end
return { 'BEAT', now, id, go_on(id, before, marks) }
