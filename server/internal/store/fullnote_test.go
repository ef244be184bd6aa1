package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestFullNote fills a note with IPNs under one transaction id, and checks that it still
// records the first webhook: other webhooks are other donations then. The spared sighting
// is still known by its transaction id.
func TestFullNote(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		say := func(m store.Message, transaction string) store.NoteReply {
			t.Helper()
			return note(t, s, store.NoteRequest{
				Donation: store.Donation{
					Ledger:        ledgerOf(t),
					SeriesID:      "I-1",
					Event:         pay,
					OccurredAt:    at(0),
					Amount:        "25.00",
					CurrencyCode:  "USD",
					TransactionID: transaction,
				},
				Message:   m,
				RequestID: m.Channel + m.ID + transaction,
				Rules:     defaultRules,
			})
		}
		ipn := func(i int) store.Message { return store.Message{Channel: "ipn", ID: fmt.Sprintf("%032x", i)} }
		hook := func(i int) store.Message { return store.Message{Channel: "webhook", ID: fmt.Sprint("w", i)} }
		want := say(ipn(1), "T").Note.Sightings
		for i := 2; i <= 17; i++ {
			reply := say(ipn(i), "T")
			wantVerdict(t, reply, store.Duplicate, store.SameTransaction)
			if reply.Recorded != (i <= 16) || len(reply.Note.Sightings) != min(i, 16) {
				t.Errorf(
					"IPN %d: recorded %v among %d sightings, want the first 16",
					i,
					reply.Recorded,
					len(reply.Note.Sightings),
				)
			}
			if reply.Recorded {
				want = reply.Note.Sightings
			}
		}
		own := say(hook(1), "")
		wantVerdict(t, own, store.Duplicate, store.Paired)
		want = append(want[:15:15], store.Sighting{Message: hook(1), SeenAt: own.Now})
		if diff := cmp.Diff(want, own.Note.Sightings); diff != "" || !own.Recorded {
			t.Errorf("the first webhook: recorded %v, sightings (-want +got):\n%s", own.Recorded, diff)
		}
		for i := 2; i <= 3; i++ {
			wantVerdict(t, say(hook(i), ""), store.First, store.New)
		}
		wantVerdict(t, say(hook(1), "T2"), store.Duplicate, store.SameMessage)
		wantVerdict(t, say(ipn(15), "other"), store.Duplicate, store.SameMessage)
		wantVerdict(t, say(ipn(16), "T"), store.Duplicate, store.SameTransaction)
		third := say(store.Message{Channel: "post", ID: "p1"}, "T")
		wantVerdict(t, third, store.Duplicate, store.SameTransaction)
		want = append(
			append(want[:14:14], want[15]),
			store.Sighting{Message: store.Message{Channel: "post", ID: "p1"}, TransactionID: "T", SeenAt: third.Now},
		)
		if diff := cmp.Diff(want, third.Note.Sightings); diff != "" {
			t.Errorf("a third channel: sightings (-want +got):\n%s", diff)
		}
	})
}

// TestFullNoteOfManyChannels fills a note from fifteen channels and more, as only made-up
// channels can. For another channel the note must spare a sighting that the rules do not
// need, and it must not grow.
func TestFullNoteOfManyChannels(t *testing.T) {
	one, other, unnamed := store.Message{
		Channel: "c",
		ID:      "1",
	}, store.Message{
		Channel: "c",
		ID:      "2",
	}, store.Message{
		Channel: "c",
	}
	everywhere(t, func(t *testing.T, s *store.Store) {
		for i, c := range []struct {
			first, second store.Message
			transaction   string // both messages have it
			spared        bool
		}{
			{one, other, "T", true},
			{one, unnamed, "T", true},
			{unnamed, one, "T", false}, // only the second bears an id
			{one, store.Message{Channel: "d", ID: "2"}, "T", false},
			{one, unnamed, "", false}, // no transaction id would find the second again
		} {
			say := func(m store.Message, transaction, request string) store.NoteReply {
				t.Helper()
				return note(
					t,
					s,
					store.NoteRequest{
						Donation: store.Donation{
							Ledger:        ledgerOf(t),
							SeriesID:      fmt.Sprint("I-", i),
							Event:         pay,
							TransactionID: transaction,
						},
						Message:   m,
						RequestID: request,
						Rules:     defaultRules,
					},
				)
			}
			say(c.first, c.transaction, "first")
			want := say(c.second, c.transaction, "second").Note.Sightings
			for n := range 20 {
				m := store.Message{Channel: fmt.Sprint("c", n), ID: "1"}
				reply := say(m, "T", fmt.Sprint("r", n))
				recorded := n < 14 || n == 14 && c.spared
				if n == 14 && c.spared {
					want = slices.Delete(slices.Clone(want), 1, 2)
				}
				if recorded {
					want = append(slices.Clone(want), store.Sighting{Message: m, TransactionID: "T", SeenAt: reply.Now})
				}
				if diff := cmp.Diff(want, reply.Note.Sightings); diff != "" || reply.Recorded != recorded {
					t.Fatalf(
						"case %d, channel %d: recorded %v, sightings (-want +got):\n%s",
						i,
						n,
						reply.Recorded,
						diff,
					)
				}
			}
		}
	})
}
