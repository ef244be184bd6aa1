package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

const (
	// floor is the least time that a call must have left for a question to the store.
	floor = 2 * time.Millisecond

	// tripAfter is how many questions in a row must fail before the store counts as dead.
	// tripAfterCluster is the same for a cluster: a part of it may be dead while the rest
	// answers, so several failures in a row can happen by chance.
	tripAfter        = 5
	tripAfterCluster = 40
	// slow is how long a question must have waited, when its caller's deadline ends it,
	// to count as a failure of the store. The store normally answers within a few
	// milliseconds.
	slow = 100 * time.Millisecond
	// A dead store is tried again after about openFirst. Each trial that fails doubles
	// the time, up to openMost.
	openFirst = 250 * time.Millisecond
	openMost  = 2 * time.Second
	// openByWatch is how long the watch keeps the breaker open each time it finds the
	// store dead: until its next look, with some slack.
	openByWatch = 2 * time.Second
)

// breaker keeps questions away from a store that is dead. So callers fail at once instead
// of at their deadlines, and a store that comes back does not find all of them waiting. A
// refused question was never asked, so nothing was noted, and no FIRST can be lost by it.
//
// It opens after several failures in a row, or when the watch finds the store dead. It
// closes at any answer: to the one question that it lets through after a while, or to the
// watch.
type breaker struct {
	limit int32

	open     atomic.Bool  // so that a call takes no lock while it is closed
	failures atomic.Int32 // in a row, while closed
	partly   atomic.Bool  // the watch has found one part of a cluster dead and another alive

	mu      sync.Mutex
	until   time.Time     // no question before this time
	span    time.Duration // of the last opening
	probing bool          // a trial is under way

	refused prometheus.Counter
}

func newBreaker(cluster bool, m *metrics.Metrics) *breaker {
	b := &breaker{limit: tripAfter, refused: m.Counter("noted_store_not_asked_total")}
	if cluster {
		b.limit = tripAfterCluster
	}
	m.GaugeFunc("noted_store_breaker_open", func() float64 {
		if b.open.Load() {
			return 1
		}
		return 0
	})
	return b
}

var errBreakerOpen = fmt.Errorf(
	"%w: it did not answer the last questions, and is asked again soon",
	store.ErrUnavailable,
)

// errNoNews marks an error that does not tell whether the store is alive.
var errNoNews = errors.New("gathering a page")

// begin tells whether the store may be asked, and whether this question is the trial that
// finds out if the store is back.
func (b *breaker) begin() (trial bool, err error) {
	if !b.open.Load() {
		return false, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open.Load() {
		return false, nil
	}
	if b.probing || time.Now().Before(b.until) {
		b.refused.Inc()
		return false, errBreakerOpen
	}
	b.probing = true
	return true, nil
}

// end learns from the end of a question.
func (b *breaker) end(trial bool, took time.Duration, err error) {
	switch signOf(err, took) {
	case alive:
		b.alive()
	case dead:
		if !b.partly.Load() && (trial || !b.open.Load() && b.failures.Add(1) >= b.limit) {
			b.trip(trial)
		}
	case unclear:
		if trial {
			b.mu.Lock()
			b.probing = false
			b.mu.Unlock()
		}
	}
}

// alive closes the breaker: the store has answered.
func (b *breaker) alive() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
	if !b.open.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing, b.span = false, 0
	b.open.Store(false)
}

// trip opens the breaker, or keeps it open after a trial that failed.
func (b *breaker) trip(trial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.Load() && !trial {
		return // another question has opened it
	}
	b.span = min(max(2*b.span, openFirst), openMost)
	b.until = time.Now().Add(contract.Jitter(b.span))
	b.probing = false
	b.failures.Store(0)
	b.open.Store(true)
}

// part learns from each look whether one part of a cluster answers while another does
// not. Then a row of failures belongs to the dead part, whose callers may repeat as fast
// as they can. Callers of the other parts must not be refused for it.
func (b *breaker) part(answers bool) {
	answers = answers && b.limit == tripAfterCluster
	b.partly.Store(answers)
	if answers {
		b.alive()
	}
}

// dead keeps the breaker open until the watch looks again: the watch got no reply from
// the store. In a cluster one dead node looks like all of them, so there it opens
// nothing.
func (b *breaker) dead(err error) {
	var network net.Error
	if b.limit == tripAfterCluster ||
		!errors.As(err, &network) && !errors.Is(err, io.EOF) && !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Now().Add(openByWatch)
	b.open.Store(true)
}

