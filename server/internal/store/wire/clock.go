package wire

import (
	"context"
	"sync"
	"time"
)

// clocks has a clock for every Redis that is asked, by its address. On a cluster each
// primary has its own clock. Otherwise there is one clock, under the empty address; when
// sentinels name another primary, its first reply sets the clock.
type clocks struct {
	only *Clock
	of   sync.Map // :: address → *Clock
}

func (c *clocks) at(addr string) *Clock {
	if addr == "" {
		return c.only
	}
	found, ok := c.of.Load(addr)
	if !ok {
		found, _ = c.of.LoadOrStore(addr, newClock())
	}
	return found.(*Clock)
}

// Clock translates this process's time into the store's, so that a script gets its
// caller's deadline. Each reply that has the store's time narrows the difference between
// the two. From the range that remains it takes the early end, so that a deadline is
// never late by the store's clock. Times here are monotonic: a jump of this machine's
// wall clock does not matter.
type Clock struct {
	mu    sync.Mutex
	epoch time.Time     // of this process; all below is relative to it
	low   time.Duration // the store's time less ours is at least this
	high  time.Duration // and at most this
	at    time.Duration // when low and high were found
	known bool
}

// drift is how fast the clocks of two machines may diverge.
const drift = 1.0 / 1000

// parted is how far they may have diverged after d.
func parted(d time.Duration) time.Duration { return time.Duration(float64(max(d, 0)) * drift) }

func newClock() *Clock { return &Clock{epoch: time.Now()} }

// observe learns that the store's clock showed now at a moment between sent and received.
func (c *Clock) observe(now, sent, received time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := received.Sub(c.epoch)
	theirs := time.Duration(now.UnixNano() - c.epoch.UnixNano())
	low, high := theirs-at, theirs+time.Millisecond-sent.Sub(c.epoch) // the reply is cut to milliseconds
	if c.known {
		wider := parted(at - c.at)
		if l, h := max(low, c.low-wider), min(high, c.high+wider); l <= h {
			low, high = l, h
		} // otherwise one of the clocks was set: only the latest reply counts
	}
	c.low, c.high, c.at, c.known = low, high, at, true
}

// theirs is the store's time when ours is t, or a little before it. It is false before
// the first observation.
func (c *Clock) theirs(t time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := t.Sub(c.epoch)
	return time.Unix(0, c.epoch.UnixNano()).Add(at + c.low - parted(at-c.at)), c.known
}

// noDeadline is for a context without a deadline: the year 2255, in milliseconds. No
// clock shows it, and it is exact in a Lua number. unknownDeadline is for a store whose
// time is not known yet: it has already passed, so the script only returns the time.
const (
	noDeadline      = 9_000_000_000_000
	unknownDeadline = 0
)

// deadline is the deadline of ctx in the store's time, in milliseconds.
func (c *Clock) deadline(ctx context.Context) int64 {
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

// Second is the second since 1970 that the store's clock shows now. It is 0 if that is not
// known, or if ctx may end before that second does: a script that finds itself in it is in
// time.
func (c *Clock) Second(ctx context.Context) int64 {
	if c == nil {
		return 0
	}
	now, known := c.theirs(time.Now())
	second := now.Unix()
	if !known || c.deadline(ctx) < second*1000+999 {
		return 0
	}
	return second
}

// until is the last whole millisecond before a deadline, because a script still runs in
// the millisecond of its deadline.
func until(deadline time.Time) int64 { return deadline.UnixMilli() - 1 }

// offset is how far the store's clock is ahead of this machine's wall clock.
func (c *Clock) offset() time.Duration {
	t := time.Now()
	theirs, known := c.theirs(t)
	if !known {
		return 0
	}
	return theirs.Sub(time.Unix(0, t.UnixNano()))
}
