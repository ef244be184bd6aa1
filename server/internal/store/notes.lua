-- notes.lua: the library of all scripts. Its functions read and write the notes of a
-- series and find the note of a message. It is put before every script and does nothing
-- itself.
--
-- A key holds the notes of one series as text: the version of this format, "1", then one
-- line for each note, in the order they were made:
--
--   1P3k9vQx0aZmi8x3k2f -z 25.00USD *H1aaoA2O2 IbQ9… 8XB30… W58D3… = 9aa
--    |         |        |  |        |          |     |      |     | |
--    |         |        |  |        |          |     |      |     | seen, milliseconds after noted
--    |         |        |  |        |          |     |      |     its transaction id
--    |         |        |  |        |          |     |      the next sighting's message …
--    |         |        |  |        |          |     the first sighting's transaction id
--    |         |        |  |        |          the first sighting's message (see keys.go)
--    |         |        |  |        the extras: "*", then a letter and a number for each
--    |         |        |  amount and currency; "-" if unknown
--    |         |        occurred, seconds after the second of noted; with a "." at
--    |         |        the end milliseconds; "?" if unknown
--    |         noted, milliseconds since 1970
--    the event's letter, then nine letters of the request that was last answered FIRST
--
-- A transaction id is "=" where it is the first sighting's, and "-" if unknown. The
-- extras:
--
--   H  the hold ends this many milliseconds after noted
--   L  how long that hold was asked for, in milliseconds; without it, as long as H says
--   R  released
--   A  the attempt; without it 1
--   O  the own sighting, counted from 1: its message was answered FIRST last. Without O it
--      is the first sighting; with A and without O it is unknown
--   V  the first message had arrived this many milliseconds before noted
--   X  the note stands against another, made this many milliseconds earlier: by rule 4 the
--      two would have been paired, but their transaction ids were unequal
--   K  the retention in seconds; without it 45 days
--
-- A later release may add letters: readers skip the letters that they do not know, and
-- writers keep them. "~" and a number behind the version is the floor: the highest noted
-- of a note that was forgotten by hand, so that no later note takes its name. Numbers are
-- in base 36: int('9aa', 36) in Python.
local VERSION = '1'
local DEFAULT_RETENTION = 3888000000
local MOST_SIGHTINGS = 16

-- decimal writes a whole number; tostring would turn 1e15 into "1e+15".
local function decimal(n)
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

-- clock is the store's time in milliseconds. Call it once in a script: TIME moves while
-- the script runs.
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

-- named tells whether a message has an id.
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

-- read_extras reads the word of extras, without its "*".
local function read_extras(note, extras)
  note.other = ''
  local own
  for letter, digits in string.gmatch(extras, '(%u)([%l%d%-]*)') do
    if letter == 'H' then
      note.held = note.noted + whole(digits)
    elseif letter == 'L' then
      note.length = whole(digits)
    elseif letter == 'R' then
      note.released = true
    elseif letter == 'A' then
      note.attempt = whole(digits)
    elseif letter == 'O' then
      own = whole(digits)
    elseif letter == 'V' then
      note.arrived = note.noted - whole(digits)
    elseif letter == 'X' then
      note.against = note.noted - whole(digits)
    elseif letter == 'K' then
      note.retention = whole(digits) * 1000
    else
      note.other = note.other .. letter .. digits
    end
  end
  if note.held and not note.length then
    note.length = note.held - note.noted
  end
  note.own = own or note.attempt == 1 and 1
end

-- LINE is how every line begins that any release has written. Any other line is another
-- program's and must not be read as no note.
local LINE = '^([PpFRVCJSHUEXYD])(' .. string.rep('[%w_%-]', 9) .. ')([%l%d]+) ([%l%d%-%.%?]+) (%S+) ()(%S+) %S'

-- read_note reads the part before the sightings of the line that begins at from;
-- sightings reads the rest when it is needed. It returns nil for a line of another
-- program.
local function read_note(value, from, to)
  local event, token, when, after, amount, rest, word = string.match(value, LINE, from)
  if not event then
    return nil
  end
  local noted = tonumber(when, 36)
  local note = {
    value = value,
    from = from,
    to = to,
    rest = rest, -- where the sightings begin
    event = event,
    token = token,
    when = when,
    after = after,
    noted = noted,
    arrived = noted,
    occurred = false,
    amount = amount,
    held = false,
    released = false,
    attempt = 1,
    own = 1,
    other = '',
    retention = DEFAULT_RETENTION,
  }
  if after ~= '?' then
    local second = noted - noted % 1000
    if string.sub(after, -1) == '.' then
      note.occurred = second + whole(string.sub(after, 1, -2))
    else
      note.occurred = second + whole(after) * 1000
    end
  end
  if string.byte(word) == 42 then -- "*"
    note.rest = rest + #word + 1
    read_extras(note, string.sub(word, 2))
  end
  set_forget(note)
  return note
