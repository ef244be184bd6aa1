package server_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
)

// The error has the same words for all unknown credentials.
func TestUnauthenticatedTellsNothing(t *testing.T) {
	path := callersFile(t, inDir(t, "callers.json"), byToken("gateway", "right", `"*"`, `"note"`))
	s := startConfigured(t, func(c *server.Config) { c.Callers, c.Reflection = path, true })
	texts := map[string]bool{}
	c := s.as(t, nil, "")
	for name, md := range map[string]metadata.MD{
		"nothing": {}, "an unknown token": metadata.Pairs("authorization", "Bearer wrong"), "no token": metadata.Pairs("authorization", "Bearer "), "nothing at all": metadata.Pairs("authorization", ""),
		"another scheme": metadata.Pairs("authorization", "Basic right"), "no scheme": metadata.Pairs("authorization", "right"), "two": metadata.Pairs("authorization", "Bearer right", "authorization", "Bearer right"),
		"one in another header": metadata.Pairs("x-authorization", "Bearer right"), "a long one": metadata.Pairs("authorization", "Bearer "+strings.Repeat("right", 2000)),
	} {
		_, err := c.NoteDonation(metadata.NewOutgoingContext(t.Context(), md), series("I-1"))
		if got := toldBy(err); got != unauthenticated {
			t.Errorf("%s: %+v, want UNAUTHENTICATED", name, got)
		}
		texts[status.Convert(err).Proto().String()] = true
	}
	if len(texts) != 1 {
		t.Errorf("the refusals have %d different texts, want one: %v", len(texts), texts)
	}
	if _, err := c.NoteDonation(
		metadata.AppendToOutgoingContext(t.Context(), "authorization", "bEaReR right"),
		series("I-1"),
	); err != nil {
		t.Errorf("the right token, its scheme in other letters: %v", err)
	}

	// A health check needs no caller; the other calls of the health service do.
	if _, err := healthpb.NewHealthClient(c.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health without a caller: %v", err)
	}
	if _, err := healthpb.NewHealthClient(c.conn).
		List(t.Context(), &healthpb.HealthListRequest{}); toldBy(
		err,
	) != unauthenticated {
		t.Errorf("a list of health without a caller: %v", err)
	}
	watch, err := healthpb.NewHealthClient(c.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if toldBy(err) != unauthenticated {
		t.Errorf("a watch of health without a caller: %v", err)
	}
	for token, want := range map[string]codes.Code{"": codes.Unauthenticated, "right": codes.OK} {
		ask := func() error {
			stream, err := grpc_reflection_v1.NewServerReflectionClient(s.as(t, nil, token).conn).
				ServerReflectionInfo(t.Context())
			if err != nil {
				return err
			}
			stream.Send(
				&grpc_reflection_v1.ServerReflectionRequest{
					MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
				},
			)
			_, err = stream.Recv()
			return err
		}
		if err := ask(); status.Code(err) != want {
			t.Errorf("reflection with token %q: %v, want %v", token, err, want)
		}
	}
}

// A new file counts within moments, without a signal. A bad file is refused, and the old
// one stays.
func TestCallersAreReloaded(t *testing.T) {
	path := callersFile(t, inDir(t, "callers.json"), byToken("gateway", "old", `"*"`, `"note"`))
	s := startConfigured(t, func(c *server.Config) { c.Callers = path })
	try := func(token string) codes.Code {
		_, err := s.as(t, nil, token).NoteDonation(t.Context(), series("I-1"))
		return status.Code(err)
	}
	if old, new := try("old"), try("new"); old != codes.OK || new != codes.Unauthenticated {
		t.Fatalf("before: %v, %v", old, new)
	}
	callersFile(t, path, byToken("gateway", "new", `"*"`, `"note"`))
	// This asks the metric, not the server: denials are limited, and a loop would use up
	// the denials that the calls below need.
	eventually(t, 10*time.Second, "the new file is taken up", func() bool {
		return s.metric(t, "noted_reloads_total", `file="callers"`, `outcome="taken_up"`) == 1
	})
	if old, new := try("old"), try("new"); old != codes.Unauthenticated || new != codes.OK {
		t.Errorf("after: %v, %v, want the new token to count and the old one to be denied", old, new)
	}

	for i, bad := range [][]byte{[]byte("{\n\"gateway\": {\"verbs\": [\"write\"]}}"), nil} {
		if bad == nil {
			os.Remove(path)
		} else {
			pkitest.Write(t, path, bad)
		}
		eventually(t, 10*time.Second, "the bad file is refused", func() bool {
			return s.metric(t, "noted_reloads_total", `file="callers"`, `outcome="refused"`) == float64(i+1)
		})
		if new := try("new"); new != codes.OK {
			t.Errorf("with a bad file: %v, want the last good one to count", new)
		}
		s.Reload()
	}
	if got := s.metric(t, "noted_reloads_total", `outcome="refused"`); got != 2 {
		t.Errorf("a file that stays bad is refused %v times, want once each", got)
	}
	if got := s.logged(`"level":"ERROR"`, "callers.json line 2", `there is no verb \"write\"`); got != 1 {
		t.Errorf("%d lines tell why, want 1:\n%s", got, s.log.String())
	}
	callersFile(t, path, byToken("gateway", "newest", `"*"`, `"note"`))
	s.Reload()
	if newest := try("newest"); newest != codes.OK {
		t.Errorf("after a bad file, a good one: %v", newest)
	}
}

// While one token replaces another both count.
func TestTwoTokens(t *testing.T) {
	path := callersFile(
		t,
		inDir(t, "callers.json"),
		fmt.Sprintf(
			`"gateway": {"token_sha256": [%q, %q], "ledgers": ["*"], "verbs": ["note"]}`,
			sumOf("a"),
			sumOf("b"),
		),
	)
	s := startConfigured(t, func(c *server.Config) { c.Callers = path })
	for _, token := range []string{"a", "b"} {
		if _, err := s.as(t, nil, token).NoteDonation(t.Context(), series("I-1")); err != nil {
			t.Errorf("token %s: %v", token, err)
		}
	}
}
