-- note.lua: decides whether a donation has been noted, and notes it.
--
-- KEYS[1]   the series' key
-- ARGV[1]   deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]   event: its letter
-- ARGV[3]   token: nine letters of the request
-- ARGV[4]   message
-- ARGV[5]   transaction: its id, or "-"
-- ARGV[6]   amount: amount and currency, or "-"
-- ARGV[7]   occurred: milliseconds since 1970, or "-"
-- ARGV[8]   received: when the message first arrived, in milliseconds, or "-" for now
-- ARGV[9]   hold: milliseconds, 0 for none
-- ARGV[10]  match: the match window in milliseconds
-- ARGV[11]  arrival: the arrival window in milliseconds
-- ARGV[12]  retention: milliseconds, whole seconds
-- ARGV[13]  ahead: how far ahead occurred may lie, in milliseconds
-- ARGV[14]  agreeing: the channels whose transaction ids agree with the message's
-- ARGV[15]  limit: how many notes the series may hold
-- ARGV[16]  replicas: 1 if the answer needs replicas, else 0
--
-- Replies, now in milliseconds; recorded is 1 if the message is a new sighting:
--   FIRST evidence line now recorded      the caller has it. With evidence NEW, a channel and
--                                         a transaction id follow for each sighting whose id
--                                         alone kept the message from being paired
--   DUPLICATE evidence line now recorded  the note is settled
--   HELD evidence line now recorded       the note is held by another request
--   REQUEST_REUSED now                    the request was answered for another message
--   TOO_EARLY now                         no note matches; occurred is before the retention
--   RECEIVED_TOO_EARLY now                no note matches; received is before the retention
--   TOO_LATE now                          no note matches; occurred is too far ahead
--   SERIES_FULL now                       no note matches; the series holds limit notes
--   PAST_DEADLINE now                     the call came too late
--   VERSION version                       a later release or another program has written here
--
-- Writes KEYS[1], and its expiry, once, at the end:
--
--   reply                  what is written                if Redis refuses the write
--   FIRST NEW, TAKEN_OVER  the note                       the refusal is the reply
--   FIRST SAME_REQUEST     the hold, if it had run out    the refusal is the reply
--                          otherwise, a new sighting      the answer stands
--   DUPLICATE, HELD        a new sighting                 the answer stands. DUPLICATE PAIRED
--                                                         gives the refusal: unrecorded, the
--                                                         next donation could look the same
--                          a hold cut to its length       the answer stands
--                          after the clock was set back
--   all others             nothing
--
-- With replicas, every reply but PAST_DEADLINE and VERSION writes: if it has nothing new to
-- write, it rewrites the series unchanged, so that WAIT covers it.
local key = KEYS[1]
local deadline = tonumber(ARGV[1])
local ask = {
  event = ARGV[2],
  token = ARGV[3],
  message = ARGV[4],
  transaction = ARGV[5],
  amount = ARGV[6],
  occurred = ARGV[7] ~= '-' and tonumber(ARGV[7]),
  received = ARGV[8] ~= '-' and tonumber(ARGV[8]),
  match = tonumber(ARGV[10]),
  arrival = tonumber(ARGV[11]),
  retention = tonumber(ARGV[12]),
  ahead = tonumber(ARGV[13]),
  agreeing = ARGV[14],
}
local hold = tonumber(ARGV[9])
local limit = tonumber(ARGV[15])
local replicas = ARGV[16] == '1'

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
if ask.received and ask.received >= now then
  ask.received = false
end
local note, evidence, against = find(notes, ask, now)

local refusal
if note then
  refusal = evidence == 'SAME_REQUEST' and reused(note, ask) and { 'REQUEST_REUSED', now }
else
  refusal = out_of_range(ask, now)
  if not refusal and #notes >= limit then
    refusal = { 'SERIES_FULL', now }
  end
end
if refusal then
  if replicas then
    confirm(key, notes)
  end
  return refusal
end

if not note then
  -- When it was noted is the note's name within its series, so no two may ever share it.
  local noted, taken = math.max(now, notes.floor + 1), {}
  for _, other in ipairs(notes) do
    taken[other.noted] = true
  end
  while taken[noted] do
    noted = noted + 1
  end
  note = new_note(ask, noted)
  note.against = against and against.noted
  hold_note(note, hold, now)
  notes[#notes + 1] = note
  write_note(note)
  save(key, notes, redis.call)
  local reply = { 'FIRST', 'NEW', note.text, now, 1 }
  for _, s in ipairs(against and sightings(against) or {}) do
    if s.transaction ~= '-' then
      reply[#reply + 1] = channel(s.message)
      reply[#reply + 1] = s.transaction
    end
  end
  return reply
end

local verdict, changed, recorded = 'DUPLICATE', false, 0
local is = state(note, now)
if is == 'HELD' and note.held - now > note.length then
  note.held = now + note.length -- the clock was set back since
  changed = true
end
local before = line(note)
local must_save = false
if evidence == 'SAME_REQUEST' and not note.released then
  verdict = 'FIRST'
  if is == 'OPEN' then
    -- The hold has run out and no other request has taken over: hold again, with the same
    -- receipt.
    hold_note(note, hold, now)
    must_save = true
  end
elseif is == 'HELD' then
  verdict = 'HELD'
elseif is == 'OPEN' then
  verdict, evidence = 'FIRST', 'TAKEN_OVER'
  note.attempt = note.attempt + 1
  note.token = ask.token
  note.own = false
  hold_note(note, hold, now)
  must_save = true
end

local seen
for i, s in ipairs(sightings(note)) do
  if s.message == ask.message and (named(s.message) or s.transaction == ask.transaction) then
    seen = i
  end
end
if not seen and see(note, ask, now, evidence == 'TAKEN_OVER') then
  seen = #note.sightings
  recorded = 1
end
if evidence == 'TAKEN_OVER' then
  note.own = seen
end

if must_save then
  write_note(note)
  save(key, notes, redis.call)
  replicas = false
elseif changed or recorded == 1 then
  write_note(note)
  local refused = save(key, notes, redis.pcall)
  if type(refused) == 'table' and refused.err then
    if verdict == 'DUPLICATE' and evidence == 'PAIRED' then
      return refused
    end
    note.text = before
    recorded = 0
  else
    replicas = false
  end
end
if replicas then
  confirm(key, notes)
end
return { verdict, evidence, line(note), now, recorded }
