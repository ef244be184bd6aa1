package server_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

var (
	rateLimited = told{code: codes.ResourceExhausted, reason: "noted.v1/RATE_LIMITED", retry: true}
	overloaded  = told{code: codes.ResourceExhausted, reason: "noted.v1/OVERLOADED", retry: true}
)

// Each caller has a rate of its own. A caller over its rate is told when to come again,
// and requests on a stream count too.
func TestRatePerCaller(t *testing.T) {
	path := callersFile(
		t,
		inDir(t, "callers.json"),
		byToken("busy", "a", `"*"`, `"note"`),
		byToken("quiet", "b", `"*"`, `"note"`),
		byToken("streaming", "c", `"*"`, `"note"`),
	)
	s := startConfigured(
		t,
		func(c *server.Config) { c.Callers, c.Rate, c.Burst, c.HTTPListen = path, 1, 20, "127.0.0.1:0" },
	)
	note := func(c client) error {
		_, err := c.NoteDonation(t.Context(), series("I-1"))
		return err
	}
	busy := s.as(t, nil, "a")
	began := time.Now()
	var err error
	taken := 0
	for taken = 0; taken < 100; taken++ {
		if err = note(busy); err != nil {
			break
		}
	}
	if most := 21 + int(time.Since(began)/time.Second); taken < 20 || taken > most || toldBy(err) != rateLimited {
		t.Errorf("the busy caller made %d calls, then %+v; want 20 to %d, then RATE_LIMITED", taken, toldBy(err), most)
	}
	if err := note(s.as(t, nil, "b")); err != nil {
		t.Errorf("the quiet caller: %v", err)
	}
	response, body := noteAtTheDoor(
		t, http.DefaultClient, "http://"+s.HTTPAddr(), `{"donation":{"series_id":"I-1"}}`, "a",
	)
	if response.StatusCode != http.StatusTooManyRequests || !strings.Contains(body, "RetryInfo") {
		t.Errorf("the busy caller at the other door: %d %s, want 429 with RetryInfo", response.StatusCode, body)
	}
	for range 30 {
		if _, err := healthpb.NewHealthClient(busy.conn).
			Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatalf("health for a busy caller: %v", err)
		}
	}

	stream, err := s.as(t, nil, "c").NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	noted, refused := 0, 0
	for range 60 {
		if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-1")}); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case answer.GetResponse() != nil:
			noted++
		case answer.GetError().GetReason() == "RATE_LIMITED" &&
			answer.GetError().GetCode() == int32(codes.ResourceExhausted):
			refused++
		}
	}
	if most := 20 + int(time.Since(began)/time.Second); noted < 19 || noted > most || noted+refused != 60 {
		t.Errorf("on the stream %d are noted and %d over the rate, want 19 to %d, and the rest", noted, refused, most)
	}
}

// A client that guesses tokens is slowed down by its address, and cannot fill the log.
func TestRateOfGuesses(t *testing.T) {
	path := callersFile(t, inDir(t, "callers.json"), byToken("gateway", "right", `"*"`, `"note"`))
	s := startConfigured(t, func(c *server.Config) { c.Callers, c.Rate, c.Burst = path, 1, 5 })
	guesser, began := s.as(t, nil, "guess"), time.Now()
	var last told
	for range 50 {
		_, err := guesser.NoteDonation(t.Context(), series("I-1"))
		last = toldBy(err)
	}
	if last != rateLimited {
		t.Errorf("the last guess: %+v, want RATE_LIMITED", last)
	}
	if got, most := s.logged("audit: denied"), 6+int(time.Since(began)/time.Second); got < 5 || got > most {
		t.Errorf("%d guesses have an audit line, want 5 to %d", got, most)
	}
	if _, err := s.as(t, nil, "right").NoteDonation(t.Context(), series("I-1")); err != nil {
		t.Errorf("a caller from the same address: %v", err)
	}
}

