package server_test

import (
	"bytes"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

var (
	infoVersion = regexp.MustCompile(`redis_version:\d\.\d`)
	infoBuild   = regexp.MustCompile(`redis_git_sha1:[0-9a-f]+\r\nredis_git_dirty:\d+\r\nredis_build_id:[0-9a-f]+`)
)

// A masked Redis reports a false program or release, in as many bytes as the true one.
type masked struct{ old, valkey atomic.Bool }

func (m *masked) plan([]byte) redistest.Disturbance {
	return redistest.Disturbance{Reply: func(reply []byte) []byte {
		if m.old.Load() {
			reply = infoVersion.ReplaceAll(reply, []byte("redis_version:6.0"))
		}
		if m.valkey.Load() {
			reply = infoBuild.ReplaceAllFunc(reply, func(found []byte) []byte {
				name := []byte("server_name:valkey\r\nvalkey_version:9.1.2\r\nx:")
				return append(name, bytes.Repeat([]byte("x"), len(found)-len(name))...)
			})
		}
		return reply
	}}
}

// With a Redis that is too old, every caller is told that the operator must act, and not
// to come again. The operator reads the remedy in health and log. Redis is not asked
// meanwhile. Once it is new enough, the service is ready by itself, and refused donations
// are FIRST.
func TestTooOldRedis(t *testing.T) {
	r := redistest.Start(t)
	var mask masked
	p := redistest.StartProxy(t, r.Addr(), mask.plan)
	whole := startConfigured(t, func(c *server.Config) { c.Redis = r.URL() })
	requests := everyRequest(t, whole.as(t, nil, ""))
	want := told{code: codes.FailedPrecondition, reason: "noted.v1/STORE_UNSUITABLE"}
	found := "it is Redis 6.0"
	if strings.Contains(r.Tell("INFO", "server"), "valkey_version:") {
		found = "it is Valkey " + redistest.Release(t)
	}
	for _, running := range []bool{false, true} {
		mask.old.Store(!running)
		s := startConfigured(
			t,
			func(c *server.Config) { c.Redis, c.HTTPListen, c.Drain = p.URL(), "127.0.0.1:0", time.Millisecond },
		)
		c := s.as(t, nil, "")
		if running {
			c.NoteDonation(t.Context(), series("I-before"))
			mask.old.Store(true)
		}
		eventually(t, 10*time.Second, "/readyz says what to do", func() bool {
			return holds(
				get(t, "http://"+s.AdminAddr()+"/readyz"),
				"503\n",
				found,
				"needs Redis 6.2 or newer",
				"upgrade it",
			)
		})
		for _, request := range requests {
			if streamed, ok := request.(*notedv1.NoteDonationsRequest); ok {
				answers, err := overStream(c.conn, streamed)
				if err != nil || answers[0].code != want.code || answers[0].reason != want.reason {
					t.Errorf("NoteDonations: %+v, %v, want %+v", answers, err, want)
				}
				continue
			}
			for door, way := range map[string]way{
				"gRPC": overGRPC(c.conn),
				"JSON": overJSON(http.DefaultClient, "http://"+s.HTTPAddr()),
			} {
				if answer, err := way(within(t, 20*time.Second), request); toldBy(err) != want {
					t.Errorf("%T over %s: %v, %v, want %+v", request, door, answer, err, want)
				}
			}
		}
		if got := s.logged(`"level":"ERROR"`, "not fit for use", found, "needs Redis 6.2 or newer"); got != 1 {
			t.Errorf("the log tells of it %d times, want once:\n%s", got, s.log)
		}
		mask.old.Store(false)
		eventually(
			t,
			10*time.Second,
			"ready",
			func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200\n") },
		)
		if answer, err := c.NoteDonation(
			t.Context(),
			requests[0].(*notedv1.NoteDonationRequest),
		); err != nil ||
			answer.Verdict != notedv1.Verdict_VERDICT_FIRST && !running {
			t.Errorf("afterwards: %v, %v, want FIRST: no refusal has noted it", answer, err)
		}
		s.stop()
	}
}

func holds(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// Log and health call Valkey by its name.
func TestValkeyByName(t *testing.T) {
	r := redistest.Start(t)
	var mask masked
	mask.valkey.Store(true)
	p := redistest.StartProxy(t, r.Addr(), mask.plan)
	s := startConfigured(t, func(c *server.Config) { c.Redis = p.URL() })
	if s.logged("the store answers", `"server":"Valkey 9.1.2"`) != 1 {
		t.Errorf("the log does not name Valkey:\n%s", s.log)
	}
	for name, make := range map[string]struct{ begin, says, end string }{
		"evicts":    {"CONFIG SET maxmemory-policy allkeys-lru", "Valkey 9.1.2 evicts keys", "CONFIG SET maxmemory-policy noeviction"},
		"a replica": {"REPLICAOF 127.0.0.1 1", "it is a replica (Valkey 9.1.2)", "REPLICAOF NO ONE"},
	} {
		r.Do(make.begin)
		eventually(
			t,
			10*time.Second,
			name+": /readyz names it",
			func() bool { return holds(get(t, "http://"+s.AdminAddr()+"/readyz"), "503\n", make.says) },
		)
		r.Do(make.end)
		eventually(
			t,
			10*time.Second,
			name+": ready",
			func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200\n") },
		)
	}
	mask.old.Store(true)
	eventually(
		t,
		10*time.Second,
		"too old: /readyz names it",
		func() bool { return holds(get(t, "http://"+s.AdminAddr()+"/readyz"), "503\n", "it is Valkey 9.1.2") },
	)
}
