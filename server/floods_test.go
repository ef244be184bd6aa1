package server_test

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A flood of refusals of any kind does not flood the log. The first lines of each kind
// come at once, also of another kind beside the flood, and the log counts the rest at the
// end.
func TestFloodsOfRefusals(t *testing.T) {
	const many = 300
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	callers := callersFile(t, inDir(t, "callers.json"), byToken("gateway", "right", `"live"`, `"note"`))
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) {
		c.Redis, c.Callers, c.TLSCert, c.TLSKey, c.HTTPListen = redis.URL(), callers, cert, key, "127.0.0.1:0"
	})
	trust := &tls.Config{RootCAs: ca.Pool()}
	right, wrong := s.as(t, trust, "right"), s.as(t, trust, "wrong")
	note := func(c client, ledger, series string) func() {
		return func() { c.NoteDonation(within(t, 10*time.Second), inLedger(ledger, series)) }
	}
	sends := func(addr, says string) func() {
		return func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.Write([]byte(says))
			closedAtOnce(conn)
		}
	}
	given, err := right.NoteDonation(t.Context(), held(inLedger("live", "I-0"), time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for _, flood := range []struct {
		name  string
		cause func()
		line  []string // that it leaves
	}{
		{"bad requests", note(right, "live", "a b"), []string{"finished call", `"INVALID_REQUEST"`}},
		{"unknown callers", note(wrong, "live", "I-1"), []string{"audit: denied a call", `"UNAUTHENTICATED"`}},
		{"another's ledger", note(right, "theirs", "I-1"), []string{"audit: denied a call", `"LEDGER_DENIED"`}},
		{
			"no TLS", sends(s.Addr(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
			[]string{"a TLS handshake failed", `"not_tls"`},
		},
		{
			"no TLS at the other door", sends(s.HTTPAddr(), strings.Repeat("x", 100)),
			[]string{"a TLS handshake failed", `"not_tls"`},
		},
		{"releases", func() {
			right.ReleaseDonation(
				within(t, 10*time.Second), &notedv1.ReleaseDonationRequest{Receipt: given.Receipt, Reason: "again"},
			)
		}, []string{"released a donation"}},
		{"a store that is away", note(right, "live", "I-1"), []string{"finished call", `"STORE_UNAVAILABLE"`}},
	} {
		if flood.name == "a store that is away" {
			redis.Stop()
		}
		before := s.logged(flood.line...)
		flood.cause()
		eventually(t, 5*time.Second, flood.name+": the first is told at once", func() bool {
			return s.logged(flood.line...) > before ||
				strings.HasPrefix(flood.name, "no TLS at the other") // of the same kind as the flood before
		})
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range many / 10 {
					flood.cause()
				}
			})
		}
		all.Wait()
		// A span of ten seconds may end meanwhile, and on a busy machine more than one.
		if got := s.logged(flood.line...) - before; got > many/2 {
			t.Errorf("%s: %d of %d lines are written, want a few", flood.name, got, many)
		}
		if got := s.metric(t, "noted_log_lines_left_out_total"); got == 0 {
			t.Errorf("%s: the metric counts no line that was left out", flood.name)
		}
	}
	s.stop()
	told := 0.0
	for line := range strings.Lines(s.log.String()) {
		var l struct {
			Msg, Kind string
			LeftOut   float64 `json:"left_out"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("the log has a line that is not JSON: %q", line)
		}
		if strings.HasPrefix(l.Msg, "left out lines") {
			told += l.LeftOut
		}
	}
	if told < many*3 {
		t.Errorf("the log tells of %v lines that were left out, want most of %d", told, many*6)
	}
}
