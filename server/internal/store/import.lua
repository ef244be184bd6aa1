-- import.lua: brings the notes of an export back into a series, beside the notes that are
-- there. It may run again and again: notes that it knows are not added twice.
--
-- KEYS[1]  the series' key
-- ARGV[1]  deadline: the store's time in milliseconds after which the script does nothing
-- ARGV[2]  text: the series, as export.lua gave it
-- ARGV[3]  replicas: 1 if the answer needs replicas, else 0
--
-- A note of the text is known here by its name (when it was noted) if the event and the
-- first sighting are the same. The two are united: the sightings of both, the longer
-- retention, and the state of the one that is further. Settled is further than held or
-- open; then the higher attempt, then a release, then the later hold. Any other note is
-- added under its own name, so that its donation_id stays, but for two cases:
--
--   forgotten by hand  it is not newer than the floor here, so it may have been forgotten on
--                      purpose: its next message must be FIRST. It is left out and told
--   noted anew         a note here was made for the same donation while this store did not
--                      know of the other one: it has the same request, the same message, or
--                      the same own transaction id. A donation that either of them settled
--                      must never be FIRST again: the note here is settled if the other is.
--                      An unsettled one is not added; its sightings go to the note here
--
-- Replies, now in milliseconds:
--   MERGED now added changed anew name …   how many notes were added, changed, and noted anew;
--                                          then "-" and the name of each note that was left
--                                          out, "?" and the name of each note here that may
--                                          have been forgotten by hand where the export was
--                                          made, "!" and each name that two notes share now
--   UNREADABLE now                         the text is not in the format
--   PAST_DEADLINE now                      the call came too late
--   VERSION version                        a later release, or another program, has written here
--
-- Writes KEYS[1], and its expiry, once, at the end of MERGED if anything is new: a series
-- with more notes than the limit is written too. The other replies change nothing. With
-- replicas a MERGED with nothing new rewrites the series unchanged, so that WAIT covers it.
local key = KEYS[1]
local deadline = ARGV[1] + 0
local text = ARGV[2]
local replicas = ARGV[3] == '1'

local notes, now, unread = open(key, deadline)
if unread then
  return unread
end
local others = load(text, now)
if not others then
  return { 'UNREADABLE', now }
end

local function event_of(note)
  return string.byte(note.value, note.from)
end

local function settled(note)
  return not note.held and not note.released
end

-- origin_is tells whether two notes have the same name and begin with the same sighting.
local function origin_is(a, b)
  if a.noted ~= b.noted or event_of(a) ~= event_of(b) then
    return false
  end
  local s, t = sightings(a)[1], sightings(b)[1]
  return s.message == t.message and s.transaction == t.transaction
end

-- one_donation tells of two notes under different names whether they are surely the same
-- donation.
local function one_donation(a, b)
  if event_of(a) ~= event_of(b) then
    return false
  elseif token_of(a) == token_of(b) then
    return true
  end
  local s, t = own_sighting(a), own_sighting(b)
  if s and t and s.transaction ~= '-' and s.transaction == t.transaction then
    return true
  end
  for _, seen in ipairs(sightings(a)) do
    if named(seen.message) and has_message(b, seen.message) then
      return true
    end
  end
  return false
end

local function further(a, b)
  if settled(a) or settled(b) then
    return settled(a) and not settled(b)
  end
  local m, n = a.attempt or 1, b.attempt or 1
  if m ~= n then
    return m > n
  elseif a.released or b.released then
    return a.released and not b.released
  end
  return a.held > b.held
end

-- position is where a note has a sighting, or nil.
local function position(note, sighting)
  for i, s in ipairs(sightings(note)) do
    if s.message == sighting.message and (named(s.message) or s.transaction == sighting.transaction) then
      return i
    end
  end
  return nil
end

-- unite gives a note the sightings of another, and tells whether any was new.
local function unite(note, other)
  local is_new = false
  for _, s in ipairs(sightings(other)) do
    if not position(note, s) and see(note, s, other.noted + (s.after and whole(s.after) or 0), false) then
      is_new = true
    end
  end
  return is_new
end

-- follow unites a note with another state of itself, and tells whether that changed it.
local function follow(note, other)
  local changed = unite(note, other)
  if further(other, note) then
    note.held, note.length, note.released = other.held, other.length, other.released
    note.attempt, note.token = other.attempt, token_of(other)
    local own = own_sighting(other)
    if own and not position(note, own) then
      see(note, own, other.noted + (own.after and whole(own.after) or 0), true)
    end
    note.own = own and position(note, own) or false
    changed = true
  end
  local mine, longer = note.retention or DEFAULT_RETENTION, other.retention or DEFAULT_RETENTION
  if longer > mine then
    note.retention = longer
    changed = true
  end
  if other.other and not note.other then
    note.other = other.other
    changed = true
  end
  return changed
end

local added, changed, anew, told = {}, 0, 0, {}
local dirty, known = {}, {} -- :: note → true
for _, other in ipairs(others) do
  local same, here, namesake
  for _, note in ipairs(notes) do
    if origin_is(note, other) then
      same = note
    elseif one_donation(note, other) then
      here = note
    end
    namesake = namesake or note.noted == other.noted
  end
  if same then
    known[same] = true
    if follow(same, other) then
      dirty[same] = true
    end
  elseif other.noted <= notes.floor then
    told[#told + 1] = '-' .. base36(other.noted)
  elseif here and not settled(other) then
    anew = anew + 1
    if unite(here, other) then
      dirty[here] = true
    end
  else
    if here then
      anew = anew + 1
      if not settled(here) then
        here.held, here.released = false, false
        dirty[here] = true
      end
    end
    if namesake then
      told[#told + 1] = '!' .. base36(other.noted)
    end
    added[#added + 1] = other
  end
end
for _, note in ipairs(notes) do
  if note.noted <= others.floor and others.floor > notes.floor and not known[note] then
    told[#told + 1] = '?' .. base36(note.noted)
  end
end

local floor = math.max(notes.floor, others.floor)
local at = floor > 0 and floor + DEFAULT_RETENTION or 0
local lines = {}
for _, note in ipairs(notes) do
  if dirty[note] then
    write_note(note)
    changed = changed + 1
  end
  lines[#lines + 1] = { noted = note.noted, text = line(note) }
  at = math.max(at, note.forget)
end
for _, note in ipairs(added) do
  lines[#lines + 1] = { noted = note.noted, text = line(note) }
  at = math.max(at, note.forget)
end
if #added > 0 or changed > 0 or floor > notes.floor then
  table.sort(lines, function(a, b)
    return a.noted < b.noted
  end)
  local parts = { floor > 0 and VERSION .. '~' .. base36(floor) .. '\n' or VERSION }
  for i, l in ipairs(lines) do
    parts[#parts + 1] = (i > 1 and '\n' or '') .. l.text
  end
  redis.call('SET', key, table.concat(parts), 'PXAT', at)
elseif replicas then
  confirm(key, forget_at(notes))
end
local reply = { 'MERGED', now, #added, changed, anew }
for _, name in ipairs(told) do
  reply[#reply + 1] = name
end
return reply
