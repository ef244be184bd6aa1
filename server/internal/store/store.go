// Package store remembers which donations have been noted, in Redis.
//
// All notes of a series live under one key, as text that a person can read with
// redis-cli; notes.lua describes it. Each call of the service is one run of one script
// over that key, so each is atomic by itself, and a Redis Cluster serves it as it is. The
// scripts decide first and write last: what is refused changes nothing.
//
// # Design
//
// One text value a series, not a hash of records: it costs less memory for a donation in
// a series of its own, and does not jump where a record outgrows 64 bytes. Not a record
// with index keys either: three keys cannot be changed in one script on a cluster without
// tying them to one node, and cost three times the memory.
//
// Redis's clock is the only one. The scripts compare times themselves; the expiry of a
// key only cleans up behind them.
//
// The client library never sends a script again by itself (see once). What may be sent
// again is decided by who knows the request id: the caller.
package store

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Store is the memory of the service. Its methods may be used by many goroutines.
type Store struct {
	redis redis.UniversalClient
	batch *batcher // nil on a cluster, where one dead node would hold up the others' calls
	looks *batcher // the same for calls that only look: they wait for no replicas, and ask for the role around them

	clocks clocks

	replicas        int // how many must have an answer before it is given
	replicasTimeout time.Duration

	epoch      *epoch
	refuseLost bool

	unknownScripts atomic.Uint32

	unverified bool                  // Redis's certificate is not checked
	unsuitable atomic.Pointer[error] // why no call may reach the store, as Check has found; nil while calls may

	log *slog.Logger
}

// Note decides whether a donation has been noted, and notes it. Its errors are those of
// types.go or of ctx. After ErrOutcomeUnknown, ErrNotReplicated, ErrWentBack and an error
// of ctx it may have been noted, and nothing more will be; after any other nothing was.
// Asking again with the same RequestID is right after each.
func (s *Store) Note(ctx context.Context, r NoteRequest) (NoteReply, error) {
	args, err := s.noteArgs(r)
	if err != nil {
		return NoteReply{}, err
	}
	words, err := s.run(ctx, noteScript, seriesKey(r.Donation.Ledger, r.Donation.SeriesID), args...)
	if err != nil {
		return NoteReply{}, err
	}
	return readNoteReply(r, words)
}

// Notes is Note for many, in order and in one round trip: those of one series are noted
// in the order they stand.
func (s *Store) Notes(ctx context.Context, requests []NoteRequest) ([]NoteReply, []error) {
	replies, errs := make([]NoteReply, len(requests)), make([]error, len(requests))
	calls, at := make([]call, 0, len(requests)), make([]int, 0, len(requests))
	for i, r := range requests {
		args, err := s.noteArgs(r)
		if err != nil {
			errs[i] = err
			continue
		}
		calls, at = append(
			calls,
			call{script: noteScript, key: seriesKey(r.Donation.Ledger, r.Donation.SeriesID), args: args},
		), append(
			at,
			i,
		)
	}
	if len(calls) == 0 {
		return replies, errs
	}
	for j, result := range s.runFor(ctx, calls) {
		i := at[j]
		if errs[i] = result.err; errs[i] == nil {
			replies[i], errs[i] = readNoteReply(requests[i], result.words)
		}
	}
	return replies, errs
}

func (s *Store) noteArgs(r NoteRequest) ([]any, error) {
	if err := storable(r.Donation, r.Message); err != nil {
		return nil, err
	}
	d, rules := r.Donation, r.Rules
	return []any{
		events[d.Event-1 : d.Event],
		token(r.RequestID),
		writeMessage(r.Message),
		writeTransaction(d.TransactionID),
		writeMoney(d.Amount, d.CurrencyCode),
		writeTime(d.OccurredAt),
		writeTime(r.Message.ReceivedAt),
		r.Hold.Milliseconds(),
		rules.MatchWindow.Milliseconds(),
		rules.ArrivalWindow.Milliseconds(),
		wholeSeconds(rules.Retention).Milliseconds(),
		rules.SkewAhead.Milliseconds(),
		writeAgreeing(rules),
		rules.SeriesLimit,
		flag(s.replicas > 0),
	}, nil
}

func readNoteReply(r NoteRequest, words []string) (NoteReply, error) {
	reply := NoteReply{}
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
	if len(words) < 5 || len(words)%2 == 0 {
		return NoteReply{}, unexpected(noteScript, words)
	}
	var err error
	if reply.Now, err = millis(words[3]); err != nil {
		return NoteReply{}, err
	}
	if reply.Evidence, err = readEvidence(words[1]); err != nil {
		return NoteReply{}, err
	}
	if reply.Note, err = readNote(r.Donation.Ledger, r.Donation.SeriesID, words[2], reply.Now); err != nil {
		return NoteReply{}, err
	}
	reply.Recorded = words[4] == "1"
	for told := words[5:]; len(told) > 0; told = told[2:] {
		reply.Against = append(reply.Against, Told{Channel: told[0], TransactionID: readTransaction(told[1])})
	}
	if reply.Verdict == First && r.Hold > 0 {
		reply.Receipt = receipt{
			r.Donation.Ledger,
			r.Donation.SeriesID,
			reply.Note.NotedAt.UnixMilli(),
			reply.Note.Attempt,
			token(r.RequestID),
		}.String()
	}
	return reply, nil
}

