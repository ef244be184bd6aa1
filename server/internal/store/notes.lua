-- notes.lua: what the scripts share: reading and writing the notes of a series, and finding the one that a message tells of.
--
-- It stands before every script and does nothing by itself.
--
-- A key holds the notes of one series as text: "1", the version of this format, and then a line a note, in the order they were made:
--
--   1P3k9vQx0aZmi8x3k2f -z 25.00USD *H1aaoA2 IbQ9… 8XB30… W58D3… = 9aa
--    |         |        |  |        |       |     |      |     | |
--    |         |        |  |        |       |     |      |     | seen, milliseconds after noted
--    |         |        |  |        |       |     |      |     its transaction id; "=" the first one's, "-" none
--    |         |        |  |        |       |     |      the next sighting's message …
--    |         |        |  |        |       |     the first sighting's transaction id
--    |         |        |  |        |       the first sighting's message (keys.go says how one is written)
--    |         |        |  |        "*" and what is not usual: H held until so many milliseconds after noted, R released, A attempt, K retention in seconds
--    |         |        |  amount and currency; "-" none
--    |         |        occurred, seconds after the second of noted (with "." behind them milliseconds); "?" unknown
--    |         noted, milliseconds since 1970
--    the event's letter, then nine letters of the request that the note answered FIRST last
--
-- Numbers are in base 36: int('9aa', 36) in Python.
local VERSION = '1'
local USUAL_RETENTION = 3888000000
local MOST_SIGHTINGS = 16

-- number writes a whole number; tostring would turn one of 1e15 and more into "1e+15".
local function number(n)
  return string.format('%.0f', n)
end

local function base36(n, ...)
  if n < 0 then
    return '-' .. base36(-n)
  end
  local digit = n % 36
  local byte = digit < 10 and 48 + digit or 87 + digit
  if n < 36 then
    return string.char(byte, ...)
  end
  return base36((n - digit) / 36, byte, ...)
end

-- whole reads what base36 wrote; tonumber takes no sign in base 36.
local function whole(s)
  if string.sub(s, 1, 1) == '-' then
    return -tonumber(string.sub(s, 2), 36)
  end
  return tonumber(s, 36)
end

-- clock is the store's time in milliseconds. Called once a script: TIME is not frozen while one runs.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
end

local function channel(message)
  local c = string.sub(message, 1, 1)
  if c == 'I' then
    return 'ipn'
  elseif c == 'W' then
    return 'webhook'
  end
  return string.sub(message, 1, string.find(message, ':', 1, true) - 1)
end

-- named tells whether a message bears an id.
local function named(message)
  local c = string.sub(message, 1, 1)
  return c == 'I' or c == 'W' or string.find(message, ':', 1, true) < #message
end

local function set_forget(note)
  note.forget = math.max(note.occurred or note.noted, note.noted) + note.retention
  if note.held and note.held > note.forget then
    note.forget = note.held
  end
end

local function read_note(line)
  local t, n = {}, 0
  for word in string.gmatch(line, '%S+') do
    n = n + 1
    t[n] = word
  end
  local note = {
    line = line,
    event = string.sub(t[1], 1, 1),
    token = string.sub(t[1], 2, 10),
    when = string.sub(t[1], 11),
    noted = tonumber(string.sub(t[1], 11), 36),
    after = t[2],
    occurred = false,
    amount = t[3],
    held = false,
    released = false,
    attempt = 1,
    retention = USUAL_RETENTION,
    sightings = {},
  }
  if t[2] ~= '?' then
    local second = note.noted - note.noted % 1000
    if string.sub(t[2], -1) == '.' then
      note.occurred = second + whole(string.sub(t[2], 1, -2))
    else
      note.occurred = second + whole(t[2]) * 1000
    end
  end
  local i = 4
  if string.sub(t[4], 1, 1) == '*' then
    i = 5
    for letter, digits in string.gmatch(t[4], '(%u)([%l%d]*)') do
      if letter == 'H' then
        note.held = note.noted + whole(digits)
      elseif letter == 'R' then
        note.released = true
      elseif letter == 'A' then
        note.attempt = whole(digits)
      elseif letter == 'K' then
        note.retention = whole(digits) * 1000
      end
    end
  end
  note.sightings[1] = { message = t[i], transaction = t[i + 1] }
  local m = 1
  for j = i + 2, n, 3 do
    m = m + 1
    note.sightings[m] = { message = t[j], transaction = t[j + 1] == '=' and t[i + 1] or t[j + 1] }
  end
  set_forget(note)
  return note
end

-- write_new writes what never changes of a note.
local function write_new(note, message, transaction)
  note.when = base36(note.noted)
  note.after = '?'
  if note.occurred then
    local after = note.occurred - (note.noted - note.noted % 1000)
    if after % 1000 == 0 then
      note.after = base36(after / 1000)
    else
      note.after = base36(after) .. '.'
    end
  end
  note.line = '? ? ? ' .. message .. ' ' .. transaction
