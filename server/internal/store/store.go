// Package store remembers which donations have been noted, in Redis.
//
// All notes of a series are under one key, as text that a person can read with redis-cli;
// notes.lua describes it. Each call of the service runs one script once over that key, so
// each is atomic by itself, and a Redis Cluster needs nothing special. The scripts decide
// first and write last: a refused call changes nothing.
//
// # Design
//
// A series is one text value, not a hash of records: that costs less memory for a
// donation in a series of its own, and does not jump where a record outgrows 64 bytes.
// Records with index keys would be worse: on a cluster one script cannot change three
// keys unless they are tied to one node, and they cost three times the memory.
//
// Redis's clock is the only clock. The scripts compare times themselves; the expiry of a
// key only cleans up behind them.
//
// A note's way is short: this package turns it into a call, package wire takes the call
// to Redis and back, and this package reads the reply. Package epoch stands beside that
// way and says whether the store may be asked at all.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store/epoch"
	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// Config says where the store is.
type Config struct {
	// URL is the address of Redis, in the form that the client library's parser of the mode reads:
	// redis://user:password@host:6379/0, or rediss:// for TLS. Sentinels and clusters may
	// add ?addr=host:port, and sentinels need master_name=.
	URL string
	// Mode is "standalone", "sentinel" or "cluster". It is never guessed from the URL: a
	// single address may be a cluster's.
	Mode string
	// Replicas is how many replicas must have the basis of an answer before it is given;
	// 0 leaves that to Redis's own settings.
	Replicas int
	// ReplicasTimeout is how long to wait for them. Required with Replicas.
	ReplicasTimeout time.Duration
	// Certificates gives the certificates of TLS connections, anew for each connection.
	// nil means that Noted shows no certificate, and that Redis's must be of a CA of the
	// system.
	Certificates func() Certificates
	// Epoch is the id of the epoch that the store must be in, as Store.Epoch gave it;
	// empty accepts any.
	Epoch string
	// RefuseAfterLoss lets no call reach a store that has lost notes until the loss is
	// acknowledged. On a cluster calls are answered until a beat has noticed.
	RefuseAfterLoss bool
	// Logger gets lines for the operator. Required.
	Logger *slog.Logger
	// Took is told how long each script took, on its way and back; nil for none.
	Took func(script string, took time.Duration)
	// Trace follows each question to Redis; nil for none.
	Trace Trace
}

// A Trace is told when a question begins: which script is run, and for how many calls.
// What it returns is told when the question ends: the round trip and the first failure.
type Trace func(ctx context.Context, script string, calls int) (ended func(Leg, error))

// What the store says of its Redis and of its connections.
type (
	Certificates = wire.Certificates
	Report       = wire.Report
	Stats        = wire.Stats
	Leg          = wire.Leg
	Loss         = epoch.Loss
)

// ByMode is the shut-out of a Redis that is of another kind than -redis-mode says.
const ByMode = wire.ByMode

// ShutOuts are the reasons for which Redis is there and Noted cannot use it.
var ShutOuts = wire.ShutOuts

// ShutOut tells which of ShutOuts a failure is of; empty for other failures.
func ShutOut(err error) string { return wire.ShutOut(err) }

// Store is the memory of the service. Its methods may be used by many goroutines.
type Store struct {
	wire       *wire.Client
	epoch      *epoch.Epoch
	replicated bool                  // answers wait for replicas
	trace      Trace                 // nil for none
	unsuitable atomic.Pointer[error] // why no call may reach the store, as Check has found; nil if calls may
}

// Open reads the configuration. It does not need the store to be up.
func Open(_ context.Context, c Config) (*Store, error) {
	s := &Store{replicated: c.Replicas > 0, trace: c.Trace, epoch: epoch.New(epoch.Config{
		Cluster:         c.Mode == "cluster",
		Expected:        c.Epoch,
		RefuseAfterLoss: c.RefuseAfterLoss,
		Beat:            beatScript,
	})}
	config := wire.Config{
		URL:             c.URL,
		Mode:            c.Mode,
		Replicas:        c.Replicas,
		ReplicasTimeout: c.ReplicasTimeout,
		Certificates:    c.Certificates,
		Logger:          c.Logger,
		Took:            c.Took,
	}
	if c.RefuseAfterLoss && c.Mode != "cluster" {
		config.Greet = s.epoch.Verify
	}
	var err error
	s.wire, err = wire.Open(config)
	return s, err
}

// Close ends the connections.
func (s *Store) Close() error { return s.wire.Close() }

// Stats counts since Open.
func (s *Store) Stats() Stats { return s.wire.Stats() }

// Check asks the store, or every primary of a cluster, whether it can take notes. The
// error says why not. The report has the facts that the store told.
func (s *Store) Check(ctx context.Context) (Report, error) {
	r, err := s.wire.Check(epoch.Checking(ctx))
	switch {
	case errors.Is(err, ErrUnsuitable):
		s.unsuitable.Store(&err)
	case err == nil:
		s.unsuitable.Store(nil)
	}
	return r, err
}

// Beat adds a beat to the store's epoch, and returns each loss of notes that it finds. An
// error means that a part of the store gave no answer.
func (s *Store) Beat(ctx context.Context) ([]Loss, error) { return s.epoch.Beat(ctx, s.wire) }

// Lost is the latest loss that is not acknowledged. Its time is zero if there is none.
func (s *Store) Lost() Loss { return s.epoch.Lost() }

