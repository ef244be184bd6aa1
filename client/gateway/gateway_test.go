package gateway_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/server/servertest"
)

func TestDonationIsHandedOnOnce(t *testing.T) {
	h := newHouse(t)
	gift := payment("I-ONCE")
	ipn, webhook := h.payPal.ipn(gift.fields()), h.payPal.webhook(gift.event())
	for _, d := range []delivery{ipn, webhook, ipn, webhook} {
		h.mustTake(d)
	}
	events := h.shop.got()
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
	if d.Original.Body != string(ipn.body) || d.Original.ContentType != "application/x-www-form-urlencoded" {
		t.Errorf("got the original %+v, want the bytes that PayPal sent", d.Original)
	}
}

// The bytes that are posted back must be the bytes that came. A body that is not UTF-8
// must reach the downstream whole.
func TestBytesAreKept(t *testing.T) {
	h := newHouse(t)
	body := "receiver_email=" + account + "&txn_type=web_accept&payment_status=Completed&txn_id=9BYTES&mc_gross=1%2e00&mc_currency=EUR&memo=10,00+\x80&charset=windows-1252&;&a=%zz\r\n"
	h.payPal.sent[body] = true
	ipn := h.payPal.ipn(payment("I-X").fields())
	ipn.body = []byte(body)
	h.mustTake(ipn)
	if got := h.payPal.asked[0]; got != "cmd=_notify-validate&"+body {
		t.Errorf("posted back %q", got)
	}
	if d := data(t, h.shop.got()[0]); string(d.Original.BodyBase64) != body || d.Original.Body != "" {
		t.Errorf("handed on %+v", d.Original)
	}
	webhook := h.payPal.webhook(payment("I-JSON").event())
	h.mustTake(webhook)
	if d := data(t, h.shop.got()[1]); d.Original.Body != string(webhook.body) {
		t.Errorf("handed on %+v", d.Original)
	}
}

func TestDownstreamRefuses(t *testing.T) {
	h := newHouse(t)
	gift := payment("I-REFUSED")
	for name, refuse := range map[string]func(w http.ResponseWriter, r *http.Request, e event.Event) bool{
		"500": func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
		"400": func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(400); return true },
		"redirect": func(w http.ResponseWriter, r *http.Request, _ event.Event) bool {
			if r.URL.Path == "/elsewhere" {
				return false // it would be accepted there
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			return true
		},
		"silence": func(_ http.ResponseWriter, r *http.Request, _ event.Event) bool { <-r.Context().Done(); return true },
	} {
		h.shop.refusing(refuse)
		if status, reason := h.deliver(h.payPal.ipn(gift.fields())); status != 503 || reason != "forward" {
			t.Errorf("%s: got %d %s, want 503 forward", name, status, reason)
		}
	}
	h.shop.refusing(nil)
	h.mustTake(h.payPal.webhook(gift.event())) // at once: the hold was released
	events := h.shop.got()
	if len(events) != 1 || data(t, events[0]).Attempt != 5 || data(t, events[0]).Message["channel"] != "webhook" {
		t.Fatalf("the downstream has %v, want the fifth attempt", events)
	}
	if note := h.notes("paypal-live")[0]; note.GetDonationId() != events[0].ID() ||
		note.GetState() != client.StateSettled {
		t.Errorf("Noted holds %v", note)
	}
}

