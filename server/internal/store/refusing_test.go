package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// loadsSlowly skips a test on a Redis that cannot be made to load slowly and answer
// meanwhile.
func loadsSlowly(t *testing.T) {
	t.Helper()
	if release := redistest.Release(t); strings.HasPrefix(release, "6.") {
		t.Skipf("Redis %s has no loading-process-events-interval-bytes", release)
	}
}

// TestRefusingRedis checks that calls to a Redis that is up and refuses fail at once, as
// calls that did nothing, and that calls are answered again afterwards.
func TestRefusingRedis(t *testing.T) {
	loadsSlowly(t)
	// It loads a key in 10 ms, and answers in between after every few keys: 400 keys take
	// 4 s.
	r := redistest.Start(t, "--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024",
		"--lua-time-limit", "20")
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone"})
	known := note(t, s, holding(t, "known", "r"))
	// The error must have Redis's own refusal: a deadline or a silent connection would
	// have another text.
	refuses := func(what string) {
		t.Helper()
		_, err := s.Note(ctx(t), holding(t, "new-"+what, "r"))
		if !errors.Is(err, store.ErrUnavailable) || !redis.HasErrorPrefix(err, what) {
			t.Errorf("%s: Note: %v, want %v that Redis refused", what, err, store.ErrUnavailable)
		}
		if _, err := s.Check(ctx(t)); what != "NOREPLICAS" && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: Check: %v, want %v", what, err, store.ErrUnavailable)
		}
	}

	told(t, r, "CONFIG", "SET", "min-replicas-to-write", "1")
	refuses("NOREPLICAS")
	wantVerdict(t, note(t, s, holding(t, "known", "other")), store.Held, store.SameMessage) // it is still answered
	told(t, r, "CONFIG", "SET", "min-replicas-to-write", "0")
	note(t, s, holding(t, "a", "r"))

	told(t, r, "REPLICAOF", "127.0.0.1", "1")
	refuses("READONLY")
	told(t, r, "REPLICAOF", "NO", "ONE")
	note(t, s, holding(t, "b", "r"))

	busy := make(chan struct{})
	go func() {
		defer close(busy)
		c := redis.NewClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1, ReadTimeout: 20 * time.Second})
		defer c.Close()
		c.Eval(context.Background(), "while true do end", nil)
	}()
	soon(t, 10*time.Second, "a script that does not end", func() bool {
		c := redis.NewClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1})
		defer c.Close()
		return redis.HasErrorPrefix(c.Get(within(t, time.Second), "x").Err(), "BUSY")
	})
	refuses("BUSY")
	r.Do("SCRIPT KILL")
	<-busy
	note(t, s, holding(t, "c", "r"))

	for i := range 400 {
		note(t, s, holding(t, fmt.Sprint("loaded-", i), "r"))
	}
	r.Do("SAVE")
	r.Restart()
	refuses("LOADING")
	var again store.NoteReply
	soon(t, 20*time.Second, "loaded", func() bool {
		var err error
		again, err = s.Note(ctx(t), holding(t, "known", "r"))
		return err == nil
	})
	wantVerdict(t, again, store.First, store.SameRequest)
	if again.Receipt != known.Receipt {
		t.Errorf("after it has loaded: receipt %q, want %q", again.Receipt, known.Receipt)
	}
}
