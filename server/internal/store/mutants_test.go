//go:build mutants

package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// A mutant is a script with one fault, and the tests that find the fault. A fault that no
// test finds could be made tomorrow and stay.
type mutant struct {
	fault    string
	file     string
	old, new string // old occurs once in file
	by       string // -test.run pattern of the tests that find the fault
}

// The tests that find the mutants. They use the embedded store, which is faster, unless
// it differs from Redis in the point.
const (
	bySameness      = `^TestSameness$/^embedded$`
	byFull          = `^TestFullNote$/^embedded$`
	byCrowd         = `^TestFullNoteOfManyChannels$/^embedded$`
	byChannels      = `^TestTwoChannels$/^embedded$`
	byLife          = `^TestLife$`
	byLongHold      = `^TestHoldOutlastsRetention$`
	byRefusals      = `^TestRefusals$`
	byNoMemory      = `^TestFull$`
	byEdges         = `^TestEdges$`
	byEnds          = `^TestKeyAndNoteEnd$`
	byForeign       = `^TestForeignValues$`
	byNewer         = `^TestNewerRelease$`
	byWritten       = `^TestAnswersAreWritten$`
	byLostTakeover  = `^TestReceiptOfALostTakeover$`
	byOwnTakeover   = `^TestReceiptOfAnEarlierAttempt$/^embedded$`
	byNoID          = `^TestSightingsWithoutAnID$/^embedded$`
	byStrongest     = `^TestStrongestEvidence$/^embedded$`
	byDeadline      = `^TestDeadlineEdge$`
	byKeyEnd        = `^TestKeyOutlivesItsNotes$`
	byMilliseconds  = `^TestMillisecondsOfATime$/^embedded$`
	byForget        = `^TestForgetWhenFull$`
	byOwnID         = `^TestOwnID$/^embedded$`
	byOrders        = `^TestOrders$`
	bySeries        = `^TestAgreementOfASeries$/^embedded$`
	byLedger        = `^TestAgreementOfALedger$/^embedded$`
	byReused        = `^TestRequestReused$/^embedded$`
	byReceived      = `^TestReceivedAt$`
	byNames         = `^TestNamesAreNeverUsedAgain$`
	byFloor         = `^TestFloorIsForgotten$`
	bySetBack       = `^TestHoldAfterTheClockWasSetBack$`
	byLetters       = `^TestUnknownLetters$`
	byModel         = `^TestModel$`
	byFuture        = `^TestReceivedInTheFuture$/^embedded$`
	byContradiction = `^TestSeriesThatContradictsTheLedger$/^embedded$`
	byPair          = `^TestAgreementIsOfAPair$/^embedded$`
	byOwnInFull     = `^TestOwnSightingInAFullNote$/^embedded$`
	byOtherEvents   = `^TestNotesOfOtherEvents$`
	byWentBack      = `^TestWentBack$`
)

