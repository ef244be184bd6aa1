package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// refusesReceipt checks that a receipt cannot be settled, released or extended.
func refusesReceipt(t *testing.T, s *store.Store, receipt string, want error) {
	t.Helper()
	for name, use := range map[string]func() (store.Note, error){
		"Settle":  func() (store.Note, error) { return s.Settle(ctx(t), receipt) },
		"Release": func() (store.Note, error) { return s.Release(ctx(t), receipt) },
		"Extend":  func() (store.Note, error) { return s.Extend(ctx(t), receipt, time.Minute) },
	} {
		if n, err := use(); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", name, n, err, want)
		}
	}
}

// TestReceiptOfALostTakeover loses a takeover, as a failover to a stale replica does.
// Another request takes over under the same attempt, and the first receipt must not work
// for it.
func TestReceiptOfALostTakeover(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	c := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer c.Close()

	one := note(t, s, holding(t, "I-1", "one"))
	if _, err := s.Release(ctx(t), one.Receipt); err != nil {
		t.Fatal(err)
	}
	stale, err := c.Dump(ctx(t), keyOf(t, "I-1")).Result()
	if err != nil {
		t.Fatal(err)
	}
	lost := note(t, s, holding(t, "I-1", "lost"))
	wantVerdict(t, lost, store.First, store.TakenOver)
	if err := c.RestoreReplace(ctx(t), keyOf(t, "I-1"), time.Hour, stale).Err(); err != nil {
		t.Fatal(err)
	}
	kept := note(t, s, holding(t, "I-1", "kept"))
	wantVerdict(t, kept, store.First, store.TakenOver)
	if lost.Note.Attempt != kept.Note.Attempt || lost.Note.DonationID != kept.Note.DonationID {
		t.Fatalf("attempts %d and %d of %s and %s: this shows nothing", lost.Note.Attempt, kept.Note.Attempt,
			lost.Note.DonationID, kept.Note.DonationID)
	}

	refusesReceipt(t, s, lost.Receipt, store.ErrHoldLost)
	if _, err := s.Settle(ctx(t), kept.Receipt); err != nil {
		t.Errorf("the holder cannot settle: %v", err)
	}
	refusesReceipt(t, s, lost.Receipt, store.ErrSettledByAnother)
}

// TestReceiptOfAnEarlierAttempt checks that a request which takes over from itself has
// one receipt that works: a receiver of before may still run.
func TestReceiptOfAnEarlierAttempt(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		one := note(t, s, holding(t, "I-1", "same"))
		if _, err := s.Release(ctx(t), one.Receipt); err != nil {
			t.Fatal(err)
		}
		two := note(t, s, holding(t, "I-1", "same"))
		wantVerdict(t, two, store.First, store.TakenOver)
		refusesReceipt(t, s, one.Receipt, store.ErrHoldLost)
		if _, err := s.Settle(ctx(t), two.Receipt); err != nil {
			t.Errorf("the holder cannot settle: %v", err)
		}
		refusesReceipt(t, s, one.Receipt, store.ErrSettledByAnother)
	})
}

// TestForgetWhenFull forgets one note of two in a Redis without memory: the other is
// written back, which takes less room than before.
func TestForgetWhenFull(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	r := holding(t, "I-1", "r")
	first := note(t, s, r)
	r.Donation.Event, r.RequestID = refund, "other"
	note(t, s, r)
	server.Do("CONFIG SET maxmemory 1")
	if _, err := s.Forget(ctx(t), ledgerOf(t), "I-1", first.Note.DonationID); err != nil {
		t.Errorf("Forget: %v", err)
	}
	wantVerdict(t, note(t, s, r), store.First, store.SameRequest)
	reply, err := s.List(ctx(t), store.ListRequest{Ledger: ledgerOf(t), SeriesID: "I-1", PageSize: 10})
	if err != nil || len(reply.Notes) != 1 || reply.Notes[0].Donation.Event != refund {
		t.Errorf("List: %+v, %v, want the other note alone", reply.Notes, err)
	}
}

// TestKeyOutlivesItsNotes checks that Redis keeps a series until its last note is
// forgotten, whichever that is.
func TestKeyOutlivesItsNotes(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	c := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer c.Close()
	for series, retentions := range map[string][]time.Duration{
		"shortest-last": {time.Hour, 3 * time.Hour, 2 * time.Hour},
		"longest-last":  {time.Hour, 2 * time.Hour, 3 * time.Hour},
		"longest-first": {3 * time.Hour, 2 * time.Hour, time.Hour},
	} {
		var last time.Time
		for i, retention := range retentions {
			r := holding(t, series, "r")
			r.Donation.Event, r.Rules.Retention = store.Event(i+1), retention
			if n := note(t, s, r).Note; n.ForgetAt.After(last) {
				last = n.ForgetAt
			}
		}
		if got := expiry(t, c, keyOf(t, series)); got != last.UnixMilli() {
			t.Errorf("%s: the key ends at %d, want %d", series, got, last.UnixMilli())
		}
	}
}
