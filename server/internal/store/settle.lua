-- settle.lua: makes the note of a receipt final.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which nothing is done
-- ARGV[2]  noted: when the note was made, in milliseconds since 1970
-- ARGV[3]  token: nine letters of the request that was answered FIRST
-- ARGV[4]  attempt
-- ARGV[5]  replicas: 1 if the answer needs replicas, else 0
--
-- Replies, now in milliseconds:
--   DONE line now            it is settled, now or before
--   NOT_FOUND now            the note is forgotten, or never was
--   HOLD_LOST now            another attempt has taken over
--   SETTLED_BY_ANOTHER now   and has settled
--   HOLD_RELEASED now        this attempt was given up
--   PAST_DEADLINE now        it came too late
--   VERSION version          a later release, or another program, has written here
--
-- Writes KEYS[1], and its expiry, for DONE if it was not settled before. Where the hold
-- reaches beyond the note's retention, the retention counts from the hold's end: callers
-- who were told HELD come again then. The other replies change nothing. Where replicas is
-- 1 and nothing else is written, every reply but PAST_DEADLINE and VERSION writes what is
-- there as it is, so that WAIT waits for it.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])
local noted = tonumber(ARGV[2])
local token = ARGV[3]
local attempt = tonumber(ARGV[4])
local replicas = ARGV[5] == '1'

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
local note, refusal = holder(notes, noted, token, attempt, now)
if note and note.released then
  note, refusal = nil, { 'HOLD_RELEASED', now }
end
if note and note.held then
  local from = math.max(note.occurred or note.noted, note.noted)
  if note.held > from + note.retention then
    note.retention = note.retention + math.ceil((note.held - from) / 1000) * 1000
  end
  note.held = false
  resave(key, notes, note)
elseif replicas then
  confirm(key, notes)
end
return refusal or { 'DONE', line(note), now }
