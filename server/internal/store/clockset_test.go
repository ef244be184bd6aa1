package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// patient is how long a caller waits here: long enough for a busy machine, and short
// against the jumps of the clocks.
const patient = 10 * time.Second

// TestClockSetForwardOnRedis sets the clock of a Redis forward: calls in time are still
// answered; a hold ends early, and the next attempt takes over; a note is forgotten
// early, with its key.
func TestClockSetForwardOnRedis(t *testing.T) {
	server := redistest.StartWithClock(t)
	s := open(t, "standalone", server.URL())
	first := note(t, s, holding(t, "held", "r"))
	short := holding(t, "short", "r")
	short.Hold, short.Rules.Retention = 0, time.Hour
	brief := note(t, s, short)

	server.SetClock(2 * time.Minute)
	second := note(t, s, holding(t, "held", "other"))
	wantVerdict(t, second, store.First, store.TakenOver)
	if second.Note.Attempt != 2 || second.Note.DonationID != first.Note.DonationID ||
		second.Now.Before(first.Note.HeldUntil) {
		t.Errorf(
			"taken over at %v as attempt %d of %s; want 2 of %s, not before %v",
			second.Now,
			second.Note.Attempt,
			second.Note.DonationID,
			first.Note.DonationID,
			first.Note.HeldUntil,
		)
	}
	if _, err := s.Settle(ctx(t), first.Receipt); !errors.Is(err, store.ErrHoldLost) {
		t.Errorf("Settle by the first holder: %v, want %v", err, store.ErrHoldLost)
	}
	if _, err := s.Settle(ctx(t), second.Receipt); err != nil {
		t.Errorf("Settle by the second: %v", err)
	}

	server.SetClock(2 * time.Hour)
	if got := told(t, server, "EXISTS", "noted:{"+ledgerOf(t)+" short}"); got != "0" {
		t.Errorf("after its time EXISTS of a key = %s, want 0", got)
	}
	again := note(t, s, short)
	wantVerdict(t, again, store.First, store.New)
	if again.Note.DonationID == brief.Note.DonationID {
		t.Errorf("a donation that was forgotten is noted under the same id %s", brief.Note.DonationID)
	}
}

// TestClockSetBackOnRedis sets the clock of a Redis back: notes stay, a hold lasts
// longer, no two notes get the same name, and no sighting is earlier than its note.
func TestClockSetBackOnRedis(t *testing.T) {
	server := redistest.StartWithClock(t)
	s := open(t, "standalone", server.URL())
	held := note(t, s, holding(t, "held", "r"))
	final := holding(t, "final", "r")
	final.Hold = 0
	note(t, s, final)

	server.SetClock(-time.Hour)
	again := note(t, s, holding(t, "held", "other"))
	wantVerdict(t, again, store.Held, store.SameMessage)
	if left := again.Note.HeldUntil.Sub(again.Now); left != time.Minute {
		t.Errorf("the hold has %v left, want the minute that was asked for", left)
	}
	final.RequestID, final.Message = "other", webhook
	seen := note(t, s, final)
	wantVerdict(t, seen, store.Duplicate, store.Paired)
	if sightings := seen.Note.Sightings; len(sightings) != 2 || sightings[1].SeenAt.Before(seen.Note.NotedAt) {
		t.Errorf("noted at %v, and seen %+v; want it seen twice, and not before", seen.Note.NotedAt, sightings)
	}
	wantVerdict(t, note(t, s, holding(t, "held", "r")), store.First, store.SameRequest)
	if n, err := s.Settle(ctx(t), held.Receipt); err != nil || n.State != store.StateSettled {
		t.Errorf("Settle: state %d, %v", n.State, err)
	}

	// The same second comes twice, each time with many donations of one series.
	names, at := map[string]bool{}, time.Now().Truncate(time.Second)
	for round := range 2 {
		server.StopClock(at)
		for i := range 20 {
			r := holding(t, "many", fmt.Sprint(round, i))
			r.Donation.TransactionID, r.Message.ID = fmt.Sprint("T", round, "-", i), fmt.Sprint(round, "-", i)
			reply := note(t, s, r)
			wantVerdict(t, reply, store.First, store.New)
			if names[reply.Note.DonationID] {
				t.Errorf("round %d, note %d: another note has the id %s", round, i, reply.Note.DonationID)
			}
			names[reply.Note.DonationID] = true
		}
		server.StopClock(at.Add(time.Minute))
	}
}

