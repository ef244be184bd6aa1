-- beat.lua: adds a beat to the store's epoch, so that every server notices a store that
-- has lost notes (see package epoch).
--
-- The mark is text: "1", the version of this format; the epoch's id; how many beats it
-- has had; and the letters of the latest beats, the last one first:
--
--   1 k7q2wvnxme 4711 b5xa 9c2k …
--
-- KEYS[1]  the mark
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]  epoch: the epoch of the caller's last beat, or "-"
-- ARGV[3]  beats: how many beats the epoch had with the caller's last beat; 0 for no beat
-- ARGV[4]  letters: the letters of the caller's last beat
-- ARGV[5]  next: the letters of this beat
-- ARGV[6]  fresh: the id of an epoch that may have to begin
--
-- Replies, now in milliseconds:
--   BEAT now epoch beats    the epoch goes on, which may be another than the caller's
--   BEGUN now epoch beats   there was no mark, and fresh has begun
--   LOST now epoch beats    the caller's last beat is missing; fresh has begun, so that all
--                           servers notice
--   PAST_DEADLINE now       the call came too late
--   VERSION version         a later release has written the mark
--
-- Writes KEYS[1], and its expiry in a year, for the first three. The other replies change
-- nothing.
local key = KEYS[1]
local deadline = ARGV[1] + 0
local epoch = ARGV[2]
local beats = ARGV[3] + 0
local letters = ARGV[4]
local next = ARGV[5]
local fresh = ARGV[6]
local MOST_BEATS = 60
local YEAR = 31536000000

local mark, now, late = look(key, deadline)
if late then
  return late
end
local words = {}
for word in string.gmatch(mark or '', '%S+') do
  words[#words + 1] = word
end
if #words > 0 and words[1] ~= VERSION then
  return { 'VERSION', words[1] }
end

-- go_on writes the mark with this beat. PERSIST comes first: Redis allows it without free
-- memory, and then allows the rest of the script.
local function go_on(id, before, latest)
  local t = { VERSION, id, decimal(before + 1), next }
  for i = 1, math.min(#latest, MOST_BEATS - 1) do
    t[#t + 1] = latest[i]
  end
  redis.call('PERSIST', key)
  redis.call('SET', key, table.concat(t, ' '), 'PXAT', decimal(now + YEAR))
  return decimal(before + 1)
end

if #words < 3 then
  return { 'BEGUN', now, fresh, go_on(fresh, 0, {}) }
end
local id, before, latest = words[2], tonumber(words[3]), {}
for i = 4, #words do
  latest[#latest + 1] = words[i]
end
if id == epoch and beats > 0 then
  -- The number of the caller's beat gives its place among the latest beats. After sixty
  -- more beats it has dropped out.
  local at = before - beats + 1
  if at < 1 or at <= #latest and latest[at] ~= letters then
    return { 'LOST', now, fresh, go_on(fresh, 0, {}) }
  end
end
return { 'BEAT', now, id, go_on(id, before, latest) }
