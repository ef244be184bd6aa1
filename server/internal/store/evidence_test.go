package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestStrongestEvidence asks with a request, a message and a transaction of three notes:
// each time the strongest that is left decides.
func TestStrongestEvidence(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		hook := func(id string) store.Message { return store.Message{Channel: "webhook", ID: id} }
		ask := func(request string, m store.Message, transaction string) store.NoteReply {
			t.Helper()
			r := holding(t, "I-1", request)
			r.Message, r.Donation.TransactionID = m, transaction
			return note(t, s, r)
		}
		byTransaction := ask("1", hook("1"), "T1")
		byMessage := ask("2", hook("2"), "T2")
		wantVerdict(t, byTransaction, store.First, store.New)
		wantVerdict(t, byMessage, store.First, store.New)
		for _, c := range []struct {
			name string
			got  store.NoteReply
			by   store.Evidence
			want store.NoteReply
		}{
			{"a message of one, a transaction of another", ask("3", hook("2"), "T1"), store.SameMessage, byMessage},
			{"a transaction, and a note that is as near", ask("4", hook("4"), "T1"), store.SameTransaction, byTransaction},
		} {
			wantVerdict(t, c.got, store.Held, c.by)
			if c.got.Note.DonationID != c.want.Note.DonationID {
				t.Errorf("%s: donation %s, want %s", c.name, c.got.Note.DonationID, c.want.Note.DonationID)
			}
		}
	})
}

// TestSightingsWithoutAnID checks that messages without ids are told apart by their
// transaction ids, and that none is recorded twice.
func TestSightingsWithoutAnID(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		note(t, s, holding(t, "I-1", "r"))
		for i, c := range []struct {
			channel, transaction string
			recorded             bool
		}{
			{"post", "", true},
			{"post", "", false},
			{"post", "T1", true},
			{"post", "T1", false},
			{"mail", "T1", true},
			{"mail", "T1", false},
		} {
			r := holding(t, "I-1", "other")
			r.Message, r.Donation.TransactionID = store.Message{Channel: c.channel}, c.transaction
			reply := note(t, s, r)
			if reply.Verdict != store.Held || reply.Recorded != c.recorded {
				t.Errorf(
					"message %d: verdict %d, recorded %v, want it held and %v",
					i+1,
					reply.Verdict,
					reply.Recorded,
					c.recorded,
				)
			}
		}
	})
}

// TestMillisecondsOfATime pairs with a note whose time has milliseconds, at the end of
// the match window and one past it.
func TestMillisecondsOfATime(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		noted := at(123 * time.Millisecond)
		for off, want := range map[time.Duration]store.Verdict{
			defaultRules.MatchWindow:                     store.Held,
			-defaultRules.MatchWindow:                    store.Held,
			defaultRules.MatchWindow + time.Millisecond:  store.First,
			-defaultRules.MatchWindow - time.Millisecond: store.First,
		} {
			r := holding(t, fmt.Sprint("I", off), "r")
			r.Donation.OccurredAt = noted
			note(t, s, r)
			r.Message, r.RequestID, r.Donation.OccurredAt = webhook, "other", noted.Add(off)
			if got := note(t, s, r); got.Verdict != want {
				t.Errorf("%v apart: verdict %d, want %d", off, got.Verdict, want)
			}
		}
	})
}
