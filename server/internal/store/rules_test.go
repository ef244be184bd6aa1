package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// frozen is a store whose clock stands until the test moves it.
func frozen(t *testing.T) (*embedded.Server, *store.Store) {
	t.Helper()
	server, err := embedded.StartFrozen(base.Add(3 * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server, open(t, "standalone", server.URL())
}

// client looks at what a store holds.
func client(t *testing.T, server *embedded.Server) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(options)
	t.Cleanup(func() { c.Close() })
	return c
}

// paid is a request about a payment of 25.00 USD in series I-1.
func paid(t *testing.T, channel, id, transaction string) store.NoteRequest {
	return store.NoteRequest{
		Donation: store.Donation{
			Ledger: ledgerOf(t), SeriesID: "I-1", Event: pay, OccurredAt: at(0),
			Amount: "25.00", CurrencyCode: "USD", TransactionID: transaction,
		},
		Message:   store.Message{Channel: channel, ID: id},
		RequestID: channel + " " + id + " " + transaction,
		Rules:     defaultRules,
	}
}

// TestRequestReused checks that a request id reused for another message is refused and
// changes nothing, and that an honest retry is never refused.
func TestRequestReused(t *testing.T) {
	full := func(t *testing.T, s *store.Store, r store.NoteRequest) {
		for i := range 20 {
			other := r
			other.Message = store.Message{Channel: fmt.Sprint("c", i), ID: "1"}
			other.RequestID = fmt.Sprint("other", i)
			note(t, s, other)
		}
	}
	takenOver := func(t *testing.T, s *store.Store, r store.NoteRequest) {
		earlier := r
		earlier.RequestID, earlier.Message, earlier.Hold = "earlier", store.Message{
			Channel: "ipn",
			ID:      "earlier",
		}, time.Minute
		earlier.Donation.Amount = "25.0"
		first := note(t, s, earlier)
		full(t, s, earlier)
		if _, err := s.Release(ctx(t), first.Receipt); err != nil {
			t.Fatal(err)
		}
	}
	with := func(change func(r *store.NoteRequest)) func(store.NoteRequest) store.NoteRequest {
		return func(r store.NoteRequest) store.NoteRequest { change(&r); return r }
	}
	cases := []struct {
		name   string
		before func(*testing.T, *store.Store, store.NoteRequest)
		first  func(store.NoteRequest) store.NoteRequest
		after  func(*testing.T, *store.Store, store.NoteRequest)
		second func(store.NoteRequest) store.NoteRequest
		reused bool
	}{
		{name: "an honest retry"},
		{name: "an honest retry in a full note", after: full},
		{name: "an honest retry after a takeover in a full note", before: takenOver},
		{name: "an honest retry without a message id", first: with(func(r *store.NoteRequest) { r.Message.ID = "" })},
		{name: "an honest retry that has lost its amount", second: with(func(r *store.NoteRequest) {
			r.Donation.Amount, r.Donation.CurrencyCode, r.Donation.TransactionID = "", "", ""
		})},
		{name: "another message", second: with(func(r *store.NoteRequest) { r.Message.ID = "2" }), reused: true},
		{
			name: "another message in a full note", after: full,
			second: with(func(r *store.NoteRequest) { r.Message.ID = "2" }), reused: true,
		},
		{
			name: "another message after a takeover in a full note", before: takenOver,
			second: with(func(r *store.NoteRequest) { r.Message.ID = "2" }), reused: true,
		},
		{
			name:   "another channel's message",
			second: with(func(r *store.NoteRequest) { r.Message.Channel = "webhook" }),
			reused: true,
		},
		{
			name: "another message that the note has seen", after: full,
			second: with(func(r *store.NoteRequest) { r.Message = store.Message{Channel: "c3", ID: "1"} }),
		},
		{
			name:  "another transaction, without message ids",
			first: with(func(r *store.NoteRequest) { r.Message = store.Message{} }),
			second: with(
				func(r *store.NoteRequest) { r.Message, r.Donation.TransactionID = store.Message{}, "T2" },
			),
			reused: true,
		},
		{
			name: "another transaction, one without a message id",
			second: with(
				func(r *store.NoteRequest) { r.Message, r.Donation.TransactionID = store.Message{}, "T2" },
			),
			reused: true,
		},
		{
			name:  "another amount, without message ids",
			first: with(func(r *store.NoteRequest) { r.Message, r.Donation.TransactionID = store.Message{}, "" }),
			second: with(
				func(r *store.NoteRequest) { r.Message, r.Donation.Amount = store.Message{}, "26" },
			),
			reused: true,
		},
		{
			name: "another amount after a takeover, without message ids", before: takenOver,
			first:  with(func(r *store.NoteRequest) { r.Message.ID = "" }),
			second: with(func(r *store.NoteRequest) { r.Message.ID, r.Donation.Amount = "", "26" }),
		},
		{
			name:   "another event",
			second: with(func(r *store.NoteRequest) { r.Donation.Event, r.Message.ID = refund, "2" }),
		},
	}
	everywhere(t, func(t *testing.T, s *store.Store) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				r := paid(t, "ipn", "1", "T1")
				r.Hold = time.Minute
				if c.before != nil {
					c.before(t, s, r)
				}
				second := r
				if c.first != nil {
					r = c.first(r)
					second = r
				}
				if c.second != nil {
					second = c.second(second)
				}
				first := note(t, s, r)
				if first.Verdict != store.First {
					t.Fatalf("the first answer is %+v, want FIRST", first)
				}
				if c.after != nil {
					c.after(t, s, r)
				}
				all := store.ListRequest{Ledger: r.Donation.Ledger, PageSize: 100}
				before, err := s.List(ctx(t), all)
				if err != nil {
					t.Fatal(err)
				}
				again, err := s.Note(ctx(t), second)
				switch {
				case c.reused && !errors.Is(err, store.ErrRequestReused):
					t.Errorf("got %+v, %v, want ErrRequestReused", again, err)
				case !c.reused && (err != nil || again.Verdict != store.First):
					t.Errorf("got %+v, %v, want FIRST", again, err)
				case !c.reused && second.Donation.Event == pay && again.Receipt != first.Receipt:
					t.Errorf("the retry got receipt %s, want its own %s", again.Receipt, first.Receipt)
				}
				if after, err := s.List(
					ctx(t),
					all,
				); c.reused &&
					(err != nil || fmt.Sprint(after) != fmt.Sprint(before)) {
					t.Errorf("the refusal left\n%v, %v\nwant\n%v", after, err, before)
				}
			})
		}
	})
}

