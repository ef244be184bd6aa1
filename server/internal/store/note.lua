-- note.lua: decides whether a donation has been noted, and notes it.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]  head: how a value begins: its version, the event's letter, and nine letters of the
--          request, its token. With second, the digits of noted without the last four follow
-- ARGV[3]  rest: the rest of the line of a note that is made now and arrived now: a space,
--          occurred as of second ("?" without it), the amount, the extras, the message, and
--          its transaction id
-- ARGV[4]  rules: what only some calls need, in words: second, below, in ten digits; 1 if the
--          answer needs replicas, else 0; occurred, in milliseconds since 1970, or "-"; match
--          and arrival, the two windows, in milliseconds; ahead, how far ahead occurred may
--          lie, in milliseconds; limit, how many notes the series may hold; hold, in
--          milliseconds in base 36, 0 for none; agreeing, the channels whose transaction ids
--          agree with the message's
-- ARGV[5]  retention: seconds in base 36; left out for 45 days, if the hold is shorter
-- ARGV[6]  received: when the message first arrived, in milliseconds since 1970, or left out
--          for now
--
-- Each argument costs as much as ten lines of this script, so those that few calls need
-- share one.
--
-- Second is the second since 1970 in which the caller expects the script to run, or 0. It ends
-- before the deadline, and an empty series takes the message in all of it.
--
-- Replies. A number, now in microseconds, if a new note has that rest: the verdict is FIRST,
-- the evidence NEW, and the caller knows all of the line. The three replies with a line are
-- one text with a newline between the words. Their now is as TIME gives it: seconds, a space,
-- and microseconds. In the others it is milliseconds. The version may stand before the line
-- of the series' only note. recorded is 1 if the message is a new sighting:
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
local key, ARGV, call = KEYS[1], ARGV, redis.call -- a local name is found faster
local head, rest, rules = ARGV[2], ARGV[3], ARGV[4]
local t = call('TIME')
local value

-- Most messages are the first of their series and run in the second that the caller expects.
-- Then the value lacks only the last four digits of noted. Redis counts a lifetime from a
-- moment that may lie before TIME, so the key gets an hour more than its note.
if t[1] == string.sub(rules, 1, 10) then
  value = call('GET', key)
  if not value then
    local micros, begins = t[2] + 0, t[1] * 1000
    local low = begins % 1679616 + (micros - micros % 1000) / 1000
    if low < 1679616 then -- four digits; otherwise a digit before them is another now
      local d = low % 36
      low = (low - d) / 36
      local c = low % 36
      low = (low - c) / 36
      local b = low % 36
      local a = (low - b) / 36
      local digits = string.char(
        a + (a < 10 and 48 or 87),
        b + (b < 10 and 48 or 87),
        c + (c < 10 and 48 or 87),
        d + (d < 10 and 48 or 87)
      )
      call('SET', key, head .. digits .. rest, 'EX', '3891600')
      return begins * 1000 + micros
    end
  end
end

local deadline = ARGV[1] + 0
local micros = t[1] * 1000000 + t[2]
local now = (micros - micros % 1000) / 1000
if now > deadline then
  return { 'PAST_DEADLINE', now }
end
if value == nil then
  value = call('GET', key)
end

local name = string.sub(head, 2, 11)
local replicas = string.byte(rules, 12) == 49 -- "1"

-- Most messages that are not FIRST are decided here. If Redis refuses the write, what stands
-- behind decides.
if value and #value < TWO_NOTES then
  local evidence, longer = alone(value, name, rest, rules, now)
  if longer then
    local refused = redis.pcall('SET', key, longer, 'KEEPTTL')
    if type(refused) ~= 'table' or not refused.err then
      return answer('DUPLICATE', evidence, longer, t, '1')
    end
  elseif evidence and not replicas then
    return answer('DUPLICATE', evidence, value, t, '0')
  end
end

local occurred = string.match(rules, '^%d+ %d (%S+)')
occurred = occurred ~= '-' and occurred + 0
local retention = ARGV[5]
local received = ARGV[6] and ARGV[6] + 0
if received and received >= now then
  received = false
end

