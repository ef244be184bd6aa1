package server_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// blackhole makes connections to a port of this machine hang, as dropped packets do,
// until its end is called.
func blackhole(t *testing.T, port int) (end func()) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err := syscall.Bind(fd, at); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil { // no program accepts, and few connections can wait
		t.Fatal(err)
	}
	var filling []net.Conn
	for full := false; !full; {
		conn, err := net.DialTimeout("tcp", fmt.Sprint("127.0.0.1:", port), 200*time.Millisecond)
		if full = err != nil; !full {
			filling = append(filling, conn)
		}
		if len(filling) > 100 {
			t.Fatal("100 connections were made to a listener that accepts none")
		}
	}
	return sync.OnceFunc(func() {
		syscall.Close(fd)
		for _, conn := range filling {
			conn.Close()
		}
	})
}

// A server whose Redis cannot be reached at the start lives and is not ready. It says so
// to every caller at once: no caller waits for a connection. It becomes ready by itself.
func TestStartWithoutRedis(t *testing.T) {
	redis := redistest.Start(t)
	redis.Stop()
	end := blackhole(t, redis.Port())
	defer end()
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	serving := func() healthpb.HealthCheckResponse_ServingStatus {
		r, err := healthpb.NewHealthClient(c.conn).Check(within(t, 5*time.Second), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if got := get(t, "http://"+s.AdminAddr()+"/healthz"); !strings.HasPrefix(got, "200\n") {
		t.Errorf("/healthz = %q, want 200: the process lives", got)
	}
	if got := serving(); got != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health is %v, want NOT_SERVING", got)
	}
	eventually(
		t,
		20*time.Second,
		"the watch opens the breaker, without any caller",
		func() bool { return s.metric(t, "noted_store_breaker_open") == 1 },
	)
	began := time.Now()
	for range 200 {
		if _, err := c.NoteDonation(within(t, 10*time.Second), series("I-1")); toldBy(err) != storeUnavailable {
			t.Fatalf("without a store: %+v, want STORE_UNAVAILABLE with RetryInfo", toldBy(err))
		}
	}
	if got := s.metric(
		t,
		"noted_store_not_asked_total",
	); got < 150 { // each of the others has waited for a connection for half a second
		t.Errorf(
			"of 200 calls, one after the other in %v, %v did not wait for a connection, want nearly all",
			time.Since(began),
			got,
		)
	}
	if got := s.logged(`"level":"ERROR"`, "NOT_SERVING until it is"); got != 1 {
		t.Errorf("the log tells of it %d times, want once:\n%s", got, s.log)
	}
	end()
	redis.Restart()
	eventually(
		t,
		20*time.Second,
		"SERVING by itself",
		func() bool { return serving() == healthpb.HealthCheckResponse_SERVING },
	)
	wantStillFirst(t, c, series("I-1"))
}

// A Redis that died before it was asked has noted nothing, and the answer says so: to the
// first caller, whose connections were good a moment ago, and to the callers that the
// breaker refuses.
func TestRedisDiesBeforeItIsAsked(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	for round := range 3 {
		id := fmt.Sprint("I-", round)
		if _, err := c.NoteDonation(t.Context(), series(id+"-before")); err != nil {
			t.Fatal(err)
		}
		redis.Kill()
		refused := s.metric(t, "noted_store_not_asked_total")
		for i := range 20 {
			if _, err := c.NoteDonation(t.Context(), held(series(id), time.Minute)); toldBy(err) != storeUnavailable {
				t.Errorf("round %d: with a dead Redis: %+v, want STORE_UNAVAILABLE", round, toldBy(err))
			}
			if i == 0 && s.metric(t, "noted_store_not_asked_total") != refused {
				t.Logf("round %d: the watch was faster than the first caller", round)
			}
		}
		redis.Restart()
		var answer *notedv1.NoteDonationResponse
		eventually(t, 20*time.Second, "an answer", func() (answered bool) {
			var err error
			answer, err = c.NoteDonation(t.Context(), held(series(id), time.Minute))
			return err == nil
		})
		if answer.Verdict != notedv1.Verdict_VERDICT_FIRST || answer.Evidence != notedv1.Evidence_EVIDENCE_NEW {
			t.Errorf(
				"round %d: once it is back: %v by %v, want FIRST by NEW: nothing was noted",
				round,
				answer.Verdict,
				answer.Evidence,
			)
		}
		if again, err := c.NoteDonation(
			t.Context(),
			series(id+"-before"),
		); err != nil ||
			again.Verdict != notedv1.Verdict_VERDICT_DUPLICATE {
			t.Errorf("round %d: an earlier donation: %v, %v, want DUPLICATE", round, again.GetVerdict(), err)
		}
	}
}

// A caller that lost the reply and asks under another request id is not FIRST while the
// lost request may be at work. With a hold it is HELD until the hold runs out, and then
// FIRST. Without a hold it is DUPLICATE, so every receiver should hold.
func TestReplyLostAndAskedAnew(t *testing.T) {
	redis := redistest.Start(t)
	var cut atomic.Value // of the series whose reply is to be lost
	cut.Store("")
	proxy := redistest.StartProxy(t, redis.Addr(), func(request []byte) redistest.Disturbance {
		series := cut.Load().(string)
		return redistest.Disturbance{DropReply: series != "" && bytes.Contains(request, []byte(" "+series+"}"))}
	})
	s := startConfigured(t, func(c *server.Config) { c.Redis = proxy.URL() })
	c := s.as(t, nil, "")
	if _, err := c.NoteDonation(t.Context(), series("I-0")); err != nil { // it knows the script from now on
		t.Fatal(err)
	}
	lose := func(r *notedv1.NoteDonationRequest) {
		t.Helper()
		cut.Store(r.Donation.SeriesId)
		_, err := c.NoteDonation(t.Context(), r)
		if got := toldBy(err); got != (told{code: codes.Unavailable, reason: "noted.v1/OUTCOME_UNKNOWN", retry: true}) {
			t.Fatalf("a reply that is lost: %+v, want OUTCOME_UNKNOWN", got)
		}
		cut.Store("")
	}
	const hold = 3 * time.Second
	began := time.Now()
	lose(held(series("I-held"), hold))
	answer, err := c.NoteDonation(t.Context(), held(series("I-held"), hold))
	if err != nil || answer.Verdict != notedv1.Verdict_VERDICT_HELD || answer.RetryAfter.AsDuration() <= 0 ||
		answer.RetryAfter.AsDuration() > hold {
		t.Errorf("asked anew at once: %v, %v, want HELD with retry_after within the hold", answer, err)
	}
	eventually(t, 20*time.Second, "FIRST", func() bool {
		answer, err = c.NoteDonation(t.Context(), held(series("I-held"), hold))
		return err != nil || answer.Verdict != notedv1.Verdict_VERDICT_HELD
	})
	if err != nil || answer.Verdict != notedv1.Verdict_VERDICT_FIRST ||
		answer.Evidence != notedv1.Evidence_EVIDENCE_TAKEN_OVER ||
		answer.Note.Attempt != 2 {
		t.Errorf("when the hold has run out: %v, %v, want FIRST by TAKEN_OVER, attempt 2", answer, err)
	}
	if took := time.Since(began); took < hold {
		t.Errorf("it is FIRST again after %v, want not before the hold of %v has run out", took, hold)
	}
	lose(series("I-settled"))
	if answer, err := c.NoteDonation(
		t.Context(),
		series("I-settled"),
	); err != nil ||
		answer.Verdict != notedv1.Verdict_VERDICT_DUPLICATE {
		t.Errorf("asked anew without a hold: %v, %v, want DUPLICATE", answer, err)
	}
}

// With a Redis that takes 50 to 500 ms for each answer, callers are answered by their
// deadline. Callers beyond the limit are refused at once, with a time to come again. No
// donation is FIRST for two.
func TestSlowRedis(t *testing.T) {
	const takes, callers, each = 8, 60, 6
	redis := redistest.Start(t)
	var slow atomic.Bool
	proxy := redistest.StartProxy(t, redis.Addr(), func([]byte) redistest.Disturbance {
		if !slow.Load() {
			return redistest.Disturbance{}
		}
		return redistest.Disturbance{Delay: 50*time.Millisecond + rand.N(450*time.Millisecond)}
	})
	s := startConfigured(t, func(c *server.Config) { c.Redis, c.MaxInFlight = proxy.URL(), takes })
	c := s.as(t, nil, "")
	if _, err := c.NoteDonation(t.Context(), series("I-0")); err != nil {
		t.Fatal(err)
	}
	slow.Store(true)
	var mu sync.Mutex
	ends, first := map[told]int{}, map[string]int{}
	var all sync.WaitGroup
	for i := range callers {
		patience := 3 * time.Second
		if i%4 == 0 {
			patience = 60 * time.Millisecond // too short for this store, and not counted against it
		}
		all.Go(func() {
			for j := range each {
				id := fmt.Sprint("I-slow-", (i+j)%20)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				began := time.Now()
				answer, err := c.NoteDonation(ctx, series(id))
				cancel()
				if took := time.Since(began); took > patience+2*time.Second {
					t.Errorf("a call ended after %v, its deadline was %v", took, patience)
				}
				mu.Lock()
				ends[toldBy(err)]++
				if answer.GetVerdict() == notedv1.Verdict_VERDICT_FIRST {
					first[id]++
				}
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for running := true; running; {
		if got := s.metric(t, "noted_calls_under_way"); got > takes {
			t.Errorf("%v calls are under way, want at most %d", got, takes)
		}
		select {
		case <-done:
			running = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	if ends[overloaded] == 0 || ends[told{}] == 0 {
		t.Errorf("the calls ended with %v, want some of them answered and some OVERLOADED with RetryInfo", ends)
	}
	for end := range ends {
		switch end.code {
		case codes.OK, codes.DeadlineExceeded:
		case codes.ResourceExhausted, codes.Unavailable:
			if !end.retry {
				t.Errorf("a call ended with %+v, want RetryInfo in it", end)
			}
		default:
			t.Errorf("a call ended with %+v", end)
		}
	}
	for id, n := range first {
		if n > 1 {
			t.Errorf("%s is FIRST for %d callers", id, n)
		}
	}
	slow.Store(false)
	eventually(t, 20*time.Second, "calls are answered", func() bool {
		_, err := c.NoteDonation(t.Context(), series("I-after"))
		return err == nil
	})
	eventually(t, 10*time.Second, "none is under way", func() bool { return s.metric(t, "noted_calls_under_way") == 0 })
}
