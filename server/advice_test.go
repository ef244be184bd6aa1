package server

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// The log tells of a store whose clock jumps. A store whose clock is more than a minute
// off makes the server not ready.
func TestClockJumps(t *testing.T) {
	clock, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clock.Close)
	var log LockedBuffer
	s, err := New(
		t.Context(),
		Config{
			Listen:      "127.0.0.1:0",
			AdminListen: Off,
			Redis:       clock.URL(),
			Logger:      slog.New(slog.NewTextHandler(&log, nil)),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(serving) }()
	t.Cleanup(func() { stop(); <-served })

	soon := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("still not: %s; the log:\n%s", what, log.String())
			}
		}
	}
	if ready := s.watch.Ready(); ready != "" {
		t.Fatalf("not ready: %s", ready)
	}
	clock.Advance(2 * time.Second)
	soon("a jump of 2s is told", func() bool {
		return strings.Contains(log.String(), "clock jumped") &&
			strings.Contains(log.String(), "clock and this machine's disagree")
	})
	families, err := s.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if got := f.GetMetric()[0].GetCounter().GetValue(); f.GetName() == "noted_store_clock_jumps_total" && got != 1 {
			t.Errorf("noted_store_clock_jumps_total = %v, want 1", got)
		}
	}
	if ready := s.watch.Ready(); ready != "" {
		t.Errorf("not ready for a jump of 2s: %s", ready)
	}
	clock.Advance(2 * time.Minute)
	soon("not ready", func() bool { return strings.Contains(s.watch.Ready(), "NTP") })
}

// server/README.md names the reasons of noted_store_shut_out.
func TestReadmeShutOuts(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := "(`" + strings.Join(store.ShutOuts, "`, `") + "`)"
	if !strings.Contains(string(text), want) {
		t.Errorf("server/README.md does not name the reasons of noted_store_shut_out as %s", want)
	}
}
