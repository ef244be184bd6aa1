package server_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

func (n noted) serving(t *testing.T) bool {
	t.Helper()
	health := healthpb.NewHealthClient(n.Conn())
	answers := map[healthpb.HealthCheckResponse_ServingStatus]bool{}
	for _, service := range []string{"", "noted.v1.DedupeService"} {
		r, err := health.Check(within(t, 5*time.Second), &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		answers[r.Status] = true
	}
	return answers[healthpb.HealthCheckResponse_SERVING] && len(answers) == 1
}

// Health, readiness and the gauge follow the store; liveness does not; the log tells each
// change once.
func TestHealthFollowsTheStore(t *testing.T) {
	redis := redistest.Start(t)
	var log lockedBuffer
	n := start(t, servertest.Options{Redis: redis.URL(), Log: &log})
	if !n.serving(t) {
		t.Fatal("NOT_SERVING with a store that answers")
	}
	if got := get(t, "http://"+n.AdminAddr()+"/readyz"); !strings.HasPrefix(got, "200\nready") {
		t.Errorf("/readyz = %q", got)
	}
	redis.Stop()
	eventually(t, 10*time.Second, "NOT_SERVING", func() bool { return !n.serving(t) })
	if got := get(t, "http://"+n.AdminAddr()+"/readyz"); !strings.HasPrefix(got, "503\nnot ready: ") {
		t.Errorf("/readyz = %q, want 503 with a reason", got)
	}
	if got := get(t, "http://"+n.AdminAddr()+"/healthz"); !strings.HasPrefix(got, "200\n") {
		t.Errorf("/healthz = %q, want 200: the process lives", got)
	}
	if got := n.metric(t, "noted_store_up"); got != 0 {
		t.Errorf("noted_store_up = %v, want 0", got)
	}
	redis.Restart()
	eventually(t, 10*time.Second, "SERVING again", func() bool { return n.serving(t) })
	redis.Pause()
	eventually(t, 10*time.Second, "NOT_SERVING while the store is frozen", func() bool { return !n.serving(t) })
	redis.Resume()
	eventually(t, 10*time.Second, "SERVING once it is not", func() bool { return n.serving(t) })
	if got := strings.Count(log.String(), "NOT_SERVING until it is"); got != 2 {
		t.Errorf("the log tells of %d outages, want 2:\n%s", got, log.String())
	}
	if strings.Contains(log.String(), "grpc.health") {
		t.Error("health checks are logged")
	}
}

// A store that begins to evict makes the service not ready at once. A store that stops
// evicting makes it ready again.
func TestEvictionWhileRunning(t *testing.T) {
	redis := redistest.Start(t)
	n := start(t, servertest.Options{Redis: redis.URL()})
	redis.Do("CONFIG SET maxmemory-policy volatile-lru")
	eventually(t, 10*time.Second, "NOT_SERVING", func() bool { return !n.serving(t) })
	if got := get(t, "http://"+n.AdminAddr()+"/readyz"); !strings.Contains(got, "noeviction") {
		t.Errorf("/readyz = %q, want what to do", got)
	}
	redis.Do("CONFIG SET maxmemory-policy noeviction")
	eventually(t, 10*time.Second, "SERVING again", func() bool { return n.serving(t) })
}

func quiet(redis string) server.Config {
	return server.Config{
		Listen:      "127.0.0.1:0",
		AdminListen: server.Off,
		Redis:       redis,
		Logger:      slog.New(slog.DiscardHandler),
		Drain:       5 * time.Second,
	}
}

func TestEvictingStoreIsRefused(t *testing.T) {
	redis := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	config := quiet(redis.URL())
	if _, err := server.New(
		t.Context(),
		config,
	); err == nil || !strings.Contains(err.Error(), "CONFIG SET maxmemory-policy noeviction") ||
		!strings.Contains(err.Error(), "-allow-eviction") {
		t.Fatalf("New = %v, want an error that says what to do", err)
	}
	config.AllowEviction = true
	s, err := server.New(t.Context(), config)
	if err != nil {
		t.Fatalf("with AllowEviction: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Serve(stopped); err != nil {
		t.Errorf("Serve with a context that is done: %v", err)
	}
}

// The server waits for a store that is down at the start. If the store then turns out to
// evict, the server ends.
func TestEvictingStoreThatComesLate(t *testing.T) {
	redis := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	redis.Stop()
	s, err := server.New(t.Context(), quiet(redis.URL()))
	if err != nil {
		t.Fatalf("New without the store: %v, want it to wait", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(t.Context()) }()
	redis.Restart()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "noeviction") {
			t.Errorf("Serve = %v, want what to do about the policy", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("Serve goes on with an evicting store")
	}
}

func TestStoreThatComesLate(t *testing.T) {
	redis := redistest.Start(t)
	redis.Stop()
	n := start(t, servertest.Options{Redis: redis.URL()})
	if n.serving(t) {
		t.Error("SERVING without a store")
	}
	if _, err := n.NoteDonation(t.Context(), series("I-1")); status.Code(err) != codes.Unavailable {
		t.Errorf("NoteDonation = %v, want UNAVAILABLE", err)
	}
	redis.Restart()
	eventually(t, 10*time.Second, "SERVING", func() bool { return n.serving(t) })
	n.mustNote(t, series("I-1"))
}

// A call that is at the store when the server is asked to stop gets its answer, and no
// new call begins.
func TestDrain(t *testing.T) {
	redis := redistest.Start(t)
	n := start(t, servertest.Options{Redis: redis.URL()})
	n.mustNote(t, series("I-1"))
	redis.Pause()
	answered := make(chan error, 1)
	go func() {
		_, err := n.NoteDonation(within(t, 10*time.Second), series("I-2"))
		answered <- err
	}()
	eventually(t, 5*time.Second, "the call is in flight", func() bool {
		return n.metric(t, "grpc_server_started_total", `grpc_method="NoteDonation"`) == 2
	})
	stopped := make(chan struct{})
	go func() { n.Stop(); close(stopped) }()
	eventually(t, 5*time.Second, "not ready while draining", func() bool {
		return strings.Contains(get(t, "http://"+n.AdminAddr()+"/readyz"), "stopping")
	})
	redis.Resume()
	if err := <-answered; err != nil {
		t.Errorf("the call in flight: %v, want its answer", err)
	}
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not stop")
	}
	if conn, err := net.Dial("tcp", n.Addr()); err == nil {
		conn.Close()
		t.Error("a stopped server still listens")
	}
}

// A health watch, which never ends by itself, does not hold a drain to its limit.
func TestDrainWithAWatch(t *testing.T) {
	n := start(t, servertest.Options{})
	watch, err := healthpb.NewHealthClient(n.Conn()).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("watching: %v, %v", r, err)
	}
	began := time.Now()
	n.Stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping took %v with a watch open", took)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("the watch was told %v, %v, want NOT_SERVING", r, err)
	}
}

