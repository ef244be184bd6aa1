package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// Note decides whether a donation has been noted, and notes it. Its errors are those of
// types.go or of ctx. After ErrOutcomeUnknown, ErrNotReplicated, ErrWentBack or an error
// of ctx it may have been noted, and no more will happen. After any other error nothing
// was noted. After any error it is safe to repeat the call with the same RequestID.
func (s *Store) Note(ctx context.Context, r NoteRequest) (NoteReply, error) {
	call, err := s.noteCall(ctx, r, true)
	if err != nil {
		return NoteReply{}, err
	}
	if s.run(ctx, call); call.Err != nil {
		return NoteReply{}, call.Err
	}
	return readNoteReply(r, call)
}

// Notes is Note for many requests, in one round trip. Requests of one series are noted in
// their order.
func (s *Store) Notes(ctx context.Context, requests []NoteRequest) ([]NoteReply, []error) {
	replies, errs := make([]NoteReply, len(requests)), make([]error, len(requests))
	calls := make([]*wire.Call, len(requests)) // nil where the request cannot be noted
	sent := make([]*wire.Call, 0, len(requests))
	reached := true // no primary was unknown yet: looking for each of them again would take long
	for i, r := range requests {
		if calls[i], errs[i] = s.noteCall(ctx, r, reached); errs[i] == nil {
			sent, reached = append(sent, calls[i]), calls[i].Clock != nil
		}
	}
	if len(sent) == 0 {
		return replies, errs
	}
	s.run(ctx, sent...)
	for i, c := range calls {
		if c == nil {
			continue
		}
		if errs[i] = c.Err; errs[i] == nil {
			replies[i], errs[i] = readNoteReply(requests[i], c)
		}
	}
	return replies, errs
}

// noteCall is the call of a request. With expect it is written for the second that the clock
// of its primary shows.
func (s *Store) noteCall(ctx context.Context, r NoteRequest, expect bool) (*wire.Call, error) {
	if err := storable(r.Donation, r.Message); err != nil {
		return nil, err
	}
	var memory [384]byte // enough for most
	key := appendSeriesKey(memory[:0], r.Donation.Ledger, r.Donation.SeriesID)
	var clock *wire.Clock
	second := int64(0)
	if expect {
		clock = s.wire.ClockOf(ctx, key)
	}
	if now := clock.Second(ctx); takes(r, now) {
		second = now
	}
	call := s.noteCallIn(second, key, r)
	call.Clock = clock
	return call, nil
}

// noteCallIn is the call of a request that probably runs in this second; 0 if that is not
// known, or if an empty series might not take it. If it runs in another second, note.lua
// takes longer. That script describes the arguments.
func (s *Store) noteCallIn(second int64, key []byte, r NoteRequest) *wire.Call {
	var cut cuts
	text, token, retention := key, r.token(), wholeSeconds(r.Rules.Retention)
	cut.at(text)
	text = append(append(append(text, FormatVersion...), events[r.Donation.Event-1]), token[:]...)
	if second > 0 {
		text = strconv.AppendInt(text, second*1000/fourDigits, 36)
	}
	cut.at(text)
	text = append(appendOccurred(append(text, ' '), r.Donation.OccurredAt, second), ' ')
	text = appendTail(text, r, retention)
	cut.at(text)
	text = s.appendRules(text, r, second)
	cut.at(text)
	if !plain(r) {
		text = strconv.AppendInt(text, int64(retention/time.Second), 36)
		cut.at(text)
	}
	if !r.Message.ReceivedAt.IsZero() {
		text = appendTime(text, r.Message.ReceivedAt)
		cut.at(text)
	}
	return cut.call(noteScript, text)
}

// fourDigits is how many milliseconds four digits of noted count.
const fourDigits = 36 * 36 * 36 * 36

// tenDigits is the first second that has ten digits. It was in 2001.
const tenDigits = 1_000_000_000

// plain tells whether a note of the request is forgotten after the default retention, and
// its message has just arrived.
func plain(r NoteRequest) bool {
	kept := wholeSeconds(r.Rules.Retention) == defaultRetention && r.Hold <= defaultRetention
	return kept && r.Message.ReceivedAt.IsZero()
}

// takes tells whether an empty series takes the request in all of a second, as a plain note
// whose donation had occurred before that second.
func takes(r NoteRequest, second int64) bool {
	if second < tenDigits || !plain(r) {
		return false
	}
	occurred, begins, ends := r.Donation.OccurredAt, time.Unix(second, 0), time.Unix(second+1, 0)
	return occurred.IsZero() || !occurred.After(begins) && occurred.After(ends.Add(-defaultRetention))
}

