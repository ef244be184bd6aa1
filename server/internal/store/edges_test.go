package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestEdges asks one millisecond before the end of each span, at its end and one
// millisecond later, on a Redis whose clock stands. Both windows and the limit ahead
// include their end; a hold and a note's life do not.
func TestEdges(t *testing.T) {
	server := redistest.StartWithClock(t)
	s := open(t, "standalone", server.URL())
	now := time.Now().Truncate(time.Second)
	const hour, ms = time.Hour, time.Millisecond
	ask := func(series string, change func(r *store.NoteRequest)) store.NoteRequest {
		r := holding(t, series, "r")
		r.Hold = 0
		change(&r)
		return r
	}
	other := func(r *store.NoteRequest) { r.RequestID, r.Message = "other", webhook }
	later := func(d time.Duration) { server.StopClock(now.Add(d)) }
	for off, within := range map[time.Duration]bool{-ms: true, 0: true, ms: false} {
		verdict, evidence := store.First, store.New
		if within {
			verdict, evidence = store.Duplicate, store.Paired
		}
		// Scripts read less of a note that was kept for the default and lies outside the window.
		for _, kept := range []time.Duration{defaultRules.Retention, 40 * 24 * hour} {
			for _, way := range []time.Duration{1, -1} {
				later(0)
				series := fmt.Sprint("match-", off, "-", way, "-", kept)
				note(t, s, ask(series, func(r *store.NoteRequest) {
					r.Donation.OccurredAt, r.Rules.Retention = now.Add(-3*hour), kept
				}))
				wantVerdict(t, note(t, s, ask(series, func(r *store.NoteRequest) {
					other(r)
					r.Donation.OccurredAt = now.Add(-3*hour + way*(r.Rules.MatchWindow+off))
				})), verdict, evidence)
			}
		}

		later(0)
		series := fmt.Sprint("arrival-", off)
		note(t, s, ask(series, func(*store.NoteRequest) {}))
		later(hour)
		wantVerdict(
			t,
			note(t, s, ask(series, func(r *store.NoteRequest) { other(r); r.Rules.ArrivalWindow = hour - off })),
			verdict,
			evidence,
		)

		_, err := s.Note(
			ctx(t),
			ask(
				fmt.Sprint("ahead-", off),
				func(r *store.NoteRequest) { r.Donation.OccurredAt = now.Add(hour + r.Rules.SkewAhead + off) },
			),
		)
		if errors.Is(err, store.ErrTooLate) == within {
			t.Errorf("occurred %v beyond the limit ahead: %v", off, err)
		}
		// A donation exactly as old as the retention is already forgotten.
		_, err = s.Note(
			ctx(t),
			ask(
				fmt.Sprint("back-", off),
				func(r *store.NoteRequest) { r.Donation.OccurredAt = now.Add(hour - r.Rules.Retention - off) },
			),
		)
		if errors.Is(err, store.ErrTooEarly) != (off >= 0) {
			t.Errorf("occurred %v further back than the retention: %v", off, err)
		}
	}
	// The key is the time after the hold's end.
	for off, held := range map[time.Duration]bool{-ms: true, 0: false, ms: false} {
		later(0)
		series := fmt.Sprint("hold-", off)
		note(t, s, ask(series, func(r *store.NoteRequest) { r.Hold = time.Minute - off }))
		later(time.Minute)
		got := note(t, s, ask(series, other))
		if held {
			wantVerdict(t, got, store.Held, store.Paired)
		} else {
			wantVerdict(t, got, store.First, store.TakenOver)
		}
	}
}

// TestKeyAndNoteEnd checks that a note is forgotten at its end, to the millisecond,
// whether Redis has removed the key, has it still in its last millisecond, or keeps it
// for another note of the series.
func TestKeyAndNoteEnd(t *testing.T) {
	server := redistest.StartWithClock(t)
	s := open(t, "standalone", server.URL())
	now := time.Now().Truncate(time.Second)
	const hour, ms = time.Hour, time.Millisecond
	for _, c := range []struct {
		name string
		off  time.Duration // after the note's end
		kept bool          // another note keeps the key
		key  string        // EXISTS
		want store.Verdict
	}{
		{"a millisecond before", -ms, false, "1", store.Duplicate},
		{"at its end", 0, false, "1", store.First},
		{"a millisecond after", ms, false, "0", store.First},
		{"a millisecond before, beside another", -ms, true, "1", store.Duplicate},
		{"at its end, beside another", 0, true, "1", store.First},
		{"a millisecond after, beside another", ms, true, "1", store.First},
	} {
		server.StopClock(now)
		series := fmt.Sprint("I", c.off, "-", c.kept)
		r := holding(t, series, "r")
		r.Hold, r.Rules.Retention, r.Donation.OccurredAt = 0, hour, now.Add(5*time.Second-c.off)
		one := note(t, s, r)
		if c.kept {
			r.Donation.Event, r.Rules.Retention = refund, 2*hour
			note(t, s, r)
			r.Donation.Event, r.Rules.Retention = pay, hour
		}
		server.StopClock(now.Add(hour + 5*time.Second))
		if got := told(t, server, "EXISTS", "noted:{"+ledgerOf(t)+" "+series+"}"); got != c.key {
			t.Errorf("%s: EXISTS = %s, want %s", c.name, got, c.key)
		}
		r.RequestID, r.Donation.OccurredAt = "other", time.Time{}
		reply := note(t, s, r)
		if reply.Verdict != c.want || (reply.Note.DonationID == one.Note.DonationID) != (c.want == store.Duplicate) {
			t.Errorf(
				"%s: verdict %d of %s, want %d; it was %s",
				c.name,
				reply.Verdict,
				reply.Note.DonationID,
				c.want,
				one.Note.DonationID,
			)
		}
	}
}
