package server

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
	// floor is the least time that a call must have left to be worth a question to the store.
	floor = 2 * time.Millisecond

	// tripAfter is how many questions in a row must fail before the store counts as dead; tripAfterCluster where the rest of a
	// cluster may answer while a part of it is dead, so that a row of failures comes about by chance.
	tripAfter        = 5
	tripAfterCluster = 40
	// slow is how long a question must have waited for its end by the caller's deadline to count as a failure of the store. It usually answers within
	// a few milliseconds.
	slow = 100 * time.Millisecond
	// A dead store is tried again after about openFirst; each trial in vain doubles that, up to openMost.
	openFirst = 250 * time.Millisecond
	openMost  = 2 * time.Second
	// openByWatch is how long the watch keeps the breaker open each time it finds the store dead: until its next look, with some slack.
	openByWatch = 2 * time.Second
)

// breaker keeps questions from a store that is dead, so that callers are told at once instead of each at its deadline, and a store that comes back
// does not find all of them waiting. What it refuses was never asked, so nothing was noted, and no FIRST can get lost by it.
//
// It opens after some failures in a row, or when the watch finds the store dead. It closes when any answer comes: to the one question that it lets through
// when its time is over, or to the watch.
type breaker struct {
	limit int32

	open     atomic.Bool  // so that the usual case takes no lock
	failures atomic.Int32 // in a row, while closed
	partly   atomic.Bool  // the watch has found a part of a cluster dead, and another alive

	mu      sync.Mutex
	until   time.Time     // no question before
	span    time.Duration // of the last opening
	probing bool          // one question is under way

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

var errBreakerOpen = fmt.Errorf("%w: it did not answer the last questions, and is asked again soon", store.ErrUnavailable)

// errNoNews marks an error that says nothing of whether the store is alive.
var errNoNews = errors.New("gathering a page")

// begin says whether the store may be asked, and whether this question is the one that tries whether it is back.
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

// end learns from how a question ended.
func (b *breaker) end(trial bool, took time.Duration, err error) {
	switch lifeOf(err, took) {
	case lives:
		b.alive()
	case lies:
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

// trip opens the breaker, or keeps it open after a trial in vain.
func (b *breaker) trip(trial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open.Load() && !trial {
		return // another has
	}
	b.span = min(max(2*b.span, openFirst), openMost)
	b.until = time.Now().Add(contract.Jitter(b.span))
	b.probing = false
	b.failures.Store(0)
	b.open.Store(true)
}

// part hears of each look whether some of a cluster answers where the rest does not. Then a row of failures is the rest's, which its callers may repeat as fast as they can;
// the others' callers must not be refused for it.
func (b *breaker) part(answers bool) {
	answers = answers && b.limit == tripAfterCluster
	b.partly.Store(answers)
	if answers {
		b.alive()
	}
}

// dead keeps the breaker open until the watch looks again: it has found that nothing comes back from the store. On a cluster it finds one dead node as
// well as all of them, so there it opens nothing.
func (b *breaker) dead(err error) {
	var network net.Error
	if b.limit == tripAfterCluster || !errors.As(err, &network) && !errors.Is(err, io.EOF) && !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Now().Add(openByWatch)
	b.open.Store(true)
}

// A life is what the end of a question says of the store.
type life int

const (
	lives life = iota
	lies       // nothing comes back
	unclear
)

// lifeOf: whatever Redis replied, it is alive; one that refuses every write may still know a duplicate. It is dead where nothing came back. A question that got no
// connection tells nothing: a store that is busy and one that is frozen hold them all alike, and the questions that have them will tell which it is.
func lifeOf(err error, took time.Duration) life {
	var replied interface {
		error
		RedisError()
	}
	switch {
	case errors.As(err, &replied), store.Foreign(err):
		return lives
	case errors.Is(err, store.ErrPoolExhausted), errors.Is(err, errNoNews):
		return unclear
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrOutcomeUnknown):
		return lies
	case errors.Is(err, context.DeadlineExceeded):
		if took >= slow {
			return lies
		}
		return unclear
	case errors.Is(err, context.Canceled):
		return unclear
	}
	return lives
}

// guarded is the store behind the breaker, as the service asks it.
type guarded struct {
	store   *store.Store
	breaker *breaker
}

// ask asks the store, if there is time and it is alive.
func (g guarded) ask(ctx context.Context, question func() error) error {
	began := time.Now()
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(began) < floor {
		return store.ErrPastDeadline
	}
	trial, err := g.breaker.begin()
	if err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended { // it panicked
			g.breaker.end(trial, 0, context.Canceled)
		}
	}()
	err = question()
	ended = true
	g.breaker.end(trial, time.Since(began), err)
	return err
}

// The questions are the store's.

func (g guarded) Note(ctx context.Context, r store.NoteRequest) (reply store.NoteReply, err error) {
	err = g.ask(ctx, func() (err error) { reply, err = g.store.Note(ctx, r); return err })
	return reply, err
}

// Notes asks for many. The store is alive if it answered one of them.
func (g guarded) Notes(ctx context.Context, requests []store.NoteRequest) (replies []store.NoteReply, errs []error) {
	err := g.ask(ctx, func() error {
		replies, errs = g.store.Notes(ctx, requests)
		for _, err := range errs {
			if lifeOf(err, slow) == lives {
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

func (g guarded) Exists(ctx context.Context, d store.Donation, m store.Message, rules store.Rules) (reply store.ExistsReply, err error) {
	err = g.ask(ctx, func() (err error) { reply, err = g.store.Exists(ctx, d, m, rules); return err })
	return reply, err
}

func (g guarded) Settle(ctx context.Context, receipt string) (note store.Note, err error) {
	err = g.ask(ctx, func() (err error) { note, err = g.store.Settle(ctx, receipt); return err })
	return note, err
}

func (g guarded) Release(ctx context.Context, receipt string) (note store.Note, err error) {
	err = g.ask(ctx, func() (err error) { note, err = g.store.Release(ctx, receipt); return err })
	return note, err
}

func (g guarded) Extend(ctx context.Context, receipt string, hold time.Duration) (note store.Note, err error) {
	err = g.ask(ctx, func() (err error) { note, err = g.store.Extend(ctx, receipt, hold); return err })
	return note, err
}

// List asks many times for a page. Where its time ends meanwhile, the store may have answered
// each time at once.
func (g guarded) List(ctx context.Context, r store.ListRequest) (reply store.ListReply, err error) {
	err = g.ask(ctx, func() (err error) {
		if reply, err = g.store.List(ctx, r); errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: %w", errNoNews, err)
		}
		return err
	})
	return reply, err
}

func (g guarded) Forget(ctx context.Context, ledger, series, donationID string) (note store.Note, err error) {
	err = g.ask(ctx, func() (err error) { note, err = g.store.Forget(ctx, ledger, series, donationID); return err })
	return note, err
}
