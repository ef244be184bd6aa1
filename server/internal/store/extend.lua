-- extend.lua: makes the hold of a receipt last for a time from now, even if it had run
-- out.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]  noted: when the note was made, in milliseconds since 1970
-- ARGV[3]  token: nine letters of the request that was answered FIRST
-- ARGV[4]  attempt
-- ARGV[5]  hold: milliseconds from now
-- ARGV[6]  replicas: 1 if the answer needs replicas, else 0
--
-- Replies, now in milliseconds:
--   DONE line now            the note is held until now plus hold
--   NOT_FOUND now            the note is forgotten, or never existed
--   HOLD_LOST now            another attempt has taken over
--   SETTLED_BY_ANOTHER now   another attempt has taken over and settled
--   HOLD_RELEASED now        this attempt was given up
--   ALREADY_SETTLED now      this attempt has settled
--   PAST_DEADLINE now        the call came too late
--   VERSION version          a later release, or another program, has written here
--
-- Writes KEYS[1], and its expiry, for DONE. The other replies change nothing. With
-- replicas, each of them but PAST_DEADLINE and VERSION rewrites the series unchanged, so
-- that WAIT covers it.
local key = KEYS[1]
local deadline = ARGV[1] + 0
local noted = ARGV[2] + 0
local token = ARGV[3]
local attempt = ARGV[4] + 0
local hold = ARGV[5] + 0
local replicas = ARGV[6] == '1'

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
local note, refusal = holder(notes, noted, token, attempt, now)
if note and note.released then
  note, refusal = nil, { 'HOLD_RELEASED', now }
elseif note and not note.held then
  note, refusal = nil, { 'ALREADY_SETTLED', now }
end
if refusal then
  if replicas then
    confirm(key, forget_at(notes))
  end
  return refusal
end
hold_note(note, hold, now)
resave(key, notes, note)
return { 'DONE', line(note), now }
