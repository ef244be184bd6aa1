package server

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// Each thing that is not well is said once, and again when it comes back; a store that is well is not talked about.
func TestAdvice(t *testing.T) {
	well := store.Report{Version: "7.0.15", Policy: "noeviction", Role: "master", Persistence: "aof", Replicas: 1, MinReplicas: true}
	cases := []struct {
		name   string
		config Config
		make   func(*store.Report)
		want   string // in the log; empty for nothing
	}{
		{"all is well", Config{RedisMode: "sentinel", Replicas: 1}, func(*store.Report) {}, ""},
		{"a policy that is not told", Config{}, func(r *store.Report) { r.Policy = "" }, "maxmemory-policy"},
		{"an evicting store that is allowed", Config{AllowEviction: true}, func(r *store.Report) { r.Policy, r.Evicts = "allkeys-lru", true }, "-allow-eviction"},
		{"no persistence", Config{}, func(r *store.Report) { r.Persistence = "none" }, "appendonly yes"},
		{"snapshots only", Config{}, func(r *store.Report) { r.Persistence = "rdb" }, "appendonly yes"},
		{"no append-only file, and CONFIG refused", Config{}, func(r *store.Report) { r.Persistence = "hidden" }, "append-only file"},
		{"INFO refused", Config{}, func(r *store.Report) { *r = store.Report{} }, "maxmemory-policy noeviction"},
		{"a disk that is full", Config{}, func(r *store.Report) { r.Trouble = "it cannot write" }, "it cannot write"},
		{"sentinels without min-replicas-to-write", Config{RedisMode: "sentinel"}, func(r *store.Report) { r.MinReplicas = false }, "min-replicas-to-write 1"},
		{"but with replicas waited for", Config{RedisMode: "sentinel", Replicas: 1}, func(r *store.Report) { r.MinReplicas = false }, ""},
		{"too few replicas", Config{Replicas: 1}, func(r *store.Report) { r.Replicas = 0 }, "asked_for=1"},
		{"more replicas than are waited for", Config{Replicas: 1}, func(r *store.Report) { r.Replicas = 2 }, "waited_for=1"},
		{"clocks that disagree", Config{}, func(r *store.Report) { r.ClockOffset = -time.Second }, "NTP"},
		{"a trial", Config{Trial: true}, func(r *store.Report) { r.Policy, r.Persistence = "", "none" }, ""},
	}
	for _, c := range cases {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		a := newAdvice(c.config, metrics.New(metrics.Config{Logger: logger}), logger)
		ill := well
		c.make(&ill)
		lines := 0
		if c.want != "" {
			lines = 1
		}
		a.give(ill)
		a.give(ill)
		if got := strings.Count(log.String(), "level=WARN"); got != lines || !strings.Contains(log.String(), c.want) {
			t.Errorf("%s: the log has %d lines, want %d about %q:\n%s", c.name, got, lines, c.want, log.String())
		}
		if ill.ClockOffset != 0 {
			continue // to be well again is a jump
		}
		a.give(well)
		before := strings.Count(log.String(), "level=WARN")
		a.give(ill)
		if got := strings.Count(log.String(), "level=WARN") - before; got != lines {
			t.Errorf("%s again: the log has %d lines more, want %d", c.name, got, lines)
		}
	}
}

// Windows in which a frequent series' payments can be taken for each other are warned of, in any ledger; the usual ones are not.
func TestAdviceOnRules(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name   string
		config Config
		want   []string // a line each
	}{
		{"the defaults", Config{Ledgers: map[string]LedgerRules{"a": {Retention: 60 * day}}}, nil},
		{"windows that are just short enough", Config{Rules: Rules{MatchWindow: day - 1, ArrivalWindow: 7*day - 1}}, nil},
		{"a match window of days", Config{Rules: Rules{MatchWindow: 2 * day}}, []string{"msg=\"the match window is a day or longer, so of a daily series", "match_window=48h0m0s"}},
		{"an arrival window of weeks", Config{Rules: Rules{ArrivalWindow: 14 * day}}, []string{"msg=\"the arrival window is a week or longer, so of a weekly series", "arrival_window=336h0m0s"}},
		{"of one ledger", Config{Ledgers: map[string]LedgerRules{"a": {MatchWindow: day}, "b": {}}}, []string{"msg=\"the match window", "ledger=a match_window=24h0m0s"}},
	} {
		var log bytes.Buffer
		adviseOnRules(c.config.withDefaults(), slog.New(slog.NewTextHandler(&log, nil)))
		lines := min(1, len(c.want))
		for _, want := range c.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: the log lacks %q:\n%s", c.name, want, log.String())
			}
		}
		if got := strings.Count(log.String(), "level=WARN"); got != lines {
			t.Errorf("%s: the log has %d lines, want %d:\n%s", c.name, got, lines, log.String())
		}
	}
}

// What a real Redis says of itself is understood.
func TestReportOfRedis(t *testing.T) {
	for _, c := range []struct {
		name        string
		arguments   []string
		persistence string
	}{
		{"nothing on disk", nil, "none"},
		{"snapshots", []string{"--save", "3600 1"}, "rdb"},
		{"an append-only file", []string{"--appendonly", "yes"}, "aof"},
		{"Debian's", []string{"--save", "3600 1 300 100 60 10000"}, "rdb"},
		{"CONFIG refused", []string{"--rename-command", "CONFIG", ""}, "hidden"},
		{"CONFIG refused, an append-only file", []string{"--rename-command", "CONFIG", "", "--appendonly", "yes"}, "aof"},
	} {
		redis := redistest.Start(t, append(c.arguments, "--min-replicas-to-write", "1")...)
		s, err := store.Open(t.Context(), store.Config{URL: redis.URL(), Mode: "standalone", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		report, err := s.Check(t.Context())
		if err != nil || report.Persistence != c.persistence || !report.MinReplicas || report.Replicas != 0 || report.Role != "master" || report.Policy != "noeviction" || report.Version == "" {
			t.Errorf("%s: Check = %+v, %v; want persistence %s", c.name, report, err, c.persistence)
		}
		s.Close()
	}
}

// A store whose clock jumps is told of, and one that is more than a minute off is not relied on.
func TestClockJumps(t *testing.T) {
	clock, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clock.Close)
	var log safeBuffer
	s, err := New(t.Context(), Config{Listen: "127.0.0.1:0", AdminListen: Off, Redis: clock.URL(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
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
	if ready := s.watch.ready(); ready != "" {
		t.Fatalf("not ready: %s", ready)
	}
	clock.Advance(2 * time.Second)
	soon("a jump of 2s is told", func() bool {
		return strings.Contains(log.String(), "clock jumped") && strings.Contains(log.String(), "clock and this machine's disagree")
	})
	families, err := s.telemetry.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if got := f.GetMetric()[0].GetCounter().GetValue(); f.GetName() == "noted_store_clock_jumps_total" && got != 1 {
			t.Errorf("noted_store_clock_jumps_total = %v, want 1", got)
		}
	}
	if ready := s.watch.ready(); ready != "" {
		t.Errorf("not ready for a jump of 2s: %s", ready)
	}
	clock.Advance(2 * time.Minute)
	soon("not ready", func() bool { return strings.Contains(s.watch.ready(), "NTP") })
}

// safeBuffer is a log that can be read while it is written.
type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// README.md names the reasons of noted_store_shut_out.
func TestReadmeShutOuts(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := "(`" + strings.Join(store.ShutOuts, "`, `") + "`)"
	if !strings.Contains(string(text), want) {
		t.Errorf("README.md does not name the reasons of noted_store_shut_out as %s", want)
	}
}
