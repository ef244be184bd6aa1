package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestOwnID checks that a note's own id is that of the message that was answered FIRST
// last, not an id that came by pairing.
func TestOwnID(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		own := func(t *testing.T, want store.Note, got store.NoteReply, evidence store.Evidence) {
			t.Helper()
			if got.Evidence != evidence || got.Note.DonationID != want.DonationID {
				t.Errorf(
					"got %s by evidence %d, want %s by %d",
					got.Note.DonationID,
					got.Evidence,
					want.DonationID,
					evidence,
				)
			}
		}
		t.Run("crosswise", func(t *testing.T) {
			a := note(t, s, paid(t, "ipn", "a", "TA"))
			own(t, a.Note, note(t, s, paid(t, "webhook", "b", "TB")), store.Paired)
			b := note(t, s, paid(t, "ipn", "b", "TB"))
			wantVerdict(t, b, store.First, store.New)
			own(t, a.Note, note(t, s, paid(t, "webhook", "a", "TA")), store.SameTransaction)
		})
		t.Run("a takeover by another payment's message", func(t *testing.T) {
			first := paid(t, "ipn", "a", "TA")
			first.Hold = time.Minute
			a := note(t, s, first)
			if _, err := s.Release(ctx(t), a.Receipt); err != nil {
				t.Fatal(err)
			}
			b := note(t, s, paid(t, "webhook", "b", "TB"))
			wantVerdict(t, b, store.First, store.TakenOver)
			own(t, b.Note, note(t, s, paid(t, "ipn", "b", "TB")), store.SameTransaction)
			again := note(t, s, paid(t, "webhook", "a", "TA"))
			wantVerdict(t, again, store.First, store.New)
		})
		t.Run("a takeover without an id", func(t *testing.T) {
			first := paid(t, "ipn", "a", "TA")
			first.Hold = time.Minute
			a := note(t, s, first)
			if _, err := s.Release(ctx(t), a.Receipt); err != nil {
				t.Fatal(err)
			}
			b := note(t, s, paid(t, "webhook", "b", ""))
			wantVerdict(t, b, store.First, store.TakenOver)
			own(t, b.Note, note(t, s, paid(t, "post", "a", "TA")), store.SameTransaction) // of another sighting
		})
	})
}

// TestAgreementOfASeries checks that one note that two channels told under one id makes
// the ids of a series agree, for these two channels and this event only.
func TestAgreementOfASeries(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		note(t, s, paid(t, "ipn", "0", "T0"))
		note(t, s, paid(t, "webhook", "0", "T0"))
		ask := func(channel, transaction string, event store.Event) store.NoteReply {
			r := paid(t, channel, "1"+transaction, transaction)
			r.Donation.Event, r.Donation.OccurredAt = event, at(-5*time.Hour)
			return note(t, s, r)
		}
		wantVerdict(t, ask("ipn", "TA", pay), store.First, store.New)
		b := ask("webhook", "TB", pay)
		wantVerdict(t, b, store.First, store.New)
		if want := []store.Told{{Channel: "ipn", TransactionID: "TA"}}; !slices.Equal(b.Against, want) {
			t.Errorf("the ids that kept it from being paired are %v, want %v", b.Against, want)
		}
		wantVerdict(t, ask("post", "TC", pay), store.Duplicate, store.Paired)
		wantVerdict(t, ask("ipn", "TA", refund), store.First, store.New)
		wantVerdict(t, ask("webhook", "TB", refund), store.Duplicate, store.Paired)
	})
}

// TestAgreementOfALedger checks that the server's knowledge of the ledger counts, except
// in a series that contradicts it and has no agreement of its own.
func TestAgreementOfALedger(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		ask := func(channel, transaction string, at time.Time, agreeing ...string) store.NoteReply {
			r := paid(t, channel, channel+transaction, transaction)
			r.Donation.OccurredAt, r.Rules.Agreeing = at, agreeing
			return note(t, s, r)
		}
		wantVerdict(t, ask("ipn", "A", at(0), "webhook"), store.First, store.New)
		wantVerdict(
			t,
			ask("webhook", "A'", at(0), "post", "ipn"),
			store.First,
			store.New,
		) // doubled, once
		wantVerdict(t, ask("ipn", "B", at(-24*time.Hour), "webhook"), store.First, store.New)
		wantVerdict(t, ask("webhook", "B'", at(-24*time.Hour), "ipn"), store.Duplicate, store.Paired)
		wantVerdict(t, ask("ipn", "C", at(-48*time.Hour), "webhook"), store.First, store.New)
		wantVerdict(t, ask("webhook", "C", at(-48*time.Hour), "ipn"), store.Duplicate, store.SameTransaction)
		wantVerdict(t, ask("ipn", "D", at(-72*time.Hour)), store.First, store.New)
		wantVerdict(t, ask("webhook", "D'", at(-72*time.Hour)), store.First, store.New) // C has taught the series
	})
}

// TestContradictionWithinANote checks that the ledger's knowledge does not count in a
// series that has one note with unequal ids from the two channels.
func TestContradictionWithinANote(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		ask := func(channel, transaction string, at time.Time, agreeing ...string) store.NoteReply {
			r := paid(t, channel, channel+transaction, transaction)
			r.Donation.OccurredAt, r.Rules.Agreeing = at, agreeing
			return note(t, s, r)
		}
		wantVerdict(t, ask("ipn", "A", at(0)), store.First, store.New)
		wantVerdict(t, ask("webhook", "A'", at(0)), store.Duplicate, store.Paired)
		wantVerdict(t, ask("ipn", "B", at(-24*time.Hour), "webhook"), store.First, store.New)
		wantVerdict(t, ask("webhook", "B'", at(-24*time.Hour), "ipn"), store.Duplicate, store.Paired)
	})
}
