package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// base is the time of the tables. It is recent, so that nothing is out of range on a real
// clock.
var base = time.Now().Add(-3 * time.Hour).Truncate(time.Second)

func at(d time.Duration) time.Time { return base.Add(d) }

const pay, refund store.Event = 1, 4

// TestLife follows a note through every arrow of the design's picture.
func TestLife(t *testing.T) {
	server, err := embedded.StartFrozen(time.Now().Truncate(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL())
	d := store.Donation{Ledger: ledgerOf(t), SeriesID: "I-1", Event: pay, OccurredAt: server.Now().Add(-time.Minute)}
	ask := func(request string, hold time.Duration) store.NoteReply {
		t.Helper()
		return note(
			t,
			s,
			store.NoteRequest{Donation: d, Message: ipn, Hold: hold, RequestID: request, Rules: defaultRules},
		)
	}
	is := func(n store.Note, err error, state store.State, want error) {
		t.Helper()
		if !errors.Is(err, want) || err == nil && n.State != state {
			t.Errorf("got state %d and error %v, want %d and %v", n.State, err, state, want)
		}
	}
	const minute = time.Minute

	one := ask("1", minute)
	wantVerdict(t, one, store.First, store.New)
	wantVerdict(t, ask("2", minute), store.Held, store.SameMessage)
	server.Advance(minute) // the hold runs out
	n, err := s.Extend(ctx(t), one.Receipt, minute)
	is(n, err, store.StateHeld, nil) // no other request has taken over
	server.Advance(minute)
	repeat := ask("1", minute) // the same request, its hold run out: given again
	wantVerdict(t, repeat, store.First, store.SameRequest)
	if repeat.Receipt != one.Receipt || repeat.Note.State != store.StateHeld {
		t.Errorf(
			"the same request got receipt %q in state %d, want its own %q, held",
			repeat.Receipt,
			repeat.Note.State,
			one.Receipt,
		)
	}
	n, err = s.Release(ctx(t), one.Receipt)
	is(n, err, store.StateOpen, nil)
	n, err = s.Release(ctx(t), one.Receipt)
	is(n, err, store.StateOpen, nil) // a repeat changes nothing
	n, err = s.Settle(ctx(t), one.Receipt)
	is(n, err, 0, store.ErrHoldReleased)
	n, err = s.Extend(ctx(t), one.Receipt, minute)
	is(n, err, 0, store.ErrHoldReleased)
	look, err := s.Exists(ctx(t), d, ipn, defaultRules)
	if err != nil || look.Evidence != store.SameMessage || look.Note.State != store.StateOpen {
		t.Errorf("Exists of a released note: %+v, %v", look, err)
	}

	two := ask("1", minute) // the same request, but it was released
	wantVerdict(t, two, store.First, store.TakenOver)
	if two.Note.Attempt != 2 || two.Receipt == one.Receipt || two.Note.DonationID != one.Note.DonationID {
		t.Errorf(
			"the takeover got attempt %d, receipt %q, donation %s; want 2, another than %q, %s",
			two.Note.Attempt,
			two.Receipt,
			two.Note.DonationID,
			one.Receipt,
			one.Note.DonationID,
		)
	}
	server.Advance(2 * minute)
	three := ask("3", minute)
	wantVerdict(t, three, store.First, store.TakenOver)
	for _, old := range []string{one.Receipt, two.Receipt} {
		n, err = s.Settle(ctx(t), old)
		is(n, err, 0, store.ErrHoldLost)
	}
	server.Advance(2 * minute)
	n, err = s.Settle(ctx(t), three.Receipt) // late, but no other request has taken over
	is(n, err, store.StateSettled, nil)
	n, err = s.Settle(ctx(t), three.Receipt)
	is(n, err, store.StateSettled, nil)
	n, err = s.Settle(ctx(t), two.Receipt)
	is(n, err, 0, store.ErrSettledByAnother)
	n, err = s.Release(ctx(t), three.Receipt)
	is(n, err, 0, store.ErrAlreadySettled)
	n, err = s.Extend(ctx(t), three.Receipt, minute)
	is(n, err, 0, store.ErrAlreadySettled)
	wantVerdict(t, ask("4", minute), store.Duplicate, store.SameMessage)
	wantVerdict(t, ask("3", minute), store.First, store.SameRequest) // never DUPLICATE

	server.Advance(one.Note.ForgetAt.Sub(server.Now()) - time.Millisecond)
	wantVerdict(t, ask("5", 0), store.Duplicate, store.SameMessage)
	d.OccurredAt = time.Time{}
	server.Advance(time.Millisecond)
	last := ask("6", 0)
	wantVerdict(t, last, store.First, store.New)
	if last.Note.DonationID == one.Note.DonationID || last.Receipt != "" {
		t.Errorf(
			"the new donation got id %s and receipt %q, want another than %s and none",
			last.Note.DonationID,
			last.Receipt,
			one.Note.DonationID,
		)
	}
}

// TestHoldOutlastsRetention checks that a note held beyond its retention is still there
// when it is settled, and that its retention then counts from the end of the hold:
// callers who were told HELD return then.
func TestHoldOutlastsRetention(t *testing.T) {
	server, err := embedded.StartFrozen(time.Now().Truncate(time.Second).Add(300 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL())
	const second = time.Second
	for name, settled := range map[string]time.Duration{
		"before": 30 * second, "at": 60 * second, "after": 90 * second,
	} {
		r := holding(t, name, "r")
		r.Hold, r.Rules.Retention = 90*second, 60*second
		first := note(t, s, r)
		server.Advance(20 * second)
		if _, err := s.Extend(ctx(t), first.Receipt, 100*second); err != nil { // until 120
			t.Fatal(err)
		}
		server.Advance(settled - 20*second)
		n, err := s.Settle(ctx(t), first.Receipt)
		end := first.Note.NotedAt.Add(180 * second)
		if err != nil || n.State != store.StateSettled || !n.ForgetAt.Equal(end) {
			t.Errorf(
				"%s its retention has passed: Settle: state %d, forgotten at %v, %v; want it settled until %v",
				name,
				n.State,
				n.ForgetAt,
				err,
				end,
			)
		}
		if again, err := s.Settle(ctx(t), first.Receipt); err != nil || !again.ForgetAt.Equal(n.ForgetAt) {
			t.Errorf("%s: Settle again: %+v, %v; want the same", name, again, err)
		}
		r.RequestID = "other"
		server.Advance(end.Sub(server.Now()) - time.Millisecond)
		wantVerdict(t, note(t, s, r), store.Duplicate, store.SameMessage)
		server.Advance(time.Millisecond)
		wantVerdict(t, note(t, s, r), store.First, store.New)
	}
}

// TestFull checks that a Redis without memory still answers known donations, and lets
// holders finish.
func TestFull(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	ask := func(series string, request string) store.NoteRequest {
		return store.NoteRequest{
			Donation:  store.Donation{Ledger: ledgerOf(t), SeriesID: series, Event: pay},
			Message:   ipn,
			Hold:      time.Minute,
			RequestID: request,
			Rules:     defaultRules,
		}
	}
	var held [3]store.NoteReply
	for i := range held {
		held[i] = note(t, s, ask(fmt.Sprint("I-", i), "r"))
	}
	alone := ask("I-alone", "r") // a series of one note, which note.lua decides about by itself
	alone.Hold, alone.Donation.TransactionID, alone.Donation.OccurredAt = 0, "T1", at(0)
	wantVerdict(t, note(t, s, alone), store.First, store.New)
	server.Do("CONFIG SET maxmemory 1")
	alone.RequestID, alone.Message = "other", webhook
	if reply := note(t, s, alone); reply.Evidence != store.SameTransaction || reply.Recorded {
		t.Errorf("a sighting that found no room: got evidence %v, recorded %v", reply.Evidence, reply.Recorded)
	}
	alone.Donation.TransactionID = ""
	if _, err := s.Note(ctx(t), alone); !errors.Is(err, store.ErrStoreFull) {
		t.Errorf("a pairing that found no room: got error %v, want %v", err, store.ErrStoreFull)
	}

	if _, err := s.Note(ctx(t), ask("I-new", "r")); !errors.Is(err, store.ErrStoreFull) {
		t.Errorf("a new donation: got error %v, want %v", err, store.ErrStoreFull)
	}
	again := note(t, s, ask("I-0", "other"))
	wantVerdict(t, again, store.Held, store.SameMessage)
	new := ask("I-0", "other")
	new.Message = webhook
	unrecorded := note(t, s, new)
	wantVerdict(t, unrecorded, store.Held, store.Paired)
	if unrecorded.Recorded || len(unrecorded.Note.Sightings) != 1 {
		t.Errorf(
			"a sighting that found no room: got recorded %v and sightings %v",
			unrecorded.Recorded,
			unrecorded.Note.Sightings,
		)
	}
	if _, err := s.Extend(ctx(t), held[0].Receipt, time.Minute); err != nil {
		t.Errorf("Extend: %v", err)
	}
	if n, err := s.Settle(ctx(t), held[0].Receipt); err != nil || n.State != store.StateSettled {
		t.Errorf("Settle: %+v, %v", n, err)
	}
	wantVerdict(t, note(t, s, ask("I-0", "other")), store.Duplicate, store.SameMessage)
	// A message that was paired but not recorded would let the next one be paired too,
	// and that may be another donation.
	if _, err := s.Note(ctx(t), new); !errors.Is(err, store.ErrStoreFull) {
		t.Errorf("another channel's message of a settled donation: got error %v, want %v", err, store.ErrStoreFull)
	}
	server.Do("CONFIG SET maxmemory 0")
	wantVerdict(t, note(t, s, new), store.Duplicate, store.Paired)
	third := new
	third.Message.ID, third.RequestID = "WH-another", "third"
	wantVerdict(t, note(t, s, third), store.First, store.New)
	server.Do("CONFIG SET maxmemory 1")
	wantVerdict(t, note(t, s, new), store.Duplicate, store.SameMessage)
	if _, err := s.Release(ctx(t), held[1].Receipt); err != nil {
		t.Errorf("Release: %v", err)
	}
	if _, err := s.Forget(ctx(t), ledgerOf(t), "I-2", held[2].Note.DonationID); err != nil {
		t.Errorf("Forget: %v", err)
	}
}

// TestClockSetForward checks that a store whose clock jumps does not refuse calls that
// are in time.
func TestClockSetForward(t *testing.T) {
	server, err := embedded.StartFrozen(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL())
	for i := range 3 {
		wantVerdict(
			t,
			note(
				t,
				s,
				store.NoteRequest{
					Donation:  store.Donation{Ledger: ledgerOf(t), SeriesID: fmt.Sprint(i), Event: pay},
					RequestID: "r",
					Rules:     defaultRules,
				},
			),
			store.First,
			store.New,
		)
		server.Advance(time.Hour)
	}
}

// TestNewerRelease checks that a series written by a later release is left alone.
func TestNewerRelease(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	server.Do(`SET "noted:{` + ledgerOf(t) + ` I-1}" 2whatever`)
	_, err := s.Note(
		ctx(t),
		store.NoteRequest{
			Donation:  store.Donation{Ledger: ledgerOf(t), SeriesID: "I-1", Event: pay},
			RequestID: "r",
			Rules:     defaultRules,
		},
	)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "later release") {
		t.Errorf("got error %v, want %v that names a later release", err, store.ErrUnavailable)
	}
	before := scriptsRun(t, server)
	note(t, s, holding(t, "I-2", "r"))
	if n := scriptsRun(t, server) - before; n != 1 {
		t.Errorf("the next call ran %d scripts, want 1: the version was taken for Redis's time", n)
	}
}

// TestListMany lists a ledger of many series: page tokens must stay small, and each note
// must be listed once.
func TestListMany(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		const many = 3000
		requests := make([]store.NoteRequest, many)
		for i := range requests {
			requests[i] = store.NoteRequest{
				Donation:  store.Donation{Ledger: "many", SeriesID: fmt.Sprintf("I-%012d", i), Event: pay},
				RequestID: "r",
				Rules:     defaultRules,
			}
		}
		for from := 0; from < many; from += 500 {
			if _, errs := s.Notes(ctx(t), requests[from:from+500]); errors.Join(errs...) != nil {
				t.Fatal(errors.Join(errs...))
			}
		}
		r := store.ListRequest{Ledger: "many", PageSize: 70}
		seen := map[string]int{}
		for pages := 0; ; pages++ {
			reply, err := s.List(ctx(t), r)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range reply.Notes {
				seen[n.DonationID]++
			}
			if r.PageToken = reply.NextPageToken; r.PageToken == "" {
				break
			}
			if len(r.PageToken) > 16<<10 || pages > many {
				t.Fatalf("page %d has a token of %d bytes", pages, len(r.PageToken))
			}
		}
		if len(seen) != many {
			t.Errorf("listed %d notes, want %d", len(seen), many)
		}
	})
}