// appendRules writes what note.lua needs to know only in some calls.
func (s *Store) appendRules(to []byte, r NoteRequest, second int64) []byte {
	if second == 0 {
		to = append(to, "0000000000 "...)
	} else {
		to = append(strconv.AppendInt(to, second, 10), ' ')
	}
	to = append(strconv.AppendInt(to, flag(s.replicated), 10), ' ')
	to = append(appendTime(to, r.Donation.OccurredAt), ' ')
	for _, n := range [...]int64{
		r.Rules.MatchWindow.Milliseconds(),
		r.Rules.ArrivalWindow.Milliseconds(),
		r.Rules.SkewAhead.Milliseconds(),
		int64(r.Rules.SeriesLimit),
	} {
		to = append(strconv.AppendInt(to, n, 10), ' ')
	}
	to = append(strconv.AppendInt(to, r.Hold.Milliseconds(), 36), ' ')
	return append(to, writeAgreeing(r.Rules)...)
}

func readNoteReply(r NoteRequest, call *wire.Call) (NoteReply, error) {
	if call.Words[0] == "NOW" {
		reply := NoteReply{Verdict: First, Evidence: New, Now: call.Now, Note: freshNote(r, call.Now), Recorded: true}
		return reply.withReceipt(r), nil
	}
	reply, words := NoteReply{}, call.Words
	switch words[0] {
	case "FIRST":
		reply.Verdict = First
	case "DUPLICATE":
		reply.Verdict = Duplicate
	case "HELD":
		reply.Verdict = Held
	default:
		return NoteReply{}, unexpected(noteScript, words)
	}
	if reply.Now = call.Now; len(words) < 5 || len(words)%2 == 0 || reply.Now.IsZero() {
		return NoteReply{}, unexpected(noteScript, words)
	}
	var err error
	if reply.Evidence, err = readEvidence(words[1]); err != nil {
		return NoteReply{}, err
	}
	line := strings.TrimPrefix(words[2], FormatVersion)
	if reply.Note, err = readNote(r.Donation.Ledger, r.Donation.SeriesID, line, reply.Now); err != nil {
		return NoteReply{}, err
	}
	reply.Recorded = words[4] == "1"
	for told := words[5:]; len(told) > 0; told = told[2:] {
		reply.Against = append(reply.Against, Told{Channel: told[0], TransactionID: readTransaction(told[1])})
	}
	return reply.withReceipt(r), nil
}

// withReceipt is the reply with the receipt of its request, if it has one.
func (n NoteReply) withReceipt(r NoteRequest) NoteReply {
	if shadow := n.Verdict != First; r.Hold > 0 && (!shadow || r.Rules.Shadow) {
		token := r.token()
		n.Receipt = receipt{
			r.Donation.Ledger,
			r.Donation.SeriesID,
			n.Note.NotedAt.UnixMilli(),
			n.Note.Attempt,
			string(token[:]),
			shadow,
		}.String()
	}
	return n
}

// Exists decides as Note does, and notes nothing.
func (s *Store) Exists(ctx context.Context, d Donation, m Message, rules Rules) (ExistsReply, error) {
	if err := storable(d, m); err != nil {
		return ExistsReply{}, err
	}
	var memory [384]byte // enough for most
	var cut cuts
	text := appendSeriesKey(memory[:0], d.Ledger, d.SeriesID)
	cut.at(text)
	text = append(text, events[d.Event-1])
	cut.at(text)
	text = appendMessage(text, m)
	cut.at(text)
	text = appendTransaction(text, d.TransactionID)
	cut.at(text)
	text = appendMoney(text, d.Amount, d.CurrencyCode)
	cut.at(text)
	text = appendTime(text, d.OccurredAt)
	cut.at(text)
	text = appendTime(text, m.ReceivedAt)
	cut.at(text)
	for _, span := range [...]time.Duration{
		rules.MatchWindow, rules.ArrivalWindow, wholeSeconds(rules.Retention), rules.SkewAhead,
	} {
		text = strconv.AppendInt(text, span.Milliseconds(), 10)
		cut.at(text)
	}
	text = append(text, writeAgreeing(rules)...)
	cut.at(text)
	call := cut.call(existsScript, text)
	if s.run(ctx, call); call.Err != nil {
		return ExistsReply{}, wire.NothingDone(call.Err)
	}
	reply, words := ExistsReply{}, call.Words
	var err error
	switch {
	case words[0] == "NONE":
		reply.Now, err = wire.Millis(words[1])
		return reply, err
	case words[0] != "FOUND" || len(words) != 4:
		return ExistsReply{}, unexpected(existsScript, words)
	}
	if reply.Now, err = wire.Millis(words[3]); err != nil {
		return ExistsReply{}, err
	}
	if reply.Evidence, err = readEvidence(words[1]); err != nil {
		return ExistsReply{}, err
	}
	reply.Note, err = readNote(d.Ledger, d.SeriesID, words[2], reply.Now)
	return reply, wire.NothingDone(err)
}
