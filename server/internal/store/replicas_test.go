package store_test

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

var (
	toldToWait = regexp.MustCompile(`wait\r\n\$1\r\n1\r\n\$\d+\r\n(\d+)\r\n`)
	isWaiting  = regexp.MustCompile(`(?m)^id=(\d+) .* cmd=wait\b`)
)

// TestReplicasWithinTheDeadline checks that a caller learns of too few replicas before its
// deadline: the time that Redis is told to wait ends a tenth of a second earlier, since
// Redis looks at such times ten times a second.
func TestReplicasWithinTheDeadline(t *testing.T) {
	const limit = 2 * time.Minute
	f := pair(t, 1)
	f.replicas[0].Pause()
	spans := make(chan time.Duration, 100)
	p := redistest.StartProxy(t, f.primaries[0].Addr(), func(request []byte) redistest.Disturbance {
		for _, m := range toldToWait.FindAllSubmatch(request, -1) {
			ms, _ := strconv.Atoi(string(m[1]))
			spans <- time.Duration(ms) * time.Millisecond
		}
		return redistest.Disturbance{}
	})
	s := openWith(t, store.Config{URL: p.URL(), Mode: f.mode, Replicas: 1, ReplicasTimeout: 20 * limit})
	for _, what := range []string{"Note", "Note again"} {
		answer := make(chan error, 1)
		go func() {
			_, err := s.Note(within(t, limit), holding(t, "I-1", "r"))
			answer <- err
		}()
		var err error
		soon(t, time.Minute, what+" is answered", func() bool { // the test ends the wait
			for _, m := range isWaiting.FindAllStringSubmatch(f.primaries[0].Tell("CLIENT", "LIST"), -1) {
				f.primaries[0].Tell("CLIENT", "UNBLOCK", m[1])
			}
			select {
			case err = <-answer:
				return true
			default:
				return false
			}
		})
		if !errors.Is(err, store.ErrNotReplicated) {
			t.Errorf("%s: %v, want %v", what, err, store.ErrNotReplicated)
		}
		if len(spans) == 0 {
			t.Errorf("%s: Redis was not told to wait", what)
		}
		for len(spans) > 0 {
			if d := <-spans; d < limit/2 || d > limit-100*time.Millisecond {
				t.Errorf("%s: Redis was told to wait for %v, and the caller waits for %v", what, d, limit)
			}
		}
	}
	if t.Failed() {
		return
	}
	soon(t, time.Minute, "a caller with half a second learns of too few replicas", func() bool {
		_, err := s.Note(within(t, 500*time.Millisecond), holding(t, "I-1", "r"))
		return errors.Is(err, store.ErrNotReplicated)
	})
}

// TestBeatWithoutReplyToWait checks that a beat counts as unreplicated if Redis does not
// reply to its WAIT in time. On a busy machine each reply to WAIT may be late, and then
// nothing can be noted.
func TestBeatWithoutReplyToWait(t *testing.T) {
	r := redistest.Start(t)
	config := store.Config{URL: r.URL(), Mode: "standalone", Replicas: 1, ReplicasTimeout: time.Second}
	for late := 0; late < 3; {
		s := openWith(t, config)
		// Redis looks at the timeouts of WAIT ten times a second.
		c, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		_, err := s.Beat(c)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			late++
		} else if err != nil {
			t.Fatalf("Beat: %v", err)
		}
		if reason, _ := s.Unreplicated(); !errors.Is(reason, store.ErrNotReplicated) {
			t.Errorf("after a beat without replicas (%v): %v, want %v", err, reason, store.ErrNotReplicated)
		}
	}
}
