package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestPowerLost simulates a power failure of Redis's machine under load: its append-only
// file keeps only the bytes that the disk has confirmed. With appendfsync everysec the
// last answers are forgotten. The next beat must notice, and with RefuseAfterLoss no call
// may be answered from the data that is left, not even before that beat. With appendfsync
// always nothing is lost, and no beat may find a loss. The figures are printed.
func TestPowerLost(t *testing.T) {
	for _, appendfsync := range []string{"everysec", "always"} {
		t.Run(appendfsync, func(t *testing.T) {
			r := redistest.Start(t, "--appendonly", "yes", "--appendfsync", appendfsync)
			power := r.WatchPower()
			config := store.Config{URL: r.URL(), Mode: "standalone"}
			s := openWith(t, config)
			config.RefuseAfterLoss = true
			strict := openWith(t, config)
			beat(t, s, 0, "the first")
			beat(t, strict, 0, "the first")
			l := begin(t, s, "ledger", 8)
			enough(t, l)
			last := ""
			for round := 0; ; round++ {
				// The disk confirms once a second, so right afterwards everysec can lose
				// most.
				confirmed := power.Syncs()
				soon(t, 20*time.Second, "the disk has confirmed", func() bool { return power.Syncs() > confirmed })
				confirmed = power.Syncs()
				beat(t, s, 0, "before")
				beat(t, strict, 0, "before")
				last = fmt.Sprint("last-", round)
				note(t, strict, holding(t, last, "r"))
				if appendfsync == "always" || power.Syncs() == confirmed {
					break
				}
			}
			bytes := power.Fail()
			r.Restart()
			soon(
				t,
				20*time.Second,
				"Redis has loaded what is left",
				func() bool { return told(t, r, "PING") == "PONG" },
			)

			reply, err := strict.Note(ctx(t), holding(t, last, "other"))
			if appendfsync == "everysec" {
				if !errors.Is(err, store.ErrWentBack) && !errors.Is(err, store.ErrOutcomeUnknown) {
					t.Errorf(
						"a call before the next beat: %v, verdict %d, want %v",
						err,
						reply.Verdict,
						store.ErrWentBack,
					)
				}
				dials(t, s)
				beat(t, s, 1, "after the power came back")
				beat(t, strict, 1, "after the power came back")
				if _, err := strict.Note(ctx(t), holding(t, last, "other")); !errors.Is(err, store.ErrWentBack) {
					t.Errorf("a call after the beat: %v, want %v", err, store.ErrWentBack)
				}
				strict.Acknowledge()
				wantVerdict(t, note(t, strict, holding(t, last, "other")), store.First, store.New)
			} else {
				if err != nil && !errors.Is(err, store.ErrOutcomeUnknown) { // on a connection from before
					t.Errorf("a call after the power came back: %v", err)
				}
				dials(t, s)
				beat(t, s, 0, "after the power came back")
				beat(t, strict, 0, "after the power came back")
				wantVerdict(t, note(t, strict, holding(t, last, "other")), store.Held, store.SameMessage)
			}
			l.allGoOn()
			lost := l.end("ledger")
			t.Logf("appendfsync %s: %d bytes lost; %s", appendfsync, bytes, l.sum(lost))
			if appendfsync == "always" {
				for _, bad := range some(append(lost, l.doubled...)) {
					t.Error(bad)
				}
			} else if len(lost) == 0 {
				t.Error("nothing is lost, so the test proves nothing")
			}
		})
	}
}

// dials waits until a store connects again. After many failed dials go-redis returns the
// last error for up to a second without dialing.
func dials(t *testing.T, s *store.Store) {
	t.Helper()
	soon(t, 20*time.Second, "the store connects again", func() bool { _, err := s.Check(ctx(t)); return err == nil })
}

// TestLossWhileLoading checks that a connection made while Redis still loads an old state
// gives no answers once Redis has loaded.
func TestLossWhileLoading(t *testing.T) {
	loadsSlowly(t)
	dir := t.TempDir()
	r := redistest.Start(
		t,
		"--dir",
		dir,
		"--key-load-delay",
		"20000",
		"--loading-process-events-interval-bytes",
		"1024",
	)
	strict := openWith(t, store.Config{URL: r.URL(), Mode: "standalone", RefuseAfterLoss: true})
	beat(t, strict, 0, "the first")
	for i := range 100 {
		note(t, strict, holding(t, fmt.Sprint("I-", i), "r"))
	}
	r.Do("SAVE")
	note(t, strict, holding(t, "lost", "r"))
	beat(t, strict, 0, "after the snapshot")
	r.Kill()
	r.Restart()
	loading := 0
	soon(t, 20*time.Second, "Redis has loaded", func() bool {
		for range 3 {
			if _, err := strict.Note(ctx(t), holding(t, "lost", "other")); redis.IsLoadingError(err) {
				loading++
			}
		}
		return told(t, r, "PING") == "PONG"
	})
	if loading == 0 {
		t.Fatal("no call was made while Redis was loading")
	}
	for range 5 {
		if reply, err := strict.Note(ctx(t), holding(t, "lost", "other")); !errors.Is(err, store.ErrWentBack) {
			t.Errorf("a call before the next beat: %v, verdict %d, want %v", err, reply.Verdict, store.ErrWentBack)
		}
	}
	beat(t, strict, 1, "the next beat")
}