func TestHeldByAnother(t *testing.T) {
	h := newHouse(t)
	gift := payment("I-HELD")
	_, err := h.noted.Once(
		t.Context(),
		&client.Donation{Ledger: "paypal-live", SeriesId: gift.series, TransactionId: gift.ipnTxn},
		nil,
		func(context.Context, *client.Note) error {
			for _, d := range []delivery{h.payPal.ipn(gift.fields()), h.payPal.webhook(gift.event())} {
				if status, reason := h.deliver(d); status != 503 || reason != "held" {
					t.Errorf("%s: got %d %s, want 503 held", d.channel, status, reason)
				}
			}
			return nil
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	h.mustTake(h.payPal.ipn(gift.fields()))
	if events := h.shop.got(); len(events) != 0 {
		t.Errorf("the downstream got %v, want nothing: another has processed it", events)
	}
}

// One message, two donations: the settled donation stays settled, and the redelivery
// finishes the other.
func TestOneOfTwoFails(t *testing.T) {
	h := newHouse(t)
	fields := payment("I-TWO").fields()
	for name, value := range map[string]string{
		"txn_type": "recurring_payment_profile_created", "initial_payment_txn_id": "9FIRST",
		"initial_payment_status": "Completed",
		"initial_payment_amount": "5.00", "currency_code": "EUR",
		"time_created": pacific(time.Now()),
	} {
		fields.Set(name, value)
	}
	message := h.payPal.ipn(fields)
	h.shop.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
		if e.Type() == "noted.donation.signup" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return e.Type() == "noted.donation.signup"
	})
	for range 2 {
		if status, _ := h.deliver(message); status != 503 || len(h.shop.got()) != 1 {
			t.Fatalf("with the signup refused: got %d and %v, want 503 and the payment", status, h.shop.got())
		}
	}
	h.shop.refusing(nil)
	h.mustTake(message)
	types := map[string]int{}
	for _, e := range h.shop.got() {
		types[e.Type()]++
	}
	if !maps.Equal(types, map[string]int{"noted.donation.signup": 1, "noted.donation.payment": 1}) {
		t.Errorf("the downstream got %v", types)
	}
}

func TestUndecidedIsHandedOnOncePerMessage(t *testing.T) {
	h := newHouse(t)
	gift := payment("I-OLD")
	gift.at = time.Now().Add(-60 * 24 * time.Hour)
	message := h.payPal.ipn(gift.fields())
	h.shop.refusing(
		func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
	)
	if status, reason := h.deliver(message); status != 503 || reason != "forward" {
		t.Errorf("with the downstream away: got %d %s, want 503: it must not vanish", status, reason)
	}
	h.shop.refusing(nil)
	again := gift.fields()
	again.Set("resend", "true")
	for range 2 {
		h.mustTake(message)
		h.mustTake(h.payPal.ipn(again))
		h.mustTake(h.payPal.webhook(gift.event()))
	}
	events := h.shop.got()
	if len(events) != 2 { // one a message
		t.Fatalf("the downstream got %v, want one of each message", events)
	}
	d := data(t, events[0])
	if events[0].Type() != "noted.undecided" || len(d.Open) != 1 || d.Open[0].Reason != "OCCURRED_TOO_EARLY" ||
		d.Open[0].Donation["series_id"] != "I-OLD" ||
		d.Original.Body != string(message.body) ||
		d.Message["channel"] != "ipn" ||
		d.Open[0].Explanation == "" {
		t.Errorf("got %v", events[0])
	}
}

// A message of many donations is not processed until PayPal has long gone: the redelivery
// goes on where it stopped.
func TestManyDonationsAndASlowDownstream(t *testing.T) {
	h := newHouse(t)
	h.gateway.SetWorkTime(300 * time.Millisecond)
	h.shop.refusing(func(http.ResponseWriter, *http.Request, event.Event) bool {
		<-time.After(400 * time.Millisecond)
		return false
	})
	message := h.payPal.webhook(
		`{"id":"WH-D","event_type":"CUSTOMER.DISPUTE.CREATED","resource":{"dispute_id":"PP-D-1","disputed_transactions":[
		{"seller_transaction_id":"9A"},{"seller_transaction_id":"9B"},{"seller_transaction_id":"9C"}]}}`,
	)
	for _, want := range []int{1, 2, 3} {
		status, reason := h.deliver(message)
		if got := len(
			h.shop.got(),
		); got != want || (status == 200) != (want == 3) ||
			want < 3 && reason != "postponed" {
			t.Errorf("delivery %d: got %d %s and %d events", want, status, reason, got)
		}
	}
}

func TestBusyGateway(t *testing.T) {
	h := newHouse(t)
	release := h.gateway.FillUp()
	message := h.payPal.ipn(payment("I-BUSY").fields())
	if status, reason := h.deliver(message); status != 503 || reason != "busy" {
		t.Errorf("got %d %s, want 503 busy", status, reason)
	}
	release()
	h.mustTake(message)
}

