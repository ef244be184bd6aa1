package gateway_test

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
)

func TestDownstreamRefuses(t *testing.T) {
	h := newHarness(t)
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
		h.downstream.refusing(refuse)
		if status, reason := h.deliver(h.payPal.IPN(gift.fields())); status != 503 || reason != "forward" {
			t.Errorf("%s: got %d %s, want 503 forward", name, status, reason)
		}
	}
	h.downstream.refusing(nil)
	h.mustTake(h.payPal.Webhook(gift.event())) // at once: the hold was released
	events := h.downstream.got()
	if len(events) != 1 || data(t, events[0]).Attempt != 5 || data(t, events[0]).Message["channel"] != "webhook" {
		t.Fatalf("the downstream has %v, want the fifth attempt", events)
	}
	if note := h.notes("paypal-live")[0]; note.GetDonationId() != events[0].ID() ||
		note.GetState() != client.StateSettled {
		t.Errorf("Noted holds %v", note)
	}
}

func TestHeldByAnother(t *testing.T) {
	h := newHarness(t)
	gift := payment("I-HELD")
	_, err := h.noted.Once(
		t.Context(),
		&client.Donation{Ledger: "paypal-live", SeriesId: gift.series, TransactionId: gift.ipnTxn},
		nil,
		func(context.Context, *client.Note) error {
			for _, d := range []paypaltest.Delivery{h.payPal.IPN(gift.fields()), h.payPal.Webhook(gift.event())} {
				if status, reason := h.deliver(d); status != 503 || reason != "held" {
					t.Errorf("%s: got %d %s, want 503 held", d.Channel, status, reason)
				}
			}
			return nil
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	h.mustTake(h.payPal.IPN(gift.fields()))
	if events := h.downstream.got(); len(events) != 0 {
		t.Errorf("the downstream got %v, want nothing: another has processed it", events)
	}
}

// One message, two donations: the settled donation stays settled, and the redelivery
// finishes the other.
func TestOneOfTwoFails(t *testing.T) {
	h := newHarness(t)
	message := signup(h, payment("I-TWO"))
	h.downstream.refusingSignups()
	for range 2 {
		if status, _ := h.deliver(message); status != 503 || len(h.downstream.got()) != 1 {
			t.Fatalf("with the signup refused: got %d and %v, want 503 and the payment", status, h.downstream.got())
		}
	}
	h.downstream.refusing(nil)
	h.mustTake(message)
	types := map[string]int{}
	for _, e := range h.downstream.got() {
		types[e.Type()]++
	}
	if !maps.Equal(types, map[string]int{"noted.donation.signup": 1, "noted.donation.payment": 1}) {
		t.Errorf("the downstream got %v", types)
	}
}

// A message of many donations is not processed until PayPal has long gone: the redelivery
// goes on where it stopped.
func TestManyDonationsAndASlowDownstream(t *testing.T) {
	h := newHarness(t)
	h.gateway.SetWorkTime(300 * time.Millisecond)
	h.downstream.refusing(func(http.ResponseWriter, *http.Request, event.Event) bool {
		<-time.After(400 * time.Millisecond)
		return false
	})
	message := h.payPal.Webhook(
		`{"id":"WH-D","event_type":"CUSTOMER.DISPUTE.CREATED","resource":{"dispute_id":"PP-D-1","disputed_transactions":[
		{"seller_transaction_id":"9A"},{"seller_transaction_id":"9B"},{"seller_transaction_id":"9C"}]}}`,
	)
	for _, want := range []int{1, 2, 3} {
		status, reason := h.deliver(message)
		if got := len(
			h.downstream.got(),
		); got != want || (status == 200) != (want == 3) ||
			want < 3 && reason != "postponed" {
			t.Errorf("delivery %d: got %d %s and %d events", want, status, reason, got)
		}
	}
}

func TestBusyGateway(t *testing.T) {
	h := newHarness(t)
	release := h.gateway.FillUp()
	message := h.payPal.IPN(payment("I-BUSY").fields())
	if status, reason := h.deliver(message); status != 503 || reason != "busy" {
		t.Errorf("got %d %s, want 503 busy", status, reason)
	}
	release()
	h.mustTake(message)
}

// PayPal hangs up after a while. The gateway still finishes its work, and the redelivery
// is a duplicate.
func TestPayPalHangsUp(t *testing.T) {
	h := newHarness(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	h.downstream.refusing(func(_ http.ResponseWriter, r *http.Request, _ event.Event) bool {
		close(entered)
		<-leave
		select {
		case <-r.Context().Done():
			t.Error("the delivery was broken off")
		case <-time.After(500 * time.Millisecond): // the gateway has noticed by then that PayPal is gone
		}
		return false
	})
	message := h.payPal.IPN(payment("I-GONE").fields())
	ctx, hangUp := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(
		ctx,
		"POST",
		h.front.URL+"/paypal/ipn",
		strings.NewReader(string(message.Body)),
	)
	request.Header = message.Header
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
	h.downstream.refusing(nil)
	close(leave)
	eventually(
		t,
		"the note is settled",
		func() bool { return h.notes("paypal-live")[0].GetState() == client.StateSettled },
	)
	h.mustTake(message)
	if events := h.downstream.got(); len(events) != 1 {
		t.Errorf("the downstream got %v, want one event", events)
	}
}
