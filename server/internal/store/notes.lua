-- notes.lua: the library of all scripts. Its functions read and write the notes of a
-- series and find the note of a message. It does nothing itself.
--
-- Redis makes the functions of a script anew in each call. So each script gets only those
-- that it uses, and each of them just before the statement that is the first to use it: a
-- call that is answered early does not pay for the rest (see scripts.go).
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

-- decimal writes a whole number; tostring would turn 1e15 into "1e+15". Two halves fit
-- into the integers of each machine.
local function decimal(n)
  if n < 1000000 then
    return string.format('%d', n)
  end
  local low = n % 1000000
  return string.format('%d%06d', (n - low) / 1000000, low)
end

-- base36 makes up to four digits at a time; each string that is made on the way would
-- cost more than a digit. The rest are the bytes of the digits behind them.
local function base36(n, ...)
  if n < 0 then
    return '-' .. base36(-n)
  end
  local d = n % 36
  n = (n - d) / 36
  d = d + (d < 10 and 48 or 87)
  if n == 0 then
    return string.char(d, ...)
  end
  local c = n % 36
  n = (n - c) / 36
  c = c + (c < 10 and 48 or 87)
  if n == 0 then
    return string.char(c, d, ...)
  end
  local b = n % 36
  n = (n - b) / 36
  b = b + (b < 10 and 48 or 87)
  if n == 0 then
    return string.char(b, c, d, ...)
  end
  local a = n % 36
  n = (n - a) / 36
  a = a + (a < 10 and 48 or 87)
  if n == 0 then
    return string.char(a, b, c, d, ...)
  end
  return base36(n, a, b, c, d, ...)
end

-- whole reads what base36 wrote; tonumber takes no sign in base 36.
local function whole(s)
  if string.byte(s) == 45 then -- "-"
    return -tonumber(string.sub(s, 2), 36)
  end
  return tonumber(s, 36)
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

-- forgotten is the time when a note is forgotten. occurred is false if it is unknown, and
-- held if the note has no hold.
local function forgotten(noted, occurred, retention, held)
  local at = (occurred and occurred > noted and occurred or noted) + retention
  if held and held > at then
    return held
  end
  return at
end

-- read_extras reads the word of extras, without its "*", which stands before the
-- sightings.
local function read_extras(note, extras)
  note.stop = note.rest - 2 -- where the amount ends
  note.rest = note.rest + #extras + 2
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
      note.other = (note.other or '') .. letter .. digits
    end
  end
  if note.held and not note.length then
    note.length = note.held - note.noted
  end
  note.own = own or not note.attempt and 1
end

-- LINE is how every line begins that any release has written. Any other line is another
-- program's and must not be read as no note. It finds the event's letter; noted; the sign
-- or "?", the digits and the point of occurred; where the amount begins; where the next
-- word begins, and "*" if that is the extras.
local LINE = '^([PpFRVCJSHUEXYD])[%w_%-][%w_%-][%w_%-][%w_%-][%w_%-][%w_%-][%w_%-][%w_%-][%w_%-]'
  .. '([%l%d]+) ([%-%?]?)([%l%d]*)(%.?) ()%S+ ()(%*?)%S+ %S'

