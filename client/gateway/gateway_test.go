package gateway_test

import (
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

func TestDonationIsDeliveredOnce(t *testing.T) {
	h := newHarness(t)
	gift := payment("I-ONCE")
	ipn, webhook := h.payPal.IPN(gift.fields()), h.payPal.Webhook(gift.event())
	for _, d := range []paypaltest.Delivery{ipn, webhook, ipn, webhook} {
		h.mustTake(d)
	}
	events := h.downstream.got()
	if len(events) != 1 {
		t.Fatalf("the downstream got %d events, want 1", len(events))
	}
	e, d := events[0], data(t, events[0])
	notes := h.notes("paypal-live")
	if len(notes) != 1 || notes[0].GetState() != client.StateSettled || len(notes[0].GetSightings()) != 2 {
		t.Fatalf("Noted holds %v, want one settled note with two sightings", notes)
	}
	if e.ID() != notes[0].GetDonationId() || e.Type() != "noted.donation.payment" || e.Subject() != "I-ONCE" ||
		e.Source() != "noted-gateway" ||
		e.SpecVersion() != "1.0" {
		t.Errorf("got event %v, want the donation id %s", e, notes[0].GetDonationId())
	}
	want := map[string]string{
		"ledger":         "paypal-live",
		"series_id":      "I-ONCE",
		"event":          "EVENT_PAYMENT",
		"amount":         "25.00",
		"currency_code":  "EUR",
		"transaction_id": "I-ONCET",
		"occurred_at":    gift.at.UTC().Truncate(time.Second).Format(time.RFC3339),
	}
	if !maps.Equal(d.Donation, want) || d.Message["channel"] != "ipn" || d.Attempt != 1 {
		t.Errorf("got data %+v, want donation %v", d, want)
	}
	if d.Original.Body != string(ipn.Body) || d.Original.ContentType != "application/x-www-form-urlencoded" {
		t.Errorf("got the original %+v, want the bytes that PayPal sent", d.Original)
	}
}

// The posted-back bytes must be the received bytes. A body that is not UTF-8 must reach
// the downstream whole.
func TestBytesAreKept(t *testing.T) {
	h := newHarness(t)
	body := "receiver_email=" + paypaltest.Account + "&txn_type=web_accept&payment_status=Completed&txn_id=9BYTES&mc_gross=1%2e00&mc_currency=EUR&memo=10,00+\x80&charset=windows-1252&;&a=%zz\r\n"
	h.mustTake(h.payPal.IPNBody(body))
	if got := h.payPal.Asked()[0]; got != "cmd=_notify-validate&"+body {
		t.Errorf("posted back %q", got)
	}
	if d := data(t, h.downstream.got()[0]); string(d.Original.BodyBase64) != body || d.Original.Body != "" {
		t.Errorf("delivered %+v", d.Original)
	}
	webhook := h.payPal.Webhook(payment("I-JSON").event())
	h.mustTake(webhook)
	if d := data(t, h.downstream.got()[1]); d.Original.Body != string(webhook.Body) {
		t.Errorf("delivered %+v", d.Original)
	}
}

// While one secret replaces another, a downstream that knows either of them accepts the
// events.
func TestSecretIsReplaced(t *testing.T) {
	const other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
	for _, secrets := range [][]string{{other, secret}, {secret, other}} {
		h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.ForwardSecrets = secrets })
		h.mustTake(h.payPal.IPN(payment("I-ROTATED").fields()))
		if events := h.downstream.got(); len(events) != 1 {
			t.Errorf("the downstream got %v, want one event", events)
		}
	}
}

