package wire

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestClockIsNeverLate observes a store's clock now and then, through fast and slow
// replies, while the two clocks diverge as fast as drift allows. The estimate must never
// be past the store's time, and not far before it.
func TestClockIsNeverLate(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	for _, rate := range []float64{-drift, -drift / 2, 0, drift / 2, drift} {
		c := newClock()
		ahead := upTo(time.Hour) - 30*time.Minute
		real := func(at time.Duration) time.Time { // the store's time, this long after the clock was made
			return time.Unix(0, c.epoch.UnixNano()).Add(ahead + at + time.Duration(float64(at)*rate))
		}
		if _, known := c.theirs(c.epoch); known {
			t.Error("the store's time is known before it was observed")
		}
		at := time.Duration(0)
		for range 500 {
			there, back := upTo(50*time.Millisecond), upTo(50*time.Millisecond)
			c.observe(real(at+there).Truncate(time.Millisecond), c.epoch.Add(at), c.epoch.Add(at+there+back))
			at += there + back
			for _, later := range []time.Duration{0, upTo(time.Second), upTo(time.Minute)} {
				got, _ := c.theirs(c.epoch.Add(at + later))
				early := real(at + later).Sub(got)
				if most := back + 2*time.Millisecond + time.Duration(
					2.1*drift*float64(later),
				); early < 0 ||
					early > most {
					t.Fatalf(
						"seed %d, rate %v: %v after a reply the clock is %v early, want from 0 to %v",
						seed,
						rate,
						later,
						early,
						most,
					)
				}
			}
			at += upTo(time.Second)
		}
	}
}

// TestClockThatWasSet checks that after a clock was set only the replies since then
// count.
func TestClockThatWasSet(t *testing.T) {
	c := newClock()
	wall := time.Unix(0, c.epoch.UnixNano())
	for i, ahead := range []time.Duration{0, time.Hour, -time.Hour, -time.Hour + 50*time.Millisecond} {
		sent := time.Duration(i) * time.Second
		c.observe(
			wall.Add(ahead+sent+5*time.Millisecond).Truncate(time.Millisecond),
			c.epoch.Add(sent),
			c.epoch.Add(sent+10*time.Millisecond),
		)
		got, known := c.theirs(c.epoch.Add(sent + 10*time.Millisecond))
		if early := wall.Add(ahead + sent + 10*time.Millisecond).
			Sub(got); !known || early < 0 ||
			early > 7*time.Millisecond {
			t.Errorf("set %v ahead, the clock is %v early, want up to 7ms; known %v", ahead, early, known)
		}
	}
}

// TestSecond asks for the second of a store's clock, with deadlines before, at and behind
// its end: a script that finds itself in the second must be in time.
func TestSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var none *Clock
		c := newClock()
		if got := [2]int64{none.Second(t.Context()), c.Second(t.Context())}; got != [2]int64{} {
			t.Errorf("the second of clocks that are not known is %v, want 0", got)
		}
		const begins = 1_800_000_000
		now := time.Now()
		c.observe(time.Unix(begins, 0).Add(400*time.Millisecond), now, now)
		if got := c.Second(t.Context()); got != begins {
			t.Errorf("without a deadline the second is %d, want %d", got, begins)
		}
		// A script still runs in the millisecond before its deadline. The drift of the
		// clocks takes less than a millisecond from each deadline.
		for left, want := range map[time.Duration]int64{
			time.Millisecond: 0, 599 * time.Millisecond: 0, 600 * time.Millisecond: 0,
			602 * time.Millisecond: begins, time.Minute: begins,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), left)
			if got := c.Second(ctx); got != want {
				t.Errorf("%v before its deadline a call expects the second %d, want %d", left, got, want)
			}
			cancel()
		}
		time.Sleep(700 * time.Millisecond)
		if got := c.Second(t.Context()); got != begins+1 {
			t.Errorf("700 ms later the second is %d, want %d", got, begins+1)
		}
	})
}