func TestConfig(t *testing.T) {
	cases := []struct {
		name   string
		change func(*server.Config)
		want   string
	}{
		{"no store", func(c *server.Config) { c.Redis = "" }, "Redis"},
		{"a store that is no URL", func(c *server.Config) { c.Redis = "redis://:can/ary@h%zz" }, "-redis"},
		{"an unknown scheme", func(c *server.Config) { c.Redis = "http://u:canary@h" }, "-redis"},
		{"an unknown mode", func(c *server.Config) { c.RedisMode = "ring" }, "ring"},
		{"a negative window", func(c *server.Config) { c.Rules.MatchWindow = -1 }, "MatchWindow"},
		{
			"a negative retention of a ledger",
			func(c *server.Config) { c.Ledgers = map[string]server.LedgerRules{"a": {Retention: -1}} },
			`"a"`,
		},
		{
			"a ledger with a space in its name",
			func(c *server.Config) { c.Ledgers = map[string]server.LedgerRules{"a b": {}} },
			`"a b"`,
		},
		{
			"a retention below the arrival window",
			func(c *server.Config) { c.Rules.Retention = 95 * time.Hour },
			"processed twice; set a -retention of at least 96h0m0s, or a shorter -arrival-window",
		},
		{
			"a retention below the match window",
			func(c *server.Config) { c.Rules = server.Rules{MatchWindow: 46 * 24 * time.Hour} },
			"at least 1104h0m0s",
		},
		{
			"a ledger's retention below the arrival window",
			func(c *server.Config) { c.Ledgers = map[string]server.LedgerRules{"a": {Retention: time.Hour}} },
			`ledger "a" of -ledgers: the retention is 1h0m0s, and a window 96h0m0s`,
		},
		{"a ledger's arrival window beyond the retention", func(c *server.Config) {
			c.Ledgers = map[string]server.LedgerRules{"a": {ArrivalWindow: 46 * 24 * time.Hour}}
		}, `ledger "a" of -ledgers: the retention is 1080h0m0s`},
		{"a negative limit", func(c *server.Config) { c.SeriesLimit = -1 }, "SeriesLimit"},
	}
	for _, c := range cases {
		config := quiet("redis://127.0.0.1:1")
		c.change(&config)
		_, err := server.New(t.Context(), config)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: New = %v, want an error that names %s", c.name, err, c.want)
		} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "ary@") {
			t.Errorf("%s: the error tells the password: %v", c.name, err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	config := quiet("redis://127.0.0.1:1")
	config.Listen = taken.Addr().String()
	if _, err := server.New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "-listen") {
		t.Errorf("an address that is taken: %v, want -listen named", err)
	}
}