// TestReceivedAt checks that rule 4 takes received_at as the arrival, never later than
// now, and that the note keeps that of its first message.
func TestReceivedAt(t *testing.T) {
	server, s := frozen(t)
	now := server.Now()
	ask := func(channel, id string, received time.Time) store.NoteRequest {
		r := paid(t, channel, id, "")
		r.Donation.OccurredAt, r.Message.ReceivedAt = time.Time{}, received
		return r
	}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour

	first := note(t, s, ask("ipn", "1", ago(10*day)))
	wantVerdict(t, first, store.First, store.New)
	if got := first.Note.Sightings[0].Message.ReceivedAt; !got.Equal(ago(10 * day)) {
		t.Errorf("the note keeps received_at %v, want %v", got, ago(10*day))
	}
	if !first.Note.NotedAt.Equal(now) || !first.Note.ForgetAt.Equal(now.Add(defaultRules.Retention)) {
		t.Errorf(
			"noted %v and forgotten %v; want %v and the retention later",
			first.Note.NotedAt,
			first.Note.ForgetAt,
			now,
		)
	}
	wantVerdict(t, note(t, s, ask("webhook", "far", ago(14*day+time.Millisecond))), store.First, store.New)
	wantVerdict(t, note(t, s, ask("post", "near", ago(6*day))), store.Duplicate, store.Paired)
	wantVerdict(t, note(t, s, ask("csv", "now", time.Time{})), store.First, store.New)
	late := note(t, s, ask("form", "later", now.Add(time.Hour)))
	wantVerdict(t, late, store.Duplicate, store.Paired)

	old := ask("ipn", "old", ago(defaultRules.Retention))
	if reply, err := s.Note(ctx(t), old); !errors.Is(err, store.ErrReceivedTooEarly) {
		t.Errorf("received before the retention: got %+v, %v, want ErrReceivedTooEarly", reply, err)
	}
	if look, err := s.Exists(
		ctx(t),
		old.Donation,
		old.Message,
		defaultRules,
	); !errors.Is(
		err,
		store.ErrReceivedTooEarly,
	) {
		t.Errorf("a look at it: got %+v, %v, want ErrReceivedTooEarly", look, err)
	}
	old.Donation.SeriesID, old.Donation.OccurredAt = "I-none-yet", now
	if reply, err := s.Note(ctx(t), old); !errors.Is(err, store.ErrReceivedTooEarly) {
		t.Errorf("the same in an empty series: got %+v, %v, want ErrReceivedTooEarly", reply, err)
	}
	known := ask("ipn", "1", ago(defaultRules.Retention))
	known.RequestID = "again"
	wantVerdict(t, note(t, s, known), store.Duplicate, store.SameMessage)
}

