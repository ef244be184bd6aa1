-- notes.lua: the text of a note. Its functions read and change one note.
--
-- It is the first of the library's three files. series.lua reads and writes the notes of a
-- series, and rules.lua finds the note of a message. The library does nothing itself, and
-- its functions use only what stands before them, in this order of the files.
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

-- parts are the amount, the message and the transaction id of the rest of a line: note.lua
-- describes its argument of that name.
local function parts(rest)
  local amount, star, at = string.match(rest, '^ %S+ (%S+) (%*?)()')
  if star == '*' then
    at = string.find(rest, ' ', at, true) + 1
  end
  return amount, string.match(rest, '^(%S+) (%S+)$', at)
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

-- state tells where a note is in its life.
local function state(note, now)
  if note.held and now < note.held then
    return 'HELD'
  elseif note.held or note.released then
    return 'OPEN'
  end
  return 'SETTLED'
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
