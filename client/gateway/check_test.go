package gateway_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
)

// checked are the findings of Check, by part.
func checked(t *testing.T, config gateway.Config) map[string]string {
	t.Helper()
	findings, err := gateway.Check(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]string{}
	for _, f := range findings {
		by[f.Part] = f.Trouble
	}
	return by
}

// Check names each part that is in trouble, and no other part. It leaves nothing behind: no
// note, no event, and no work on the inbox.
func TestCheck(t *testing.T) {
	h, _ := inboxHarness(t)
	cert, nothing := h.payPal.CertHost(), processtest.FreeAddress()
	api := newPayPalAPI(t)
	byAPI := func(c *gateway.Config) {
		c.WebhookVerify, c.PayPalAPI = gateway.VerifyByAPI, api.URL
		c.PayPalClientID, c.PayPalClientSecret = "client", "app-secret"
	}
	for name, c := range map[string]struct {
		change func(*gateway.Config)
		part   string // in trouble; empty for none
		want   string
	}{
		"all is well": {func(*gateway.Config) {}, "", ""},
		"Noted":       {func(c *gateway.Config) { c.Noted = nothing }, "Noted", "cannot be reached"},
		"downstream":  {func(c *gateway.Config) { c.ForwardTo = "http://" + nothing + "/" }, "downstream", "connection refused"},
		"a stream that is no Redis": {
			func(c *gateway.Config) {
				c.ForwardTo = "redis://" + h.downstream.Listener.Addr().String() + "/0?stream=s"
			},
			"downstream", "it answers with an error",
		},
		"IPNs":         {func(c *gateway.Config) { c.IPNVerifyURL = "http://" + nothing }, "PayPal, for IPNs", "connection refused"},
		"certificates": {func(c *gateway.Config) { c.CertHosts = []string{nothing} }, nothing, "connection refused"},
		"a host that is not PayPal's": {
			func(c *gateway.Config) { c.CertRoots = paypaltest.NewAuthority().PEM() }, cert, "certificate",
		},
		"clock": {func(c *gateway.Config) { c.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, "clock", "differs from PayPal's by"},
		"listener": {func(c *gateway.Config) {
			c.ForwardAs, c.ForwardTo, c.ForwardIPNTo, c.ForwardWebhookTo = gateway.ForwardOriginal, "", "http://"+nothing, "off"
		}, "listener for IPNs", "connection refused"},
		"the API":         {byAPI, "", ""},
		"another webhook": {func(c *gateway.Config) { byAPI(c); c.WebhookID = "X" }, "webhook id", "no such webhook"},
		"a wrong secret": {
			func(c *gateway.Config) { byAPI(c); c.PayPalClientSecret = "x" }, "webhook id", "client id and secret",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := h.config
			c.change(&config)
			got := checked(t, config)
			if trouble := got[c.part]; c.part != "" && (trouble == "" || !strings.Contains(trouble, c.want)) {
				t.Errorf("%s: %q, want trouble with %q", c.part, trouble, c.want)
			}
			for part, trouble := range got {
				if part != c.part && trouble != "" {
					t.Errorf("%s: %q, want no trouble there", part, trouble)
				}
			}
		})
	}
	var unasked []string
	for _, f := range must(gateway.Check(t.Context(), h.config)) {
		if f.Unasked != "" {
			unasked = append(unasked, f.Part+": "+f.Unasked)
		}
	}
	if len(unasked) != 1 || !strings.HasPrefix(unasked[0], "webhook id: ") || !strings.Contains(unasked[0], paypaltest.WebhookID) {
		t.Errorf("Check says that it has not asked about %q, want the webhook id", unasked)
	}
	if notes, events := h.notes("paypal-live"), h.downstream.got(); len(notes)+len(events) != 0 {
		t.Errorf("Check has left the notes %v and the events %v", notes, events)
	}
}

