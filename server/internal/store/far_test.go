package store_test

import (
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// far is a payment in series I-1 that occurred so many times the match window earlier. It
// is settled at once and kept for the default, so its line has no extras.
func far(t *testing.T, windows int, channel, id, transaction string) store.NoteRequest {
	r := paid(t, channel, id, transaction)
	r.Donation.OccurredAt = at(-time.Duration(windows) * 2 * defaultRules.MatchWindow)
	return r
}

// TestNotesOutsideTheWindow asks about notes that no message can be paired with. The
// script reads as little of them as it can, and must still find them by all other rules.
func TestNotesOutsideTheWindow(t *testing.T) {
	server, s := frozen(t)
	c := client(t, server)
	for i, transaction := range []string{"AT", "BT", "CT"} {
		wantVerdict(t, note(t, s, far(t, 3-i, "ipn", transaction, transaction)), store.First, store.New)
		server.Advance(time.Second)
	}
	again := far(t, 0, "ipn", "AT", "AT")
	again.RequestID = "again"
	wantVerdict(t, note(t, s, again), store.Duplicate, store.SameMessage)
	again.Message = store.Message{Channel: "webhook", ID: "BT"}
	again.Donation.TransactionID = "BT"
	second := note(t, s, again)
	wantVerdict(t, second, store.Duplicate, store.SameTransaction)
	if !second.Recorded || len(second.Note.Sightings) != 2 {
		t.Errorf("the second note has the sightings %+v, want both messages", second.Note.Sightings)
	}
	own := far(t, 0, "ipn", "CT", "CT")
	own.Donation.OccurredAt = far(t, 1, "", "", "").Donation.OccurredAt
	own.RequestID = "ipn CT CT"
	wantVerdict(t, note(t, s, own), store.First, store.SameRequest)

	// The transaction id is the last letter of lines that it does not name.
	part := far(t, 0, "ipn", "part", "T")
	part.Rules.Retention = 4 * time.Hour
	last := note(t, s, part)
	wantVerdict(t, last, store.First, store.New)
	list, err := s.List(ctx(t), store.ListRequest{Ledger: ledgerOf(t), SeriesID: "I-1", PageSize: 9})
	if err != nil || len(list.Notes) != 4 {
		t.Fatalf("the series has %d notes, %v; want 4", len(list.Notes), err)
	}
	if got, want := expiry(t, c, keyOf(t, "I-1")), list.Notes[2].ForgetAt.UnixMilli(); got != want {
		t.Errorf("the key ends at %d, want %d, as the third note does", got, want)
	}
}

// TestSeriesTeachesFromAfar checks that a note outside the match window shows that the
// ids of two channels agree in its series.
func TestSeriesTeachesFromAfar(t *testing.T) {
	_, s := frozen(t)
	wantVerdict(t, note(t, s, far(t, 2, "ipn", "1", "A")), store.First, store.New)
	wantVerdict(t, note(t, s, far(t, 2, "webhook", "1", "A")), store.Duplicate, store.SameTransaction)
	wantVerdict(t, note(t, s, far(t, 0, "ipn", "2", "B")), store.First, store.New)
	wantVerdict(t, note(t, s, far(t, 0, "webhook", "2", "C")), store.First, store.New)
}