// TestNamesAreNeverUsedAgain checks that a donation id names one donation of its series,
// whatever is forgotten and however the clock is set.
func TestNamesAreNeverUsedAgain(t *testing.T) {
	server, s := frozen(t)
	names := map[string]bool{}
	var notes []store.Note
	say := func(id string) store.Note {
		t.Helper()
		n := note(t, s, paid(t, "ipn", id, id)).Note
		if names[n.DonationID] {
			t.Errorf("message %s got the donation id %s, which another donation of the series had", id, n.DonationID)
		}
		names[n.DonationID] = true
		notes = append(notes, n)
		return n
	}
	forget := func(n store.Note) {
		t.Helper()
		if _, err := s.Forget(ctx(t), n.Donation.Ledger, n.Donation.SeriesID, n.DonationID); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		say(fmt.Sprint("burst", i))
	}
	forget(notes[2])
	say("after-the-last-was-forgotten")
	forget(notes[1])
	say("after-the-one-in-the-middle-was-forgotten")
	server.Advance(time.Second)
	last := say("a-second-later")
	for _, n := range notes[:len(notes)-1] {
		if n.DonationID != notes[1].DonationID && n.DonationID != notes[2].DonationID {
			forget(n)
		}
	}
	forget(last)
	say("after-all-were-forgotten")
	server.Advance(-time.Second)
	say("after-the-clock-was-set-back")
}

// TestFloorIsForgotten checks that the floor of forgotten notes goes after the default
// retention.
func TestFloorIsForgotten(t *testing.T) {
	server, s := frozen(t)
	n := note(t, s, paid(t, "ipn", "1", "T1")).Note
	if _, err := s.Forget(ctx(t), n.Donation.Ledger, "I-1", n.DonationID); err != nil {
		t.Fatal(err)
	}
	c := client(t, server)
	key := "noted:{" + n.Donation.Ledger + " I-1}"
	for _, want := range []int64{1, 0} {
		if got := c.Exists(ctx(t), key).Val(); got != want {
			t.Errorf("%d keys are there, want %d", got, want)
		}
		server.Advance(defaultRules.Retention)
	}
}

