//go:build mutants

package store

// mutantsOfRules are faults in the decision which note a message belongs to.
var mutantsOfRules = []mutant{
	// Which note a message tells of.
	{
		"events are not apart", "series.lua",
		"= letter == event or not event, number",
		"= true, number", bySameness,
	},
	{
		"a request is not known again", "rules.lua",
		"if token_of(note) == token then\n        return note, 'SAME_REQUEST'",
		"if false then\n        return note, 'SAME_REQUEST'", byReused,
	},
	{
		"no message id is one", "rules.lua",
		"  if named(message) then\n    local i, note",
		"  if true then\n    local i, note", bySameness,
	},
	{
		"a transaction id counts more than the message's", "rules.lua",
		"  if named(message) then\n    local i, note",
		"  if named(message) and ask.transaction == '-' then\n    local i, note", byStrongest,
	},
	{
		"unequal transaction ids say nothing where they are shared", "rules.lua",
		"  if ask.agreeing == '*' then\n    return true",
		"  if ask.agreeing == '*' then\n    return false", bySameness,
	},
	{
		"unequal transaction ids say nothing on one channel", "rules.lua",
		"local other, unequal = transaction ~= '-' and told_otherwise(note, transaction, asks_on), false",
		"local other, unequal = false, false", bySameness,
	},
	{
		"one channel tells of a note under two ids", "rules.lua",
		"other = other or asks_named and named(s.message) and s.message ~= message", "other = other", bySameness,
	},
	{
		"times before are always near", "rules.lua",
		"      if distance < 0 then\n        distance = -distance\n      end\n",
		"", byEdges,
	},
	{
		"a window ends before its end", "rules.lua",
		"if distance <= window and same_money(",
		"if distance < window and same_money(", byEdges,
	},
	{
		"windows do not count", "rules.lua",
		"if distance <= window and same_money(",
		"if same_money(", byEdges,
	},
	{
		"the first in time is taken", "rules.lua",
		"if not nearest or note.distance < nearest.distance then", "if not nearest then", bySameness,
	},
	{
		"the arrival counts where the times are known", "rules.lua",
		"if note.occurred and occurred then",
		"if false then", byEdges,
	},

	// What is refused.
	{
		"what is forgotten already is noted", "rules.lua",
		"occurred <= now - retention then",
		"occurred < now - retention then", byEdges,
	},
	{
		"the end of what is allowed ahead is refused", "rules.lua",
		"occurred > now + ahead then",
		"occurred >= now + ahead then", byEdges,
	},
	{
		"a series takes one note more", "note.lua",
		"count >= limit + 0 then",
		"count > limit + 0 then", byRefusals,
	},
	{
		"a look does not refuse", "exists.lua",
		"return out_of_range(now, ask.occurred, ask.received, retention, ahead) or { 'NONE', now }",
		"return { 'NONE', now }", byRefusals,
	},

	// A note's own transaction id, and what other ids teach.
	{"the first sighting's id stays the own one", "note.lua", "  note.own = place\n", "  note.own = 1\n", byOwnID},
	{"a takeover leaves no own id", "note.lua", "  note.own = place\n", "  note.own = false\n", byOwnID},
	{
		"the own id is not written", "notes.lua",
		"      extras = extras .. 'O' .. base36(note.own)\n",
		"", byOwnID,
	},
	{"the own sighting is spared", "notes.lua", "        i ~= note.own\n        and late", "        late", byOwnInFull},
	{
		"the own sighting is not followed when one before it goes", "notes.lua",
		"      note.own = note.own - 1\n", "", byOwnInFull,
	},
	{
		"any sighting's id is as good as the own one", "rules.lua",
		"if own and own.transaction == transaction then",
		"if false then", byOrders,
	},
	{
		"another id on the channel does not speak against an id elsewhere", "rules.lua",
		"s.transaction == transaction and not told_otherwise(note, transaction, on) then",
		"s.transaction == transaction then", byOwnID,
	},
	{
		"what came by pairing is not asked", "rules.lua",
		"return elsewhere, elsewhere and 'SAME_TRANSACTION'", "return nil", byOwnID,
	},
	{
		"a series teaches nothing", "rules.lua",
		"    if agreed then\n      return true\n    end\n",
		"", bySeries,
	},
	{
		"a series teaches all events", "series.lua",
		"= letter == event or not event, number", "= true, number", bySeries,
	},
	{
		"a pair of channels teaches all channels", "rules.lua",
		"        elseif on == d then\n          on_d[s.transaction] = true",
		"        else\n          on_d[s.transaction] = true", byPair,
	},
	{
		"the ledger teaches nothing", "rules.lua",
		"  if contradicted or not string.find(ask.agreeing, ',' .. d .. ',', 1, true) then",
		"  if true then", byLedger,
	},
	{
		"the ledger teaches all channels", "rules.lua",
		"  if contradicted or not string.find(ask.agreeing, ',' .. d .. ',', 1, true) then",
		"  if contradicted then", bySeries,
	},
	{
		"a contradiction in the series does not count", "rules.lua",
		"    contradicted = contradicted or differed\n",
		"", byContradiction,
	},
	{
		"a note that stands against another does not count", "rules.lua",
		"      if on == c and tells(other, d) or on == d and tells(other, c) then\n        return false",
		"      if on == c and tells(other, d) or on == d and tells(other, c) then\n        return true", byLedger,
	},
	{
		"what stands against a note is not written", "notes.lua",
		"    extras = extras .. 'X' .. base36(noted - note.against)\n",
		"", byModel,
	},
	{
		"what spoke against pairing is not told", "note.lua",
		"ipairs(sightings(against))",
		"ipairs({})", bySeries,
	},
	{
		"one half of a pair is taken for the other", "rules.lua",
		"elseif not other and not (transaction ~= '-' and other_half(notes, note, transaction, asks_on)) then",
		"elseif not other then", byModel,
	},

	// Requests, arrivals and names.
	{
		"a request id is used again", "note.lua",
		"if evidence == 'SAME_REQUEST' and reused(note, ask) then",
		"if false then", byReused,
	},
	{
		"a retry that has lost its amount is refused", "rules.lua",
		"return not note.attempt and not same_money(amount_of(note), ask.amount)",
		"return amount_of(note) ~= ask.amount", byReused,
	},
	{
		"another amount after a takeover is refused", "rules.lua",
		"return not note.attempt and not same_money(amount_of(note), ask.amount)",
		"return not same_money(amount_of(note), ask.amount)", byReused,
	},
	{
		"another amount is a retry", "rules.lua",
		"return not note.attempt and not same_money(amount_of(note), ask.amount)",
		"return false", byReused,
	},
	{
		"another transaction is a retry", "rules.lua",
		"if ask.transaction ~= '-' and own.transaction ~= '-' and ask.transaction ~= own.transaction then",
		"if false then", byReused,
	},
	{
		"a retry must be the own message", "rules.lua",
		"    return not has_message(note, ask.message)\n", "    return ask.message ~= own.message\n", byReused,
	},
	{
		"the arrival is when it was asked", "rules.lua",
		"{}, ask.received or now, ask.occurred", "{}, now, ask.occurred", byReceived,
	},
	{
		"a note arrived when it was made", "note.lua",
		"  extras = extras .. 'V' .. base36(noted - received)\n",
		"", byReceived,
	},
	{
		"the arrival is not written", "notes.lua",
		"    extras = extras .. 'V' .. base36(noted - note.arrived)\n",
		"", byModel,
	},
	{
		"a new note does not say what it stands against", "note.lua",
		"  extras = extras .. 'X' .. base36(noted - against.noted)\n",
		"", byLedger,
	},
	{
		"what arrives in the future arrives then", "note.lua",
		"if received and received >= now then",
		"if false then", byFuture,
	},
	{
		"what was received too early is noted", "rules.lua",
		"received <= now - retention then",
		"false then", byReceived,
	},
	{
		"a name is used again in its millisecond", "note.lua",
		"    while is_name(notes, noted) do\n      noted = noted + 1\n    end\n",
		"", byNames,
	},
	{
		"a forgotten name is used again", "note.lua",
		"noted = math.max(now, notes.floor + 1)\n",
		"noted = now\n", byNames,
	},
	{"forgetting keeps no floor", "forget.lua", "    notes.floor = math.max(notes.floor, note.noted)\n", "", byNames},
	{
		"the floor falls", "forget.lua",
		"notes.floor = math.max(notes.floor, note.noted)", "notes.floor = note.noted", byNames,
	},
	{
		"the floor is kept for good", "series.lua",
		"local at = notes.floor > 0 and notes.floor + DEFAULT_RETENTION or 0",
		"local at = notes.floor > 0 and notes.floor * 2 or 0", byFloor,
	},
	{
		"a hold outlasts a clock that was set back", "note.lua",
		"  note.held = now + note.length -- the clock was set back since\n", "", bySetBack,
	},
	{
		"a hold before its note is not written as one", "notes.lua",
		"    extras = extras .. 'H' .. base36(held - noted)\n",
		"    extras = extras .. 'H' .. base36(math.max(held - noted, 0))\n", bySetBack,
	},
	{
		"a later release's letters are lost", "notes.lua",
		"      note.other = (note.other or '') .. letter .. digits\n",
		"", byLetters,
	},

	// What a call leaves out because it can make no difference.
	{
		"a note that occurred at the window's end gets no table", "series.lua",
		"earliest <= occurred and occurred <= latest)",
		"earliest < occurred and occurred < latest)", byAlone,
	},
	{
		"a note that occurred later gets no table", "series.lua",
		"earliest <= occurred and occurred <= latest)",
		"earliest <= occurred and occurred <= ask.occurred)", byAlone,
	},
	{
		"a note without a table is not known by its message", "rules.lua",
		"    local note = i > 0 and note_at(notes, i)\n",
		"    local note = i > 0 and type(notes[i]) == 'table' and notes[i]\n", byFar,
	},
	{
		"notes without a table teach nothing", "rules.lua",
		"    local note = note_at(notes, i)\n    local agreed",
		"    local note = type(notes[i]) == 'table' and notes[i] or notes.made[1]\n    local agreed", byFarTeaches,
	},
	{
		"the key ends before a note without a table", "series.lua",
		"      elseif forget > at then\n        at = forget\n",
		"      elseif forget > at and not asked then\n        at = forget\n", byFar,
	},
	{
		"the first line's name is used again", "series.lua",
		"if at == 12 or string.byte", "if string.byte", byNames,
	},
	{
		"no line follows a floor that stands alone", "series.lua",
		"if pieces or cut ~= 0 then", "if pieces or cut > 0 then", byNames,
	},
	{
		"what lies ahead is not looked at", "note.lua",
		" or occurred > now then\n", " then\n", byEdges,
	},
	{
		"what lies back is not looked at", "note.lua",
		" or not occurred or occurred <= now - life or", " or not occurred or", byEdges,
	},
	{
		"an early arrival is not looked at", "note.lua",
		"if value or received or not occurred", "if value or not occurred", byReceived,
	},
	{
		"a full series is not looked at", "note.lua",
		"if value or received or not occurred", "if received or not occurred", byRefusals,
	},

	// The short way of a series of one note. A fault by which it takes less only costs time.
	{"alone takes the same request", "rules.lua", "    or letters == name -- the same request\n", "", byAlone},
	{
		"alone takes another event", "rules.lua",
		"    or string.byte(letters) ~= string.byte(name)\n", "", byAlone,
	},
	{
		"alone takes a forgotten note", "rules.lua",
		"if now >= noted + DEFAULT_RETENTION then", "if false then", byAlone,
	},
	{
		"alone forgets a note late", "rules.lua",
		"if now >= noted + DEFAULT_RETENTION then", "if now > noted + DEFAULT_RETENTION then", byAlone,
	},
	{
		"alone takes part of a message", "rules.lua",
		"string.find(rest, ' ' .. seen .. ' ', 1, true)", "string.find(rest, seen, 1, true)", byAlone,
	},
	{
		"alone takes messages without an id", "rules.lua",
		"if letter ~= 73 and letter ~= 87 then -- \"I\" and \"W\"\n    return nil",
		"if false then\n    return nil", byAlone,
	},
	{
		"alone takes no transaction id for one", "rules.lua",
		"elseif id == transaction and id ~= '-' then", "elseif id == transaction then", byAlone,
	},
	{
		"alone pairs a channel with itself", "rules.lua",
		"    letter == string.byte(seen)\n    or ", "    ", byAlone,
	},
	{
		"alone pairs amounts of all kinds", "rules.lua",
		"    or paid ~= amount and paid ~= '-' and amount ~= '-'\n", "", byAlone,
	},
	{
		"alone reads milliseconds as seconds", "rules.lua",
		"    if point == '' then\n", "    if true then\n", byAlone,
	},
	{
		"alone pairs at any distance", "rules.lua",
		"if distance > match + 0 or id", "if id", byAlone,
	},
	{
		"alone pairs after the donation alone", "rules.lua",
		"math.abs(noted - noted % 1000 - distance - occurred)", "noted - noted % 1000 - distance - occurred", byAlone,
	},
	{
		"alone trusts no agreement", "rules.lua",
		" and agreeing ~= '-' and agreeing ~= '+' then", " and false then", byAlone,
	},
	{
		"alone does not record", "note.lua",
		"redis.pcall('SET', key, longer, 'KEEPTTL')", "1", byAlone,
	},
	{
		"alone lets the key live", "note.lua",
		"redis.pcall('SET', key, longer, 'KEEPTTL')", "redis.pcall('SET', key, longer)", byAlone,
	},
	{
		"alone does not wait for replicas", "note.lua",
		"elseif evidence and not replicas then", "elseif evidence then", byWritten,
	},
	{
		"alone answers what it could not record", "note.lua",
		"if type(refused) ~= 'table' or not refused.err then", "if true then", byNoMemory,
	},
}
