//go:build mutants

package store

// mutantsOfAnswers are faults in what a call writes and answers.
var mutantsOfAnswers = []mutant{
	// Holders.
	{
		"another request's receipt is taken", "series.lua",
		"if (note.attempt or 1) == attempt and token_of(note) == token then",
		"if (note.attempt or 1) == attempt then", byLostTakeover,
	},
	{
		"an earlier attempt's receipt is taken", "series.lua",
		"if (note.attempt or 1) == attempt and token_of(note) == token then",
		"if token_of(note) == token then", byOwnTakeover,
	},
	{
		"settled by another is told as lost", "series.lua",
		"elseif state(note, now) == 'SETTLED' then\n        return nil", "elseif false then\n        return nil", byLife,
	},
	{
		"a full store does not let a holder settle", "series.lua",
		"  write_note(note)\n  redis.call('PERSIST', key)\n", "  write_note(note)\n", byNoMemory,
	},
	{
		"a full store does not let a note be forgotten", "forget.lua",
		"    redis.call('PERSIST', key)\n", "", byForget,
	},
	{
		"a settlement ends the note at its retention", "settle.lua",
		"if note.held > from + retention then",
		"if false then", byLongHold,
	},
	{
		"a released hold settles", "settle.lua",
		"if note and note.released then", "if false then", byLife,
	},
	{"settling twice counts the retention anew", "settle.lua", "  note.held = false\n", "", byLife},
	{
		"a released hold is extended", "extend.lua",
		"if note and note.released then", "if false then", byLife,
	},
	{
		"a settled note is held again", "extend.lua",
		"elseif note and not note.held then", "elseif false then", byLife,
	},
	{
		"a hold is extended from its end", "extend.lua",
		"hold_note(note, hold, now)", "hold_note(note, hold, note.held)", byLongHold,
	},
	{
		"a settled note is released", "release.lua",
		"if note and state(note, now) == 'SETTLED' then", "if false then", byLife,
	},
	{"a release settles the note", "release.lua", "  note.released = true\n", "", byLife},

	// Lists.
	{
		"a list by a transaction id is empty", "list.lua",
		"if transaction == '-' or string.find(text, ' ' .. transaction, 1, true) then",
		"if transaction == '-' then", byList,
	},

	// The answer to a note.
	{
		"a released request gets its receipt again", "note.lua",
		"if evidence == 'SAME_REQUEST' and not note.released then", "if evidence == 'SAME_REQUEST' then", byLife,
	},
	{
		"the same request does not hold again", "note.lua",
		"        hold_note(note, tonumber(hold, 36), now)\n        must_save = true\n      end\n    elseif",
		"      end\n    elseif", byLife,
	},
	{
		"a takeover is no new attempt", "note.lua",
		"note.attempt = (note.attempt or 1) + 1",
		"note.attempt = note.attempt or 1", byLife,
	},
	{
		"a takeover keeps the token", "note.lua",
		"      note.token = token\n",
		"", byLife,
	},
	{
		"a takeover stays released", "notes.lua",
		"  note.length = hold\n  note.released = false\n", "  note.length = hold\n", byLife,
	},
	{
		"a message without an id is seen once", "note.lua",
		"(named(s.message) or s.transaction == transaction)",
		"true", byNoID,
	},
	{
		"a sighting is recorded with each message", "note.lua",
		"    if not place then\n",
		"    if true then\n", byNoID,
	},
	{
		"a pairing that was not recorded is an answer", "note.lua",
		"if verdict == 'DUPLICATE' and evidence == 'PAIRED' then", "if false then", byNoMemory,
	},
	{
		"a sighting that was not recorded is told", "note.lua",
		"        note.text = nil\n",
		"", byNoMemory,
	},
	{
		"a full store does not tell what it knows", "note.lua",
		"save(key, notes, note, redis.pcall)",
		"save(key, notes, note, redis.call)", byNoMemory,
	},

	// Replicas.
	{
		"an answer that rests on notes is not written", "series.lua",
		"    redis.call('PEXPIREAT', key, at)\n", "", byWritten,
	},
	{
		"an answer that rests on nothing is not written", "series.lua",
		"    redis.call('SET', key, VERSION, 'PX', 1)\n    redis.call('DEL', key)\n", "", byWritten,
	},
	{
		"an answer that rests on nothing leaves a key", "series.lua",
		"    redis.call('SET', key, VERSION, 'PX', 1)\n    redis.call('DEL', key)\n",
		"    redis.call('SET', key, VERSION)\n", byWritten,
	},
	{
		"a settlement before is not written", "settle.lua",
		"  confirm(key, forget_at(notes))\n",
		"", byWritten,
	},

	// The epoch's beats.
	{
		"a beat after its deadline counts", "beat.lua",
		"if late then",
		"if false then", byDeadline,
	},
	{
		"another mark is the same", "beat.lua",
		"at <= #latest and latest[at] ~= letters then", "false then", byLoss,
	},
	{
		"an epoch does not begin anew", "beat.lua",
		"return { 'LOST', now, fresh, go_on(fresh, 0, {}) }",
		"return { 'LOST', now, id, go_on(id, before, latest) }", byLoss,
	},
}
