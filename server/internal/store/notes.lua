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
local TWO_NOTES = 192 -- bytes, which hardly ever are one note that was seen once

-- decimal writes a whole number; tostring would turn 1e15 into "1e+15". Two halves fit
-- into the integers of each machine. An argument of redis.call needs it not: Redis writes
-- each whole number below 1e17 with all of its digits.
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

-- parts are the amount, the message and the transaction id of a tail, which has these of a
-- note's line, and its extras before the message.
local function parts(tail)
  local amount, star, at = string.match(tail, '^(%S+) (%*?)()')
  if star == '*' then
    at = string.find(tail, ' ', at, true) + 1
  end
  return amount, string.match(tail, '^(%S+) (%S+)$', at)
end

-- LINE is how every line begins that any release has written. Any other line is another
-- program's and must not be read as no note. It finds the event's letter; noted; the sign
-- or "?" and the digits of occurred, and where these end; where the amount begins; where
-- the next word begins, and "*" if that is the extras. Its ranges are cheaper than
-- classes such as %l.
local LINE = '^([PpFRVCJSHUEXYD])[%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-]'
  .. '([0-9a-z]+) ([-?]?)([0-9a-z]*)()%.? ()[!-~]+ ()(%*?)[!-~]+ [!-~]'

-- PLAIN is a line that LINE matches, of a note that has no extras, whose donation occurred
-- before. It finds just when it was noted.
local PLAIN = '^[PpFRVCJSHUEXYD][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-]'
  .. '([0-9a-z]+) %-[0-9a-z]+%.? [!-~]+ [!-)+-~][!-~]* [!-~]'

-- occurred_of is the time that LINE has found. Behind the digits of a time in milliseconds
-- is a point, and then the space before the amount.
local function occurred_of(noted, sign, digits, point, amount)
  local second, far = noted - noted % 1000, tonumber(digits, 36)
  if amount == point + 1 then
    far = far * 1000
  end
  return sign == '-' and second - far or second + far
end

-- ALONE is a whole value: one note of our own that is settled, has no extras, and was seen
-- once, by an IPN or a webhook with an id, after the donation occurred. Most series of one
-- donation are that. It finds the event's letter with the token, noted, the sign or "?" and
-- the digits of occurred, the point behind those of milliseconds, the amount, the message,
-- and the transaction id.
local ALONE = '^1([PpFRVCJSHUEXYD][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-][%w_-])'
  .. '([0-9a-z]+) ([-?])([0-9a-z]*)(%.?) ([!-~]+) ([IW][!-~]+) ([!-~]+)$'

-- alone tries the rules (2), (3) and (4), which find_seen, find_transaction and find_pair
-- describe, on a value that ALONE matches, for a message of the same form. The arguments
-- are those of note.lua. It returns the evidence, and for a new sighting the value with it.
-- It returns nil if no rule matches, or if one needs more than the texts as they are: then
-- the rules must be asked.
local function alone(value, name, tail, occurred, rules, now)
  local letters, when, sign, digits, point, paid, seen, id = string.match(value, ALONE)
  if
    not letters
    or letters == name -- the same request
    or string.byte(letters) ~= string.byte(name)
    or (digits == '') ~= (sign == '?')
  then
    return nil
  end
  local noted = tonumber(when, 36)
  if now >= noted + DEFAULT_RETENTION then
    return nil
  elseif string.find(tail, ' ' .. seen .. ' ', 1, true) then
    return 'SAME_MESSAGE'
  end
  local amount, message, transaction = parts(tail)
  local letter, evidence = string.byte(message), nil
  if letter ~= 73 and letter ~= 87 then -- "I" and "W"
    return nil
  elseif id == transaction and id ~= '-' then
    evidence, transaction = 'SAME_TRANSACTION', '='
  elseif
    letter == string.byte(seen)
    or not occurred
    or digits == ''
    or paid ~= amount and paid ~= '-' and amount ~= '-'
  then
    return nil
  else
    local match, agreeing = string.match(rules, '^%d (%d+) %d+ %d+ %d+ %w+ (%S+)')
    local distance = tonumber(digits, 36)
    if point == '' then
      distance = distance * 1000
    end
    distance = math.abs(noted - noted % 1000 - distance - occurred)
    if distance > match + 0 or id ~= '-' and transaction ~= '-' and agreeing ~= '-' and agreeing ~= '+' then
      return nil
    end
    evidence = 'PAIRED'
  end
  return evidence, value .. ' ' .. message .. ' ' .. transaction .. ' ' .. base36(math.max(now - noted, 0))
