package health

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// The log warns of each fault once, and again when the fault comes back. It says nothing
// of a store without faults.
func TestAdvice(t *testing.T) {
	well := store.Report{
		Version:     "7.0.15",
		Policy:      "noeviction",
		Role:        "master",
		Persistence: "aof",
		Replicas:    1,
		MinReplicas: true,
	}
	cases := []struct {
		name   string
		config Config
		make   func(*store.Report)
		want   string // in the log; empty for nothing
	}{
		{"no fault", Config{Mode: "sentinel", Replicas: 1}, func(*store.Report) {}, ""},
		{"a policy that is not told", Config{}, func(r *store.Report) { r.Policy = "" }, "maxmemory-policy"},
		{
			"an evicting store that is allowed",
			Config{AllowEviction: true},
			func(r *store.Report) { r.Policy, r.Evicts = "allkeys-lru", true },
			"-allow-eviction",
		},
		{"no persistence", Config{}, func(r *store.Report) { r.Persistence = "none" }, "appendonly yes"},
		{"snapshots only", Config{}, func(r *store.Report) { r.Persistence = "rdb" }, "appendonly yes"},
		{
			"no append-only file, and CONFIG refused",
			Config{},
			func(r *store.Report) { r.Persistence = "hidden" },
			"append-only file",
		},
		{"INFO refused", Config{}, func(r *store.Report) { *r = store.Report{} }, "maxmemory-policy noeviction"},
		{"a disk that is full", Config{}, func(r *store.Report) { r.Trouble = "it cannot write" }, "it cannot write"},
		{
			"sentinels without min-replicas-to-write",
			Config{Mode: "sentinel"},
			func(r *store.Report) { r.MinReplicas = false },
			"min-replicas-to-write 1",
		},
		{
			"sentinels without it, but with -replicas",
			Config{Mode: "sentinel", Replicas: 1},
			func(r *store.Report) { r.MinReplicas = false },
			"",
		},
		{"too few replicas", Config{Replicas: 1}, func(r *store.Report) { r.Replicas = 0 }, "asked_for=1"},
		{
			"more replicas than are waited for",
			Config{Replicas: 1},
			func(r *store.Report) { r.Replicas = 2 },
			"waited_for=1",
		},
		{"clocks that disagree", Config{}, func(r *store.Report) { r.ClockOffset = -time.Second }, "NTP"},
		{"a trial", Config{Trial: true}, func(r *store.Report) { r.Policy, r.Persistence = "", "none" }, ""},
	}
	for _, c := range cases {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		c.config.Logger, c.config.Metrics = logger, metrics.New(metrics.Config{Logger: logger})
		a := newAdvice(c.config)
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
			continue // the clocks agreeing again is a jump, and has a line
		}
		a.give(well)
		before := strings.Count(log.String(), "level=WARN")
		a.give(ill)
		if got := strings.Count(log.String(), "level=WARN") - before; got != lines {
			t.Errorf("%s again: the log has %d lines more, want %d", c.name, got, lines)
		}
	}
}

// The report is right about the persistence of a real Redis.
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
		s, err := store.Open(
			t.Context(),
			store.Config{URL: redis.URL(), Mode: "standalone", Logger: slog.New(slog.DiscardHandler)},
		)
		if err != nil {
			t.Fatal(err)
		}
		report, err := s.Check(t.Context())
		if err != nil || report.Persistence != c.persistence || !report.MinReplicas || report.Replicas != 0 ||
			report.Role != "master" ||
			report.Policy != "noeviction" ||
			report.Version == "" {
			t.Errorf("%s: Check = %+v, %v; want persistence %s", c.name, report, err, c.persistence)
		}
		s.Close()
	}
}
