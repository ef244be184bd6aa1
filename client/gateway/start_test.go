package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// At its start the gateway logs each part in trouble once, in the words of /readyz, and
// /readyz does not log them again. With an inbox /readyz is 200, and the log says the same.
func TestAtStart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*gateway.Config)
		part   string
		want   string // begins the sentence
	}{
		"all is well": {func(*gateway.Config) {}, "", ""},
		"Noted":       {func(c *gateway.Config) { c.Noted = processtest.FreeAddress() }, "Noted", "Noted cannot be reached; "},
		"a right": {
			func(c *gateway.Config) { c.NotedClient.Token = presents("token-live") }, `ledger \"paypal-sandbox\"`,
			"this gateway lacks the right to the ledger of PayPal's tests; ",
		},
		"the downstream's name": {
			func(c *gateway.Config) { c.ForwardTo = "http://nowhere.invalid/" }, "downstream",
			"the name of the downstream cannot be resolved; ",
		},
		"the downstream's Redis": {
			func(c *gateway.Config) { c.ForwardTo = "redis://" + processtest.FreeAddress() + "/0?stream=s" }, "downstream",
			"the downstream cannot be reached; ",
		},
	} {
		for _, kept := range []bool{false, true} {
			t.Run(name+map[bool]string{false: "", true: ", with an inbox"}[kept], func(t *testing.T) {
				now := &clock{now: time.Now()}
				h, _, _ := secured(t, now, caller("live", "token-live", `"paypal-live"`, `"note"`))
				h.gateway.Close()
				if c.change(&h.config); kept {
					h.config.InboxURL, h.config.InboxKeys = "sqlite://"+t.TempDir()+"/inbox.db", inboxKey()
				}
				g, front := h.open()
				g.AtStart(t.Context())
				log := h.log.String()
				_, sentence, found := strings.Cut(log, `"part":"`+c.part+`","why":"`)
				sentence, _, _ = strings.Cut(sentence, `"`)
				if told := strings.Count(log, "in trouble at the start"); c.want == "" && told > 0 ||
					c.want != "" && (told != 1 || !found || !strings.HasPrefix(sentence, c.want)) {
					t.Fatalf("the log of the start is\n%s\nwant %s: %q", log, c.part, c.want)
				}
				for range 3 {
					now.pass(2 * time.Second)
					got := lookAt(t, front.URL)
					if ready := kept || c.want == ""; (got.status == http.StatusOK) != ready ||
						!ready && got.text != "not ready: "+sentence+"\n" {
						t.Errorf("/readyz is %v, want the sentence %q", got, sentence)
					}
				}
				if c.want != "" && strings.Count(h.log.String(), c.want) != 1 {
					t.Errorf("the log tells it again:\n%s", h.log)
				}
			})
		}
	}
}

// The log names each ledger that several accounts may not use. /readyz, which the public
// reads, names none of them.
func TestAtStartOfSeveralAccounts(t *testing.T) {
	h, _, _ := secured(t, &clock{now: time.Now()}, caller("live", "token-live", `"paypal-live"`, `"note"`))
	h.gateway.Close()
	h.config.SandboxLedger, h.config.NotedClient.Token = "", presents("token-live")
	two(newDownstream(t))(&h.config, &servertest.Options{})
	g, front := h.open()
	g.AtStart(t.Context())
	for _, want := range []string{`"part":"ledger \"paypal-sandbox\""`, `"part":"ledger \"paypal-school\""`} {
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, h.log)
		}
	}
	if got := lookAt(t, front.URL); got.status != 503 || strings.Contains(got.text, "paypal-") ||
		strings.Count(got.text, "the ledger of donations") != 1 {
		t.Errorf("/readyz is %v", got)
	}
}

// A clock that PayPal's host contradicts is logged at the start, in the words of the
// check.
func TestAtStartTellsOfTheClock(t *testing.T) {
	for off, told := range map[time.Duration]bool{
		time.Minute: false, -time.Minute: false, time.Hour: true, -time.Hour: true,
	} {
		h := newHarness(t)
		h.config.Now = func() time.Time { return time.Now().Add(off) }
		g, _ := h.open()
		g.AtStart(t.Context())
		if got := strings.Contains(h.log.String(), `"part":"clock","why":"this machine's clock differs from PayPal's by`); got != told {
			t.Errorf("off by %v: told is %v\n%s", off, got, h.log)
		}
	}
}