// TestLateAfterClockSetBack sets the store's clock back while a caller's time runs out,
// so that its note is made too late. The same request must still learn that the donation
// is its own, and others must wait for it.
func TestLateAfterClockSetBack(t *testing.T) {
	server := redistest.StartWithClock(t)
	s := open(t, "standalone", server.URL())
	note(t, s, holding(t, "before", "r")) // the store knows the time
	before := scriptsRun(t, server)
	server.Pause()
	server.SetClock(-time.Hour)
	if _, err := s.Note(
		within(t, 200*time.Millisecond),
		holding(t, "late", "r"),
	); !errors.Is(
		err,
		context.DeadlineExceeded,
	) {
		t.Errorf("Note on a frozen Redis: %v, want its caller's deadline", err)
	}
	server.Resume()
	soon(t, patient, "Redis has found the script", func() bool { return scriptsRun(t, server) > before })
	other := note(t, s, holding(t, "late", "other"))
	wantVerdict(t, other, store.Held, store.SameMessage)
	again := note(t, s, holding(t, "late", "r"))
	wantVerdict(t, again, store.First, store.SameRequest)
	if again.Note.DonationID != other.Note.DonationID || again.Note.Attempt != 1 {
		t.Errorf(
			"the same request got attempt %d of %s, want 1 of %s",
			again.Note.Attempt,
			again.Note.DonationID,
			other.Note.DonationID,
		)
	}
}

// TestClocksApart checks deadlines while the clocks of Redis and of this machine are ten
// minutes apart, or keep diverging: a call in time is never refused, and a call whose
// time ended while Redis was frozen notes nothing. For everything else Redis's clock
// counts.
func TestClocksApart(t *testing.T) {
	for _, c := range []struct {
		name     string
		ahead    time.Duration
		drifting float64 // seconds a second
	}{
		{"ahead", 10 * time.Minute, 0},
		{"behind", -10 * time.Minute, 0},
		{"ever more ahead", 0, 0.05},
		{"ever more behind", 0, -0.05},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := redistest.StartWithClock(t)
			server.SetClock(c.ahead)
			stop := drift(server, c.ahead, c.drifting)
			defer stop()
			s := open(t, "standalone", server.URL())
			for i := range 50 {
				if _, err := s.Note(within(t, patient), holding(t, fmt.Sprint("in-time-", i), "r")); err != nil {
					t.Errorf("Note in time: %v", err)
				}
			}
			for round := range 3 {
				series := fmt.Sprint("late-", round)
				before := scriptsRun(t, server)
				server.Pause()
				const patience = 200 * time.Millisecond
				began := time.Now()
				if _, err := s.Note(
					within(t, patience),
					holding(t, series, "r"),
				); !errors.Is(
					err,
					context.DeadlineExceeded,
				) {
					t.Errorf("Note on a frozen Redis: %v, want its caller's deadline", err)
				}
				soon(t, patient, "the deadline is well past", func() bool { return time.Since(began) > 3*patience/2 })
				server.Resume()
				soon(t, patient, "Redis has found the script", func() bool { return scriptsRun(t, server) > before })
				if look, err := s.Exists(
					ctx(t),
					holding(t, series, "").Donation,
					ipn,
					defaultRules,
				); err != nil ||
					look.Evidence != 0 {
					t.Errorf("%s was noted after its caller had gone: %+v, %v", series, look, err)
				}
			}
			if c.ahead == 0 {
				return
			}
			for _, off := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
				r := holding(t, fmt.Sprint("occurred-", off), "r") // a new donation: known ones are never refused
				r.Donation.OccurredAt = time.Now().Add(c.ahead + r.Rules.SkewAhead + off)
				if _, err := s.Note(ctx(t), r); errors.Is(err, store.ErrTooLate) != (off > 0) {
					t.Errorf("occurred %v beyond the limit ahead of Redis's clock: %v", off, err)
				}
			}
			if reply := note(
				t,
				s,
				holding(t, "now", "r"),
			); reply.Note.NotedAt.Sub(time.Now().Add(c.ahead)).
				Abs() >
				time.Minute {
				t.Errorf(
					"noted at %v, want Redis's time, which is %v ahead of %v",
					reply.Note.NotedAt,
					c.ahead,
					time.Now(),
				)
			}
		})
	}
}