// While one secret replaces another, a downstream that knows either of them accepts the
// events.
func TestSecretIsReplaced(t *testing.T) {
	const other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
	for _, secrets := range [][]string{{other, secret}, {secret, other}} {
		h := newHouse(t, func(c *gateway.Config, _ *servertest.Options) { c.ForwardSecrets = secrets })
		h.mustTake(h.payPal.ipn(payment("I-ROTATED").fields()))
		if events := h.shop.got(); len(events) != 1 {
			t.Errorf("the downstream got %v, want one event", events)
		}
	}
}

// A donation for a person is told even while another donation of the message is in
// trouble: that trouble may never end.
func TestUndecidedBesideTrouble(t *testing.T) {
	h := newHouse(t)
	gift := payment("I-BOTH")
	fields := gift.fields()
	for name, value := range map[string]string{
		"txn_type": "recurring_payment_profile_created", "initial_payment_txn_id": gift.ipnTxn,
		"initial_payment_status": "Completed",
		"initial_payment_amount": "5.00", "currency_code": "EUR",
		"time_created": pacific(time.Now().Add(-60 * 24 * time.Hour)),
	} {
		fields.Set(name, value)
	}
	message := h.payPal.ipn(fields)
	h.shop.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
		if e.Type() == "noted.donation.signup" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return e.Type() == "noted.donation.signup"
	})
	for range 2 {
		if status, reason := h.deliver(message); status != 503 || reason != "forward" {
			t.Errorf("got %d %s, want 503 forward", status, reason)
		}
		if events := h.shop.got(); len(events) != 1 || events[0].Type() != "noted.undecided" {
			t.Fatalf("the downstream got %v, want noted.undecided once", events)
		}
	}
	h.shop.refusing(nil)
	h.mustTake(message)
	if events := h.shop.got(); len(events) != 2 || events[1].Type() != "noted.donation.signup" {
		t.Errorf("the downstream got %v, want the signup besides", events)
	}
}

func TestSeriesOverItsLimit(t *testing.T) {
	h := newHouse(t, func(_ *gateway.Config, o *servertest.Options) { o.SeriesLimit = 2 })
	for i, amount := range []string{"1.00", "2.00", "3.00"} {
		gift := payment("I-FULL")
		gift.ipnTxn, gift.amount = "T"+amount, amount
		h.mustTake(h.payPal.ipn(gift.fields()))
		if events := h.shop.got(); len(events) != i+1 {
			t.Fatalf("the downstream got %v", events)
		}
	}
	if e := h.shop.got()[2]; e.Type() != "noted.undecided" || data(t, e).Open[0].Reason != "SERIES_FULL" {
		t.Errorf("got %v, want noted.undecided", e)
	}
}

// PayPal leaves the receiver out of some adjustments: they are neither refused nor noted
// as ours.
func TestReceiverIsNotSaid(t *testing.T) {
	h := newHouse(t)
	fields := payment("I-WHOSE").fields()
	fields.Del("receiver_email")
	h.mustTake(h.payPal.ipn(fields))
	h.mustTake(h.payPal.ipn(fields))
	events := h.shop.got()
	if len(events) != 1 || events[0].Type() != "noted.undecided" ||
		data(t, events[0]).Open[0].Reason != "RECEIVER_MISSING" {
		t.Errorf("the downstream got %v", events)
	}
}

// PayPal's messages about our own payments name another account and are no donations. If
// they were refused, they would come again for days, and each refusal would look like a
// stranger's message.
func TestOurOwnPayments(t *testing.T) {
	h := newHouse(t)
	fields := payment("I-OUT").fields()
	fields.Set("txn_type", "send_money")
	fields.Set("mc_gross", "-25.00")
	fields.Set("receiver_email", "somebody@example.net")
	h.mustTake(h.payPal.ipn(fields))
	h.counts(`noted_gateway_messages_total{channel="ipn",outcome="skipped"} 1`)
	fields.Set("txn_type", "brand_new") // it may be a donation: one to somebody else
	if status, reason := h.deliver(h.payPal.ipn(fields)); status != 403 || reason != "foreign" {
		t.Errorf("got %d %s, want 403 foreign", status, reason)
	}
	if events, notes := h.shop.got(), h.notes("paypal-live"); len(events) != 0 || len(notes) != 0 {
		t.Errorf("the downstream got %v, Noted holds %v; want nothing", events, notes)
	}
}

