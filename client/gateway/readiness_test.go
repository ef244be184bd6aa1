package gateway_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A clock stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// A look at readiness.
type look struct {
	status int
	text   string
}

func lookAt(t *testing.T, front string) look {
	t.Helper()
	response, err := http.Get(front + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return look{response.StatusCode, string(must(io.ReadAll(response.Body)))}
}

// caller is a line of Noted's file of callers.
func caller(name, token, ledgers, verbs string) string {
	sum := sha256.Sum256([]byte(token))
	return fmt.Sprintf(`%q: {"token_sha256": ["%x"], "ledgers": [%s], "verbs": [%s]}`, name, sum, ledgers, verbs)
}

// secured makes a harness whose Noted requires tokens and writes a log. Its gateway's token
// may note in both ledgers.
func secured(t *testing.T, now *clock, lines ...string) (harness *harness, callers string, log *buffer) {
	t.Helper()
	callers, log = filepath.Join(t.TempDir(), "callers.json"), &buffer{}
	own := caller("gateway", "token-good", `"paypal-live", "paypal-sandbox"`, `"note"`)
	writeCallers(t, callers, append(lines, own)...)
	harness = newHarness(t, func(c *gateway.Config, o *servertest.Options) {
		o.Callers, o.Log = callers, log
		c.SandboxLedger, c.Now = "paypal-sandbox", now.time
		c.NotedClient.Token = presents("token-good")
	})
	return harness, callers, log
}

func writeCallers(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("{"+strings.Join(lines, ",\n")+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func presents(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// A gateway is ready when its store can be used and it may note in its ledgers; with any
// other combination of rights it is not. At any rate of readiness checks a denial leaves
// one line a minute in Noted's log.
func TestReadiness(t *testing.T) {
	const storeText = "Noted cannot use its store"
	gateways := map[string]struct {
		token string
		wants []string // in the text; none for ready
	}{
		"may note":            {"token-good", nil},
		"may note anywhere":   {"token-every", nil},
		"may only read":       {"token-reader", []string{"lacks the right to note; add the verb note"}},
		"may only administer": {"token-admin", []string{"lacks the right to note; add the verb note"}},
		"live ledger alone":   {"token-live", []string{"the ledger of PayPal's tests; add the ledger to its caller"}},
		"sandbox alone":       {"token-sandbox", []string{"the ledger of donations; add the ledger to its caller"}},
		"neither ledger": {"token-other", []string{
			"the ledger of donations; add the ledger", "the ledger of PayPal's tests; add the ledger",
		}},
		"token unknown": {"token-unknown", []string{"does not know this gateway's token"}},
		"no token":      {"", []string{"does not know this gateway's token"}},
	}
	for store, c := range map[string]struct {
		usable  bool
		disturb func(h *harness)
	}{
		"usable": {true, func(*harness) {}},
		"down":   {false, func(h *harness) { h.redis.ShutdownNoSave(h.t.Context()) }},
		"shut out": {false, func(h *harness) {
			for _, command := range [][]any{
				{"CONFIG", "SET", "requirepass", "changed"}, {"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"},
			} {
				if err := h.redis.Do(h.t.Context(), command...).Err(); err != nil {
					h.t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(store, func(t *testing.T) {
			now := &clock{now: time.Now()}
			h, _, log := secured(t, now,
				caller("every", "token-every", `"*"`, `"note"`),
				caller("reader", "token-reader", `"*"`, `"read"`),
				caller("admin", "token-admin", `"*"`, `"admin", "read"`),
				caller("live", "token-live", `"paypal-live"`, `"note"`),
				caller("sandbox", "token-sandbox", `"paypal-sandbox"`, `"note"`),
				caller("other", "token-other", `"paypal-other"`, `"note", "read", "admin"`))
			c.disturb(h)
			eventually(t, "the gateway that may note sees how the store is", func() bool {
				now.pass(time.Second)
				return strings.Contains(lookAt(t, h.front.URL).text, storeText) != c.usable
			})
			for name, g := range gateways {
				h.config.NotedClient.Token = presents(g.token)
				_, front := h.open()
				wants := g.wants
				if !c.usable {
					wants = append([]string{storeText}, wants...)
				}
				before := strings.Count(log.String(), `"msg":"audit: denied a call"`)
				for range 20 {
					now.pass(time.Second)
					got := lookAt(t, front.URL)
					if ready := got.status == http.StatusOK; ready != (len(wants) == 0) {
						t.Fatalf("%s: /readyz is %d %q, want %q", name, got.status, got.text, wants)
					}
					for _, want := range wants {
						if strings.Count(got.text, want) != 1 {
							t.Fatalf("%s: /readyz says %q, want %q once", name, got.text, want)
						}
					}
				}
				denials := strings.Count(log.String(), `"msg":"audit: denied a call"`) - before
				if most := 2 * len(g.wants); denials > most || len(g.wants) > 0 && denials == 0 {
					t.Errorf("%s: 20 looks left %d denials in Noted's log, want at most one a ledger", name, denials)
				}
			}
			if c.usable && len(h.inRedis()) != 0 {
				t.Errorf("the looks have left %q in the store", h.inRedis())
			}
		})
	}
}

// A change in the file of callers shows within a minute, and each change is logged once.
func TestReadinessFollowsTheRights(t *testing.T) {
	now := &clock{now: time.Now()}
	h, callers, _ := secured(t, now)
	is := func(ready bool) bool {
		now.pass(time.Minute)
		for range 5 { // looks within the minute ask no more
			now.pass(time.Second)
			lookAt(t, h.front.URL)
		}
		return (lookAt(t, h.front.URL).status == http.StatusOK) == ready
	}
	if !is(true) {
		t.Fatal("not ready with all rights")
	}
	writeCallers(t, callers, caller("gateway", "token-good", `"*"`, `"read"`))
	eventually(t, "the right that was taken away is seen", func() bool { return is(false) })
	writeCallers(t, callers, caller("gateway", "token-good", `"*"`, `"note"`))
	eventually(t, "the right that was granted is seen", func() bool { return is(true) })
	for _, line := range []string{
		`"msg":"not ready","why":"this gateway lacks the right to note`, `"msg":"ready again"`,
	} {
		if n := strings.Count(h.log.String(), line); n != 1 {
			t.Errorf("the log has %s %d times, want once:\n%s", line, n, h.log)
		}
	}
}

// A gateway that cannot read its token, or cannot reach Noted, says so.
func TestReadinessWithoutNoted(t *testing.T) {
	h := newHarness(t)
	h.config.NotedClient.Token = func(context.Context) (string, error) { return "", os.ErrNotExist }
	_, front := h.open()
	if got := lookAt(t, front.URL); got.status != 503 || !strings.Contains(got.text, "token for Noted cannot be read") {
		t.Errorf("without its token: got %v", got)
	}
	h.server.Stop()
	now := &clock{now: time.Now()}
	h.config.NotedClient.Token, h.config.Now = nil, now.time
	_, front = h.open()
	if got := lookAt(t, front.URL); got.status != 503 || !strings.Contains(got.text, "Noted cannot be reached") {
		t.Errorf("without Noted: got %v", got)
	}
}