// TestList pages through a ledger in the smallest pages, on every kind of store.
func TestList(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		want := map[string]bool{}
		for _, ledger := range []string{"", "a", "a*", ledgerOf(t)} {
			for i := range 7 {
				for j := range 3 {
					r := store.NoteRequest{
						Donation: store.Donation{
							Ledger:     ledger,
							SeriesID:   fmt.Sprint("I-", i),
							Event:      pay,
							OccurredAt: at(-time.Duration(j) * 24 * time.Hour),
						},
						Message:   ipn,
						RequestID: fmt.Sprint(j),
						Rules:     defaultRules,
					}
					r.Message.ID = fmt.Sprintf("%032x", j)
					if j == 1 {
						r.Hold = time.Minute
					}
					if j == 2 {
						r.Message.Channel = "webhook"
					}
					reply := note(t, s, r)
					if ledger == "a*" {
						want[reply.Note.DonationID] = true
					}
				}
			}
		}
		pages := func(r store.ListRequest) (all []store.Note) {
			t.Helper()
			for range 1000 {
				reply, err := s.List(ctx(t), r)
				if err != nil {
					t.Fatalf("List(%+v): %v", r, err)
				}
				if len(reply.Notes) > r.PageSize {
					t.Errorf("a page of %d holds %d", r.PageSize, len(reply.Notes))
				}
				all = append(all, reply.Notes...)
				if r.PageToken = reply.NextPageToken; r.PageToken == "" {
					return all
				}
			}
			t.Fatal("the listing does not end")
			return nil
		}
		for _, size := range []int{1, 2, 5, 1000} {
			got := map[string]bool{}
			for _, n := range pages(store.ListRequest{Ledger: "a*", PageSize: size}) {
				got[n.DonationID] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pages of %d (-want +got):\n%s", size, diff)
			}
		}
		for _, c := range []struct {
			name string
			r    store.ListRequest
			want int
		}{
			{"one series", store.ListRequest{Ledger: "a", SeriesID: "I-3"}, 3},
			{"no such series", store.ListRequest{Ledger: "a", SeriesID: "I-9"}, 0},
			{"held", store.ListRequest{Ledger: "a", State: store.StateHeld}, 7},
			{"open", store.ListRequest{Ledger: "a", State: store.StateOpen}, 0},
			{"seen on one channel only", store.ListRequest{Ledger: "a", SeenOnlyOn: "webhook"}, 7},
			{"noted before", store.ListRequest{Ledger: "a", NotedBefore: base}, 0},
			{"noted after", store.ListRequest{Ledger: "a", NotedAfter: base}, 21},
		} {
			c.r.PageSize = 2
			if got := pages(c.r); len(got) != c.want {
				t.Errorf("%s: got %d notes, want %d", c.name, len(got), c.want)
			}
		}
		token, err := s.List(ctx(t), store.ListRequest{Ledger: "a", PageSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []store.ListRequest{
			{Ledger: "", PageToken: token.NextPageToken},
			{Ledger: "a", SeriesID: "I-1", PageToken: token.NextPageToken},
			{Ledger: "a", PageToken: "?"},
		} {
			bad.PageSize = 1
			if _, err := s.List(ctx(t), bad); !errors.Is(err, store.ErrBadPageToken) {
				t.Errorf("List(%+v): got error %v, want %v", bad, err, store.ErrBadPageToken)
			}
		}
	})
}