func TestUnknownTypes(t *testing.T) {
	for _, forward := range []bool{false, true} {
		h := newHouse(t, func(c *gateway.Config, _ *servertest.Options) { c.ForwardUnknown = forward })
		fields := payment("I-UNKNOWN").fields()
		fields.Set("txn_type", "brand_new")
		for range 2 {
			h.mustTake(h.payPal.ipn(fields))
			h.mustTake(h.payPal.webhook(`{"id":"WH-NEW","event_type":"BRAND.NEW"}`))
			h.mustTake(h.payPal.webhook(`{"id":"WH-ORDER","event_type":"CHECKOUT.ORDER.APPROVED"}`))
			h.mustTake(h.payPal.webhook(`{"id":"WH-PLAN","event_type":"BILLING.PLAN.CREATED"}`))
		}
		events := h.shop.got()
		want := 0
		if forward {
			want = 2
		}
		if len(events) != want {
			t.Errorf("forward %v: the downstream got %v, want %d events", forward, events, want)
		}
		if forward &&
			(events[0].Type() != "noted.unknown" || events[0].ID() == events[1].ID() || data(t, events[1]).Message["id"] != "WH-NEW") {
			t.Errorf("got %v", events)
		}
		for _, want := range []string{`"type":"brand_new"`, `"type":"BRAND.NEW"`} {
			if !strings.Contains(h.log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, h.log)
			}
		}
		if strings.Contains(h.log.String(), "BILLING.PLAN") {
			t.Errorf("the log tells of a type that is known to be no donation:\n%s", h.log)
		}
		h.counts(`noted_gateway_messages_total{channel="ipn",outcome="unknown"} 2`,
			`noted_gateway_messages_total{channel="webhook",outcome="skipped"} 4`)
	}
}

// counts checks lines of the metrics.
func (h *house) counts(lines ...string) {
	h.t.Helper()
	recorder := httptest.NewRecorder()
	h.gateway.Metrics().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range lines {
		if !strings.Contains(recorder.Body.String(), line+"\n") {
			h.t.Errorf("the metrics lack %s", line)
		}
	}
	for _, canary := range []string{"canary", "I-"} {
		if strings.Contains(recorder.Body.String(), canary) {
			h.t.Errorf("the metrics hold %q", canary)
		}
	}
}

func TestTestsGoToTheirOwnLedger(t *testing.T) {
	h := newHouse(t, func(c *gateway.Config, _ *servertest.Options) { c.SandboxLedger = "paypal-sandbox" })
	fields := payment("I-TEST").fields()
	fields.Set("test_ipn", "1")
	h.mustTake(h.payPal.ipn(fields))
	h.payPal.files["CERT-SANDBOX"] = asPEM(
		h.payPal.issue("messageverificationcerts.sandbox.paypal.com", signingKey().Public(), -time.Hour, time.Hour),
	)
	h.mustTake(h.payPal.signed([]byte(payment("I-TEST2").event()), time.Now(), webhookID, "CERT-SANDBOX", signingKey()))
	if live, sandbox := h.notes("paypal-live"), h.notes("paypal-sandbox"); len(live) != 0 || len(sandbox) != 2 {
		t.Errorf("the live ledger holds %v, the sandbox's %v", live, sandbox)
	}
	for _, e := range h.shop.got() {
		if ledger := data(t, e).Donation["ledger"]; ledger != "paypal-sandbox" {
			t.Errorf("handed on for %s", ledger)
		}
	}
}

