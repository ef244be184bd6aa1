//go:build mutants

package store

// mutantsOfNotes are faults in the text of notes, in their lives and in amounts.
var mutantsOfNotes = []mutant{
	// Reading and writing a note.
	{
		"a hold before its note is read as after it", "notes.lua",
		"return -tonumber(string.sub(s, 2), 36)", "return tonumber(string.sub(s, 2), 36)", bySetBack,
	},
	{
		"the clock has whole seconds", "series.lua",
		"t[1] * 1000000 + t[2]",
		"t[1] * 1000000", byDeadline,
	},
	{
		"a message without an id bears one", "notes.lua",
		"string.find(message, ':', 1, true) < #message", "true", bySameness,
	},
	{
		"retention counts from the donation alone", "notes.lua",
		"(occurred and occurred > noted and occurred or noted) + retention",
		"(occurred or noted) + retention", byLife,
	},
	{
		"retention counts from the note alone", "notes.lua",
		"(occurred and occurred > noted and occurred or noted) + retention",
		"noted + retention", byEnds,
	},
	{
		"a held note is forgotten", "notes.lua",
		"if held and held > at then",
		"if false then", byLongHold,
	},
	{
		"milliseconds of a time are read as seconds", "notes.lua",
		"if amount == point + 1 then",
		"if true then", byMilliseconds,
	},
	{"a release is not read", "notes.lua", "      note.released = true\n", "      note.released = false\n", byLife},
	{
		"the attempt is not read", "notes.lua",
		"note.attempt = whole(digits)", "note.attempt = 1", byLife,
	},
	{
		"the retention is not read", "notes.lua",
		"note.retention = whole(digits) * 1000", "note.retention = DEFAULT_RETENTION", byLongHold,
	},
	{
		"the first sighting's transaction id is not read again", "notes.lua",
		"id == '=' and transaction or id",
		"id", byCrowd,
	},
	{
		"a release is not written", "notes.lua",
		"    extras = extras .. 'R'\n",
		"", byLife,
	},
	{
		"the second attempt is not written", "notes.lua",
		"  if note.attempt then\n",
		"  if note.attempt and note.attempt > 2 then\n", byLife,
	},
	{
		"the retention is not written", "notes.lua",
		"if retention ~= DEFAULT_RETENTION then",
		"if false then", byLongHold,
	},
	{
		"a new note's retention is not written", "note.lua",
		"  extras = extras .. 'K' .. retention\n",
		"", byModel,
	},
	{
		"a new note's hold is not written", "note.lua",
		"noted == now and 'H' .. hold or", "noted == now and '' or", byModel,
	},
	{
		"a new note's hold counts from another time", "note.lua",
		"noted == now and 'H' .. hold or 'H' .. base36(held - noted) .. 'L' .. hold",
		"'H' .. hold", byModel,
	},
	{
		"seen since 1970", "notes.lua",
		"base36(math.max(now - note.noted, 0))", "base36(now)", byChannels,
	},

	// Sightings of a full note.
	{
		"a note keeps one sighting more", "notes.lua",
		"if #t >= MOST_SIGHTINGS then", "if #t > MOST_SIGHTINGS then", byFull,
	},
	{
		"a full note takes no channel's first", "notes.lua",
		"if has_id and has_transaction and not must then",
		"if not must then", byFull,
	},
	{
		"a full note takes each message", "notes.lua",
		"if has_id and has_transaction and not must then",
		"if false then", byFull,
	},
	{"the earliest sighting goes", "notes.lua", "for i = #t, 2, -1 do", "for i = 2, #t do", byFull},
	{
		"an id is given up for none", "notes.lua",
		"(named(early.message) or not named(late.message))", "true", byCrowd,
	},
	{
		"a sighting without a transaction id is spared", "notes.lua",
		"        and late.transaction ~= '-'\n", "", byCrowd,
	},
	{
		"another channel's sighting is enough", "notes.lua",
		"        and channel(late.message) == channel(early.message)\n", "", byCrowd,
	},

	// What stands under a key.
	{
		"a later release's notes are read", "series.lua",
		"if version ~= VERSION then", "if false then", byNewer,
	},
	{
		"another program's line is read", "series.lua",
		"        return nil, ''\n      end\n      asked",
		"        return notes\n      end\n      asked", byForeign,
	},
	{"a value without notes is read as none", "series.lua", "elseif size == 1 then", "elseif false then", byForeign},
	{
		"a note outlives its end", "series.lua",
		"if now < forget then",
		"if now <= forget then", byEnds,
	},
	{
		"notes are never forgotten", "series.lua",
		"if now < forget then",
		"if true then", byEnds,
	},
	{
		"keys never expire", "note.lua",
		"notes, 'PXAT', forget)",
		"notes)", byEnds,
	},
	{
		"a note in the expected second takes the place of others", "note.lua",
		"  if not value then\n    local micros", "  if true then\n    local micros", byExpected,
	},
	{
		"the expected second is every second", "note.lua",
		"if t[1] == string.sub(rules, 1, 10) then", "if true then", byExpected,
	},
	{"more than four digits of noted change", "note.lua", "if low < 1679616 then", "if true then", byExpected},
	{
		"the milliseconds of the expected second are not noted", "note.lua",
		"begins % 1679616 + (micros - micros % 1000) / 1000", "begins % 1679616", byExpected,
	},
	{
		"a digit of noted is no letter", "note.lua",
		"c + (c < 10 and 48 or 87),\n        d", "c + 48,\n        d", byExpected,
	},
	{
		"the key ends with its first note", "note.lua", "'EX', '3891600'", "'EX', '3888000'", byExpected,
	},
	{
		"the deadline of a note does not count", "note.lua",
		"if now > deadline then", "if false then", byDeadline,
	},
	{
		"a deadline does not count", "series.lua",
		"if now > deadline then\n    return nil", "if false then\n    return nil", byDeadline,
	},
	{
		"a deadline ends before its time", "series.lua",
		"if now > deadline then\n    return nil", "if now >= deadline then\n    return nil", byDeadline,
	},
	{
		"the key ends with the note made last", "series.lua",
		"    if note.forget > at then\n", "    if true then\n", byKeyEnd,
	},
	{
		"the key ends with the first note", "series.lua",
		"    if note.forget > at then\n", "    if at == 0 then\n", byKeyEnd,
	},

	{
		"a key outlives its changed note", "series.lua",
		"note.text .. behind, 'PXAT', forget_at(notes))", "note.text .. behind)", byOtherEvents,
	},
	{
		"the key ends with the new note", "note.lua",
		"if at > forget then", "if false then", byKeyEnd,
	},
	{
		"the key ends with the notes of one event", "series.lua",
		"      elseif forget > at then\n        at = forget\n", "", byOtherEvents,
	},
	{
		"what is forgotten stays in the text", "series.lua",
		"      begin = to + 2\n", "", byOtherEvents,
	},
	{
		"what stands behind a forgotten note is written over", "series.lua",
		"      note.cut = gone\n", "", byOtherEvents,
	},
	{
		"a time before its note is read as after it", "notes.lua",
		"return sign == '-' and second - far or second + far", "return second + far", byEdges,
	},

	// A note's life.
	{
		"a hold lasts a millisecond longer", "notes.lua",
		"if note.held and now < note.held then", "if note.held and now <= note.held then", byEdges,
	},
	{
		"a hold never ends", "notes.lua",
		"if note.held and now < note.held then", "if note.held then", byLife,
	},
	{
		"a hold that has run out settles", "notes.lua",
		"elseif note.held or note.released then", "elseif note.released then", byLife,
	},
	{
		"a release settles", "notes.lua",
		"elseif note.held or note.released then", "elseif note.held then", byLife,
	},

	// Money.
	{
		"one zero is no number", "rules.lua",
		"string.gsub(fraction, '0+$', '')", "string.gsub(fraction, '0$', '')", bySameness,
	},
	{
		"leading zeros count", "rules.lua",
		"'^(-?)0*(%d*)%.?(%d*)'", "'^(-?)(%d*)%.?(%d*)'", bySameness,
	},
	{
		"a sign does not count", "rules.lua",
		"return sign .. units .. fraction", "return units .. fraction", bySameness,
	},
	{"zero has a sign", "rules.lua", "    return '0'\n", "    return sign .. '0'\n", bySameness},
	{
		"currencies do not count", "rules.lua",
		"return string.sub(a, -3) == string.sub(b, -3)\n    and", "return true\n    and", bySameness,
	},
	{
		"no amount is another amount", "rules.lua",
		"if a == '-' or b == '-' or a == b then", "if a == b then", bySameness,
	},
}
