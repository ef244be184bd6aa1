-- note.lua: decides whether a donation has been noted, and notes it.
--
-- KEYS[1]   the series' key
-- ARGV[1]   deadline: the store's time in milliseconds after which nothing is done
-- ARGV[2]   event: its letter
-- ARGV[3]   token: nine letters of the request
-- ARGV[4]   message
-- ARGV[5]   transaction: its id, or "-"
-- ARGV[6]   amount: amount and currency, or "-"
-- ARGV[7]   occurred: milliseconds since 1970, or "-"
-- ARGV[8]   hold: milliseconds, 0 for none
-- ARGV[9]   match: the match window in milliseconds
-- ARGV[10]  arrival: the arrival window in milliseconds
-- ARGV[11]  retention: milliseconds, whole seconds
-- ARGV[12]  ahead: how far ahead occurred may lie, in milliseconds
-- ARGV[13]  shared: 1 if transaction ids are shared between channels, else 0
-- ARGV[14]  limit: how many notes the series may hold
-- ARGV[15]  replicas: 1 if the answer needs replicas, else 0
--
-- Replies, now in milliseconds:
--   FIRST evidence line now recorded       it is the caller's; recorded is 1 if the message is a new sighting
--   DUPLICATE evidence line now recorded   the note is settled
--   HELD evidence line now recorded        the note is held by another
--   TOO_EARLY now, TOO_LATE now            occurred is out of range, and no note is of this donation
--   SERIES_FULL now                        the series holds limit notes, and none is of this donation
--   PAST_DEADLINE now                      it came too late
--   VERSION version                        a later release, or another program, has written this series
--
-- Writes KEYS[1], and its expiry, once, at the end: for FIRST unless the same request asks again while its hold or its settled note stands, and for DUPLICATE
-- and HELD only to record a new sighting. A store that takes no writes may refuse that; then the answer stands, but for DUPLICATE PAIRED, whose refusal is the
-- reply. Of sightings a note keeps 16; a full one gives up the latest that it can spare for the first of another channel, and records no others (has_room in
-- notes.lua). The other replies change nothing. Where replicas is 1, a reply that writes nothing else, but for PAST_DEADLINE and VERSION, writes what is there
-- as it is, so that WAIT waits for it.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])
local ask = {
  event = ARGV[2],
  token = ARGV[3],
  message = ARGV[4],
  transaction = ARGV[5],
  amount = ARGV[6],
  occurred = ARGV[7] ~= '-' and tonumber(ARGV[7]),
  match = tonumber(ARGV[9]),
  arrival = tonumber(ARGV[10]),
  retention = tonumber(ARGV[11]),
  ahead = tonumber(ARGV[12]),
  shared = ARGV[13] == '1',
}
local hold = tonumber(ARGV[8])
local limit = tonumber(ARGV[14])
local replicas = ARGV[15] == '1'

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
local note, evidence = find(notes, ask, now)

if not note then
  local refusal = out_of_range(ask, now)
  if not refusal and #notes >= limit then
    refusal = { 'SERIES_FULL', now }
  end
  if refusal then
    if replicas then
      confirm(key, notes)
    end
    return refusal
  end
  -- When it was noted is the note's name within its series, so no two may share it.
  local noted, taken = now, {}
  for _, other in ipairs(notes) do
    taken[other.noted] = true
  end
  while taken[noted] do
    noted = noted + 1
  end
  note = {
    event = ask.event,
    token = ask.token,
    noted = noted,
    occurred = ask.occurred,
    amount = ask.amount,
    held = hold > 0 and now + hold,
    released = false,
    attempt = 1,
    retention = ask.retention,
  }
  notes[#notes + 1] = note
  write_new(note, ask.message, ask.transaction)
  write_note(note)
  save(key, notes, redis.call)
  return { 'FIRST', 'NEW', note.line, now, 1 }
end

local verdict, changed, recorded = 'DUPLICATE', false, 0
local is = state(note, now)
if evidence == 'SAME_REQUEST' and not note.released then
  verdict = 'FIRST'
  if is == 'OPEN' then
    -- Its hold has run out and nobody has taken over: it is given again, with the same receipt.
    note.held = hold > 0 and now + hold
    changed = true
  end
elseif is == 'HELD' then
  verdict = 'HELD'
elseif is == 'OPEN' then
  verdict, evidence = 'FIRST', 'TAKEN_OVER'
  note.attempt = note.attempt + 1
  note.token = ask.token
  note.held = hold > 0 and now + hold
  note.released = false
  changed = true
end

local seen = false
for _, s in ipairs(note.sightings) do
  if s.message == ask.message and (named(s.message) or s.transaction == ask.transaction) then
    seen = true
  end
end
local before = note.line
if changed then
  write_note(note)
end
if not seen and has_room(note, ask.message, ask.transaction) then
  see(note, ask.message, ask.transaction, now)
  recorded = 1
end

if changed then
  save(key, notes, redis.call)
  replicas = false
elseif recorded == 1 then
  local refused = save(key, notes, redis.pcall)
  if type(refused) == 'table' and refused.err then
    if verdict == 'DUPLICATE' and evidence == 'PAIRED' then
      return refused -- judged by its looks: if it is not recorded, another donation's message may look the same
    end
    note.line = before
    recorded = 0
  else
    replicas = false
  end
end
if replicas then
  confirm(key, notes)
end
return { verdict, evidence, note.line, now, recorded }