// mutants are the faults. If a change of a script removes an old text, change the mutant
// with it. If it adds a rule, add the rule's faults.
var mutants = []mutant{
	// Reading and writing a note.
	{
		"a hold before its note is read as after it", "notes.lua",
		"return -tonumber(string.sub(s, 2), 36)", "return tonumber(string.sub(s, 2), 36)", bySetBack,
	},
	{
		"the clock has whole seconds", "notes.lua",
		"t[1] * 1000 + math.floor(t[2] / 1000)",
		"t[1] * 1000", byDeadline,
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
		"if point == '' then",
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
		"local attempts = note.released and 'R' or ''",
		"local attempts = ''", byLife,
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
		"another channel's sighting is enough", "notes.lua",
		"        and channel(late.message) == channel(early.message)\n", "", byCrowd,
	},

	// What stands under a key.
	{
		"a later release's notes are read", "notes.lua",
		"if version ~= VERSION then", "if false then", byNewer,
	},
	{
		"another program's line is read", "notes.lua",
		"      return nil, ''\n    end\n    local asked",
		"      return notes\n    end\n    local asked", byForeign,
	},
	{"a value without notes is read as none", "notes.lua", "elseif size == 1 then", "elseif false then", byForeign},
	{
		"a note outlives its end", "notes.lua",
		"if now < forget then",
		"if now <= forget then", byEnds,
	},
	{
		"notes are never forgotten", "notes.lua",
		"if now < forget then",
		"if true then", byEnds,
	},
	{
		"keys never expire", "note.lua",
		"text, 'PXAT', decimal(forget))",
		"text)", byEnds,
	},
	{
		"a deadline does not count", "notes.lua",
		"if now > deadline then\n    return nil", "if false then\n    return nil", byDeadline,
	},
	{
		"a deadline ends before its time", "notes.lua",
		"if now > deadline then\n    return nil", "if now >= deadline then\n    return nil", byDeadline,
	},
	{
		"the key ends with the note made last", "notes.lua",
		"    if notes[i].forget > at then\n", "    if true then\n", byKeyEnd,
	},
	{
		"the key ends with the first note", "notes.lua",
		"    if notes[i].forget > at then\n", "    if at == 0 then\n", byKeyEnd,
	},

	{
		"a key outlives its changed note", "notes.lua",
		"note.text .. behind, 'PXAT', decimal(forget_at(notes)))", "note.text .. behind)", byOtherEvents,
	},
	{
		"the key ends with the new note", "note.lua",
		"math.max(at, forgotten(", "math.max(0, forgotten(", byKeyEnd,
	},
	{
		"the key ends with the notes of one event", "notes.lua",
		"      elseif forget > at then\n        at = forget\n", "", byOtherEvents,
	},
	{
		"what is forgotten stays in the text", "notes.lua",
		"      begin = to + 2\n", "", byOtherEvents,
	},
	{
		"what stands behind a forgotten note is written over", "notes.lua",
		"        note.cut = cut\n", "", byOtherEvents,
	},
	{
		"a time before its note is read as after it", "notes.lua",
		"occurred = sign == '-' and second - far or second + far", "occurred = second + far", byEdges,
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
		"one zero is no number", "notes.lua",
		"string.gsub(fraction, '0+$', '')", "string.gsub(fraction, '0$', '')", bySameness,
	},
	{
		"leading zeros count", "notes.lua",
		"'^(-?)0*(%d*)%.?(%d*)'", "'^(-?)(%d*)%.?(%d*)'", bySameness,
	},
	{
		"a sign does not count", "notes.lua",
		"return sign .. whole .. fraction", "return whole .. fraction", bySameness,
	},
	{"zero has a sign", "notes.lua", "    return '0'\n", "    return sign .. '0'\n", bySameness},
	{
		"currencies do not count", "notes.lua",
		"return string.sub(a, -3) == string.sub(b, -3)\n    and", "return true\n    and", bySameness,
	},
	{
		"no amount is another amount", "notes.lua",
		"if a == '-' or b == '-' or a == b then", "if a == b then", bySameness,
	},

	// Which note a message tells of.
	{
		"events are not apart", "notes.lua",
		"= not event or letter == event, tonumber",
		"= true, tonumber", bySameness,
	},
	{
		"a request is not known again", "notes.lua",
		"return token_of(note) == ask.token and note",
		"return nil", byReused,
	},
	{
		"no message id is one", "notes.lua",
		"  if asks_named then\n    local note = holding", "  if true then\n    local note = holding", bySameness,
	},
	{
		"a transaction id counts more than the message's", "notes.lua",
		"  if asks_named then\n    local note = holding",
		"  if asks_named and transaction == '-' then\n    local note = holding", byStrongest,
	},
	{
		"unequal transaction ids say nothing where they are shared", "notes.lua",
		"  if ask.agreeing == '*' then\n    return true",
		"  if ask.agreeing == '*' then\n    return false", bySameness,
	},
	{
		"unequal transaction ids say nothing on one channel", "notes.lua",
		"local other, unequal = transaction ~= '-' and told_otherwise(note), false",
		"local other, unequal = false, false", bySameness,
	},
	{
		"one channel tells of a note under two ids", "notes.lua",
		"other = other or asks_named and named(s.message) and s.message ~= message", "other = other", bySameness,
	},
	{
		"times before are always near", "notes.lua",
		"    if distance < 0 then\n      distance = -distance\n    end\n",
		"", byEdges,
	},
	{
		"a window ends before its end", "notes.lua",
		"if distance <= window and same_money(",
		"if distance < window and same_money(", byEdges,
	},
	{
		"windows do not count", "notes.lua",
		"if distance <= window and same_money(",
		"if same_money(", byEdges,
	},
	{
		"the first in time is taken", "notes.lua",
		"elseif not nearest_by or distance < nearest_by then", "elseif not nearest_by then", bySameness,
	},
	{
		"the arrival counts where the times are known", "notes.lua",
		"if note.occurred and occurred then",
		"if false then", byEdges,
	},

	// What is refused.
	{
		"what is forgotten already is noted", "notes.lua",
		"occurred <= now - retention then",
		"occurred < now - retention then", byEdges,
	},
	{
		"the end of what is allowed ahead is refused", "notes.lua",
		"occurred > now + ahead then",
		"occurred >= now + ahead then", byEdges,
	},
	{
		"a series takes one note more", "note.lua",
		"count >= limit then",
		"count > limit then", byRefusals,
	},
	{
		"a look does not refuse", "exists.lua",
		"return out_of_range(now, ask.occurred, ask.received, retention, ahead) or { 'NONE', now }",
		"return { 'NONE', now }", byRefusals,
	},

	// Holders.
	{
		"another request's receipt is taken", "notes.lua",
		"if (note.attempt or 1) == attempt and token_of(note) == token then",
		"if (note.attempt or 1) == attempt then", byLostTakeover,
	},
	{
		"an earlier attempt's receipt is taken", "notes.lua",
		"if (note.attempt or 1) == attempt and token_of(note) == token then",
		"if token_of(note) == token then", byOwnTakeover,
	},
	{
		"settled by another is told as lost", "notes.lua",
		"elseif state(note, now) == 'SETTLED' then\n        return nil", "elseif false then\n        return nil", byLife,
	},
	{
		"a full store does not let a holder settle", "notes.lua",
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

	// A note's own transaction id, and what other ids teach.
	{"the first sighting's id stays the own one", "note.lua", "  note.own = seen\n", "  note.own = 1\n", byOwnID},
	{"a takeover leaves no own id", "note.lua", "  note.own = seen\n", "  note.own = false\n", byOwnID},
	{
		"the own id is not written", "notes.lua",
		"      attempts = attempts .. 'O' .. base36(note.own)\n",
		"", byOwnID,
	},
	{"the own sighting is spared", "notes.lua", "        i ~= note.own\n        and late", "        late", byOwnInFull},
	{
		"the own sighting is not followed when one before it goes", "notes.lua",
		"      note.own = note.own - 1\n", "", byOwnInFull,
	},
	{
		"any sighting's id is as good as the own one", "notes.lua",
		"if own and own.transaction == transaction then",
		"if false then", byOrders,
	},
	{
		"another id on the channel does not speak against an id elsewhere", "notes.lua",
		"s.transaction == transaction and not told_otherwise(note) then",
		"s.transaction == transaction then", byOwnID,
	},
	{
		"what came by pairing is not asked", "notes.lua",
		"return own or elsewhere, 'SAME_TRANSACTION'", "return own, own and 'SAME_TRANSACTION'", byOwnID,
	},
	{
		"a series teaches nothing", "notes.lua",
		"    if agreed then\n      return true\n    end\n",
		"", bySeries,
	},
	{
		"a series teaches all events", "notes.lua",
		"= not event or letter == event, tonumber", "= true, tonumber", bySeries,
	},
	{
		"a pair of channels teaches all channels", "notes.lua",
		"        elseif on == d then\n          on_d[s.transaction] = true",
		"        else\n          on_d[s.transaction] = true", byPair,
	},
	{
		"the ledger teaches nothing", "notes.lua",
		"  if contradicted or not string.find(ask.agreeing, ',' .. d .. ',', 1, true) then",
		"  if true then", byLedger,
	},
	{
		"the ledger teaches all channels", "notes.lua",
		"  if contradicted or not string.find(ask.agreeing, ',' .. d .. ',', 1, true) then",
		"  if contradicted then", bySeries,
	},
	{
		"a contradiction in the series does not count", "notes.lua",
		"    contradicted = contradicted or differed\n",
		"", byContradiction,
	},
	{
		"a note that stands against another does not count", "notes.lua",
		"      if on == c and tells(other, d) or on == d and tells(other, c) then\n        return false",
		"      if on == c and tells(other, d) or on == d and tells(other, c) then\n        return true", byLedger,
	},
	{
		"what stands against a note is not written", "notes.lua",
		"    extras = extras .. 'X' .. base36(noted - against)\n",
		"", byLedger,
	},
	{
		"what spoke against pairing is not told", "note.lua",
		"ipairs(sightings(against))",
		"ipairs({})", bySeries,
	},
	{
		"one half of a pair is taken for the other", "notes.lua",
		"elseif transaction ~= '-' and other_half(notes, note, told_otherwise) then",
		"elseif false then", byModel,
	},

	// Requests, arrivals and names.
	{
		"a request id is used again", "note.lua",
		"if evidence == 'SAME_REQUEST' and reused(note, ask) then",
		"if false then", byReused,
	},
	{
		"a retry that has lost its amount is refused", "notes.lua",
		"return not note.attempt and not same_money(amount_of(note), ask.amount)",
		"return amount_of(note) ~= ask.amount", byReused,
	},
	{
		"another amount after a takeover is refused", "notes.lua",
		"return not note.attempt and not same_money(amount_of(note), ask.amount)",
		"return not same_money(amount_of(note), ask.amount)", byReused,
	},
	{
		"another amount is a retry", "notes.lua",
		"return not note.attempt and not same_money(amount_of(note), ask.amount)",
		"return false", byReused,
	},
	{
		"another transaction is a retry", "notes.lua",
		"if ask.transaction ~= '-' and own.transaction ~= '-' and ask.transaction ~= own.transaction then",
		"if false then", byReused,
	},
	{
		"a retry must be the own message", "notes.lua",
		"    return not has_message(note, ask.message)\n", "    return ask.message ~= own.message\n", byReused,
	},
	{
		"the arrival is when it was asked", "notes.lua",
		"local arrived = ask.received or now", "local arrived = now", byReceived,
	},
	{
		"a note arrived when it was made", "note.lua",
		"  received or noted,\n",
		"  noted,\n", byReceived,
	},
	{
		"the arrival is not written", "notes.lua",
		"    extras = extras .. 'V' .. base36(noted - arrived)\n",
		"", byReceived,
	},
	{
		"what arrives in the future arrives then", "note.lua",
		"if received and received >= now then",
		"if false then", byFuture,
	},
	{
		"what was received too early is noted", "notes.lua",
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
		"the floor is kept for good", "notes.lua",
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

	// The answer to a note.
	{
		"a released request gets its receipt again", "note.lua",
		"if evidence == 'SAME_REQUEST' and not note.released then", "if evidence == 'SAME_REQUEST' then", byLife,
	},
	{
		"the same request does not hold again", "note.lua",
		"        hold_note(note, hold, now)\n        must_save = true\n      end\n    elseif",
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
		"    if not seen then\n",
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
		"an answer that rests on notes is not written", "notes.lua",
		"    redis.call('PEXPIREAT', key, decimal(at))\n", "", byWritten,
	},
	{
		"an answer that rests on nothing is not written", "notes.lua",
		"    redis.call('SET', key, VERSION, 'PX', 1)\n    redis.call('DEL', key)\n", "", byWritten,
	},
	{
		"an answer that rests on nothing leaves a key", "notes.lua",
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
		"at <= #latest and latest[at] ~= letters then", "false then", byWentBack,
	},
	{
		"an epoch does not begin anew", "beat.lua",
		"return { 'LOST', now, fresh, go_on(fresh, 0, {}) }",
		"return { 'LOST', now, id, go_on(id, before, latest) }", byWentBack,
	},
}

// chosen is the environment variable that names the mutant that this process is. Without
// it the scripts are as they were written.
const chosen = "NOTED_MUTANT"

func init() {
	fault := os.Getenv(chosen)
	for _, m := range mutants {
		if m.fault != fault {
			continue
		}
		for _, s := range scripts {
			if source := m.of(s); source != s.Source {
				s.Source, s.SHA = source, redis.NewScript(source).Hash()
			}
		}
	}
}

// of is the source of a script, with the fault if the script contains the mutant's file.
func (m mutant) of(s *wire.Script) string {
	text, body := library, bodies[s.Name]
	switch m.file {
	case "notes.lua":
		text = strings.Replace(text, m.old, m.new, 1)
	case s.Name + ".lua":
		body = strings.Replace(body, m.old, m.new, 1)
	}
	return Assemble(text, body)
}

// TestMutants runs each mutant's tests in a process whose scripts have the fault. Tests
// that pass there miss a check.
func TestMutants(t *testing.T) {
	if os.Getenv(chosen) != "" {
		t.Skip("this is a mutant")
	}
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	faults, patterns := map[string]bool{}, map[string]bool{}
	for _, m := range mutants {
		if faults[m.fault] {
			t.Errorf("two mutants are called %q", m.fault)
		}
		faults[m.fault], patterns[m.by] = true, true
		text, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte(m.old)); n != 1 || m.old == m.new {
			t.Errorf("%s: %s holds its old text %d times, want once", m.fault, m.file, n)
			continue
		}
		// A script that does not compile would be found by any test.
		for _, s := range scripts {
			if err := client.ScriptLoad(t.Context(), m.of(s)).Err(); err != nil {
				t.Errorf("%s: %s.lua: %v", m.fault, s.Name, err)
			}
		}
	}
	if len(mutants) < 40 {
		t.Errorf("there are %d mutants, want at least 40", len(mutants))
	}
	if t.Failed() {
		return
	}
	for pattern := range patterns {
		if output, err := runTests(t, "", pattern); err != nil || !bytes.Contains(output, []byte("--- PASS: ")) {
			t.Fatalf("without a mutant, %s: %v\n%s", pattern, err, output)
		}
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.fault, " ", "_"), func(t *testing.T) {
			t.Parallel()
			output, err := runTests(t, m.fault, m.by)
			var ended *exec.ExitError
			switch {
			case err == nil:
				t.Errorf("%s survives %s", m.file, m.by)
			case !errors.As(err, &ended) || !answered(output):
				t.Errorf("%s found nothing but that the script does not run: %v\n%s", m.by, err, output)
			}
		})
	}
}

// answered tells whether a test failed because of a script's answer, and not because the
// script did not run.
func answered(output []byte) bool {
	for line := range bytes.Lines(output) {
		if testLine.Match(line) && !broken.Match(line) {
			return bytes.Contains(output, []byte("--- FAIL: "))
		}
	}
	return false
}

var (
	testLine = regexp.MustCompile(`_test\.go:\d+: `)
	broken   = regexp.MustCompile(`ERR user_script:\d+:|Error compiling script`)
)

// runTests runs the tests of a pattern in a process of their own, with a mutant if one is
// named.
func runTests(t *testing.T, fault, pattern string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	binary, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(
		ctx,
		binary,
		"-test.run",
		pattern,
		"-test.v",
		"-test.failfast",
		"-test.timeout",
		"100s",
	)
	command.Env = append(os.Environ(), chosen+"="+fault)
	return command.CombinedOutput()
}