// A sign is what the end of a question says about the store.
type sign int

const (
	alive sign = iota
	dead       // there was no reply
	unclear
)

// signOf reads the error of a question. Any reply of Redis means that it is alive: a
// Redis that refuses every write may still know a duplicate. No reply means that it is
// dead. Pool exhaustion is unclear: a busy and a frozen Redis look the same, and the
// questions that hold a connection will tell.
func signOf(err error, took time.Duration) sign {
	if err == nil {
		return alive
	}
	var replied interface {
		error
		RedisError()
	}
	switch {
	case errors.As(err, &replied), store.Foreign(err):
		return alive
	case errors.Is(err, store.ErrPoolExhausted), errors.Is(err, errNoNews):
		return unclear
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrOutcomeUnknown):
		return dead
	case errors.Is(err, context.DeadlineExceeded):
		if took >= slow {
			return dead
		}
		return unclear
	case errors.Is(err, context.Canceled):
		return unclear
	}
	return alive
}

// Store is the store behind the breaker, as calls ask it.
type Store struct {
	store   *store.Store
	breaker *breaker
}

// ask asks the store if there is time left and the store is alive.
func (s Store) ask(ctx context.Context, question func() error) error {
	began := time.Now()
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(began) < floor {
		return store.ErrPastDeadline
	}
	trial, err := s.breaker.begin()
	if err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended { // it panicked
			s.breaker.end(trial, 0, context.Canceled)
		}
	}()
	err = question()
	ended = true
	s.breaker.end(trial, time.Since(began), err)
	return err
}

// Asked is the store behind the breaker.
func (w *Watch) Asked() Store { return Store{store: w.Store, breaker: w.breaker} }

// Note is of store.Store.
func (s Store) Note(ctx context.Context, r store.NoteRequest) (reply store.NoteReply, err error) {
	err = s.ask(ctx, func() (err error) { reply, err = s.store.Note(ctx, r); return err })
	return reply, err
}

// Notes is of store.Store. The store is alive if it answered one of them.
func (s Store) Notes(ctx context.Context, requests []store.NoteRequest) (replies []store.NoteReply, errs []error) {
	err := s.ask(ctx, func() error {
		replies, errs = s.store.Notes(ctx, requests)
		for _, err := range errs {
			if signOf(err, slow) == alive {
				return nil
			}
		}
		return errs[0]
	})
	if errs == nil { // not asked
		replies, errs = make([]store.NoteReply, len(requests)), make([]error, len(requests))
		for i := range errs {
			errs[i] = err
		}
	}
	return replies, errs
}

// Exists is of store.Store.
func (s Store) Exists(
	ctx context.Context,
	d store.Donation,
	m store.Message,
	rules store.Rules,
) (reply store.ExistsReply, err error) {
	err = s.ask(ctx, func() (err error) { reply, err = s.store.Exists(ctx, d, m, rules); return err })
	return reply, err
}

// Settle is of store.Store.
func (s Store) Settle(ctx context.Context, receipt string) (note store.Note, err error) {
	err = s.ask(ctx, func() (err error) { note, err = s.store.Settle(ctx, receipt); return err })
	return note, err
}

// Release is of store.Store.
func (s Store) Release(ctx context.Context, receipt string) (note store.Note, err error) {
	err = s.ask(ctx, func() (err error) { note, err = s.store.Release(ctx, receipt); return err })
	return note, err
}

// Extend is of store.Store.
func (s Store) Extend(ctx context.Context, receipt string, hold time.Duration) (note store.Note, err error) {
	err = s.ask(ctx, func() (err error) { note, err = s.store.Extend(ctx, receipt, hold); return err })
	return note, err
}

// List is of store.Store. It asks the store many times for one page; if its time ends,
// the store may still have answered each time at once.
func (s Store) List(ctx context.Context, r store.ListRequest) (reply store.ListReply, err error) {
	err = s.ask(ctx, func() (err error) {
		if reply, err = s.store.List(ctx, r); errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: %w", errNoNews, err)
		}
		return err
	})
	return reply, err
}

// Forget is of store.Store.
func (s Store) Forget(ctx context.Context, ledger, series, donationID string) (note store.Note, err error) {
	err = s.ask(ctx, func() (err error) { note, err = s.store.Forget(ctx, ledger, series, donationID); return err })
	return note, err
}