// Beyond its limit of calls the server refuses the next call at once. Health is still
// answered, and nothing is left behind.
func TestOverload(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis, c.MaxInFlight = redis.URL(), 3 })
	c := s.as(t, nil, "")
	if _, err := c.NoteDonation(t.Context(), series("I-0")); err != nil {
		t.Fatal(err)
	}
	stream, err := c.NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	redis.Pause()
	var waiting sync.WaitGroup
	for range 3 {
		waiting.Go(func() { c.NoteDonation(t.Context(), series("I-1")) })
	}
	eventually(
		t,
		5*time.Second,
		"three calls are under way",
		func() bool { return s.metric(t, "noted_calls_under_way") == 3 },
	)
	if _, err := c.NoteDonation(t.Context(), series("I-2")); toldBy(err) != overloaded {
		t.Errorf("one call more: %+v, want OVERLOADED", toldBy(err))
	}
	if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-2")}); err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil || answer.GetError().GetReason() != "OVERLOADED" {
		t.Errorf("one more on a stream: %v, %v, want OVERLOADED", answer, err)
	}
	if _, err := healthpb.NewHealthClient(c.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health: %v", err)
	}
	redis.Resume()
	waiting.Wait()
	eventually(t, 10*time.Second, "calls are taken again", func() bool {
		_, err := c.NoteDonation(t.Context(), series("I-2"))
		return err == nil
	})
	if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-3")}); err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil || answer.GetResponse().GetVerdict() != notedv1.Verdict_VERDICT_FIRST {
		t.Errorf("on the stream, afterwards: %v, %v, want FIRST", answer, err)
	}
	if got := s.metric(t, "noted_calls_under_way"); got != 0 {
		t.Errorf("%v calls are under way at the end", got)
	}
}

// A call without enough time for an answer does not reach the store.
func TestDeadlineFloor(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis, c.MaxDeadline = redis.URL(), time.Millisecond })
	for range 20 {
		if _, err := s.as(t, nil, "").
			NoteDonation(t.Context(), series("I-1")); toldBy(
			err,
		) != (told{code: codes.DeadlineExceeded, reason: "noted.v1/DEADLINE_EXCEEDED"}) {
			// The ceiling of a millisecond may also pass before the call gets to the
			// store at all.
			if status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("with less than 2 ms: %v, want DEADLINE_EXCEEDED", err)
			}
		}
	}
	if got := redis.Do("EXISTS noted:{ I-1}"); got != "0" {
		t.Error("the donation is noted")
	}
	if got := scripts(t, redis); got > 5 { // the server's own looks at the store
		t.Errorf("the store has run %d scripts, want none of these calls", got)
	}
}

// Connections beyond the limit, in all or of one address, are closed at once. The others
// live, and a free place can be taken again.
func TestConnectionLimits(t *testing.T) {
	s := startConfigured(t, func(c *server.Config) {
		c.MaxConnections, c.MaxConnectionsPerAddress, c.HTTPListen = 5, 3, "127.0.0.1:0"
	})
	from := func(address, to string) net.Conn {
		t.Helper()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 5 * time.Second}
		conn, err := dialer.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	open := func(want float64) func() bool {
		return func() bool { return s.metric(t, "noted_connections") == want }
	}
	first := from("127.0.0.1", s.Addr())
	from("127.0.0.1", s.Addr())
	c := s.as(t, nil, "")
	if _, err := c.NoteDonation(t.Context(), series("I-1")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "three connections", open(3))
	if err := closedAtOnce(from("127.0.0.1", s.HTTPAddr())); err != nil {
		t.Errorf("the fourth of an address: %v", err)
	}
	from("127.0.0.2", s.Addr())
	from("127.0.0.2", s.HTTPAddr())
	eventually(t, 5*time.Second, "five connections", open(5))
	if err := closedAtOnce(from("127.0.0.3", s.Addr())); err != nil {
		t.Errorf("the sixth of all: %v", err)
	}
	if all, address := s.metric(
		t,
		"noted_connections_refused_total",
		`limit="all"`,
	), s.metric(
		t,
		"noted_connections_refused_total",
		`limit="address"`,
	); all != 1 ||
		address != 1 {
		t.Errorf("%v and %v are counted as refused, want one each", all, address)
	}
	if _, err := c.NoteDonation(t.Context(), series("I-1")); err != nil {
		t.Errorf("a connected caller: %v", err)
	}
	first.Close()
	eventually(t, 5*time.Second, "a place is free", open(4))
	from("127.0.0.3", s.Addr())
	eventually(t, 5*time.Second, "and taken", open(5))
}

