package main

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/cmd/notectl/doctor"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/servertest"
)

// examine runs a command against servers with -o json, and returns its findings.
func examine(t *testing.T, servers []*servertest.Server, args ...string) (code int, found []doctor.Finding) {
	t.Helper()
	var addresses []string
	for _, s := range servers {
		addresses = append(addresses, s.Addr())
	}
	args = append([]string{"notectl", "-o", "json", "-addr", strings.Join(addresses, ","), "doctor"}, args...)
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, nil, strings.NewReader(""), &stdout, &stderr)
	for line := range strings.Lines(stdout.String()) {
		var f doctor.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%q is not a finding: %v", line, err)
		}
		found = append(found, f)
	}
	if stderr.Len() > 0 {
		t.Errorf("%v says %s", args, stderr.String())
	}
	return code, found
}

func admins(servers ...*servertest.Server) string {
	var urls []string
	for _, s := range servers {
		urls = append(urls, "http://"+s.AdminAddr())
	}
	return strings.Join(urls, ",")
}

// want is a finding that must be there: of this level, with this text in Found or ToDo.
type want struct {
	about string
	level doctor.Level
	text  string
}

func check(t *testing.T, name string, code, wantCode int, found []doctor.Finding, wants ...want) {
	t.Helper()
	if code != wantCode {
		t.Errorf("%s: doctor exits with %d, want %d", name, code, wantCode)
	}
	for _, w := range wants {
		is := false
		for _, f := range found {
			is = is || f.About == w.about && f.Level == w.level && strings.Contains(f.Found+" "+f.ToDo, w.text)
		}
		if !is {
			t.Errorf("%s: doctor does not find %v; it found %+v", name, w, found)
		}
	}
	for _, f := range found {
		if f.Level == doctor.Unseen && f.ToDo == "" {
			t.Errorf("%s: doctor could not see %q and does not say where to look", name, f.Found)
		}
	}
}

// lasting starts a Redis with an append-only file.
func lasting(t *testing.T) *processtest.Process {
	t.Helper()
	return processtest.Redis(t, "--appendonly", "yes", "--dir", t.TempDir())
}

func redisURL(p *processtest.Process) string { return "redis://" + p.Addr }

func TestDoctor(t *testing.T) {
	redis := lasting(t)
	s := servertest.Start(t, servertest.Options{Redis: redisURL(redis)})
	one := []*servertest.Server{s}

	code, found := examine(t, one)
	check(t, "without an admin listener", code, exitFirst, found,
		want{"connection", doctor.Well, "plaintext, on this machine"}, want{"version", doctor.Well, "(devel)"},
		want{"health", doctor.Well, "SERVING"}, want{"rights", doctor.Well, "read, note, admin"},
		want{"store", doctor.Unseen, "-admin http://127.0.0.1:9090"},
		want{"notes", doctor.Well, "has no notes, or the first pages have none"})

	for _, args := range [][]string{
		{"-channel", "ipn", "-message", "1", "-transaction", "8XA"},
		{"-channel", "webhook", "-message", "2", "-transaction", "8XA"},
	} {
		var stdout, stderr bytes.Buffer
		args = append([]string{"notectl", "-addr", s.Addr(), "note", "-series", "I-EXAMPLE1"}, args...)
		if run(t.Context(), args, nil, nil, &stdout, &stderr) == exitError {
			t.Fatalf("%v says %s", args, stderr.String())
		}
	}
	code, found = examine(t, one, "-admin", admins(s))
	check(t, "with an admin listener", code, exitAdvice, found,
		want{"store", doctor.Well, "standalone, master, 0 replicas"}, want{"persistence", doctor.Well, "append-only"},
		want{"eviction", doctor.Well, "noeviction"}, want{"clock", doctor.Well, "ahead"},
		want{"epoch", doctor.Advice, "start with -epoch "}, want{"notes", doctor.Well, "reach back 45d"},
		want{"ids", doctor.Well, "ipn and webhook: the transaction ids agree in 1 notes and differ in 0"})

	code, found = examine(t, one, "-admin", "http://"+redis.Addr)
	check(t, "with another program's port", code, exitFirst, found, want{"store", doctor.Unseen, "is -admin the URL"})

	snapshots := servertest.Start(t, servertest.Options{Redis: redisURL(processtest.Redis(t, "--save", "3600 1", "--dir", t.TempDir()))})
	code, found = examine(t, []*servertest.Server{snapshots}, "-admin", admins(snapshots))
	check(t, "snapshots only", code, exitAdvice, found, want{"advice", doctor.Advice, "set appendonly yes"})

	redis.End(syscall.SIGKILL)
	notServing := func(f doctor.Finding) bool { return f.About == "health" && f.Level == doctor.Fault }
	for began := time.Now(); !slices.ContainsFunc(found, notServing) && time.Since(began) < 30*time.Second; {
		code, found = examine(t, one, "-admin", admins(s))
	}
	check(t, "a store that is gone", code, exitError, found,
		want{"health", doctor.Fault, "NOT_SERVING"}, want{"store", doctor.Fault, "it is not ready: "})
}