end

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

-- write_note makes a note's text anew. Sightings that were never read are copied. note.lua
-- writes the text of a new note.
local function write_note(note)
  local noted, held, retention = note.noted, note.held, note.retention or DEFAULT_RETENTION
  local extras = note.other or ''
  if held then
    extras = extras .. 'H' .. base36(held - noted)
    if note.length ~= held - noted then
      extras = extras .. 'L' .. base36(note.length)
    end
  end
  if note.released then
    extras = extras .. 'R'
  end
  if note.attempt then
    extras = extras .. 'A' .. base36(note.attempt)
    if note.own then
      extras = extras .. 'O' .. base36(note.own)
    end
  end
  if note.arrived then
    extras = extras .. 'V' .. base36(noted - note.arrived)
  end
  if note.against then
    extras = extras .. 'X' .. base36(noted - note.against)
  end
  if retention ~= DEFAULT_RETENTION then
    extras = extras .. 'K' .. base36(retention / 1000)
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
  local event = string.sub(note.value, note.from, note.from)
  local behind_token = string.sub(note.value, note.from + 10, note.stop or note.rest - 2)
  note.text = event .. token_of(note) .. behind_token .. extras .. ' ' .. seen
  note.forget = forgotten(noted, note.occurred, retention, held)
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
-- call that came too late it returns nil, the time, and the reply. The last two results are
-- the time in microseconds, and as TIME gives it: seconds, and the microseconds in the
-- second. It is called once: TIME moves while the script runs.
local function look(key, deadline)
  local t = redis.call('TIME')
  local micros = t[1] * 1000000 + t[2]
  local now = (micros - micros % 1000) / 1000
  if now > deadline then
    return nil, now, { 'PAST_DEADLINE', now }
  end
  return redis.call('GET', key), now, nil, micros, t
end

