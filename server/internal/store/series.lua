-- series.lua: the notes of a series. Its functions begin a script, read and write the value
-- under the series' key, and find a note by its name. notes.lua describes the value.

-- look begins a script. It returns the value under the key, or false, and the time. For a
-- call that came too late it returns nil, the time, and the reply. It is called once: TIME
-- moves while the script runs. note.lua does the same by itself.
local function look(key, deadline)
  local t = redis.call('TIME')
  local micros = t[1] * 1000000 + t[2]
  local now = (micros - micros % 1000) / 1000
  if now > deadline then
    return nil, now, { 'PAST_DEADLINE', now }
  end
  return redis.call('GET', key), now
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
  local pieces, begin, gone = nil, from, nil -- begin: of the lines behind the latest forgotten one
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
      pieces = pieces or {}
      if begin < from then
        pieces[#pieces + 1] = string.sub(value, begin, from - 2)
      end
      begin = to + 2
      gone = (gone or cut) + begin - from
    end
    from = to + 2
  end
  if pieces or cut ~= 0 then -- cut is -1 where only the floor is left
    pieces = pieces or {}
    if begin < from - 1 then
      pieces[#pieces + 1] = string.sub(value, begin, from - 2)
    end
    notes.text = head .. table.concat(pieces, '\n')
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

-- answer is a reply as one text, with a newline between its words: Redis takes a quarter
-- of the time that an array takes it. t is the time as look gives it. All words are texts,
-- since a number takes longer to write than all the rest.
local function answer(verdict, evidence, text, t, recorded)
  return verdict .. '\n' .. evidence .. '\n' .. text .. '\n' .. t[1] .. ' ' .. t[2] .. '\n' .. recorded
end