// A single server cannot know that another server has other settings.
func TestDoctorComparesServers(t *testing.T) {
	redis := lasting(t)
	a := servertest.Start(t, servertest.Options{Redis: redisURL(redis)})
	alike := servertest.Start(t, servertest.Options{Redis: redisURL(redis)})
	both := []*servertest.Server{a, alike}
	code, found := examine(t, both, "-admin", admins(both...))
	check(t, "servers that are alike", code, exitAdvice, found,
		want{"settings", doctor.Well, "2 servers have the same settings"})

	shorter := servertest.Start(t, servertest.Options{
		Redis: redisURL(redis), Rules: server.Rules{Retention: 30 * 24 * time.Hour},
		Ledgers: map[string]server.LedgerRules{"paypal-live": {TransactionIDs: server.Shared}},
	})
	both = []*servertest.Server{a, shorter}
	code, found = examine(t, both, "-admin", admins(both...))
	check(t, "other settings", code, exitError, found,
		want{"settings", doctor.Fault, "-retention differs: " + a.Addr() + " has 45d, " + shorter.Addr() + " has 30d"},
		want{"settings", doctor.Fault, `-transaction-ids of the ledger "paypal-live" differs`})

	shadowed := servertest.Start(t, servertest.Options{
		Redis: redisURL(redis), ShadowLedgers: []string{"dark", "dim", "dark"},
	})
	both = []*servertest.Server{a, shadowed}
	code, found = examine(t, both, "-admin", admins(both...))
	check(t, "other ledgers in shadow", code, exitError, found,
		want{
			"settings", doctor.Fault,
			"-shadow-ledgers differs: " + a.Addr() + " has nothing, " + shadowed.Addr() + " has dark,dim",
		})

	elsewhere := servertest.Start(t, servertest.Options{Redis: redisURL(lasting(t))})
	both = []*servertest.Server{a, elsewhere}
	code, found = examine(t, both, "-admin", admins(both...))
	check(t, "another store", code, exitError, found, want{"store", doctor.Fault, "stores of different epochs"})
	code, found = examine(t, both)
	check(t, "another store, unseen", code, exitFirst, found, want{"settings", doctor.Unseen, "0 of 2 servers show"})

	trial := servertest.New(t)
	both = []*servertest.Server{a, trial}
	code, found = examine(t, both, "-admin", admins(both...))
	check(t, "a trial beside it", code, exitError, found, want{"store", doctor.Fault, "in its own process (-dev)"})

	trial.Stop()
	code, found = examine(t, []*servertest.Server{trial}, "-admin", admins(trial))
	check(t, "no server", code, exitError, found, want{"connection", doctor.Fault, "is the server running"})
}

// Both ends show their build, the server even while its store does not answer.
func TestVersionOfBothEnds(t *testing.T) {
	s := servertest.New(t)
	var stdout, stderr bytes.Buffer
	args := []string{"notectl", "-addr", s.Addr(), "version", "-server"}
	code := run(context.Background(), args, nil, nil, &stdout, &stderr)
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if code != exitFirst || len(lines) != 2 || !strings.HasPrefix(lines[0], "notectl (devel), go1.") ||
		!strings.HasPrefix(lines[1], "noted (devel)") || !strings.HasSuffix(lines[1], " at "+s.Addr()) {
		t.Errorf("version -server exits with %d and says\n%s%s", code, stdout.String(), stderr.String())
	}
}
