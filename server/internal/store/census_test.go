package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// walked returns the counts of a census, and the number of its steps. Like a server it
// begins anew after a step that took too long on a busy machine.
func walked(t *testing.T, s *store.Store) (counts store.Counts, steps int) {
	t.Helper()
	census := s.NewCensus()
	soon(t, time.Minute, "a walk through all notes", func() (whole bool) {
		var err error
		counts, whole, err = census.Step(ctx(t))
		if steps++; err != nil {
			steps = 0
		}
		return whole
	})
	return counts, steps
}

// TestCensus counts the notes of two ledgers by state, a step at a time, and again.
func TestCensus(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		many, few := ledgerOf(t)+"-a", ledgerOf(t)+"-b"
		request := func(ledger string, i int, hold time.Duration) store.NoteRequest {
			return store.NoteRequest{
				Donation: store.Donation{Ledger: ledger, SeriesID: fmt.Sprint("I-", i), Event: pay},
				Message:  ipn, RequestID: "r", Hold: hold, Rules: defaultRules,
			}
		}
		for from := 0; from < 250; from += 25 {
			var requests []store.NoteRequest
			for i := range 25 {
				requests = append(requests, request(many, from+i, 0))
			}
			soon(t, time.Minute, "25 are noted, at a second try on a busy machine", func() bool {
				_, errs := s.Notes(ctx(t), requests)
				return errors.Join(errs...) == nil
			})
		}
		for i := range 3 {
			note(t, s, request(few, i, time.Minute))
		}
		open := note(t, s, request(few, 3, time.Minute))
		if _, err := s.Release(ctx(t), open.Receipt); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			counts, steps := walked(t, s)
			got := map[store.CountedState]int{}
			for of, n := range counts.States {
				if of.Ledger == many || of.Ledger == few { // others may share a cluster
					got[of] = n
				}
			}
			want := map[store.CountedState]int{
				{Ledger: many, State: store.StateSettled}: 250,
				{Ledger: few, State: store.StateHeld}:     3,
				{Ledger: few, State: store.StateOpen}:     1,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the counts (-want +got):\n%s", diff)
			}
			if steps < 3 {
				t.Errorf("it took %d steps for 254 series, want no more than 100 a step", steps)
			}
			if at, ok := counts.OldestOpen[few]; !ok || !at.Equal(open.Note.NotedAt) {
				t.Errorf("the oldest open donation is of %v, want %v", at, open.Note.NotedAt)
			}
			if _, ok := counts.OldestOpen[many]; ok {
				t.Error("a ledger without an open donation has an oldest")
			}
			for of, n := range counts.OneChannel {
				if n > 0 && (of.Ledger == many || of.Ledger == few) {
					t.Errorf("%d notes of today are called seen on %s only", n, of.Channel)
				}
			}
		}
	})
}

// TestCensusOfOneChannel checks that a note counts as seen on one channel only after a
// day, and that notes of two channels, or of no channel, do not count.
func TestCensusOfOneChannel(t *testing.T) {
	server, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL())
	for i, messages := range [][]store.Message{{ipn}, {ipn}, {webhook}, {ipn, webhook}, {{}}, {ipn, ipn2}} {
		for _, m := range messages {
			note(t, s, store.NoteRequest{
				Donation: store.Donation{SeriesID: fmt.Sprint("I-", i), Event: pay, TransactionID: fmt.Sprint("T", i)},
				Message:  m, RequestID: m.ID + "r", Rules: defaultRules,
			})
		}
	}
	want := map[store.Counted]int{{Channel: "ipn"}: 0, {Channel: "webhook"}: 0}
	counts, _ := walked(t, s)
	if diff := cmp.Diff(want, counts.OneChannel); diff != "" {
		t.Errorf("seen on one channel on the first day (-want +got):\n%s", diff)
	}
	server.Advance(25 * time.Hour)
	counts, _ = walked(t, s)
	want = map[store.Counted]int{{Channel: "ipn"}: 3, {Channel: "webhook"}: 1}
	if diff := cmp.Diff(want, counts.OneChannel); diff != "" {
		t.Errorf("seen on one channel (-want +got):\n%s", diff)
	}
}