// The log line of a call holds neither request nor answer. At level info a call that went
// well has no line.
func TestLog(t *testing.T) {
	var log lockedBuffer
	n := start(t, servertest.Options{Log: &log})
	first := n.mustNote(t, held(series("I-canary"), time.Minute))
	if _, err := n.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: first.Receipt}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.NoteDonation(t.Context(), series("canary canary")); err == nil {
		t.Fatal("noted")
	}
	_, err := n.ForgetDonation(
		t.Context(),
		&notedv1.ForgetDonationRequest{
			SeriesId:   "I-canary",
			DonationId: first.Note.DonationId,
			Reason:     "asked to\nby mail",
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	n.Stop()
	var calls int
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"finished call"`) {
			calls++
			if strings.Contains(line, "canary") {
				t.Errorf("a call's line tells its content: %s", line)
			}
		}
		if strings.Contains(line, first.Receipt) {
			t.Errorf("the log has a receipt: %s", line)
		}
		if strings.Contains(line, "forgot a donation") &&
			(!strings.Contains(line, `asked to\nby mail`) || !strings.Contains(line, first.Note.DonationId)) {
			t.Errorf("the forgetting is logged as %s", line)
		}
	}
	if calls != 4 {
		t.Errorf("%d calls are logged, want 4:\n%s", calls, log.String())
	}
	if got := strings.Count(log.String(), `"level":"DEBUG","msg":"finished call"`); got != 3 {
		t.Errorf("%d calls are logged at debug, want the 3 that went well", got)
	}
	if !strings.Contains(log.String(), "forgot a donation") {
		t.Error("the forgetting is not logged")
	}
}

// The command line may hold the store's password, so no page shows it.
func TestAdminHidesTheCommandLine(t *testing.T) {
	n := start(t, servertest.Options{})
	for path, want := range map[string]int{
		"/debug/pprof/cmdline": 404, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/": 200, "/metrics": 200,
		"/": 404,
	} {
		response, err := http.Get("http://" + n.AdminAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s = %d, want %d", path, response.StatusCode, want)
		}
	}
}