-- sightings are those of a note, in the order in which they were seen. They are read when
-- they are needed.
local function sightings(note)
  local t = note.sightings
  if t then
    return t
  end
  local message, transaction, rest = string.match(note.value, '^(%S+) (%S+)()', note.rest)
  t = { { message = message, transaction = transaction } }
  if rest <= note.to then
    for m, id, after in string.gmatch(string.sub(note.value, rest, note.to), ' (%S+) (%S+) (%S+)') do
      t[#t + 1] = { message = m, transaction = id == '=' and transaction or id, after = after }
    end
  end
  note.sightings = t
  return t
end

-- amount_of is a note's amount and currency, or "-".
local function amount_of(note)
  return string.sub(note.value, note.amount, note.stop or note.rest - 2)
end

-- own_sighting is the sighting whose message was answered FIRST last, if it is known.
local function own_sighting(note)
  local own = note.own
  if own == nil then
    own = 1
  end
  return own and sightings(note)[own]
end

-- token_of is the token of the request that was last answered FIRST.
local function token_of(note)
  return note.token or string.sub(note.value, note.from + 1, note.from + 9)
end

-- line is a note's text: as it was read, unless write_note has changed it.
local function line(note)
  return note.text or string.sub(note.value, note.from, note.to)
end

-- write_line makes the text of a note. name is all before the extras, seen all behind
-- them. others are the extras that no new note has.
local function write_line(name, others, noted, held, length, attempts, arrived, against, retention, seen)
  local extras = others
  if held then
    extras = extras .. 'H' .. base36(held - noted)
    if length ~= held - noted then
      extras = extras .. 'L' .. base36(length)
    end
  end
  extras = extras .. attempts
  if arrived ~= noted then
    extras = extras .. 'V' .. base36(noted - arrived)
  end
  if against then
    extras = extras .. 'X' .. base36(noted - against)
  end
  if retention ~= DEFAULT_RETENTION then
    extras = extras .. 'K' .. base36(retention / 1000)
  end
  if extras ~= '' then
    extras = ' *' .. extras
  end
  return name .. extras .. ' ' .. seen
end

-- write_note makes a note's text anew. Sightings that were never read are copied.
local function write_note(note)
  local attempts = note.released and 'R' or ''
  if note.attempt then
    attempts = attempts .. 'A' .. base36(note.attempt)
    if note.own then
      attempts = attempts .. 'O' .. base36(note.own)
    end
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
  note.text = write_line(
    string.sub(note.value, note.from, note.from)
      .. token_of(note)
      .. string.sub(note.value, note.from + 10, note.stop or note.rest - 2),
    note.other or '',
    note.noted,
    note.held,
    note.length,
    attempts,
    note.arrived or note.noted,
    note.against,
    note.retention or DEFAULT_RETENTION,
    seen
  )
  note.forget = forgotten(note.noted, note.occurred, note.retention or DEFAULT_RETENTION, note.held)
end

-- hold_note gives a note a hold; a hold of 0 settles it.
local function hold_note(note, hold, now)
  note.held = hold > 0 and now + hold
  note.length = hold
  note.released = false
end

-- room finds the place for a sighting in a full note, or nil. It is the place of the
-- sighting that the note can best do without.
local function room(note, message, transaction, must)
  local t = sightings(note)

  -- The note wants another sighting if it is the first with an id, or the first with a
  -- transaction id, on its channel. Without it nothing would keep that channel's later
  -- messages from being paired with the note one after the other.
  local on, has_id, has_transaction = channel(message), not named(message), transaction == '-'
  for _, s in ipairs(t) do
    if channel(s.message) == on then
      has_id = has_id or named(s.message)
      has_transaction = has_transaction or s.transaction ~= '-'
    end
  end
  if has_id and has_transaction and not must then
    return nil
  end

  -- It can spare the latest sighting whose channel and transaction id an earlier sighting
  -- has too. If it has a message id, the earlier one must have an id as well. Its message
  -- is still known by the transaction id, and the earlier sighting counts for and against
  -- other messages as before. The first sighting and the own sighting are never spared.
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
  return must and #t or nil
end

-- see adds a sighting to a note and tells whether it did. A note with MOST_SIGHTINGS
-- takes only a sighting that it wants, in the place of a sighting that it can spare. If
-- it can spare none, as after sixteen made-up channels, it takes no more. With must it
-- takes the sighting in any case: the message was answered FIRST. If the clock was set
-- back and is behind noted, the sighting counts as seen at noted.
local function see(note, ask, now, must)
  local t = sightings(note)
  if #t >= MOST_SIGHTINGS then
    local gone = room(note, ask.message, ask.transaction, must)
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

-- look begins a script. It returns the value under the key, or false, and the time. For a
-- call that came too late it returns nil, the time, and the reply. It is called once: TIME
-- moves while the script runs.
local function look(key, deadline)
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  if now > deadline then
    return nil, now, { 'PAST_DEADLINE', now }
  end
  return redis.call('GET', key), now
end

-- load reads the notes of a series that are not forgotten yet. If a later release or
-- another program has written the value, it returns nil and the version, which is "" for
-- a value that begins like ours. With an event it makes tables of the notes of this event
-- only, and knows of the others just what a new note must know. It returns a table of
-- those notes, in the order in which they were made, with
--
--   floor  0 if there is none
--   value  as it was read, which the notes point into
--   cut    how many bytes before a note are not in lines, unless the note says otherwise
--   head   the text before the first line
--   lines  the lines of all notes, without those that are forgotten
--   count  how many notes these are
--   last   the highest noted
--   at     when the last of the notes without a table is forgotten; 0 if there is none
local function load(value, now, event)
  local notes = { cut = 0, floor = 0, value = value or '', head = VERSION, lines = '', count = 0, last = 0, at = 0 }
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
    from = next
    if now < tonumber(floor, 36) + DEFAULT_RETENTION then
      notes.floor, notes.head = tonumber(floor, 36), VERSION .. '~' .. floor .. '\n'
    end
  elseif size == 1 then
    return nil, ''
  end
  notes.cut = from - 1
  local search, match = string.find, string.match
  local count, last, at = 0, 0, 0
  local parts, begin, cut = {}, from, nil -- begin: of the lines behind the latest forgotten one
  while from <= size do
    local to = (search(value, '\n', from, true) or size + 1) - 1
    local letter, when, sign, digits, point, amount, rest, star = match(value, LINE, from)
    if not letter or (digits == '') ~= (sign == '?') then
      return nil, ''
    end
    local asked, noted, occurred = not event or letter == event, tonumber(when, 36), false
    if sign == '' or sign == '-' and asked then -- a time before noted matters only to rule 4
      local second, far = noted - noted % 1000, tonumber(digits, 36)
      if point == '' then
        far = far * 1000
      end
      occurred = sign == '-' and second - far or second + far
    end
    local note, forget
    if asked or star == '*' then
      note = {
        value = value,
        from = from,
        to = to,
        rest = rest, -- where the sightings begin
        noted = noted,
        occurred = occurred,
        amount = amount, -- where it begins
        forget = 0,
      }
      if star == '*' then
        read_extras(note, match(value, '^%*(%S*)', rest))
      end
      if cut then
        note.cut = cut
      end
      forget = forgotten(noted, occurred, note.retention or DEFAULT_RETENTION, note.held)
      note.forget = forget
    else
      forget = forgotten(noted, occurred, DEFAULT_RETENTION)
    end
    if now < forget then
      count = count + 1
      if noted > last then
        last = noted
      end
      if asked then
        notes[#notes + 1] = note
      elseif forget > at then
        at = forget
      end
    else
      if begin < from then
        parts[#parts + 1] = string.sub(value, begin, from - 2)
      end
      begin = to + 2
      cut = (cut or notes.cut) + begin - from
    end
    from = to + 2
  end
  local lines = string.sub(value, begin, from - 2)
  if #parts > 0 then
    if lines ~= '' then
      parts[#parts + 1] = lines
    end
    lines = table.concat(parts, '\n')
  end
  notes.lines, notes.count, notes.last, notes.at = lines, count, last, at
  return notes
end

-- open is look and load in one. For a call that must not touch the value it returns the
-- reply, too.
local function open(key, deadline, event)
  local value, now, late = look(key, deadline)
  if late then
    return nil, now, late
  end
  local notes, version = load(value, now, event)
  if not notes then
    return nil, now, { 'VERSION', version }
  end
  return notes, now
end

-- forget_at is the time when the last note of a series, and its floor, are forgotten.
local function forget_at(notes)
  local at = notes.floor > 0 and notes.floor + DEFAULT_RETENTION or 0
  at = math.max(at, notes.at)
  for i = 1, #notes do
    if notes[i].forget > at then
      at = notes[i].forget
    end
  end
  return at
end

-- save writes the lines of a series with the text of one changed note, to expire with the
-- last of them. call is redis.call, or redis.pcall if the script goes on after a refusal.
local function save(key, notes, note, call)
  local cut = note.cut or notes.cut
  local before = string.sub(notes.lines, 1, note.from - cut - 1)
  local behind = string.sub(notes.lines, note.to - cut + 1)
  return call('SET', key, notes.head .. before .. note.text .. behind, 'PXAT', decimal(forget_at(notes)))
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
  return string.sub(a, -3) == string.sub(b, -3)
    and without_zeros(string.sub(a, 1, -4)) == without_zeros(string.sub(b, 1, -4))
end

-- holding calls f with each note whose line has a word, in order, until f returns a value.
-- It searches the whole text at once, so that most lines are never cut into words. f must
-- look closer: the word may be a message or a transaction id.
local function holding(notes, word, f)
  local value, i = notes.value, 1
  local at = notes[1] and string.find(value, word, notes[1].from, true)
  while at do
    while notes[i] and notes[i].to < at do
      i = i + 1
    end
    local note = notes[i]
    if not note then
      return nil
    end
    if note.from <= at then
      local found = f(note)
      if found then
        return found
      end
    end
    -- Continue behind this line; at may also be in a note that is forgotten, or of another
    -- event.
    at = string.find(value, word, note.from <= at and note.to or at + 1, true)
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

  -- compares compares the transaction ids of the two channels within one note. It returns
  -- whether both channels gave the note the same id, and whether they gave it different
  -- ids.
  local function compares(note)
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

  local by_noted, contradicted = {}, false
  for _, note in ipairs(notes) do
    local agreed, differed = compares(note)
    if agreed then
      return true
    end
    contradicted = contradicted or differed
    by_noted[note.noted] = note
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
local function other_half(notes, note, told_otherwise)
  for _, other in ipairs(notes) do
    if (other.against == note.noted or note.against == other.noted) and told_otherwise(other) then
      return true
    end
  end
  return false
end

-- find returns the note of a message among those of its event, and the evidence. It tries
-- four rules, the strongest first: (1) the same request, (2) the same message, (3) the
-- transaction id, (4) pairing. If no note matches, it returns nil, nil, and the note that
-- rule 4 would have paired with the message if their transaction ids were not unequal, if
-- there is one.
--
-- ask has: token (nil: no request), message, transaction, amount, occurred (false:
-- unknown), received (false: now), match, arrival (milliseconds), agreeing
local function find(notes, ask, now)
  local message, transaction = ask.message, ask.transaction
  if ask.token then
    local note = holding(notes, ask.token, function(note)
      return token_of(note) == ask.token and note
    end)
    if note then
      return note, 'SAME_REQUEST'
    end
  end

  local asks_named, asks_on = named(message), channel(message)
  if asks_named then
    local note = holding(notes, ' ' .. message .. ' ', function(note)
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
    local own = holding(notes, ' ' .. transaction, function(note)
      local own = own_sighting(note)
      if own and own.transaction == transaction then
        return note
      end
      for _, s in ipairs(sightings(note)) do
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
  local occurred = ask.occurred
  for i = 1, #notes do
    local note = notes[i]
    local distance, window
    if note.occurred and occurred then
      distance, window = note.occurred - occurred, ask.match
    else
      distance, window = arrived - (note.arrived or note.noted), ask.arrival
    end
    if distance < 0 then
      distance = -distance
    end
    if distance <= window and same_money(amount_of(note), ask.amount) then
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
      elseif transaction ~= '-' and other_half(notes, note, told_otherwise) then
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

-- is_name tells whether a line of a series has this name.
local function is_name(notes, noted)
  local lines, word = notes.lines, base36(noted) .. ' '
  local at = string.find(lines, word, 1, true)
  while at do
    -- The letter of the event and the nine of the request stand before the name.
    if at == 11 or string.byte(lines, at - 11) == 10 then
      return true
    end
    at = string.find(lines, word, at + 1, true)
  end
  return false
end

-- reused tells whether a request id comes with another message than before, when the note
-- answered it FIRST. A missing field never differs. If an older release let a later
-- message take the note over, the note does not say which message that was.
local function reused(note, ask)
  local own = own_sighting(note)
  if not own then
    return false
  end
  if named(ask.message) and named(own.message) then
    return not has_message(note, ask.message)
  end
  if ask.transaction ~= '-' and own.transaction ~= '-' and ask.transaction ~= own.transaction then
    return true
  end
  return not note.attempt and not same_money(amount_of(note), ask.amount)
end

-- out_of_range is the reply to a message whose times allow no verdict, or nil. Call it
-- only when no note matched.
local function out_of_range(now, occurred, received, retention, ahead)
  if occurred and occurred <= now - retention then
    return { 'TOO_EARLY', now }
  elseif occurred and occurred > now + ahead then
    return { 'TOO_LATE', now }
  elseif received and received <= now - retention then
    return { 'RECEIVED_TOO_EARLY', now }
  end
  return nil
end

-- holder finds the note of a receipt. noted is the note's name within the series. It
-- returns the note, or nil and the reply.
local function holder(notes, noted, token, attempt, now)
  for _, note in ipairs(notes) do
    if note.noted == noted then
      if (note.attempt or 1) == attempt and token_of(note) == token then
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
  save(key, notes, note, redis.call)
end

-- confirm rewrites the series unchanged so that the WAIT that follows covers it. Needed
-- when an answer depends on earlier writes, or on their absence: since Redis 7.2 WAIT
-- counts only from its own connection's last write, and a primary that was cut off and
-- replaced would otherwise tell what is true of itself alone. PEXPIREAT and DEL work even
-- when Redis is out of memory. at is when the series is forgotten; 0 if it is empty.
local function confirm(key, at)
  if at > 0 then
    redis.call('PEXPIREAT', key, decimal(at))
  elseif redis.call('DEL', key) == 0 then
    -- DEL of a missing key writes nothing, but after it Redis allows writes even when it
    -- is out of memory.
    redis.call('SET', key, VERSION, 'PX', 1)
    redis.call('DEL', key)
  end
end