// Exists decides as Note does, and notes nothing.
func (s *Store) Exists(ctx context.Context, d Donation, m Message, rules Rules) (ExistsReply, error) {
	if err := storable(d, m); err != nil {
		return ExistsReply{}, err
	}
	words, err := s.run(
		ctx,
		existsScript,
		seriesKey(d.Ledger, d.SeriesID),
		events[d.Event-1:d.Event],
		writeMessage(m),
		writeTransaction(d.TransactionID),
		writeMoney(d.Amount, d.CurrencyCode),
		writeTime(d.OccurredAt),
		writeTime(m.ReceivedAt),
		rules.MatchWindow.Milliseconds(),
		rules.ArrivalWindow.Milliseconds(),
		wholeSeconds(rules.Retention).Milliseconds(),
		rules.SkewAhead.Milliseconds(),
		writeAgreeing(rules),
	)
	if err != nil {
		return ExistsReply{}, looked(err)
	}
	reply := ExistsReply{}
	switch {
	case words[0] == "NONE":
		reply.Now, err = millis(words[1])
		return reply, err
	case words[0] != "FOUND" || len(words) != 4:
		return ExistsReply{}, unexpected(existsScript, words)
	}
	if reply.Now, err = millis(words[3]); err != nil {
		return ExistsReply{}, err
	}
	if reply.Evidence, err = readEvidence(words[1]); err != nil {
		return ExistsReply{}, err
	}
	reply.Note, err = readNote(d.Ledger, d.SeriesID, words[2], reply.Now)
	return reply, looked(err)
}

// Settle makes the note of a receipt final.
func (s *Store) Settle(ctx context.Context, receipt string) (Note, error) {
	return s.hold(ctx, settleScript, receipt, flag(s.replicas > 0))
}

// Release gives the hold of a receipt up.
func (s *Store) Release(ctx context.Context, receipt string) (Note, error) {
	return s.hold(ctx, releaseScript, receipt, flag(s.replicas > 0))
}

// Extend lets the hold of a receipt last until hold from now.
func (s *Store) Extend(ctx context.Context, receipt string, hold time.Duration) (Note, error) {
	return s.hold(ctx, extendScript, receipt, hold.Milliseconds(), flag(s.replicas > 0))
}

func (s *Store) hold(ctx context.Context, sc *script, given string, more ...any) (Note, error) {
	r, err := parseReceipt(given)
	if err != nil {
		return Note{}, err
	}
	words, err := s.run(ctx, sc, seriesKey(r.ledger, r.series), append([]any{r.noted, r.token, r.attempt}, more...)...)
	if err != nil {
		return Note{}, err
	}
	return readDone(sc, r.ledger, r.series, words)
}

// Forget undoes the note of a donation id.
func (s *Store) Forget(ctx context.Context, ledger, series, donationID string) (Note, error) {
	noted, err := notedOf(ledger, series, donationID)
	if err != nil {
		return Note{}, err
	}
	words, err := s.run(ctx, forgetScript, seriesKey(ledger, series), noted, flag(s.replicas > 0))
	if err != nil {
		return Note{}, err
	}
	return readDone(forgetScript, ledger, series, words)
}

func readDone(sc *script, ledger, series string, words []string) (Note, error) {
	if words[0] != "DONE" || len(words) != 3 {
		return Note{}, unexpected(sc, words)
	}
	now, err := millis(words[2])
	if err != nil {
		return Note{}, err
	}
	return readNote(ledger, series, words[1], now)
}

// Close ends the connections.
func (s *Store) Close() error { return s.redis.Close() }

// storable guards the format: whatever the caller has checked, nothing may be written
// that could not be read again.
func storable(d Donation, m Message) error {
	if d.Event < 1 || d.Event > MaxEvent {
		return fmt.Errorf("noting: there is no event %d", d.Event)
	}
	for _, s := range []string{d.Ledger, d.SeriesID, d.Amount, d.CurrencyCode, d.TransactionID, m.Channel, m.ID} {
		if !printable(s) {
			return fmt.Errorf("noting: %q is not printable ASCII without spaces", s)
		}
	}
	for i := range len(m.Channel) {
		if c := m.Channel[i]; c == ':' || c == ',' || 'A' <= c && c <= 'Z' || c == '*' {
			return fmt.Errorf("noting: the channel %q has the letter %q", m.Channel, c)
		}
	}
	if d.Amount != "" && len(d.CurrencyCode) != 3 {
		return fmt.Errorf("noting: the currency code %q has not three letters", d.CurrencyCode)
	}
	return nil
}

func readEvidence(word string) (Evidence, error) {
	switch word {
	case "NEW":
		return New, nil
	case "SAME_REQUEST":
		return SameRequest, nil
	case "SAME_MESSAGE":
		return SameMessage, nil
	case "SAME_TRANSACTION":
		return SameTransaction, nil
	case "PAIRED":
		return Paired, nil
	case "TAKEN_OVER":
		return TakenOver, nil
	}
	return 0, fmt.Errorf("a script replied the evidence %s, which this release does not know", strconv.Quote(word))
}

// wholeSeconds rounds up: a note keeps its retention in seconds.
func wholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
