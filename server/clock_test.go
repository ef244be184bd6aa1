package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// Log and metrics tell of a Redis whose clock jumps, either way. Beyond a minute the
// server is not ready. Calls in time are answered throughout.
func TestClockOfRedisJumps(t *testing.T) {
	redis := redistest.StartWithClock(t)
	var log lockedBuffer
	n := start(t, servertest.Options{Redis: redis.URL(), Log: &log})
	n.mustNote(t, series("I-0"))
	ready := func() string { return get(t, "http://"+n.AdminAddr()+"/readyz") }
	jumps := 0.0
	for _, c := range []struct {
		ahead time.Duration
		ready bool
	}{
		{2 * time.Second, true},
		{10 * time.Minute, false},
		{0, true},
		{-2 * time.Second, true},
		{-10 * time.Minute, false},
		{0, true},
	} {
		redis.SetClock(c.ahead)
		if _, err := n.NoteDonation(within(t, 5*time.Second), series("I-"+c.ahead.String())); err != nil {
			t.Errorf("%v ahead: NoteDonation: %v", c.ahead, err)
		}
		jumps++
		eventually(
			t,
			10*time.Second,
			"a jump is counted",
			func() bool { return n.metric(t, "noted_store_clock_jumps_total") == jumps },
		)
		eventually(t, 10*time.Second, "health follows", func() bool {
			return strings.HasPrefix(ready(), "200") == c.ready && (c.ready || strings.Contains(ready(), "NTP"))
		})
		if got := n.metric(
			t,
			"noted_store_clock_offset_seconds",
		); got < c.ahead.Seconds()-1 ||
			got > c.ahead.Seconds()+1 {
			t.Errorf("%v ahead: noted_store_clock_offset_seconds = %v", c.ahead, got)
		}
	}
	if got := strings.Count(log.String(), "clock jumped"); float64(got) != jumps {
		t.Errorf("the log tells of %d jumps, want %v", got, jumps)
	}
	if got := strings.Count(log.String(), "NOT_SERVING until it is"); got != 2 {
		t.Errorf("the log tells %d times that the store is not fit for use, want 2:\n%s", got, log.String())
	}
}