// PayPal hangs up after a while. The gateway finishes its work all the same, and the
// redelivery is a duplicate.
func TestPayPalHangsUp(t *testing.T) {
	h := newHouse(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	h.shop.refusing(func(_ http.ResponseWriter, r *http.Request, _ event.Event) bool {
		close(entered)
		<-leave
		select {
		case <-r.Context().Done():
			t.Error("the hand-on was broken off")
		case <-time.After(500 * time.Millisecond): // the gateway has noticed by then that PayPal is gone
		}
		return false
	})
	message := h.payPal.ipn(payment("I-GONE").fields())
	ctx, hangUp := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(
		ctx,
		"POST",
		h.front.URL+"/paypal/ipn",
		strings.NewReader(string(message.body)),
	)
	request.Header = message.header
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
		}
	}()
	<-entered
	hangUp()
	<-gone
	h.shop.refusing(nil)
	close(leave)
	eventually(
		t,
		"the note is settled",
		func() bool { return h.notes("paypal-live")[0].GetState() == client.StateSettled },
	)
	h.mustTake(message)
	if events := h.shop.got(); len(events) != 1 {
		t.Errorf("the downstream got %v, want one event", events)
	}
}

func TestTwoGatewaysAreAsOne(t *testing.T) {
	h := newHouse(t)
	_, second := h.open()
	const donations = 20
	var all sync.WaitGroup
	for i := range donations {
		gift := payment("I-" + string(rune('A'+i)))
		for _, d := range []delivery{h.payPal.ipn(gift.fields()), h.payPal.webhook(gift.event())} {
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
	for _, e := range h.shop.got() {
		if other, ok := seen[e.Subject()]; ok {
			t.Errorf("%s came twice, as %s and %s", e.Subject(), other, e.ID())
		}
		seen[e.Subject()] = e.ID()
	}
	if len(seen) != donations {
		t.Errorf("%d donations came, want %d", len(seen), donations)
	}
}

// Nothing that a donor or PayPal has written reaches the log, whatever fails.
func TestLogHoldsNothingPersonal(t *testing.T) {
	h := newHouse(t)
	gift := payment("I-SECRETSERIES")
	h.shop.refusing(
		func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
	)
	h.deliver(h.payPal.ipn(gift.fields()))
	h.shop.refusing(nil)
	h.mustTake(h.payPal.ipn(gift.fields()))
	h.deliver(h.payPal.ipn(gift.fields()).flipped("canary"))
	fields := gift.fields()
	fields.Set("mc_gross", "canary")
	fields.Set("txn_id", "canary canary")
	h.mustTake(h.payPal.ipn(fields))
	h.server.Stop()
	h.deliver(h.payPal.webhook(gift.event()))
	for _, secret := range []string{"canary", "I-SECRETSERIES", "25.00", strings.TrimPrefix(secret, "whsec_"), h.shop.URL} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log holds %q:\n%s", secret, h.log)
		}
	}
	for _, want := range []string{"handed on", "not handed on", "not noted", "message refused", "left out of a donation"} {
		if !strings.Contains(h.log.String(), `"msg":"`+want+`"`) {
			t.Errorf("the log lacks %q:\n%s", want, h.log)
		}
	}
}

func TestHealth(t *testing.T) {
	h := newHouse(t)
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
	if status, reason := h.deliver(h.payPal.ipn(payment("I-AWAY").fields())); status != 503 || reason != "noted" {
		t.Errorf("without Noted: got %d %s, want 503 noted", status, reason)
	}
	if metrics := look("/metrics"); metrics != 404 {
		t.Errorf("/metrics is public: %d", metrics)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := gateway.Config{
		Noted:          "127.0.0.1:1",
		Accounts:       []string{account},
		ForwardTo:      "http://127.0.0.1:1/",
		ForwardSecrets: []string{secret},
	}
	if g, err := gateway.New(good); err != nil {
		t.Fatal(err)
	} else {
		g.Close()
	}
	for want, change := range map[string]func(*gateway.Config){
		"Noted is missing":     func(c *gateway.Config) { c.Noted = "" },
		"ForwardTo is missing": func(c *gateway.Config) { c.ForwardTo = "" },
		"no stream":            func(c *gateway.Config) { c.ForwardTo = "redis://127.0.0.1/0" },
		"begins with none":     func(c *gateway.Config) { c.ForwardTo = "ftp://127.0.0.1/0" },
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