// TestClusterClocksApart checks deadlines on a cluster whose primaries' clocks are
// seconds apart: each counts by the clock of the primary that runs the script, whichever
// primary was asked before. Check always reports the largest offset.
func TestClusterClocksApart(t *testing.T) {
	ahead := []time.Duration{0, -3 * time.Second, 10 * time.Minute}
	n := 0
	f := clusterOf(t, func() *redistest.Server {
		node := redistest.StartWithClock(t, "--cluster-enabled", "yes")
		node.SetClock(ahead[n])
		n++
		return node
	})
	for replicas := range 2 {
		s := f.open(t, replicas)
		on := f.seriesByPrimary(t)
		asks := func(what string) {
			t.Helper()
			var many []store.NoteRequest
			for _, node := range f.primaries {
				for _, series := range on[node] {
					if _, err := s.Note(
						within(t, patient),
						holding(t, series, "r"),
					); err != nil &&
						!errors.Is(err, store.ErrNotReplicated) {
						t.Errorf("%s: Note in time: %v", what, err)
					}
					many = append(many, holding(t, series, "r"))
				}
			}
			if _, errs := s.Notes(within(t, patient), many); errors.Join(errs...) != nil && replicas == 0 {
				t.Errorf("%s: Notes in time: %v", what, errors.Join(errs...))
			}
		}
		asks("at first")
		for i, node := range f.primaries {
			asks("before a freeze")
			series := f.seriesByPrimary(t)[node][0]
			late := holding(t, series, "late")
			late.Donation.Event = refund
			before := scriptsRun(t, node)
			node.Pause()
			const patience = 200 * time.Millisecond
			began := time.Now()
			if _, err := s.Note(within(t, patience), late); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Note on a frozen Redis: %v, want its caller's deadline", err)
			}
			soon(t, patient, "the deadline is well past", func() bool { return time.Since(began) > 3*patience/2 })
			node.Resume()
			soon(t, patient, "Redis has found the script", func() bool { return scriptsRun(t, node) > before })
			if look, err := s.Exists(ctx(t), late.Donation, ipn, defaultRules); err != nil || look.Evidence != 0 {
				t.Errorf(
					"%d replicas: on the primary whose clock is %v ahead, a note was made after its caller had "+
						"gone: %+v, %v",
					replicas,
					ahead[i],
					look,
					err,
				)
			}
		}
		for range 20 {
			if r, err := s.Check(ctx(t)); err != nil || (r.ClockOffset-10*time.Minute).Abs() > time.Second {
				t.Fatalf("Check: the clock is %v ahead, %v; want the 10m of the worst", r.ClockOffset, err)
			}
		}
	}
}

// drift lets a server's clock run faster than this machine's, by this many seconds a
// second.
func drift(server *redistest.Server, ahead time.Duration, by float64) (stop func()) {
	done, began := make(chan struct{}), time.Now()
	var going sync.WaitGroup
	going.Go(func() {
		for tick := time.NewTicker(5 * time.Millisecond); by != 0; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				server.SetClock(ahead + time.Duration(float64(time.Since(began))*by))
			}
		}
	})
	return func() { close(done); going.Wait() }
}

// TestClockJumpsUnderLoad lets Redis's clock jump to and fro while many callers note a
// few donations and none settles. Every call must be answered, and by Redis's own clock
// no donation may have two holders at a time.
func TestClockJumpsUnderLoad(t *testing.T) {
	server := redistest.StartWithClock(t)
	s := open(t, "standalone", server.URL())
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	attempts := map[string]map[int]store.NoteReply{} // :: donation → attempt → its FIRST
	until := map[string]time.Time{}                  // :: donation and attempt → the earliest answered end
	stop := make(chan struct{})
	var all sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); all.Wait() })
	defer end()
	for worker := range 4 {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				r := holding(t, fmt.Sprint("I-", n%3), fmt.Sprint(worker, "-", n))
				reply, err := s.Note(within(t, patient), r)
				if err != nil {
					t.Errorf("Note: %v", err)
				}
				if err != nil {
					continue
				}
				mu.Lock()
				attempt := fmt.Sprint(reply.Note.DonationID, " ", reply.Note.Attempt)
				if told, ok := until[attempt]; !ok || reply.Note.HeldUntil.Before(told) {
					until[attempt] = reply.Note.HeldUntil
				}
				if reply.Verdict != store.First {
					mu.Unlock()
					continue
				}
				of := attempts[reply.Note.DonationID]
				if of == nil {
					of = map[int]store.NoteReply{}
					attempts[reply.Note.DonationID] = of
				}
				if other, twice := of[reply.Note.Attempt]; twice {
					t.Errorf(
						"attempt %d of %s was FIRST twice: at %v and %v",
						reply.Note.Attempt,
						reply.Note.DonationID,
						other.Now,
						reply.Now,
					)
				}
				of[reply.Note.Attempt] = reply
				mu.Unlock()
			}
		})
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 8 {
		server.SetClock(time.Duration(random.Int64N(int64(20*time.Minute))) - 10*time.Minute)
		note(t, s, holding(t, fmt.Sprint("jump-", i), "r"))
		jumped := time.Now()
		soon(t, patient, "a while on this clock", func() bool { return time.Since(jumped) > 300*time.Millisecond })
	}
	end()
	takeovers := 0
	for donation, of := range attempts {
		for n := 1; n <= len(of); n++ {
			one, other := of[n], of[n+1]
			switch {
			case one.Note.Attempt != n:
				t.Errorf("%s had %d holders, but attempt %d is missing", donation, len(of), n)
			// After the clock was set back, the next caller learns an earlier end of the
			// hold: a hold lasts no longer than its request asked.
			case n < len(of) && other.Now.Before(until[fmt.Sprint(donation, " ", n)]):
				t.Errorf(
					"attempt %d of %s was held until %v, and another got it at %v",
					n,
					donation,
					until[fmt.Sprint(donation, " ", n)],
					other.Now,
				)
			case n < len(of):
				takeovers++
			}
		}
	}
	t.Logf("%d takeovers of %d donations", takeovers, len(attempts))
	if len(attempts) != 3 {
		t.Errorf("%d donations were noted, want 3: each series has one donation here", len(attempts))
	}
}
