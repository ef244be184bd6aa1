-- note.lua: decides whether a donation has been noted, and notes it.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]  name: the event's letter, and nine letters of the request, its token
-- ARGV[3]  seen: the message, a space, and its transaction id, or "-"
-- ARGV[4]  amount: amount and currency, or "-"
-- ARGV[5]  occurred: milliseconds since 1970, or "-"
-- ARGV[6]  hold: milliseconds in base 36, 0 for none
-- ARGV[7]  rules: what only some calls need, in words: 1 if the answer needs replicas, else
--          0; match and arrival, the two windows, in milliseconds; ahead, how far ahead
--          occurred may lie, in milliseconds; limit, how many notes the series may hold;
--          agreeing, the channels whose transaction ids agree with the message's
-- ARGV[8]  retention: seconds in base 36, or left out for 45 days
-- ARGV[9]  received: when the message first arrived, in milliseconds since 1970, or left out
--          for now
--
-- hold and retention are in base 36 because a new note has them as they are. Each argument
-- costs as much as ten lines of this script, so those that few calls need share one.
--
-- Replies. The first three are one text with a newline between the words, and now is there
-- as TIME gives it: seconds, a space, and microseconds. In the others it is milliseconds.
-- recorded is 1 if the message is a new sighting:
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
local name = ARGV[2]
local seen = ARGV[3]
local amount = ARGV[4]
local occurred = ARGV[5] ~= '-' and ARGV[5] + 0
local hold = ARGV[6]
local rules = ARGV[7]
local retention = ARGV[8]
local received = ARGV[9] and ARGV[9] + 0

local value, now, late, t = look(key, deadline)
if late then
  return late
end
if received and received >= now then
  received = false
end

-- A note's name within its series is when it was noted, so no two may ever share it.
local before, count, at, noted, against = VERSION, 0, 0, now, nil
if value then
  local replicas, match = string.match(rules, '^(%d) (%d+)')
  replicas = replicas == '1'
  local token = string.sub(name, 2)
  local message, transaction = string.match(seen, '^(%S+) (%S+)')
  local ask = {
    event = string.sub(name, 1, 1),
    token = token,
    message = message,
    transaction = transaction,
    amount = amount,
    occurred = occurred,
    received = received,
    match = match + 0,
  }
  local notes, version = load(value, now, ask)
  if not notes then
    return { 'VERSION', version }
  end
  local note, evidence = find_seen(notes, ask)
  if not note then
    note, evidence = find_transaction(notes, ask)
  end
  if not note then
    local arrival, agreeing = string.match(rules, '^%d %d+ (%d+) %d+ %d+ (%S+)')
    ask.arrival, ask.agreeing = arrival + 0, agreeing
    note, evidence, against = find_pair(notes, ask, now)
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
  before, count, at = notes.text, notes.count, forget_at(notes)
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
  local replicas, ahead, limit = string.match(rules, '^(%d) %d+ %d+ (%d+) (%d+)')
  refusal = out_of_range(now, occurred, received, life, ahead + 0)
  if not refusal and count >= limit + 0 then
    refusal = { 'SERIES_FULL', now }
  end
  if refusal then
    if replicas == '1' then
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
local extras, held = '', false
if hold ~= '0' then
  held = now + tonumber(hold, 36)
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
  extras = ' *' .. extras
end
local text = name .. base36(noted) .. ' ' .. when .. ' ' .. amount .. extras .. ' ' .. seen

local between = count > 0 and '\n' or ''
local forget = math.max(at, forgotten(noted, occurred, life, held))
redis.call('SET', key, before .. between .. text, 'PXAT', forget)
local reply = answer('FIRST', 'NEW', text, t, '1')
if against then
  for _, s in ipairs(sightings(against)) do
    if s.transaction ~= '-' then
      reply = reply .. '\n' .. channel(s.message) .. '\n' .. s.transaction
    end
  end
end
return reply
