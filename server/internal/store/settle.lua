-- settle.lua: makes the note of a receipt final.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]  noted: when the note was made, in milliseconds since 1970
-- ARGV[3]  token: nine letters of the request that was answered FIRST
-- ARGV[4]  attempt
-- ARGV[5]  replicas: 1 if the answer needs replicas, else 0
--
-- Replies, now in milliseconds:
--   DONE line now            the note is settled, by this call or an earlier one
--   NOT_FOUND now            the note is forgotten, or never existed
--   HOLD_LOST now            another attempt has taken over
--   SETTLED_BY_ANOTHER now   another attempt has taken over and settled
--   HOLD_RELEASED now        this attempt was given up
--   PAST_DEADLINE now        the call came too late
--   VERSION version          a later release, or another program, has written here
--
-- Writes KEYS[1], and its expiry, for DONE unless the note was settled before. If the hold
-- reaches beyond the note's retention, the retention counts from the hold's end, because
-- callers who were told HELD return then. The other replies change nothing. With replicas,
-- every reply but PAST_DEADLINE and VERSION writes: if it has nothing new to write, it
-- rewrites the series unchanged, so that WAIT covers it.
local key = KEYS[1]
local deadline = ARGV[1] + 0
local noted = ARGV[2] + 0
local token = ARGV[3]
local attempt = ARGV[4] + 0
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
  local retention = note.retention or DEFAULT_RETENTION
  if note.held > from + retention then
    note.retention = retention + math.ceil((note.held - from) / 1000) * 1000
  end
  note.held = false
  resave(key, notes, note)
elseif replicas then
  confirm(key, forget_at(notes))
end
return refusal or { 'DONE', line(note), now }