func TestTestsGoToTheirOwnLedger(t *testing.T) {
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.SandboxLedger = "paypal-sandbox" })
	fields := payment("I-TEST").fields()
	fields.Set("test_ipn", "1")
	h.mustTake(h.payPal.IPN(fields))
	h.payPal.Serve("CERT-SANDBOX", h.payPal.Signer("messageverificationcerts.sandbox.paypal.com", -time.Hour, time.Hour))
	h.mustTake(h.payPal.Signed([]byte(payment("I-TEST2").event()), time.Now(), paypaltest.WebhookID, "CERT-SANDBOX", paypaltest.SigningKey()))
	if live, sandbox := h.notes("paypal-live"), h.notes("paypal-sandbox"); len(live) != 0 || len(sandbox) != 2 {
		t.Errorf("the live ledger holds %v, the sandbox's %v", live, sandbox)
	}
	for _, e := range h.downstream.got() {
		if ledger := data(t, e).Donation["ledger"]; ledger != "paypal-sandbox" {
			t.Errorf("delivered for %s", ledger)
		}
	}
}

func TestTwoGatewaysAreAsOne(t *testing.T) {
	h := newHarness(t)
	_, second := h.open()
	const donations = 20
	var all sync.WaitGroup
	for i := range donations {
		gift := payment("I-" + string(rune('A'+i)))
		for _, d := range []paypaltest.Delivery{h.payPal.IPN(gift.fields()), h.payPal.Webhook(gift.event())} {
			for _, front := range []string{h.front.URL, second.URL} {
				all.Go(func() {
					for {
						status, reason, err := deliver(front, d)
						if status == http.StatusOK {
							return
						}
						if err != nil || status != 503 {
							t.Errorf("got %d %s %v", status, reason, err)
							return
						}
					}
				})
			}
		}
	}
	all.Wait()
	seen := map[string]string{}
	for _, e := range h.downstream.got() {
		if other, ok := seen[e.Subject()]; ok {
			t.Errorf("%s came twice, as %s and %s", e.Subject(), other, e.ID())
		}
		seen[e.Subject()] = e.ID()
	}
	if len(seen) != donations {
		t.Errorf("%d donations came, want %d", len(seen), donations)
	}
}

// No text from a donor or PayPal reaches the log, whatever fails.
func TestLogHoldsNothingPersonal(t *testing.T) {
	h := newHarness(t)
	gift := payment("I-SECRETSERIES")
	h.downstream.refusing(
		func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
	)
	h.deliver(h.payPal.IPN(gift.fields()))
	h.downstream.refusing(nil)
	h.mustTake(h.payPal.IPN(gift.fields()))
	h.deliver(h.payPal.IPN(gift.fields()).Flipped("canary"))
	fields := gift.fields()
	fields.Set("mc_gross", "canary")
	fields.Set("txn_id", "canary canary")
	h.mustTake(h.payPal.IPN(fields))
	h.server.Stop()
	h.deliver(h.payPal.Webhook(gift.event()))
	for _, secret := range []string{
		"canary", "I-SECRETSERIES", "25.00", strings.TrimPrefix(secret, "whsec_"), h.downstream.URL,
	} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log holds %q:\n%s", secret, h.log)
		}
	}
	for _, want := range []string{"delivered", "not delivered", "not noted", "message refused", "left out of a donation"} {
		if !strings.Contains(h.log.String(), `"msg":"`+want+`"`) {
			t.Errorf("the log lacks %q:\n%s", want, h.log)
		}
	}
}

