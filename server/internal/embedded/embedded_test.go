package embedded_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// connect gives a client of the store.
func connect(t *testing.T, s *embedded.Server) *redis.Client {
	t.Helper()
	t.Cleanup(s.Close)
	options, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// clock is the time that a script sees, in milliseconds.
func clock(t *testing.T, client *redis.Client) int64 {
	t.Helper()
	script := `local t = redis.call('TIME') return t[1] .. string.format('%06d', t[2])`
	text, err := client.Eval(t.Context(), script, nil).Text()
	if err != nil {
		t.Fatal(err)
	}
	micros, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return micros / 1000
}

// within polls until the condition holds.
func within(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

func TestFrozenClockMovesByAdvanceOnly(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_123)
	s, err := embedded.StartFrozen(at)
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, s)
	if got, want := clock(t, client), at.UnixMilli(); got != want {
		t.Fatalf("TIME = %d, want %d", got, want)
	}
	client.Set(t.Context(), "a", 1, 10*time.Second)
	s.Advance(10*time.Second - time.Millisecond)
	if got, want := clock(t, client), at.UnixMilli()+9_999; got != want {
		t.Fatalf("TIME after Advance = %d, want %d", got, want)
	}
	if client.Exists(t.Context(), "a").Val() != 1 {
		t.Fatal("a key ended a millisecond too early")
	}
	s.Advance(time.Millisecond)
	if client.Exists(t.Context(), "a").Val() != 0 {
		t.Fatal("a key outlived its time")
	}
	if got, want := s.Now(), at.Add(10*time.Second); !got.Equal(want) {
		t.Fatalf("Now = %v, want %v", got, want)
	}
}

func TestClockTicksOnAfterAdvance(t *testing.T) {
	s, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, s)
	if off := clock(t, client) - time.Now().UnixMilli(); off < -1000 || off > 1000 {
		t.Fatalf("TIME is %d ms off this machine's clock", off)
	}
	s.Advance(time.Hour)
	first := clock(t, client)
	if off := first - time.Now().Add(time.Hour).UnixMilli(); off < -1000 || off > 1000 {
		t.Fatalf("TIME after Advance is %d ms off", off)
	}
	within(t, 5*time.Second, "the clock has ticked", func() bool { return clock(t, client) >= first+20 })
}

func TestKeysEndByThemselves(t *testing.T) {
	s, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, s)
	client.Set(t.Context(), "a", 1, 500*time.Millisecond)
	within(t, 5*time.Second, "the key is gone", func() bool { return client.Exists(t.Context(), "a").Val() == 0 })
	s.Close()
	s.Close()
}