end

-- write_note writes what can change of a note, and keeps the sightings of its line.
local function write_note(note)
  local unusual = ''
  if note.held then
    unusual = 'H' .. base36(math.max(note.held - note.noted, 0))
  end
  if note.released then
    unusual = unusual .. 'R'
  end
  if note.attempt > 1 then
    unusual = unusual .. 'A' .. base36(note.attempt)
  end
  if note.retention ~= USUAL_RETENTION then
    unusual = unusual .. 'K' .. base36(note.retention / 1000)
  end
  if unusual ~= '' then
    unusual = ' *' .. unusual
  end
  local sightings = string.match(note.line, '^%S+ %S+ %S+ %*%S+( .+)$') or string.match(note.line, '^%S+ %S+ %S+( .+)$')
  note.line = note.event .. note.token .. note.when .. ' ' .. note.after .. ' ' .. note.amount .. unusual .. sightings
  set_forget(note)
end

-- see adds a sighting to a note. A clock that was set back has seen it before it was noted; that counts as at once.
local function see(note, message, transaction, now)
  if transaction ~= '-' and transaction == note.sightings[1].transaction then
    transaction = '='
  end
  note.line = note.line .. ' ' .. message .. ' ' .. transaction .. ' ' .. base36(math.max(now - note.noted, 0))
end