-- A note's name within its series is when it was noted, so no two may ever share it.
local before, between, noted, count, at, against = VERSION, '', now, 0, 0, nil
if value then
  local event, token = string.sub(name, 1, 1), string.sub(name, 2)
  local amount, message, transaction = parts(rest)
  local match, arrival, hold, agreeing = string.match(rules, '^%d+ %d %S+ (%d+) (%d+) %d+ %d+ (%w+) (%S+)')
  local ask = {
    event = event,
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
  local notes, version = load(value, now, ask)
  if not notes then
    return { 'VERSION', version }
  end
  local note, evidence
  if notes[1] then
    if appears(notes, ask) then
      note, evidence = find_seen(notes, ask)
      if not note then
        note, evidence = find_transaction(notes, ask)
      end
    end
    if not note then
      local nearby = near(notes, ask, now)
      if nearby[1] then
        note, evidence, against = find_pair(notes, nearby, ask)
      end
    end
  end
  if note then
    if evidence == 'SAME_REQUEST' and reused(note, ask) then
      if replicas then
        confirm(key, forget_at(notes))
      end
      return { 'REQUEST_REUSED', now }
    end

    local verdict, changed, recorded = 'DUPLICATE', false, '0'
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
        hold_note(note, tonumber(hold, 36), now)
        must_save = true
      end
    elseif is == 'HELD' then
      verdict = 'HELD'
    elseif is == 'OPEN' then
      verdict, evidence = 'FIRST', 'TAKEN_OVER'
      note.attempt = (note.attempt or 1) + 1
      note.token = token
      note.own = false
      hold_note(note, tonumber(hold, 36), now)
      must_save = true
    end

    local place
    for i, s in ipairs(sightings(note)) do
      if s.message == message and (named(s.message) or s.transaction == transaction) then
        place = i
      end
    end
    if not place then
      if see(note, ask, now, evidence == 'TAKEN_OVER') then
        place = #note.sightings
        recorded = '1'
      end
    end
    if evidence == 'TAKEN_OVER' then
      note.own = place
    end

    if must_save then
      write_note(note)
      save(key, notes, note, redis.call)
      replicas = false
    elseif changed or recorded == '1' then
      write_note(note)
      local refused = save(key, notes, note, redis.pcall)
      if type(refused) == 'table' and refused.err then
        if verdict == 'DUPLICATE' and evidence == 'PAIRED' then
          return refused
        end
        note.text = nil
        recorded = '0'
      else
        replicas = false
      end
    end
    if replicas then
      confirm(key, forget_at(notes))
    end
    return answer(verdict, evidence, line(note), t, recorded)
  end
  count, at = notes.count, forget_at(notes)
  before, between = notes.text, count > 0 and '\n' or ''
  noted = math.max(now, notes.floor + 1)
  if noted <= notes.last then
    while is_name(notes, noted) do
      noted = noted + 1
    end
  end
end

-- The words of rules are read only where they can refuse the message: an empty series is
-- not full, and out_of_range refuses no message that occurred lately and has just arrived.
local life = retention and tonumber(retention, 36) * 1000 or DEFAULT_RETENTION
local refusal
if value or received or not occurred or occurred <= now - life or occurred > now then
  local ahead, limit = string.match(rules, '^%d+ %d %S+ %d+ %d+ (%d+) (%d+)')
  refusal = out_of_range(now, occurred, received, life, ahead + 0)
  if not refusal and count >= limit + 0 then
    refusal = { 'SERIES_FULL', now }
  end
  if refusal then
    if replicas then
      confirm(key, at)
    end
    return refusal
  end
end

-- The line of the new note; notes.lua describes it.
local when = '?'
if occurred then
  when = occurred - (noted - noted % 1000)
  when = when % 1000 == 0 and base36(when / 1000) or base36(when) .. '.'
end
local plain, held = noted == now and not received and not against, false
local tail
if not plain or retention then
  local hold = string.match(rules, '^%d+ %d %S+ %d+ %d+ %d+ %d+ (%w+)')
  held = hold ~= '0' and now + tonumber(hold, 36)
  if not plain then
    local extras = ''
    if held then
      extras = noted == now and 'H' .. hold or 'H' .. base36(held - noted) .. 'L' .. hold
    end
    if received then
      extras = extras .. 'V' .. base36(noted - received)
    end
    if against then
      extras = extras .. 'X' .. base36(noted - against.noted)
    end
    if life ~= DEFAULT_RETENTION then
      extras = extras .. 'K' .. retention
    end
    if extras ~= '' then
      extras = '*' .. extras .. ' '
    end
    local amount, message, transaction = parts(rest)
    tail = amount .. ' ' .. extras .. message .. ' ' .. transaction
  end
end
tail = tail or string.match(rest, '^ %S+ (.*)')
local notes = before .. between .. name .. base36(noted) .. ' ' .. when .. ' ' .. tail
local forget = forgotten(noted, occurred, life, held)
if at > forget then
  forget = at
end
redis.call('SET', key, notes, 'PXAT', forget)
if plain then
  return micros
end
local text = string.sub(notes, #before + #between + 1)
local reply = answer('FIRST', 'NEW', text, t, '1')
if against then
  for _, s in ipairs(sightings(against)) do
    if s.transaction ~= '-' then
      reply = reply .. '\n' .. channel(s.message) .. '\n' .. s.transaction
    end
  end
end
return reply