-- load reads the notes of a series that are not forgotten yet. If a later release or
-- another program has written the value, it returns nil and the version, which is "" for
-- a value that begins like ours. With ask it reads the notes of the event that is asked
-- about, and knows of the others just what a new note must know. It returns a table of
-- those notes, in the order in which they were made, with
--
--   value  as it was read, which the notes point into
--   text   the value without the lines that are forgotten
--   cut    how many bytes before a note are not in text, unless the note says otherwise
--   floor  0 if there is none
--   count  how many notes all lines of text are
--   last   the highest noted
--   made   a list of the notes that have a table
--   at     when the last of the notes without a table is forgotten; 0 if there is none
--
-- With ask a note that cannot be paired, because it occurred outside the match window, has
-- no table but is the number where its line begins. note_at makes the table when it is
-- needed after all: most notes of a long series never need one.
--
-- Redis hashes each byte of each text that a script makes. So a long text is made only
-- where it must be.
local function load(value, now, ask)
  local floor, head, from, size = 0, VERSION, 2, 0
  if value then
    size = #value
    local version = string.sub(value, 1, 1)
    if version ~= VERSION then
      return nil, version
    end
    if string.byte(value, 2) == 126 then -- "~"
      local digits, next = string.match(value, '^~([%l%d]+)\n?()', 2)
      if not digits then
        return nil, ''
      end
      from = next
      if now < tonumber(digits, 36) + DEFAULT_RETENTION then
        floor, head = tonumber(digits, 36), VERSION .. '~' .. digits .. '\n'
      end
    elseif size == 1 then
      return nil, ''
    end
  end
  local cut = from - 1 - #head
  local notes = { value = value, text = value, cut = cut, floor = floor, count = 0, last = 0, made = {}, at = 0 }
  local made = notes.made
  local event, earliest, latest = ask and ask.event, nil, nil
  if ask and ask.occurred then
    earliest, latest = ask.occurred - ask.match, ask.occurred + ask.match
  end
  local search, match, number = string.find, string.match, tonumber
  local size_of_notes, count, last, at = 0, 0, 0, 0
  local parts, begin, gone = nil, from, nil -- begin: of the lines behind the latest forgotten one
  local others -- matches the PLAIN lines of other events, once there was a line of another event
  while from <= size do
    local to = (search(value, '\n', from, true) or size + 1) - 1
    local asked, note, noted, forget = false, nil, nil, nil
    local plain = others and match(value, others, from)
    if plain then
      noted = number(plain, 36)
      forget = noted + DEFAULT_RETENTION
    else
      local letter, when, sign, digits, point, amount, rest, star = match(value, LINE, from)
      if not letter or (digits == '') ~= (sign == '?') then
        return nil, ''
      end
      asked, noted = letter == event or not event, number(when, 36)
      forget = noted + DEFAULT_RETENTION
      if not asked then
        others = others or string.gsub(PLAIN, event, '', 1)
      end
      local occurred = false
      if sign == '' or sign == '-' and asked then -- a time before noted matters only to rule 4
        occurred = occurred_of(noted, sign, digits, point, amount)
        if occurred > noted then
          forget = forgotten(noted, occurred, DEFAULT_RETENTION)
        end
      end
      if
        star == '*'
        or asked and (gone or not (earliest and occurred) or earliest <= occurred and occurred <= latest)
      then
        note = {
          value = value,
          from = from,
          to = to,
          rest = rest, -- where the sightings begin
          noted = noted,
          occurred = occurred,
          amount = amount, -- where it begins
          forget = forget,
        }
        if star == '*' then
          read_extras(note, match(value, '^%*(%S*)', rest))
          forget = forgotten(noted, occurred, note.retention or DEFAULT_RETENTION, note.held)
          note.forget = forget
        end
        note.cut = gone
      end
    end
    if now < forget then
      count = count + 1
      if noted > last then
        last = noted
      end
      if asked then
        size_of_notes = size_of_notes + 1
        notes[size_of_notes] = note or from
      end
      if asked and note then
        made[#made + 1] = note
      elseif forget > at then
        at = forget
      end
    else
      parts = parts or {}
      if begin < from then
        parts[#parts + 1] = string.sub(value, begin, from - 2)
      end
      begin = to + 2
      gone = (gone or cut) + begin - from
    end
    from = to + 2
  end
  if parts or cut ~= 0 then -- cut is -1 where only the floor is left
    parts = parts or {}
    if begin < from - 1 then
      parts[#parts + 1] = string.sub(value, begin, from - 2)
    end
    notes.text = head .. table.concat(parts, '\n')
  end
  notes.count, notes.last, notes.at = count, last, at
  if not ask then
    notes.made = notes
  end
  return notes
end

-- note_at is the i-th note of those that load has returned. It makes a table of the note
-- if load has made none; such a note has no extras.
local function note_at(notes, i)
  local note = notes[i]
  if type(note) == 'number' then
    local value, from = notes.value, note
    local _, when, sign, digits, point, amount, rest = string.match(value, LINE, from)
    local noted = tonumber(when, 36)
    note = {
      value = value,
      from = from,
      to = (string.find(value, '\n', from, true) or #value + 1) - 1,
      rest = rest,
      noted = noted,
      occurred = occurred_of(noted, sign, digits, point, amount),
      amount = amount,
      forget = 0, -- notes.at has it
    }
    notes[i] = note
    notes.made[#notes.made + 1] = note
  end
  return note
end

-- open is look and load in one. For a call that must not touch the value it returns the
-- reply, too.
local function open(key, deadline, ask)
  local value, now, late = look(key, deadline)
  if late then
    return nil, now, late
  end
  local notes, version = load(value, now, ask)
  if not notes then
    return nil, now, { 'VERSION', version }
  end
  return notes, now
end

-- forget_at is the time when the last note of a series, and its floor, are forgotten.
local function forget_at(notes)
  local at = notes.floor > 0 and notes.floor + DEFAULT_RETENTION or 0
  at = math.max(at, notes.at)
  for _, note in ipairs(notes.made) do
    if note.forget > at then
      at = note.forget
    end
  end
  return at
end

-- save writes a series with the text of one changed note, to expire with the last of its
-- notes. call is redis.call, or redis.pcall if the script goes on after a refusal.
local function save(key, notes, note, call)
  local cut = note.cut or notes.cut
  local before = string.sub(notes.text, 1, note.from - cut - 1)
  local behind = string.sub(notes.text, note.to - cut + 1)
  return call('SET', key, before .. note.text .. behind, 'PXAT', forget_at(notes))
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

-- next_with returns the next note behind the i-th whose line has a word, with its number,
-- or nil. It searches the whole text at once, so that most lines are never cut into words.
-- The caller must look closer: the word may be part of any other word.
local function next_with(notes, word, i)
  local begins = i == 0 and 1 or notes[i].to + 1
  local at = notes[i + 1] and string.find(notes.value, word, begins, true)
  while at do
    local next = notes[i + 1]
    while next and (type(next) == 'number' and next or next.from) <= at do
      i = i + 1
      next = notes[i + 1]
    end
    local note = i > 0 and note_at(notes, i)
    if note and at <= note.to then
      return i, note
    elseif not next then
      return nil
    end
    -- It is in a line that is forgotten, or of another event.
    at = string.find(notes.value, word, at + 1, true)
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
  for i = 1, #notes do
    local note = note_at(notes, i)
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

-- told_otherwise tells whether a channel has given a note another transaction id.
local function told_otherwise(note, transaction, on)
  for _, s in ipairs(sightings(note)) do
    if s.transaction ~= '-' and s.transaction ~= transaction and channel(s.message) == on then
      return true
    end
  end
  return false
end

-- other_half looks at the notes that stand against this note, or that this note stands
-- against. It tells whether the asking channel has given such a note another id. If the
-- channels' ids differ, the two notes are one donation, which this channel has told
-- already. If the ids agree, the two are two donations, and the message belongs to
-- neither: its id would have found the note.
local function other_half(notes, note, transaction, on)
  for i = 1, #notes do
    local other = note_at(notes, i)
    if (other.against == note.noted or note.against == other.noted) and told_otherwise(other, transaction, on) then
      return true
    end
  end
  return false
end

-- The note of a message is found by four rules, the strongest first: (1) the same request,
-- (2) the same message, (3) the transaction id, (4) pairing. Three functions try them, of
-- which a script calls the next only if no note matched yet. Each returns the note and the
-- evidence, or nil. Before them stand two that cost less: appears and near.
--
-- ask has: event, token (nil: no request), message, transaction, amount, occurred (false:
-- unknown), received (false: now), match, arrival (milliseconds), agreeing

-- appears tells whether the rules (1) to (3) need to be tried: whether a series has one of
-- their texts anywhere.
local function appears(notes, ask)
  local value, find, transaction = notes.value, string.find, ask.transaction
  return ask.token and find(value, ask.token, 1, true)
    or find(value, ask.message, 1, true)
    or transaction ~= '-' and find(value, transaction, 1, true)
end

-- find_seen tries the rules (1) and (2).
local function find_seen(notes, ask)
  local token, message = ask.token, ask.message
  if token then
    local i, note = next_with(notes, token, 0)
    while note do
      if token_of(note) == token then
        return note, 'SAME_REQUEST'
      end
      i, note = next_with(notes, token, i)
    end
  end
  if named(message) then
    local i, note = next_with(notes, message, 0)
    while note do
      if has_message(note, message) then
        return note, 'SAME_MESSAGE'
      end
      i, note = next_with(notes, message, i)
    end
  end
  return nil
end

-- find_transaction tries rule (3).
local function find_transaction(notes, ask)
  local transaction, on = ask.transaction, channel(ask.message)
  if transaction == '-' then
    return nil
  end
  local elsewhere
  local i, note = next_with(notes, transaction, 0)
  while note do
    local own = own_sighting(note)
    if own and own.transaction == transaction then
      return note, 'SAME_TRANSACTION'
    end
    for _, s in ipairs(sightings(note)) do
      if not elsewhere and s.transaction == transaction and not told_otherwise(note, transaction, on) then
        elsewhere = note
      end
    end
    i, note = next_with(notes, transaction, i)
  end
  return elsewhere, elsewhere and 'SAME_TRANSACTION'
end

-- near is a list of the notes that rule (4) may take: those with the money of the message
-- that are near enough in time, each with its distance, in milliseconds.
local function near(notes, ask, now)
  local all, arrived, occurred = {}, ask.received or now, ask.occurred
  -- A note that began with an IPN is never paired with another IPN, nor is a webhook's with
  -- a webhook. These letters begin their messages, and rule (2) has looked for this one.
  local letter = string.byte(ask.message)
  if letter ~= 73 and letter ~= 87 then -- "I" and "W"
    letter = nil
  end
  for i = 1, #notes.made do -- any other note occurred outside the match window
    local note = notes.made[i]
    if string.byte(note.value, note.rest) ~= letter then
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
        note.distance = distance
        all[#all + 1] = note
      end
    end
  end
  return all
end

-- find_pair tries rule (4) on the notes that are near. If no note matches, it returns nil,
-- nil, and the note that it would have paired with the message if their transaction ids were
-- not unequal, if there is one.
local function find_pair(notes, nearby, ask)
  local message, transaction = ask.message, ask.transaction
  local asks_named, asks_on = named(message), channel(message)
  local known = {} -- channel: whether its ids are known to agree with the asking channel's
  local nearest, against
  for _, note in ipairs(nearby) do
    local other, unequal = transaction ~= '-' and told_otherwise(note, transaction, asks_on), false
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
    if not other and unequal then
      if not against or note.distance < against.distance then
        against = note
      end
    elseif not other and not (transaction ~= '-' and other_half(notes, note, transaction, asks_on)) then
      if not nearest or note.distance < nearest.distance then
        nearest = note
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
  local text, word = notes.text, base36(noted) .. ' '
  local at = string.find(text, word, 1, true)
  while at do
    -- The letter of the event and the nine of the request stand before the name.
    if at == 12 or string.byte(text, at - 11) == 10 then
      return true
    end
    at = string.find(text, word, at + 1, true)
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

-- answer is a reply as one text, with a newline between its words: Redis takes a quarter
-- of the time that an array takes it. t is the time as look gives it. All words are texts,
-- since a number takes longer to write than all the rest.
local function answer(verdict, evidence, text, t, recorded)
  return verdict .. '\n' .. evidence .. '\n' .. text .. '\n' .. t[1] .. ' ' .. t[2] .. '\n' .. recorded
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
    redis.call('PEXPIREAT', key, at)
  elseif redis.call('DEL', key) == 0 then
    -- DEL of a missing key writes nothing, but after it Redis allows writes even when it
    -- is out of memory.
    redis.call('SET', key, VERSION, 'PX', 1)
    redis.call('DEL', key)
  end
end