-- has_room tells whether a note takes another sighting, and makes room where it is full and must. A note with MOST_SIGHTINGS takes only the first with an id, or the
-- first with a transaction id, on its channel: without it nothing would speak against that channel's next message, and one after the other would be paired
-- with the note. In its place goes the latest whose channel and transaction id an earlier one has too, and an id if it has one: by the transaction
-- id its message is still known, and the earlier one speaks for and against others as it did. The first sighting never goes. Where each is needed,
-- on sixteen channels that somebody makes up, there is no room.
local function has_room(note, message, transaction)
  local sightings = note.sightings
  if #sightings < MOST_SIGHTINGS then
    return true
  end
  local on, has_id, has_transaction = channel(message), not named(message), transaction == '-'
  for _, s in ipairs(sightings) do
    if channel(s.message) == on then
      has_id = has_id or named(s.message)
      has_transaction = has_transaction or s.transaction ~= '-'
    end
  end
  if has_id and has_transaction then
    return false
  end
  for i = #sightings, 2, -1 do
    local late = sightings[i]
    for j = 1, i - 1 do
      local early = sightings[j]
      if late.transaction ~= '-' and late.transaction == early.transaction and channel(late.message) == channel(early.message) and
        (named(early.message) or not named(late.message)) then
        local words = {}
        for word in string.gmatch(note.line, '%S+') do
          words[#words + 1] = word
        end
        local at = #words - 3 * (#sightings - i) - 2
        for _ = 1, 3 do -- its message, its transaction id, when it was seen
          table.remove(words, at)
        end
        note.line = table.concat(words, ' ')
        return true
      end
    end
  end
  return false
end

-- NOTED is how every line begins that a release has written in this format. What does not is another program's, and must not be read as nothing.
local NOTED = '^[PpFRVCJSHUEXYD]' .. string.rep('[%w_%-]', 9) .. '[%l%d]+ [%l%d%-%.%?]+ %S+ %S+ %S+'

-- load reads the notes of a series that are not forgotten yet. It returns nil and the version where a later release has written, or another program, of which "" is
-- the version.
local function load(key, now)
  local notes = {}
  local value = redis.call('GET', key)
  if not value then
    return notes
  end
  local version = string.sub(value, 1, 1)
  if version ~= VERSION then
    return nil, version
  end
  local lines = 0
  for line in string.gmatch(string.sub(value, 2), '[^\n]+') do
    if not string.find(line, NOTED) then
      return nil, ''
    end
    lines = lines + 1
    local note = read_note(line)
    if now < note.forget then
      notes[#notes + 1] = note
    end
  end
  if lines == 0 then
    return nil, ''
  end
  return notes
end

-- open is how a script begins: its notes and the time, or nil, the time, and the reply of one that came too late or must not touch what is there.
local function open(key, deadline)
  local now = clock()
  if now > deadline then
    return nil, now, { 'PAST_DEADLINE', now }
  end
  local notes, version = load(key, now)
  if not notes then
    return nil, now, { 'VERSION', version }
  end
  return notes, now
end

-- save writes the notes back, to be forgotten with the last of them. call is redis.call, or redis.pcall where a refusal is borne.
local function save(key, notes, call)
  if #notes == 0 then
    return call('DEL', key)
  end
  local value, forget = VERSION .. notes[1].line, notes[1].forget
  if #notes > 1 then
    local t = {}
    for i, note in ipairs(notes) do
      t[i] = note.line
      forget = math.max(forget, note.forget)
    end
    value = VERSION .. table.concat(t, '\n')
  end
  return call('SET', key, value, 'PXAT', number(forget))
end

-- state tells where a note is in its life.
local function state(note, now)
  if note.held and now < note.held then
    return 'HELD'
  elseif note.held or note.released then
    return 'OPEN'
  end
  return 'SETTLED'
end

-- plain writes an amount without the zeros that do not change the number.
local function plain(amount)
  local sign, whole, fraction = string.match(amount, '^(-?)0*(%d*)%.?(%d*)')
  fraction = string.gsub(fraction, '0+$', '')
  if fraction ~= '' then
    fraction = '.' .. fraction
  end
  if whole == '' and fraction == '' then
    return '0'
  end
  return sign .. whole .. fraction
end

local function same_money(a, b)
  if a == '-' or b == '-' or a == b then
    return true
  end
  return string.sub(a, -3) == string.sub(b, -3) and plain(string.sub(a, 1, -4)) == plain(string.sub(b, 1, -4))
end

-- find returns the note that a message tells of and the evidence, or nil. Strongest first: the same request, the same message, the same transaction
-- id, and last the nearest in time of those that nothing speaks against.
--
-- ask has: event, token (nil: no request), message, transaction, amount, occurred (false: unknown), match, arrival (milliseconds), shared
local function find(notes, ask, now)
  local asks_named, asks_channel = named(ask.message), channel(ask.message)
  local message_note, transaction_note, pair_note, pair_distance
  for _, note in ipairs(notes) do
    if note.event == ask.event then
      if ask.token and note.token == ask.token then
        return note, 'SAME_REQUEST'
      end
      local speaks_against = not same_money(note.amount, ask.amount)
      for _, s in ipairs(note.sightings) do
        if asks_named and s.message == ask.message then
          message_note = message_note or note
        end
        local on_channel = channel(s.message) == asks_channel
        if s.transaction ~= '-' and ask.transaction ~= '-' then
          if s.transaction == ask.transaction then
            transaction_note = transaction_note or note
          elseif on_channel or ask.shared then
            speaks_against = true
          end
        end
        if on_channel and asks_named and named(s.message) and s.message ~= ask.message then
          speaks_against = true
        end
      end
      if not speaks_against then
        local distance, window
        if note.occurred and ask.occurred then
          distance, window = math.abs(note.occurred - ask.occurred), ask.match
        else
          distance, window = math.abs(now - note.noted), ask.arrival
        end
        if distance <= window and (not pair_distance or distance < pair_distance) then
          pair_note, pair_distance = note, distance
        end
      end
    end
  end
  if message_note then
    return message_note, 'SAME_MESSAGE'
  elseif transaction_note then
    return transaction_note, 'SAME_TRANSACTION'
  elseif pair_note then
    return pair_note, 'PAIRED'
  end
  return nil
end

-- out_of_range is the reply to a message of which nothing can honestly be said, or nil. Only what is not known is asked.
local function out_of_range(ask, now)
  if ask.occurred and ask.occurred <= now - ask.retention then
    return { 'TOO_EARLY', now }
  elseif ask.occurred and ask.occurred > now + ask.ahead then
    return { 'TOO_LATE', now }
  end
  return nil
end

-- holder finds the note of a receipt: by when it was noted, which is its name within the series. It returns the note, or nil and the reply.
local function holder(notes, noted, token, attempt, now)
  for _, note in ipairs(notes) do
    if note.noted == noted then
      if note.attempt == attempt and note.token == token then
        return note
      elseif state(note, now) == 'SETTLED' then
        return nil, { 'SETTLED_BY_ANOTHER', now }
      end
      return nil, { 'HOLD_LOST', now }
    end
  end
  return nil, { 'NOT_FOUND', now }
end

-- resave writes what takes no more room than before. The first write is one that Redis allows when it is full, and after a first write it allows
-- the rest: a donation that has been processed must be settled even then.
local function resave(key, notes, note)
  write_note(note)
  redis.call('PERSIST', key)
  save(key, notes, redis.call)
end

-- confirm writes what is there already, which a store that is full lets it. It is for an answer that rests on what was written before, or on that nothing was, a refusal among them, where replicas must have that
-- too: WAIT waits for what its own connection has written (since Redis 7.2; before, for all that was written until then). A primary that is cut off, and was
-- replaced, would else tell what is true of itself alone.
local function confirm(key, notes)
  if #notes == 0 then
    -- What is there still is of notes that are all forgotten. Where nothing is, DEL has written nothing, but after it Redis lets the rest be written (see resave).
    if redis.call('DEL', key) == 0 then
      redis.call('SET', key, VERSION, 'PX', 1)
      redis.call('DEL', key)
    end
    return
  end
  local forget = 0
  for _, note in ipairs(notes) do
    forget = math.max(forget, note.forget)
  end
  redis.call('PEXPIREAT', key, number(forget))
end
