package server_test

import (
	"strings"
	"testing"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A Redis that is up may run no scripts: it has become a replica, is busy with another
// program's script, or still loads its data. Then calls are UNAVAILABLE at once, with a
// time to try again, and /readyz tells why. Afterwards the service is ready by itself,
// known donations are known, and refused ones are FIRST. A frozen, silent Redis is told
// apart from these.
func TestRefusingRedis(t *testing.T) {
	redis := redistest.Start(
		t,
		"--key-load-delay",
		"5000",
		"--rdbcompression",
		"no",
		"--loading-process-events-interval-bytes",
		"1024",
		"--busy-reply-threshold",
		"20",
	)
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	if _, err := c.NoteDonation(t.Context(), series("I-known")); err != nil {
		t.Fatal(err)
	}
	redis.Do(
		`EVAL "for i = 1, 1200 do redis.call('SET', i, string.rep('x', 100)) end" 0`,
	) // loading this takes six seconds
	for _, state := range []struct{ name, tells, begin, end string }{
		{"READONLY", "it is a replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"},
		{"BUSY", "BUSY", "", "SCRIPT KILL"},
		{"LOADING", "still loading its data", "SAVE", ""},
	} {
		if state.begin != "" {
			redis.Do(state.begin)
		}
		busy := make(chan struct{})
		go func() {
			defer close(busy)
			if state.name == "BUSY" {
				redis.Tell("EVAL", "while true do end", "0")
			}
		}()
		if state.name == "LOADING" {
			redis.Restart()
		}
		eventually(t, 20*time.Second, state.name+": not ready, and why", func() bool {
			got := get(t, "http://"+s.AdminAddr()+"/readyz")
			return strings.HasPrefix(got, "503") && strings.Contains(got, state.tells)
		})
		began := time.Now()
		_, err := c.NoteDonation(within(t, 5*time.Second), series(state.name))
		if toldBy(err) != storeUnavailable || time.Since(began) > 2*time.Second {
			t.Errorf("%s: %v after %v, want %+v at once", state.name, err, time.Since(began), storeUnavailable)
		}
		if state.end != "" {
			redis.Do(state.end)
		}
		<-busy
		eventually(
			t,
			30*time.Second,
			state.name+" is over: ready",
			func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200") },
		)
		for id, want := range map[string]notedv1.Verdict{
			"I-known": notedv1.Verdict_VERDICT_DUPLICATE, state.name: notedv1.Verdict_VERDICT_FIRST,
		} {
			if answer, err := c.NoteDonation(
				within(t, 5*time.Second),
				series(id),
			); err != nil ||
				answer.Verdict != want {
				t.Errorf("after %s, %s: %v, %v, want %v", state.name, id, answer.GetVerdict(), err, want)
			}
		}
	}
	if got := s.metric(t, "noted_store_not_asked_total"); got != 0 {
		t.Errorf("%v calls did not ask the store, want none: a Redis that replies is alive", got)
	}

	redis.Pause()
	eventually(t, 20*time.Second, "frozen: not ready, and why", func() bool {
		return strings.Contains(
			get(t, "http://"+s.AdminAddr()+"/readyz"),
			"it has not answered in time; see whether it is frozen",
		)
	})
	redis.Resume()
	eventually(
		t,
		20*time.Second,
		"not frozen any more: ready",
		func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200") },
	)
}
