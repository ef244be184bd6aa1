package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

func TestUndecidedIsDeliveredOncePerMessage(t *testing.T) {
	h := newHarness(t)
	gift := payment("I-OLD")
	gift.at = time.Now().Add(-60 * 24 * time.Hour)
	message := h.payPal.IPN(gift.fields())
	h.downstream.refusing(
		func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
	)
	if status, reason := h.deliver(message); status != 503 || reason != "forward" {
		t.Errorf("with the downstream away: got %d %s, want 503: it must not vanish", status, reason)
	}
	h.downstream.refusing(nil)
	again := gift.fields()
	again.Set("resend", "true")
	for range 2 {
		h.mustTake(message)
		h.mustTake(h.payPal.IPN(again))
		h.mustTake(h.payPal.Webhook(gift.event()))
	}
	events := h.downstream.got()
	if len(events) != 2 { // one a message
		t.Fatalf("the downstream got %v, want one of each message", events)
	}
	d := data(t, events[0])
	if events[0].Type() != "noted.undecided" || len(d.Open) != 1 || d.Open[0].Reason != "OCCURRED_TOO_EARLY" ||
		d.Open[0].Donation["series_id"] != "I-OLD" ||
		d.Original.Body != string(message.Body) ||
		d.Message["channel"] != "ipn" ||
		d.Open[0].Explanation == "" {
		t.Errorf("got %v", events[0])
	}
}

// A donation for a person is delivered even while another donation of the message is in
// trouble: that trouble may never end.
func TestUndecidedBesideTrouble(t *testing.T) {
	h := newHarness(t)
	gift := payment("I-BOTH")
	fields := gift.fields()
	for name, value := range map[string]string{
		"txn_type": "recurring_payment_profile_created", "initial_payment_txn_id": gift.ipnTxn,
		"initial_payment_status": "Completed",
		"initial_payment_amount": "5.00", "currency_code": "EUR",
		"time_created": paypaltest.Pacific(time.Now().Add(-60 * 24 * time.Hour)),
	} {
		fields.Set(name, value)
	}
	message := h.payPal.IPN(fields)
	h.downstream.refusingSignups()
	for range 2 {
		if status, reason := h.deliver(message); status != 503 || reason != "forward" {
			t.Errorf("got %d %s, want 503 forward", status, reason)
		}
		if events := h.downstream.got(); len(events) != 1 || events[0].Type() != "noted.undecided" {
			t.Fatalf("the downstream got %v, want noted.undecided once", events)
		}
	}
	h.downstream.refusing(nil)
	h.mustTake(message)
	if events := h.downstream.got(); len(events) != 2 || events[1].Type() != "noted.donation.signup" {
		t.Errorf("the downstream got %v, want the signup besides", events)
	}
}

func TestSeriesOverItsLimit(t *testing.T) {
	h := newHarness(t, func(_ *gateway.Config, o *servertest.Options) { o.SeriesLimit = 2 })
	for i, amount := range []string{"1.00", "2.00", "3.00"} {
		gift := payment("I-FULL")
		gift.ipnTxn, gift.amount = "T"+amount, amount
		h.mustTake(h.payPal.IPN(gift.fields()))
		if events := h.downstream.got(); len(events) != i+1 {
			t.Fatalf("the downstream got %v", events)
		}
	}
	if e := h.downstream.got()[2]; e.Type() != "noted.undecided" || data(t, e).Open[0].Reason != "SERIES_FULL" {
		t.Errorf("got %v, want noted.undecided", e)
	}
}

// PayPal leaves the receiver out of some adjustments: they are neither refused nor noted
// as ours.
func TestReceiverIsNotSaid(t *testing.T) {
	h := newHarness(t)
	fields := payment("I-WHOSE").fields()
	fields.Del("receiver_email")
	h.mustTake(h.payPal.IPN(fields))
	h.mustTake(h.payPal.IPN(fields))
	events := h.downstream.got()
	if len(events) != 1 || events[0].Type() != "noted.undecided" ||
		data(t, events[0]).Open[0].Reason != "RECEIVER_MISSING" {
		t.Errorf("the downstream got %v", events)
	}
}

// PayPal's messages about our own payments name another account and have no donation. If
// they were refused, they would come again for days, and each refusal would look like a
// stranger's message.
func TestOurOwnPayments(t *testing.T) {
	h := newHarness(t)
	fields := payment("I-OUT").fields()
	fields.Set("txn_type", "send_money")
	fields.Set("mc_gross", "-25.00")
	fields.Set("receiver_email", "somebody@example.net")
	h.mustTake(h.payPal.IPN(fields))
	h.counts(`noted_gateway_messages_total{channel="ipn",outcome="skipped"} 1`)
	fields.Set("txn_type", "brand_new") // it may be a donation, to another account
	if status, reason := h.deliver(h.payPal.IPN(fields)); status != 403 || reason != "foreign" {
		t.Errorf("got %d %s, want 403 foreign", status, reason)
	}
	if events, notes := h.downstream.got(), h.notes("paypal-live"); len(events) != 0 || len(notes) != 0 {
		t.Errorf("the downstream got %v, Noted holds %v; want nothing", events, notes)
	}
}

func TestUnknownTypes(t *testing.T) {
	for _, forward := range []bool{false, true} {
		h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.ForwardUnknown = forward })
		fields := payment("I-UNKNOWN").fields()
		fields.Set("txn_type", "brand_new")
		for range 2 {
			h.mustTake(h.payPal.IPN(fields))
			h.mustTake(h.payPal.Webhook(`{"id":"WH-NEW","event_type":"BRAND.NEW"}`))
			h.mustTake(h.payPal.Webhook(`{"id":"WH-ORDER","event_type":"CHECKOUT.ORDER.APPROVED"}`))
			h.mustTake(h.payPal.Webhook(`{"id":"WH-PLAN","event_type":"BILLING.PLAN.CREATED"}`))
		}
		events := h.downstream.got()
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
func (h *harness) counts(lines ...string) {
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
