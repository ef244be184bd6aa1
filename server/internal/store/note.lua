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
local deadline = ARGV[1] + 0
local event = ARGV[2]
local token = ARGV[3]
local message = ARGV[4]
local transaction = ARGV[5]
local amount = ARGV[6]
local occurred = ARGV[7] ~= '-' and ARGV[7] + 0
local received = ARGV[8] ~= '-' and ARGV[8] + 0
local hold = ARGV[9] + 0
local match = ARGV[10]
local arrival = ARGV[11]
local retention = ARGV[12] + 0
local ahead = ARGV[13] + 0
local agreeing = ARGV[14]
local limit = ARGV[15] + 0
local replicas = ARGV[16] == '1'

local value, now, late = look(key, deadline)
if late then
  return late
end
if received and received >= now then
  received = false
end

-- A note's name within its series is when it was noted, so no two may ever share it.
local head, lines, count, at, noted, against = VERSION, '', 0, 0, now
if value then
  local notes, version = load(value, now, event)
  if not notes then
    return { 'VERSION', version }
  end
  local ask = {
    token = token,
    message = message,
    transaction = transaction,
    amount = amount,
    occurred = occurred,
    received = received,
    match = match + 0,
    arrival = arrival + 0,
    agreeing = agreeing,
  }
  local note, evidence
  note, evidence, against = find(notes, ask, now)
  if note then
    if evidence == 'SAME_REQUEST' and reused(note, ask) then
      if replicas then
        confirm(key, forget_at(notes))
      end
      return { 'REQUEST_REUSED', now }
    end

    local verdict, changed, recorded = 'DUPLICATE', false, 0
    local is = state(note, now)
    if is == 'HELD' and note.held - now > note.length then
      note.held = now + note.length -- the clock was set back since
      changed = true
    end
    local must_save = false
    if evidence == 'SAME_REQUEST' and not note.released then
      verdict = 'FIRST'
      if is == 'OPEN' then
        -- The hold has run out and no other request has taken over: hold again, with the
        -- same receipt.
        hold_note(note, hold, now)
        must_save = true
      end
    elseif is == 'HELD' then
      verdict = 'HELD'
    elseif is == 'OPEN' then
      verdict, evidence = 'FIRST', 'TAKEN_OVER'
      note.attempt = (note.attempt or 1) + 1
      note.token = token
      note.own = false
      hold_note(note, hold, now)
      must_save = true
    end

    local seen
    for i, s in ipairs(sightings(note)) do
      if s.message == message and (named(s.message) or s.transaction == transaction) then
        seen = i
      end
    end
    if not seen then
      if see(note, ask, now, evidence == 'TAKEN_OVER') then
        seen = #note.sightings
        recorded = 1
      end
    end
    if evidence == 'TAKEN_OVER' then
      note.own = seen
    end

    if must_save then
      write_note(note)
      save(key, notes, note, redis.call)
      replicas = false
    elseif changed or recorded == 1 then
      write_note(note)
      local refused = save(key, notes, note, redis.pcall)
      if type(refused) == 'table' and refused.err then
        if verdict == 'DUPLICATE' and evidence == 'PAIRED' then
          return refused
        end
        note.text = nil
        recorded = 0
      else
        replicas = false
      end
    end
    if replicas then
      confirm(key, forget_at(notes))
    end
    return { verdict, evidence, line(note), now, recorded }
  end
  head, lines, count, at = notes.head, notes.lines, notes.count, forget_at(notes)
  noted = math.max(now, notes.floor + 1)
  if noted <= notes.last then
    while is_name(notes, noted) do
      noted = noted + 1
    end
  end
end

local refusal = out_of_range(now, occurred, received, retention, ahead)
if not refusal and count >= limit then
  refusal = { 'SERIES_FULL', now }
end
if refusal then
  if replicas then
    confirm(key, at)
  end
  return refusal
end

local when = '?'
if occurred then
  when = occurred - (noted - noted % 1000)
  when = when % 1000 == 0 and base36(when / 1000) or base36(when) .. '.'
end
local held = hold > 0 and now + hold
local text = write_line(
  event .. token .. base36(noted) .. ' ' .. when .. ' ' .. amount,
  '',
  noted,
  held,
  hold,
  '',
  received or noted,
  against and against.noted,
  retention,
  message .. ' ' .. transaction
)
local forget = math.max(at, forgotten(noted, occurred, retention, held))
local between = count > 0 and '\n' or ''
redis.call('SET', key, head .. lines .. between .. text, 'PXAT', decimal(forget))
local reply = { 'FIRST', 'NEW', text, now, 1 }
if against then
  for _, s in ipairs(sightings(against)) do
    if s.transaction ~= '-' then
      reply[#reply + 1] = channel(s.message)
      reply[#reply + 1] = s.transaction
    end
  end
end
return reply
