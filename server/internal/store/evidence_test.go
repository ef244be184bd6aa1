package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestStrongestEvidence asks with evidence for two notes: the message of one with the
// transaction of the other, and the transaction of one while both are as near in time.
// The stronger evidence decides.
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
// transaction ids, and that each is recorded once.
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
// the match window and a millisecond beyond it.
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

// TestReceivedInTheFuture checks that a message with a received_at in the future counts
// as arriving now, also in the note.
func TestReceivedInTheFuture(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		ask := func(channel string, received time.Duration) store.NoteReply {
			r := holding(t, "I-1", channel)
			r.Message = store.Message{Channel: channel, ID: "1"}
			if received > 0 {
				r.Message.ReceivedAt = time.Now().Add(received)
			}
			return note(t, s, r)
		}
		wantVerdict(t, ask("ipn", 0), store.First, store.New)
		wantVerdict(t, ask("webhook", 2*defaultRules.ArrivalWindow), store.Held, store.Paired)
	})
}

// TestSeriesThatContradictsTheLedger checks that the ledger's knowledge does not count in
// a series in which two channels gave one note two ids.
func TestSeriesThatContradictsTheLedger(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		ask := func(channel, id string, day int, agreeing ...string) store.NoteReply {
			r := holding(t, "I-1", channel+id)
			r.Message, r.Donation.TransactionID = store.Message{Channel: channel, ID: id}, id
			r.Donation.OccurredAt, r.Rules.Agreeing = at(-time.Duration(day)*24*time.Hour), agreeing
			return note(t, s, r)
		}
		wantVerdict(t, ask("ipn", "A", 0), store.First, store.New)
		wantVerdict(t, ask("webhook", "A2", 0), store.Held, store.Paired)
		wantVerdict(t, ask("ipn", "B", 1, "webhook"), store.First, store.New)
		wantVerdict(t, ask("webhook", "B2", 1, "ipn"), store.Held, store.Paired)
	})
}

// TestAgreementIsOfAPair checks that an id that two channels share says nothing about a
// third channel.
func TestAgreementIsOfAPair(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		ask := func(channel, id string, day int) store.NoteReply {
			r := holding(t, "I-1", channel+id)
			r.Message, r.Donation.TransactionID = store.Message{Channel: channel, ID: id}, id
			r.Donation.OccurredAt = at(-time.Duration(day) * 24 * time.Hour)
			return note(t, s, r)
		}
		wantVerdict(t, ask("mail", "A", 0), store.First, store.New)
		wantVerdict(t, ask("webhook", "A", 0), store.Held, store.SameTransaction)
		wantVerdict(t, ask("ipn", "B", 1), store.First, store.New)
		wantVerdict(t, ask("webhook", "B2", 1), store.Held, store.Paired)
		wantVerdict(t, ask("webhook", "C", 2), store.First, store.New)
		wantVerdict(t, ask("ipn", "C2", 2), store.Held, store.Paired)
	})
}

// TestOwnSightingInAFullNote checks that a full note keeps the message that took it over,
// whichever sightings are spared: a retry of that message gets its answer again.
func TestOwnSightingInAFullNote(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		for i, c := range []struct {
			before []store.NoteRequest // told before the takeover
			own    store.NoteRequest
			retry  func(r store.NoteRequest) store.NoteRequest
		}{
			// The first has its channel and its transaction id, so that it could be spared.
			{nil, paid(t, "ipn", "own", "T"), func(r store.NoteRequest) store.NoteRequest { return r }},
			// The second can be spared, and stands before it.
			{
				[]store.NoteRequest{paid(t, "ipn", "second", "T")},
				paid(t, "webhook", "own", "T2"),
				func(r store.NoteRequest) store.NoteRequest { r.Message = store.Message{}; return r },
			},
		} {
			in := func(r store.NoteRequest) store.NoteRequest {
				r.Donation.SeriesID, r.Hold = fmt.Sprint("I-", i), time.Minute
				return r
			}
			first := note(t, s, in(paid(t, "ipn", "first", "T")))
			for _, r := range c.before {
				note(t, s, in(r))
			}
			if _, err := s.Release(ctx(t), first.Receipt); err != nil {
				t.Fatal(err)
			}
			taken := note(t, s, in(c.own))
			wantVerdict(t, taken, store.First, store.TakenOver)
			for n := range 20 {
				note(t, s, in(paid(t, fmt.Sprint("c", n), "1", "T")))
			}
			again := note(t, s, c.retry(in(c.own)))
			wantVerdict(t, again, store.First, store.SameRequest)
			if again.Receipt != taken.Receipt {
				t.Errorf("case %d: the retry got another receipt", i)
			}
		}
	})
}
