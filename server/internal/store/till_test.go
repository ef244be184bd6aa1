package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// A till asks for donations from many workers while faults happen, and remembers every
// answer.
type till struct {
	t     testing.TB
	store *store.Store
	seed  uint64
	stop  chan struct{}
	going sync.WaitGroup

	mu       sync.Mutex
	answered []answered
	doubled  []string // FIRST for a second request while the first one's hold stood
	wrong    []string

	done         []atomic.Int64 // donations that each worker is done with
	lastError    atomic.Value
	errors       atomic.Int64
	unreplicated atomic.Int64
	longest      atomic.Int64 // without an answer, in nanoseconds
}

type answered struct {
	series, donation string
	settled          bool
}

// begin starts workers that note, settle and ask again until end.
func begin(t testing.TB, s *store.Store, ledger string, workers int) *till {
	l := &till{t: t, store: s, seed: rand.Uint64(), stop: make(chan struct{}), done: make([]atomic.Int64, workers)}
	t.Logf("seed %d", l.seed)
	for i := range workers {
		l.going.Go(func() { l.work(ledger, i) })
	}
	return l
}

func (l *till) work(ledger string, worker int) {
	random := rand.New(rand.NewPCG(l.seed, uint64(worker)))
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		r := store.NoteRequest{
			Donation: store.Donation{
				Ledger:   ledger,
				SeriesID: fmt.Sprintf("I-%d-%d", worker, n),
				Event:    pay,
			},
			Message:   ipn,
			Hold:      10 * time.Minute,
			RequestID: fmt.Sprintf("%d-%d", worker, n),
			Rules:     defaultRules,
		}
		var first store.NoteReply
		// The same request again until it is answered, as a client does.
		if !l.until(func(ctx context.Context) (err error) { first, err = l.store.Note(ctx, r); return err }) {
			return
		}
		if first.Verdict != store.First {
			l.say(
				&l.wrong,
				"%s: its only caller got verdict %d by evidence %d",
				r.Donation.SeriesID,
				first.Verdict,
				first.Evidence,
			)
			continue
		}
		a := answered{series: r.Donation.SeriesID, donation: first.Note.DonationID}
		l.again(r, a, false)
		if random.IntN(4) > 0 {
			lost := false
			ok := l.until(func(ctx context.Context) error {
				_, err := l.store.Settle(ctx, first.Receipt)
				if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrHoldLost) {
					lost = true
					return nil
				}
				return err
			})
			a.settled = ok && !lost
			if a.settled {
				l.again(r, a, true)
			}
		}
		l.mu.Lock()
		l.answered = append(l.answered, a)
		l.mu.Unlock()
		l.done[worker].Add(1)
	}
}

// again asks for the donation with another request, once: the answer must not be FIRST.
func (l *till) again(r store.NoteRequest, a answered, settled bool) {
	r.RequestID = fmt.Sprint(r.RequestID, " again ", settled)
	c, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if reply, err := l.store.Note(c, r); err == nil && reply.Verdict == store.First {
		l.say(
			&l.doubled,
			"%s was FIRST as %s, settled %v, and is FIRST again as %s by evidence %d",
			a.series,
			a.donation,
			settled,
			reply.Note.DonationID,
			reply.Evidence,
		)
	}
}

// until asks until there is an answer; false if it is stopped first.
func (l *till) until(ask func(ctx context.Context) error) bool {
	began := time.Now()
	for {
		c, cancel := context.WithTimeout(context.Background(), time.Second)
		err := ask(c)
		cancel()
		if err == nil {
			for took := int64(time.Since(began)); ; {
				most := l.longest.Load()
				if took <= most || l.longest.CompareAndSwap(most, took) {
					return true
				}
			}
		}
		l.errors.Add(1)
		l.lastError.Store(err.Error())
		if errors.Is(err, store.ErrNotReplicated) {
			l.unreplicated.Add(1)
		}
		select {
		case <-l.stop:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (l *till) say(list *[]string, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*list = append(*list, fmt.Sprintf(format, args...))
}

// end stops the workers and looks for the note of every answer. It returns the answers
// whose notes are lost.
func (l *till) end(ledger string) (lost []string) {
	l.t.Helper()
	close(l.stop)
	l.going.Wait()
	for _, a := range l.answered {
		var reply store.ExistsReply
		soon(l.t, 20*time.Second, "a look", func() bool {
			c, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var err error
			reply, err = l.store.Exists(
				c,
				store.Donation{Ledger: ledger, SeriesID: a.series, Event: pay},
				ipn,
				defaultRules,
			)
			return err == nil
		})
		switch {
		case reply.Evidence == 0 || reply.Note.DonationID != a.donation:
			lost = append(lost, fmt.Sprintf("%s was FIRST as %s, and is now %+v", a.series, a.donation, reply.Note))
		case a.settled && reply.Note.State != store.StateSettled:
			lost = append(lost, fmt.Sprintf("%s was settled, and is now %+v", a.series, reply.Note))
		}
	}
	for _, w := range l.wrong {
		l.t.Error(w)
	}
	return lost
}

// sum writes the figures of a till.
func (l *till) sum(lost []string) string {
	return fmt.Sprintf(
		"%d answers, %d lost, %d FIRST twice; %d errors, %d of them since replicas were missing; the longest "+
			"wait for an "+
			"answer %v",
		len(
			l.answered,
		),
		len(lost),
		len(l.doubled),
		l.errors.Load(),
		l.unreplicated.Load(),
		time.Duration(l.longest.Load()).Round(time.Millisecond),
	)
}

// enough waits until the till has many answers.
func enough(t testing.TB, l *till) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the last error of %d: %v", l.errors.Load(), l.lastError.Load())
		}
	}()
	soon(t, 20*time.Second, "a load", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.answered) > 200
	})
}

// allGoOn waits until every worker gets answers. By then each has asked every part of a
// cluster.
func (l *till) allGoOn() {
	l.t.Helper()
	began := make([]int64, len(l.done))
	for i := range l.done {
		began[i] = l.done[i].Load()
	}
	soon(l.t, 10*time.Second, "every worker gets answers again", func() bool {
		for i := range l.done {
			if l.done[i].Load() < began[i]+20 {
				return false
			}
		}
		return true
	})
}

// some are the first few of many.
func some(all []string) []string { return all[:min(len(all), 10)] }
