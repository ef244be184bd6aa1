package store_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
// Then another request takes over under the same attempt, and the receipt of the lost
// takeover must not work.
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
		t.Fatalf("attempts %d and %d of %s and %s: the test proves nothing", lost.Note.Attempt, kept.Note.Attempt,
			lost.Note.DonationID, kept.Note.DonationID)
	}

	refusesReceipt(t, s, lost.Receipt, store.ErrHoldLost)
	if _, err := s.Settle(ctx(t), kept.Receipt); err != nil {
		t.Errorf("the holder cannot settle: %v", err)
	}
	refusesReceipt(t, s, lost.Receipt, store.ErrSettledByAnother)
}

// TestReceiptOfAnEarlierAttempt checks that after a request has taken over from itself
// only its new receipt works: the receiver with the old receipt may still be running.
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

// TestForgetWhenFull forgets one of two notes in a Redis without memory. The other note
// must be written back, which takes less room than before.
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

// TestKeyOutlivesItsNotes checks that Redis keeps a series until all of its notes are
// forgotten, in whatever order they end.
func TestKeyOutlivesItsNotes(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	c := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer c.Close()
	for series, retentions := range map[string][]time.Duration{
		"shortest-last": {time.Hour, 3 * time.Hour, 2 * time.Hour},
		"longest-last":  {time.Hour, 2 * time.Hour, 3 * time.Hour},
		"longest-first": {3 * time.Hour, 2 * time.Hour, time.Hour},
		"payments":      {2 * time.Hour, 4 * time.Hour, 3 * time.Hour, time.Hour},
	} {
		var last time.Time
		for i, retention := range retentions {
			r := holding(t, series, fmt.Sprint(i))
			r.Message = store.Message{Channel: "ipn", ID: fmt.Sprint(i)}
			r.Rules.Retention = retention
			if series != "payments" {
				r.Donation.Event = store.Event(i + 1)
			}
			if n := note(t, s, r).Note; n.ForgetAt.After(last) {
				last = n.ForgetAt
			}
		}
		if got := expiry(t, c, keyOf(t, series)); got != last.UnixMilli() {
			t.Errorf("%s: the key ends at %d, want %d", series, got, last.UnixMilli())
		}
	}
}

// TestNotesOfOtherEvents checks that a note is rewritten in its place. The lines of other
// events stay as they are, count towards the limit, and keep the key. Lines of forgotten
// notes are removed.
func TestNotesOfOtherEvents(t *testing.T) {
	server := redistest.StartWithClock(t)
	s := open(t, "standalone", server.URL())
	c := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer c.Close()
	now := time.Now().Truncate(time.Second)
	server.StopClock(now)
	ask := func(id string, event store.Event, retention time.Duration) store.NoteRequest {
		r := holding(t, "I-1", id)
		r.Donation.Event, r.Message, r.Hold = event, store.Message{Channel: "post", ID: id}, 0
		r.Rules.Retention, r.Rules.SeriesLimit = retention, 4
		return r
	}
	value := func() []string {
		text, err := c.Get(ctx(t), keyOf(t, "I-1")).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimPrefix(text, "1"), "\n")
	}
	var kept time.Time
	ends := func() {
		t.Helper()
		if got := expiry(t, c, keyOf(t, "I-1")); got != kept.UnixMilli() {
			t.Errorf("the key ends at %d, want %d", got, kept.UnixMilli())
		}
	}
	note(t, s, ask("a", refund, time.Hour))
	kept = note(t, s, ask("b", pay, 10*time.Hour)).Note.ForgetAt
	third := note(t, s, ask("c", refund, 5*time.Hour)).Note.NotedAt
	note(t, s, ask("d", pay, 2*time.Hour))
	before := value()
	if _, err := s.Note(ctx(t), ask("e", 5, time.Hour)); !errors.Is(err, store.ErrSeriesFull) {
		t.Errorf("a fifth note: %v, want %v", err, store.ErrSeriesFull)
	}
	server.StopClock(now.Add(time.Hour))
	second := ask("f", refund, time.Hour)
	second.Message.Channel = "import"
	wantVerdict(t, note(t, s, second), store.Duplicate, store.Paired)
	seen := strconv.FormatInt(now.Add(time.Hour).Sub(third).Milliseconds(), 36)
	want := []string{before[1], before[2] + " import:f - " + seen, before[3]}
	if diff := cmp.Diff(want, value()); diff != "" {
		t.Errorf("the lines (-want +got):\n%s", diff)
	}
	ends()
	wantVerdict(t, note(t, s, ask("g", 5, time.Hour)), store.First, store.New)
	if got := value(); len(got) != 4 || !cmp.Equal(got[:3], want) {
		t.Errorf("the lines with a further note are\n%q, want the further one behind\n%q", got, want)
	}
	ends()
}