// closedAtOnce waits until the other side has closed a silent connection.
func closedAtOnce(conn net.Conn) error {
	return closedWithin(conn, 3*time.Second)
}

func closedWithin(conn net.Conn, d time.Duration) error {
	conn.SetReadDeadline(time.Now().Add(d))
	_, err := io.Copy(io.Discard, conn)
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return errors.New("it is still open")
	}
	return nil
}

// A connection that stays silent, or sends half of its preface, is closed; with TLS too,
// and at the JSON door.
func TestSilentConnections(t *testing.T) {
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	plain := startConfigured(t, func(c *server.Config) { c.HTTPListen = "127.0.0.1:0" })
	secure := startConfigured(
		t, func(c *server.Config) { c.TLSCert, c.TLSKey, c.HTTPListen = cert, key, "127.0.0.1:0" },
	)
	var all sync.WaitGroup
	for name, try := range map[string]struct{ addr, says string }{
		"silence":                   {plain.Addr(), ""},
		"half a preface":            {plain.Addr(), http2.ClientPreface[:10]},
		"a preface alone":           {plain.Addr(), http2.ClientPreface},
		"silence, TLS":              {secure.Addr(), ""},
		"half a ClientHello":        {secure.Addr(), "\x16\x03\x01\x02\x00\x01"},
		"silence, HTTP":             {plain.HTTPAddr(), ""},
		"half a header, HTTP":       {plain.HTTPAddr(), "POST / HTTP/1.1\r\nhost: x\r\nx-slow: "},
		"silence, HTTPS":            {secure.HTTPAddr(), ""},
		"half a ClientHello, HTTPS": {secure.HTTPAddr(), "\x16\x03\x01\x02\x00\x01"},
	} {
		all.Go(func() {
			conn, err := net.Dial("tcp", try.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.Write([]byte(try.says))
			if err := closedWithin(conn, 12*time.Second); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	for _, s := range []configuredServer{plain, secure} {
		eventually(
			t,
			5*time.Second,
			"no connection is left",
			func() bool { return s.metric(t, "noted_connections") == 0 },
		)
	}
}

// scripts is how many scripts a Redis has run.
func scripts(t *testing.T, redis *redistest.Server) (calls int) {
	t.Helper()
	conn, err := net.Dial("tcp", redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, "INFO commandstats\r\nQUIT\r\n")
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+)`).FindAllSubmatch(text, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		calls += n
	}
	return calls
}

// Even without a rate, denied callers are slowed down: unknown callers, and known callers
// without the right. Each denial has its line. A caller that uses its rights is not
// slowed down.
func TestDeniedAreSlowedDown(t *testing.T) {
	path := callersFile(
		t,
		inDir(t, "callers.json"),
		byToken("gateway", "right", `"live"`, `"note"`),
		byToken("astray", "astray", `"other"`, `"note"`),
	)
	for name, c := range map[string]struct {
		token string
		want  told
	}{"a stranger": {"guess", unauthenticated}, "a known caller": {"astray", ledgerDenied}} {
		t.Run(name, func(t *testing.T) {
			s := startConfigured(t, func(c *server.Config) { c.Callers = path })
			wrong, right, began := s.as(t, nil, c.token), s.as(t, nil, "right"), time.Now()
			denied, slowed := 0, 0
			for range 300 {
				_, err := wrong.NoteDonation(t.Context(), inLedger("live", "I-1"))
				switch toldBy(err) {
				case c.want:
					denied++
				case rateLimited:
					slowed++
				default:
					t.Errorf("a wrong call: %v", err)
				}
				if _, err := right.NoteDonation(t.Context(), inLedger("live", "I-1")); err != nil {
					t.Errorf("a right one from the same address: %v", err)
				}
			}
			if most := 51 + 10*int(time.Since(began)/time.Second+1); denied < 50 || denied > most || slowed == 0 {
				t.Errorf(
					"of 300 wrong calls %d were denied and %d slowed down, want 50 to %d denied",
					denied,
					slowed,
					most,
				)
			}
			if got := s.logged("audit: denied"); got != denied {
				t.Errorf("%d denials have %d audit lines", denied, got)
			}
		})
	}
}
