-- extend.lua: lets the hold of a receipt last until so long from now, even if it had run out.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which nothing is done
-- ARGV[2]  noted: when the note was made, in milliseconds since 1970
-- ARGV[3]  token: nine letters of the request that was answered FIRST
-- ARGV[4]  attempt
-- ARGV[5]  hold: milliseconds from now
--
-- Replies, now in milliseconds:
--   DONE line now            it is held until now and hold
--   NOT_FOUND now            the note is forgotten, or never was
--   HOLD_LOST now            another attempt has taken over
--   SETTLED_BY_ANOTHER now   and has settled
--   HOLD_RELEASED now        this attempt was given up
--   ALREADY_SETTLED now      this attempt has settled
--   PAST_DEADLINE now        it came too late
--   VERSION version          a later release has written this series
--
-- Writes KEYS[1], and its expiry, for DONE. The other replies change nothing.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])
local noted = tonumber(ARGV[2])
local token = ARGV[3]
local attempt = tonumber(ARGV[4])
local hold = tonumber(ARGV[5])

local now = clock()
if now > deadline then
  return { 'PAST_DEADLINE', number(now) }
end
local notes, version = load(key, now)
if not notes then
  return { 'VERSION', version }
end
local note, refusal = holder(notes, noted, token, attempt, now)
if not note then
  return refusal
elseif note.released then
  return { 'HOLD_RELEASED', number(now) }
elseif not note.held then
  return { 'ALREADY_SETTLED', number(now) }
end
note.held = now + hold
resave(key, notes, note)
return { 'DONE', note.line, number(now) }