func TestHealth(t *testing.T) {
	h := newHarness(t)
	look := func(path string) int {
		response, err := http.Get(h.front.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	if alive, ready := look("/healthz"), look("/readyz"); alive != 200 || ready != 200 {
		t.Errorf("got %d and %d, want 200 and 200", alive, ready)
	}
	h.server.Stop()
	eventually(t, "the gateway is not ready", func() bool { return look("/readyz") == 503 })
	if alive := look("/healthz"); alive != 200 {
		t.Errorf("/healthz is %d, want 200", alive)
	}
	if status, reason := h.deliver(h.payPal.IPN(payment("I-AWAY").fields())); status != 503 || reason != "noted" {
		t.Errorf("without Noted: got %d %s, want 503 noted", status, reason)
	}
	if metrics := look("/metrics"); metrics != 404 {
		t.Errorf("/metrics is public: %d", metrics)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := gateway.Config{
		Noted:          "127.0.0.1:1",
		Accounts:       []string{paypaltest.Account},
		ForwardTo:      "http://127.0.0.1:1/",
		ForwardSecrets: []string{secret},
	}
	if g, err := gateway.New(good); err != nil {
		t.Fatal(err)
	} else {
		g.Close()
	}
	original := func(change func(*gateway.Config)) func(*gateway.Config) {
		return func(c *gateway.Config) {
			c.ForwardAs, c.ForwardTo, c.ForwardIPNTo = gateway.ForwardOriginal, "", "http://127.0.0.1/"
			c.InboxURL, c.InboxKeys = "sqlite://"+filepath.Join(t.TempDir(), "inbox.db"), inboxKey()
			change(c)
		}
	}
	for want, change := range map[string]func(*gateway.Config){
		"Noted is missing":     func(c *gateway.Config) { c.Noted = "" },
		"ForwardTo is missing": func(c *gateway.Config) { c.ForwardTo = "" },
		"no stream":            func(c *gateway.Config) { c.ForwardTo = "redis://127.0.0.1/0" },
		"must begin with http": func(c *gateway.Config) { c.ForwardTo = "ftp://127.0.0.1/0" },
		"names no host":        func(c *gateway.Config) { c.ForwardTo = "http:///x" },
		"ForwardSecrets":       func(c *gateway.Config) { c.ForwardSecrets = nil },
		"24 to 64 bytes":       func(c *gateway.Config) { c.ForwardSecrets = []string{"whsec_c2hvcnQ="} },
		"Accounts is missing":  func(c *gateway.Config) { c.Accounts = nil },
		"must outlast":         func(c *gateway.Config) { c.Hold = 10 * time.Second },
		"PayPal's tests":       func(c *gateway.Config) { c.Ledger, c.SandboxLedger = "a", "a" },
		"IPNVerifyURL":         func(c *gateway.Config) { c.IPNVerifyURL = "http://verifier.example.org/" },
		"signature or api":     func(c *gateway.Config) { c.WebhookVerify = "trust" },
		"PayPalClientID":       func(c *gateway.Config) { c.WebhookVerify = "api" },
		"no PEM certificate":   func(c *gateway.Config) { c.WebhookID, c.CertRoots = "x", []byte("none") },
		"VerifyTimeout is -1s": func(c *gateway.Config) { c.VerifyTimeout = -time.Second },
		"15m0s at most":        func(c *gateway.Config) { c.Hold = time.Hour },

		`ForwardAs is "copy"`:      func(c *gateway.Config) { c.ForwardAs = "copy" },
		"ForwardTo names":          func(c *gateway.Config) { c.ForwardAs = "original" },
		"InboxURL is missing":      original(func(c *gateway.Config) { c.InboxURL = "" }),
		"ForwardUnknown":           original(func(c *gateway.Config) { c.ForwardUnknown = true }),
		"ForwardIPNTo is missing":  original(func(c *gateway.Config) { c.ForwardIPNTo = "" }),
		"ForwardWebhookTo is":      original(func(c *gateway.Config) { c.WebhookID = "x" }),
		"the http(s) URL":          original(func(c *gateway.Config) { c.ForwardIPNTo = "ftp://127.0.0.1/" }),
		"ForwardIPNTo names a":     func(c *gateway.Config) { c.ForwardIPNTo = "http://127.0.0.1/" },
		"ForwardWebhookTo names a": func(c *gateway.Config) { c.ForwardWebhookTo = "http://127.0.0.1/" },
	} {
		config := good
		change(&config)
		if g, err := gateway.New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
			if g != nil {
				g.Close()
			}
		}
	}
}