// TestHoldAfterTheClockWasSetBack checks that a hold never lasts longer than its request
// asked.
func TestHoldAfterTheClockWasSetBack(t *testing.T) {
	server, s := frozen(t)
	r := paid(t, "ipn", "1", "T1")
	r.Hold = time.Minute
	first := note(t, s, r)
	// A takeover when the clock is behind the note.
	if _, err := s.Release(ctx(t), first.Receipt); err != nil {
		t.Fatal(err)
	}
	server.Advance(-time.Hour)
	r.RequestID = "second"
	second := note(t, s, r)
	wantVerdict(t, second, store.First, store.TakenOver)
	if want := server.Now().Add(time.Minute); !second.Note.HeldUntil.Equal(want) {
		t.Errorf("the takeover holds until %v, want %v", second.Note.HeldUntil, want)
	}
	// The clock is set back while the donation is held.
	server.Advance(-time.Hour)
	r.RequestID = "third"
	third := note(t, s, r)
	wantVerdict(t, third, store.Held, store.SameMessage)
	if want := server.Now().Add(time.Minute); !third.Note.HeldUntil.Equal(want) {
		t.Errorf("another request learns that it is held until %v, want %v", third.Note.HeldUntil, want)
	}
	server.Advance(time.Minute)
	wantVerdict(t, note(t, s, r), store.First, store.TakenOver)
}

// TestUnknownLetters checks that every call that writes a line keeps the letters that a
// later release has added to it.
func TestUnknownLetters(t *testing.T) {
	server, s := frozen(t)
	c := client(t, server)
	r := paid(t, "ipn", "1", "T1")
	r.Hold = time.Minute
	first := note(t, s, r)
	key := "noted:{" + r.Donation.Ledger + " I-1}"
	value := c.Get(ctx(t), key).Val()
	if err := c.Set(ctx(t), key, strings.Replace(value, " *H", " *Q1zY-7ZH", 1), redis.KeepTTL).Err(); err != nil {
		t.Fatal(err)
	}
	kept := func(after string) {
		t.Helper()
		if got := c.Get(ctx(t), key).Val(); !strings.Contains(got, " *Q1zY-7Z") {
			t.Errorf("after %s the value is %q, want the letters Q, Y and Z in it", after, got)
		}
	}
	if _, err := s.Extend(ctx(t), first.Receipt, time.Hour); err != nil {
		t.Fatal(err)
	}
	kept("extend")
	wantVerdict(t, note(t, s, paid(t, "webhook", "1", "T1")), store.Held, store.SameTransaction)
	kept("a sighting")
	if _, err := s.Release(ctx(t), first.Receipt); err != nil {
		t.Fatal(err)
	}
	kept("release")
	r.RequestID = "second"
	second := note(t, s, r)
	wantVerdict(t, second, store.First, store.TakenOver)
	kept("a takeover")
	if _, err := s.Settle(ctx(t), second.Receipt); err != nil {
		t.Fatal(err)
	}
	kept("settle")
	if list, err := s.List(
		ctx(t),
		store.ListRequest{Ledger: r.Donation.Ledger, PageSize: 10},
	); err != nil || len(list.Notes) != 1 ||
		len(list.Notes[0].Sightings) != 2 {
		t.Errorf("List = %+v, %v, want the one note", list, err)
	}
}

// TestListByTransaction checks the condition on the transaction id, which any sighting
// may meet.
func TestListByTransaction(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		for i, transaction := range []string{"T1", "T11", "=", "T1"} {
			r := paid(t, "ipn", fmt.Sprint(i), transaction)
			r.Donation.SeriesID = fmt.Sprint("I-", i)
			note(t, s, r)
			r.Message.Channel, r.RequestID, r.Donation.TransactionID = "webhook", "w", "W"+transaction
			note(t, s, r)
		}
		for transaction, want := range map[string]int{"T1": 2, "T11": 1, "WT1": 2, "=": 1, "W=": 1, "W": 0, "1": 0} {
			list, err := s.List(
				ctx(t),
				store.ListRequest{Ledger: ledgerOf(t), TransactionID: transaction, PageSize: 100},
			)
			if err != nil || len(list.Notes) != want {
				t.Errorf("transaction %q: listed %d notes, %v, want %d", transaction, len(list.Notes), err, want)
			}
		}
	})
}
