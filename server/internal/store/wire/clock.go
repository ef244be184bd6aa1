package wire

import (
	"context"
	"sync"
	"time"
)

// clocks are those of the Redises that are asked, by their address: on a cluster each
// primary has one, and goes by it. Elsewhere there is one, under no address; where
// sentinels name another primary, its first reply sets it.
type clocks struct {
	of sync.Map // :: address → *clock
}

func (c *clocks) at(addr string) *clock {
	found, ok := c.of.Load(addr)
	if !ok {
		found, _ = c.of.LoadOrStore(addr, newClock())
	}
	return found.(*clock)
}

// clock translates this process's time into the store's, so that a script can be given
// its caller's deadline. Each reply that bears the store's time narrows down how far the
// two are apart; of what remains uncertain, the early end is taken, so that a deadline is
// never late by the store's clock. Times here are monotonic: a jump of this machine's
// wall clock does not matter.
type clock struct {
	mu    sync.Mutex
	epoch time.Time     // of this process; all below is relative to it
	low   time.Duration // the store's time less ours is at least this
	high  time.Duration // and at most this
	at    time.Duration // when that was found
	known bool
}

// drift is how fast two machines' clocks may part.
const drift = 1.0 / 1000

// parted is how far they may have parted after d.
func parted(d time.Duration) time.Duration { return time.Duration(float64(max(d, 0)) * drift) }

func newClock() *clock { return &clock{epoch: time.Now()} }

// observe takes in that the store's clock showed now at some time between sent and
// received.
func (c *clock) observe(now, sent, received time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := received.Sub(c.epoch)
	theirs := time.Duration(now.UnixNano() - c.epoch.UnixNano())
	low, high := theirs-at, theirs+time.Millisecond-sent.Sub(c.epoch) // the reply is cut to milliseconds
	if c.known {
		wider := parted(at - c.at)
		if l, h := max(low, c.low-wider), min(high, c.high+wider); l <= h {
			low, high = l, h
		} // else one of the clocks was set: only the latest counts
	}
	c.low, c.high, c.at, c.known = low, high, at, true
}

// theirs is the store's time when ours is t, or a little before it; false if nothing has
// been observed yet.
func (c *clock) theirs(t time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := t.Sub(c.epoch)
	return time.Unix(0, c.epoch.UnixNano()).Add(at + c.low - parted(at-c.at)), c.known
}

// noDeadline is for a context that has none: the year 2255, in milliseconds, past what
// any clock shows and exact in a Lua number. unknownDeadline is for a store whose time is
// not known yet: it has passed, so a script does nothing but tell the time.
const (
	noDeadline      = 9_000_000_000_000
	unknownDeadline = 0
)

// deadline is the ctx's in the store's time, in milliseconds.
func (c *clock) deadline(ctx context.Context) int64 {
	ours, has := ctx.Deadline()
	if !has {
		return noDeadline
	}
	theirs, known := c.theirs(ours)
	if !known {
		return unknownDeadline
	}
	return until(theirs)
}

// until is the last whole millisecond before a deadline: a script still runs in the one
// that it is given.
func until(deadline time.Time) int64 { return deadline.UnixMilli() - 1 }

// offset is how far the store's clock is ahead of this machine's wall clock.
func (c *clock) offset() time.Duration {
	t := time.Now()
	theirs, known := c.theirs(t)
	if !known {
		return 0
	}
	return theirs.Sub(time.Unix(0, t.UnixNano()))
}
