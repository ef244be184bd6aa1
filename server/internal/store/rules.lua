-- rules.lua: the rules of sameness, and the refusals of a message.
--
-- The note of a message is found by four rules, the strongest first: (1) the same request,
-- (2) the same message, (3) the transaction id, (4) pairing. Three functions try them, of
-- which a script calls the next only if no note matched yet. Each returns the note and the
-- evidence, or nil. Before them stand two that cost less: appears and near.
--
-- ask has: event, token (nil: no request), message, transaction, amount, occurred (false:
-- unknown), received (false: now), match, arrival (milliseconds), agreeing

-- without_zeros is an amount without the zeros that do not change the number.
local function without_zeros(amount)
  local sign, units, fraction = string.match(amount, '^(-?)0*(%d*)%.?(%d*)')
  fraction = string.gsub(fraction, '0+$', '')
  if fraction ~= '' then
    fraction = '.' .. fraction
  end
  if units == '' and fraction == '' then
    return '0'
  end
  return sign .. units .. fraction
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
local function alone(value, name, rest, rules, now)
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
  elseif string.find(rest, ' ' .. seen .. ' ', 1, true) then
    return 'SAME_MESSAGE'
  end
  local amount, message, transaction = parts(rest)
  local letter, evidence = string.byte(message), nil
  if letter ~= 73 and letter ~= 87 then -- "I" and "W"
    return nil
  elseif id == transaction and id ~= '-' then
    evidence, transaction = 'SAME_TRANSACTION', '='
  elseif
    letter == string.byte(seen)
    or digits == ''
    or paid ~= amount and paid ~= '-' and amount ~= '-'
  then
    return nil
  else
    local occurred, match, agreeing = string.match(rules, '^%d+ %d (%d+) (%d+) %d+ %d+ %d+ %w+ (%S+)')
    if not occurred then
      return nil
    end
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