end

-- sightings are those of a note, in the order in which they were seen.
local function sightings(note)
  if note.sightings then
    return note.sightings
  end
  local t, n, w = {}, 0, {}
  for word in string.gmatch(string.sub(note.value, note.rest, note.to), '%S+') do
    w[#w + 1] = word
  end
  t[1] = { message = w[1], transaction = w[2] }
  for j = 3, #w, 3 do
    n = n + 1
    t[n + 1] = { message = w[j], transaction = w[j + 1] == '=' and w[2] or w[j + 1], after = w[j + 2] }
  end
  note.sightings = t
  return t
end

-- line is a note's text: as it was read, unless write_note has changed it.
local function line(note)
  return note.text or string.sub(note.value, note.from, note.to)
end

local function extra(letter, n)
  return letter .. base36(n)
end

-- write_note makes a note's text anew. Sightings that were never read are copied.
local function write_note(note)
  local extras = note.other
  if note.held then
    extras = extras .. extra('H', note.held - note.noted)
    if note.length ~= note.held - note.noted then
      extras = extras .. extra('L', note.length)
    end
  end
  if note.released then
    extras = extras .. 'R'
  end
  if note.attempt > 1 then
    extras = extras .. extra('A', note.attempt)
    if note.own then
      extras = extras .. extra('O', note.own)
    end
  end
  if note.arrived ~= note.noted then
    extras = extras .. extra('V', note.noted - note.arrived)
  end
  if note.against then
    extras = extras .. extra('X', note.noted - note.against)
  end
  if note.retention ~= DEFAULT_RETENTION then
    extras = extras .. extra('K', note.retention / 1000)
  end
  if extras ~= '' then
    extras = ' *' .. extras
  end
  local seen
  if note.sightings then
    local t = note.sightings
    seen = t[1].message .. ' ' .. t[1].transaction
    for i = 2, #t do
      local s = t[i]
      local transaction = s.transaction
      if transaction ~= '-' and transaction == t[1].transaction then
        transaction = '='
      end
      seen = seen .. ' ' .. s.message .. ' ' .. transaction .. ' ' .. s.after
    end
  else
    seen = string.sub(note.value, note.rest, note.to)
  end
  note.text = note.event .. note.token .. note.when .. ' ' .. note.after .. ' ' .. note.amount .. extras .. ' ' .. seen
  set_forget(note)
end

-- new_note is the note of a message that matches no other note.
local function new_note(ask, noted)
  local after = '?'
  if ask.occurred then
    local ms = ask.occurred - (noted - noted % 1000)
    after = ms % 1000 == 0 and base36(ms / 1000) or base36(ms) .. '.'
  end
  return {
    event = ask.event,
    token = ask.token,
    when = base36(noted),
    after = after,
    noted = noted,
    arrived = ask.received or noted,
    occurred = ask.occurred,
    amount = ask.amount,
    held = false,
    released = false,
    attempt = 1,
    own = 1,
    other = '',
    retention = ask.retention,
    sightings = { { message = ask.message, transaction = ask.transaction } },
  }
end

-- hold_note gives a note a hold; a hold of 0 settles it.
local function hold_note(note, hold, now)
  note.held = hold > 0 and now + hold
  note.length = hold
  note.released = false
end

-- spare finds the sighting that a full note can best do without: the latest one whose
-- channel and transaction id an earlier sighting has too. If it has a message id, the
-- earlier one must have an id as well. Its message is still known by the transaction id,
-- and the earlier sighting counts for and against other messages as before. The first
-- sighting and the own sighting are never spared.
local function spare(note)
  local t = sightings(note)
  for i = #t, 2, -1 do
    local late = t[i]
    for j = 1, i - 1 do
      local early = t[j]
      if
        i ~= note.own
        and late.transaction ~= '-'
        and late.transaction == early.transaction
        and channel(late.message) == channel(early.message)
        and (named(early.message) or not named(late.message))
      then
        return i
      end
    end
  end
  return nil
end

-- wants tells whether a full note needs another sighting: the first with an id, or the
-- first with a transaction id, on its channel. Without it nothing would keep that
-- channel's later messages from being paired with the note one after the other.
local function wants(note, message, transaction)
  local on, has_id, has_transaction = channel(message), not named(message), transaction == '-'
  for _, s in ipairs(sightings(note)) do
    if channel(s.message) == on then
      has_id = has_id or named(s.message)
      has_transaction = has_transaction or s.transaction ~= '-'
    end
  end
  return not (has_id and has_transaction)
end

-- see adds a sighting to a note and tells whether it did. A note with MOST_SIGHTINGS
-- takes only a sighting that it wants, in the place of a sighting that it can spare. If
-- it can spare none, as after sixteen made-up channels, it takes no more. With must it
-- takes the sighting in any case: the message was answered FIRST. If the clock was set
-- back and is behind noted, the sighting counts as seen at noted.
local function see(note, ask, now, must)
  local t = sightings(note)
  if #t >= MOST_SIGHTINGS then
    local gone = (must or wants(note, ask.message, ask.transaction)) and spare(note) or must and #t
    if not gone then
      return false
    end
    table.remove(t, gone)
    if note.own and note.own > gone then
      note.own = note.own - 1
    end
  end
  t[#t + 1] = { message = ask.message, transaction = ask.transaction, after = base36(math.max(now - note.noted, 0)) }
  return true
end

-- load reads the notes of a series that are not forgotten yet. If a later release or another
-- program has written the value, it returns nil and the version, which is "" for a value
-- that begins like ours.
local function load(key, now)
  local notes = { floor = 0 }
  local value = redis.call('GET', key)
  if not value then
    return notes
  end
  local version = string.sub(value, 1, 1)
  if version ~= VERSION then
    return nil, version
  end
  local from, size = 2, #value
  if string.byte(value, 2) == 126 then -- "~"
    local floor, next = string.match(value, '^~([%l%d]+)\n?()', 2)
    if not floor then
      return nil, ''
    end
    notes.floor, from = tonumber(floor, 36), next
    if notes.floor + DEFAULT_RETENTION <= now then
      notes.floor = 0
    end
  elseif size == 1 then
    return nil, ''
  end
  while from <= size do
    local to = (string.find(value, '\n', from, true) or size + 1) - 1
    local note = read_note(value, from, to)
    if not note then
      return nil, ''
    end
    if now < note.forget then
      notes[#notes + 1] = note
    end
    from = to + 2
  end
  return notes
end

-- open begins a script. It returns the notes and the time. For a call that came too late,
-- or must not touch the value, it returns nil, the time, and the reply.
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

-- forget_at is the time when the last note of a series, and its floor, are forgotten.
local function forget_at(notes)
  local at = notes.floor > 0 and notes.floor + DEFAULT_RETENTION or 0
  for _, note in ipairs(notes) do
    at = math.max(at, note.forget)
  end
  return at
end

-- save writes the notes back, to expire with the last of them. call is redis.call, or
-- redis.pcall if the script goes on after a refusal.
local function save(key, notes, call)
  local lines = {}
  for i, note in ipairs(notes) do
    lines[i] = line(note)
  end
  local value = VERSION
  if notes.floor > 0 then
    value = value .. '~' .. base36(notes.floor)
    if #lines > 0 then
      value = value .. '\n'
    end
  end
  return call('SET', key, value .. table.concat(lines, '\n'), 'PXAT', decimal(forget_at(notes)))
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

-- without_zeros is an amount without the zeros that do not change the number.
local function without_zeros(amount)
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
  return string.sub(a, -3) == string.sub(b, -3) and without_zeros(string.sub(a, 1, -4)) == without_zeros(string.sub(b, 1, -4))
end

-- holding calls f with each note of an event whose line has a word, in order, until f
-- returns a value. It searches the whole text at once, so that most lines are never cut
-- into words. f must look closer: the word may be a message or a transaction id.
local function holding(notes, event, word, f)
  local first = notes[1]
  if not first then
    return nil
  end
  local value, i = first.value, 1
  local at = string.find(value, ' ' .. word, first.from, true)
  while at do
    while notes[i] and notes[i].to < at do
      i = i + 1
    end
    local note = notes[i]
    if not note then
      return nil
    end
    if note.from <= at and note.event == event then
      local found = f(note)
      if found then
        return found
      end
    end
    -- Continue behind this line; at may also be in a note that is forgotten.
    at = string.find(value, ' ' .. word, note.from <= at and note.to or at + 1, true)
  end
  return nil
end

-- has_message tells whether a note was seen with a message.
local function has_message(note, message)
  for _, s in ipairs(sightings(note)) do
    if s.message == message then
      return true
    end
  end
  return false
end

-- compares compares the transaction ids of two channels within one note. It returns
-- whether both channels gave the note the same id, and whether they gave it different
-- ids.
local function compares(note, c, d)
  local on_c, on_d = {}, {}
  for _, s in ipairs(sightings(note)) do
    if s.transaction ~= '-' then
      local on = channel(s.message)
      if on == c then
        on_c[s.transaction] = true
      elseif on == d then
        on_d[s.transaction] = true
      end
    end
  end
  for id in pairs(on_c) do
    if on_d[id] then
      return true, false
    end
  end
  return false, next(on_c) ~= nil and next(on_d) ~= nil
end

-- tells tells whether a channel has told a transaction id of a note.
local function tells(note, on)
  for _, s in ipairs(sightings(note)) do
    if s.transaction ~= '-' and channel(s.message) == on then
      return true
    end
  end
  return false
end

-- agree tells whether the transaction ids of two channels are known to agree for an
-- event. They agree if the series has one note with the same id from both channels.
-- Otherwise the ledger's knowledge counts, unless the series contradicts it. It is in
-- ask.agreeing: "*" for all channels, "-" for no knowledge, or "+" and the names, in
-- commas, of the channels that agree with the asking channel.
local function agree(notes, ask, c, d)
  if ask.agreeing == '*' then
    return true
  elseif ask.agreeing == '-' then
    return false
  end
  local by_noted, contradicted = {}, false
  for _, note in ipairs(notes) do
    if note.event == ask.event then
      local agreed, differed = compares(note, c, d)
      if agreed then
        return true
      end
      contradicted = contradicted or differed
      by_noted[note.noted] = note
    end
  end
  if contradicted or not string.find(ask.agreeing, ',' .. d .. ',', 1, true) then
    return false
  end
  for _, note in pairs(by_noted) do
    local other = note.against and by_noted[note.against]
    if other then
      local on = channel(sightings(note)[1].message)
      if on == c and tells(other, d) or on == d and tells(other, c) then
        return false
      end
    end
  end
  return true
end

-- other_half looks at the notes that stand against this note, or that this note stands
-- against. It tells whether the asking channel has given such a note another id. If the
-- channels' ids differ, the two notes are one donation, which this channel has told
-- already. If the ids agree, the two are two donations, and the message belongs to
-- neither: its id would have found the note.
local function other_half(notes, note, ask, told_otherwise)
  for _, other in ipairs(notes) do
    if
      other.event == ask.event
      and (other.against == note.noted or note.against == other.noted)
      and told_otherwise(other)
    then
      return true
    end
  end
  return false
end

-- find returns the note of a message, and the evidence. It tries four rules, the
-- strongest first: (1) the same request, (2) the same message, (3) the transaction id,
-- (4) pairing. If no note matches, it returns nil, nil, and the note that rule 4 would
-- have paired with the message if their transaction ids were not unequal, if there is
-- one.
--
-- ask has: event, token (nil: no request), message, transaction, amount, occurred (false:
-- unknown), received (false: now), match, arrival (milliseconds), agreeing
local function find(notes, ask, now)
  local event, message, transaction = ask.event, ask.message, ask.transaction
  if ask.token then
    for _, note in ipairs(notes) do
      if note.event == event and note.token == ask.token then
        return note, 'SAME_REQUEST'
      end
    end
  end

  local asks_named, asks_on = named(message), channel(message)
  if asks_named then
    local note = holding(notes, event, message .. ' ', function(note)
      return has_message(note, message) and note
    end)
    if note then
      return note, 'SAME_MESSAGE'
    end
  end

  -- told_otherwise: the asking channel has given the note another transaction id.
  local function told_otherwise(note)
    for _, s in ipairs(sightings(note)) do
      if s.transaction ~= '-' and s.transaction ~= transaction and channel(s.message) == asks_on then
        return true
      end
    end
    return false
  end
  if transaction ~= '-' then
    local elsewhere
    local own = holding(notes, event, transaction, function(note)
      local t = sightings(note)
      if note.own and t[note.own].transaction == transaction then
        return note
      end
      for _, s in ipairs(t) do
        if not elsewhere and s.transaction == transaction and not told_otherwise(note) then
          elsewhere = note
        end
      end
    end)
    if own or elsewhere then
      return own or elsewhere, 'SAME_TRANSACTION'
    end
  end

  local known = {} -- channel: whether its ids are known to agree with the asking channel's
  local arrived = ask.received or now
  local nearest, nearest_by, against, against_by
  for _, note in ipairs(notes) do
    local distance, window
    if note.event == event and same_money(note.amount, ask.amount) then
      if note.occurred and ask.occurred then
        distance, window = math.abs(note.occurred - ask.occurred), ask.match
      else
        distance, window = math.abs(arrived - note.arrived), ask.arrival
      end
    end
    if distance and distance <= window then
      local other, unequal = transaction ~= '-' and told_otherwise(note), false
      for _, s in ipairs(sightings(note)) do
        local on = channel(s.message)
        if on == asks_on then
          other = other or asks_named and named(s.message) and s.message ~= message
        elseif transaction ~= '-' and s.transaction ~= '-' and s.transaction ~= transaction and not unequal then
          if known[on] == nil then
            known[on] = agree(notes, ask, asks_on, on)
          end
          unequal = known[on]
        end
      end
      if other then
        distance = nil
      elseif unequal then
        if not against_by or distance < against_by then
          against, against_by = note, distance
        end
      elseif transaction ~= '-' and other_half(notes, note, ask, told_otherwise) then
        distance = nil
      elseif not nearest_by or distance < nearest_by then
        nearest, nearest_by = note, distance
      end
    end
  end
  if nearest then
    return nearest, 'PAIRED'
  end
  return nil, nil, against
end

-- reused tells whether a request id comes with another message than before, when the note
-- answered it FIRST. A missing field never differs. If an older release let a later
-- message take the note over, the note does not say which message that was.
local function reused(note, ask)
  local own = note.own and sightings(note)[note.own]
  if not own then
    return false
  end
  if named(ask.message) and named(own.message) then
    return not has_message(note, ask.message)
  end
  if ask.transaction ~= '-' and own.transaction ~= '-' and ask.transaction ~= own.transaction then
    return true
  end
  return note.attempt == 1 and not same_money(note.amount, ask.amount)
end

-- out_of_range is the reply to a message whose times allow no verdict, or nil. Call it
-- only when no note matched.
local function out_of_range(ask, now)
  if ask.occurred and ask.occurred <= now - ask.retention then
    return { 'TOO_EARLY', now }
  elseif ask.occurred and ask.occurred > now + ask.ahead then
    return { 'TOO_LATE', now }
  elseif ask.received and ask.received <= now - ask.retention then
    return { 'RECEIVED_TOO_EARLY', now }
  end
  return nil
end

-- holder finds the note of a receipt. noted is the note's name within the series. It
-- returns the note, or nil and the reply.
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

-- resave writes a note that takes no more room than before, even if Redis is out of
-- memory: it allows PERSIST then, and after a first write it allows the rest of the
-- script. A donation that has been processed must be settled in any case.
local function resave(key, notes, note)
  write_note(note)
  redis.call('PERSIST', key)
  save(key, notes, redis.call)
end

-- confirm rewrites the series unchanged so that the WAIT that follows covers it. Needed
-- when an answer depends on earlier writes, or on their absence: since Redis 7.2 WAIT
-- counts only from its own connection's last write, and a primary that was cut off and
-- replaced would otherwise tell what is true of itself alone. PEXPIREAT and DEL work even
-- when Redis is out of memory.
local function confirm(key, notes)
  local at = forget_at(notes)
  if at > 0 then
    redis.call('PEXPIREAT', key, decimal(at))
  elseif redis.call('DEL', key) == 0 then
    -- DEL of a missing key writes nothing, but after it Redis allows writes even when it
    -- is out of memory.
    redis.call('SET', key, VERSION, 'PX', 1)
    redis.call('DEL', key)
  end
end