// Acknowledge accepts the store as it is.
func (s *Store) Acknowledge() { s.epoch.Acknowledge() }

// Epoch is the id of the store's epoch, for the next start. It is several ids joined by
// "+" on a cluster of which a part has lost notes, and empty before the first beat.
func (s *Store) Epoch() string { return s.epoch.ID() }

// Unreplicated is the reason why nothing can be noted although the store takes writes:
// too few replicas have the last beat. part is true if some primaries of a cluster have
// enough. The reason is nil if all is well.
func (s *Store) Unreplicated() (reason error, part bool) {
	if reason, part = s.epoch.Unreplicated(); reason == nil {
		return nil, false
	}
	return s.wire.Unreplicated(reason), part
}

// trusted returns an error while the store must not be asked: it cannot run Noted, it has
// lost notes, or no beat has looked yet.
func (s *Store) trusted() error {
	if err := s.unsuitable.Load(); err != nil {
		return *err
	}
	return s.epoch.Trusted()
}

// run runs the calls on behalf of ctx, and traces them if there is a trace.
func (s *Store) run(ctx context.Context, calls ...*wire.Call) {
	if s.trace == nil {
		s.ask(ctx, calls)
		return
	}
	ended := s.trace(ctx, calls[0].Script.Name, len(calls))
	trip := &wire.Trip{}
	calls[0].Trip = trip
	s.ask(ctx, calls)
	var failed error
	for _, c := range calls {
		failed = cmp.Or(failed, c.Err)
	}
	ended(trip.Last(), failed)
}

// ask runs the calls, unless the store is not to be trusted.
func (s *Store) ask(ctx context.Context, calls []*wire.Call) {
	if err := s.trusted(); err != nil {
		wire.Fail(calls, err)
		return
	}
	s.wire.Run(ctx, calls)
	for _, c := range calls {
		if wire.Foreign(c.Err) {
			c.Err = located(c.Key, c.Err)
		}
	}
	// A reply may have come over a new connection, which has shown meanwhile that the
	// store lost notes.
	if err := s.trusted(); err != nil {
		wire.Fail(calls, err)
	}
}

// runOne runs one script on behalf of ctx.
func (s *Store) runOne(ctx context.Context, sc *wire.Script, key string, args ...any) ([]string, error) {
	c := &wire.Call{Script: sc, Key: key, Args: args}
	s.run(ctx, c)
	return c.Words, c.Err
}

// Settle makes the note of a receipt final. A receipt in shadow changes nothing here, nor
// with Release and Extend, and is answered with the note.
func (s *Store) Settle(ctx context.Context, receipt string) (Note, error) {
	return s.withReceipt(ctx, settleScript, receipt, flag(s.replicated))
}

// Release gives up the hold of a receipt.
func (s *Store) Release(ctx context.Context, receipt string) (Note, error) {
	return s.withReceipt(ctx, releaseScript, receipt, flag(s.replicated))
}

// Extend makes the hold of a receipt end at hold from now.
func (s *Store) Extend(ctx context.Context, receipt string, hold time.Duration) (Note, error) {
	return s.withReceipt(ctx, extendScript, receipt, hold.Milliseconds(), flag(s.replicated))
}

func (s *Store) withReceipt(ctx context.Context, sc *wire.Script, given string, more ...any) (Note, error) {
	r, err := parseReceipt(given)
	if err != nil {
		return Note{}, err
	}
	if r.shadow {
		return s.noteOf(ctx, r)
	}
	words, err := s.runOne(
		ctx,
		sc,
		seriesKey(r.ledger, r.series),
		append([]any{r.noted, r.token, r.attempt}, more...)...)
	if err != nil {
		return Note{}, err
	}
	return readDone(sc, r.ledger, r.series, words)
}

// noteOf reads the note of a receipt, and changes nothing.
func (s *Store) noteOf(ctx context.Context, r receipt) (Note, error) {
	key := seriesKey(r.ledger, r.series)
	words, err := s.runOne(ctx, listScript, key, writeTransaction(""))
	if err != nil {
		return Note{}, wire.NothingDone(err)
	}
	if words[0] != "NOTES" || len(words) < 2 {
		return Note{}, unexpected(listScript, words)
	}
	now, err := wire.Millis(words[1])
	if err != nil {
		return Note{}, err
	}
	notes, err := readNotes(key, words[2:], now)
	if err != nil {
		return Note{}, err
	}
	for _, n := range notes {
		if n.NotedAt.UnixMilli() == r.noted {
			return n, nil
		}
	}
	return Note{}, ErrNotFound
}

// Forget undoes the note of a donation id.
func (s *Store) Forget(ctx context.Context, ledger, series, donationID string) (Note, error) {
	noted, err := notedOf(ledger, series, donationID)
	if err != nil {
		return Note{}, err
	}
	words, err := s.runOne(ctx, forgetScript, seriesKey(ledger, series), noted, flag(s.replicated))
	if err != nil {
		return Note{}, err
	}
	return readDone(forgetScript, ledger, series, words)
}

func readDone(sc *wire.Script, ledger, series string, words []string) (Note, error) {
	if words[0] != "DONE" || len(words) != 3 {
		return Note{}, unexpected(sc, words)
	}
	now, err := wire.Millis(words[2])
	if err != nil {
		return Note{}, err
	}
	return readNote(ledger, series, words[1], now)
}

// storable protects the format: it refuses a value that could not be read again, although
// the caller has checked it already.
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

// wholeSeconds rounds up, since a note keeps its retention in seconds.
func wholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