// Check pings each HTTP downstream with a signed event that is not a donation, and
// explains an answer other than 2xx. The downstream checks the signature.
func TestCheckPings(t *testing.T) {
	school := newDownstream(t)
	h := newHarness(t, two(school))
	for part, trouble := range checked(t, h.config) {
		if trouble != "" {
			t.Errorf("%s: %q, want no trouble", part, trouble)
		}
	}
	seen := map[string]bool{}
	for _, s := range []*downstream{h.downstream, school} {
		pings := s.pinged()
		if len(pings) != 1 || len(s.got()) != 0 {
			t.Fatalf("a downstream got the pings %v and the events %v, want one ping", pings, s.got())
		}
		ping := pings[0]
		if !strings.HasPrefix(ping.ID(), "ping-") || seen[ping.ID()] || string(ping.Data()) != "{}" ||
			ping.Source() != "noted-gateway" || time.Since(ping.Time()).Abs() > time.Minute {
			t.Errorf("the ping is %v", ping)
		}
		seen[ping.ID()] = true
	}
	for status, want := range map[int]string{
		401: "answered 401 to a signed ping; compare its secret with this gateway's", 403: "compare its secret",
		422: "let it answer 2xx to an event of type noted.ping, and keep nothing", 500: "answered 500", 302: "answered 302",
		200: "", 204: "",
	} {
		school.refusing(func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(status); return true })
		got := checked(t, h.config)
		if trouble := got["school: downstream"]; want == "" && trouble != "" || !strings.Contains(trouble, want) {
			t.Errorf("%d: %q, want %q", status, trouble, want)
		}
		if got["church: downstream"] != "" {
			t.Errorf("%d: the church: %q", status, got["church: downstream"])
		}
	}
}

// The parts of several accounts have the account's name.
func TestCheckAccounts(t *testing.T) {
	school, api := newDownstream(t), newPayPalAPI(t)
	h, _ := inboxHarness(t, two(school))
	app := gateway.API{URL: api.URL, ClientID: "client", ClientSecret: "app-secret"}
	h.config.WebhookVerify = gateway.VerifyByAPI
	h.config.PayPalAccounts[0].API, h.config.PayPalAccounts[0].SandboxAPI, h.config.PayPalAccounts[1].API = app, app, app
	h.config.PayPalAccounts[1].ForwardAs = gateway.ForwardOriginal
	h.config.PayPalAccounts[1].ForwardTo, h.config.PayPalAccounts[1].ForwardSecrets = "", nil
	h.config.PayPalAccounts[1].ForwardIPNTo = "http://" + processtest.FreeAddress()
	h.config.PayPalAccounts[1].ForwardWebhookTo = "off"
	got := checked(t, h.config)
	for part, want := range map[string]string{
		"Noted": "", `ledger "paypal-live"`: "", `ledger "paypal-sandbox"`: "", `ledger "paypal-school"`: "",
		"church: downstream": "", "school: listener for IPNs": "connection refused", "inbox": "", "clock": "",
		"PayPal, for IPNs": "", "PayPal's API": "",
		"church: webhook id " + paypaltest.WebhookID: "", "church: webhook id " + sandboxWebhookID: "no such webhook",
		"school: webhook id " + schoolWebhookID: "no such webhook",
	} {
		trouble, asked := got[part]
		if !asked || want == "" && trouble != "" || !strings.Contains(trouble, want) {
			t.Errorf("%s: %q, asked %v, want %q", part, trouble, asked, want)
		}
		delete(got, part)
	}
	if len(got) != 0 {
		t.Errorf("there are also %q", got)
	}
}

// Check leaves the messages in an inbox to the gateway, and creates no inbox.
func TestCheckDoesNoWork(t *testing.T) {
	h, now := inboxHarness(t)
	h.downstream.refusing(func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool {
		w.WriteHeader(500)
		return true
	})
	h.mustTake(h.payPal.IPN(payment("I-WAITS").fields()))
	box := h.box()
	eventually(t, "a try has failed", func() bool { return messages(t, box, inbox.Filter{})[0].Tries > 0 })
	h.gateway.Close()
	h.downstream.refusing(nil)
	now.pass(time.Hour)
	if trouble := checked(t, h.config)["inbox"]; trouble != "" {
		t.Errorf("inbox: %q", trouble)
	}
	if m := messages(t, box, inbox.Filter{})[0]; m.State != inbox.Waiting || len(h.downstream.got()) != 0 {
		t.Errorf("Check has worked on %+v", m)
	}
	missing := filepath.Join(t.TempDir(), "inbox.db")
	h.config.InboxURL = "sqlite://" + missing
	if _, err := gateway.Check(t.Context(), h.config); err == nil {
		t.Error("a missing inbox causes no trouble")
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("Check has made an inbox")
	}
}

// Check names the missing right of a gateway, and its ledger.
func TestCheckRights(t *testing.T) {
	h, _, _ := secured(t, &clock{now: time.Now()}, caller("live", "token-live", `"paypal-live"`, `"note"`))
	h.config.SandboxLedger = "paypal-sandbox"
	h.config.NotedClient.Token = presents("token-live")
	got := checked(t, h.config)
	if trouble, ok := got[`ledger "paypal-live"`]; !ok || trouble != "" {
		t.Errorf("the ledger of donations: %q, %v", trouble, ok)
	}
	if trouble := got[`ledger "paypal-sandbox"`]; !strings.Contains(trouble, "add the ledger to its caller") {
		t.Errorf("the ledger of tests: %q", trouble)
	}
}
