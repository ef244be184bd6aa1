package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// After -inbox-patience a message waits for a person, with its body, for any time. redo
// processes it.
func TestInboxPatience(t *testing.T) {
	h, now := inboxHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.InboxPatience = 7 * 24 * time.Hour })
	box := h.box()
	h.downstream.refusing(
		func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
	)
	h.mustTake(h.payPal.IPN(payment("I-PATIENCE").fields()))
	eventually(t, "a try fails", func() bool { return messages(t, box, inbox.Filter{})[0].Tries > 0 })
	now.pass(8 * 24 * time.Hour)
	m := inState(t, box, inbox.Person, 1)[0]
	if m.Cause != "patience ended: downstream: it answered 500" {
		t.Errorf("the cause is %q", m.Cause)
	}
	now.pass(20 * 24 * time.Hour)
	if err := box.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := messages(t, box, inbox.Filter{})[0]; !m.HasBody {
		t.Error("the body of a message for a person is wiped")
	}
	h.downstream.refusing(nil)
	if err := box.Redo(t.Context(), m.Row, now.time(), "test", "the downstream is back"); err != nil {
		t.Fatal(err)
	}
	inState(t, box, inbox.Done, 1)
	if acts := must(box.Acts(t.Context(), m.Row)); len(acts) != 1 || acts[0].Name != "redo" || acts[0].Actor != "test" {
		t.Errorf("the audit has %+v", acts)
	}
}

// A downstream that answers 410 or 422 asks for a person, at once. Its reason is kept if
// it is one word; a sentence could contain a donor's data.
func TestInboxRejected(t *testing.T) {
	for answer, want := range map[string]string{
		`{"reason":"unknown_fund"}`:                "downstream: it answered 422: unknown_fund",
		`{"reason":"no fund for Zoë@example.org"}`: "downstream: it answered 422",
		`gone`: "downstream: it answered 422",
	} {
		h, _ := inboxHarness(t)
		h.downstream.refusing(func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool {
			w.WriteHeader(422)
			fmt.Fprint(w, answer)
			return true
		})
		h.mustTake(h.payPal.IPN(payment("I-REJECTED").fields()))
		if m := inState(t, h.box(), inbox.Person, 1)[0]; m.Cause != want || m.Tries != 1 {
			t.Errorf("%s: the cause is %q after %d tries, want %q", answer, m.Cause, m.Tries, want)
		}
		if note := h.notes("paypal-live")[0]; note.GetState() != client.StateOpen {
			t.Errorf("Noted holds %v, want an open note", note)
		}
	}
}

// In a ledger in shadow every verdict is FIRST. A person who closes a message there
// learns whether another caller holds the donation, or has settled it.
func TestInboxCloseInShadow(t *testing.T) {
	h, _ := inboxHarness(t, func(_ *gateway.Config, o *servertest.Options) { o.ShadowLedgers = []string{"paypal-live"} })
	h.downstream.refusing(func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool {
		w.WriteHeader(422)
		return true
	})
	gift := payment("I-DARK")
	h.mustTake(h.payPal.IPN(gift.fields()))
	row := inState(t, h.box(), inbox.Person, 1)[0].Row
	closing := func(want string) {
		t.Helper()
		output, err := exec.Command(processtest.Built(t, "noted-gateway"), "inbox", "close", row, "-reason", "by hand",
			"-inbox", h.config.InboxURL, "-ledger", "paypal-live", "-noted", h.config.Noted).CombinedOutput()
		if !strings.Contains(string(output), want) {
			t.Errorf("closing: %v\n%s\nwant %q", err, output, want)
		}
	}
	another := must(h.noted.Note(t.Context(), &client.NoteRequest{
		Donation: &client.Donation{Ledger: "paypal-live", SeriesId: gift.series, TransactionId: gift.ipnTxn},
		Hold:     durationpb.New(time.Minute),
	}))
	if another.GetShadowVerdict() != client.First {
		t.Fatalf("the open note was not taken over: %v", another)
	}
	closing("somebody is processing it; try again in ")
	if note := h.notes("paypal-live")[0]; note.GetState() != client.StateHeld {
		t.Errorf("Noted holds %v, want it held by the other", note)
	}
	must(h.noted.Settle(t.Context(), another.GetReceipt(), ""))
	closing("was settled meanwhile under donation id " + another.GetNote().GetDonationId())
	if m := inState(t, h.box(), inbox.Done, 1)[0]; m.Donations[0].Outcome != inbox.Duplicate {
		t.Errorf("the journal has %+v", m.Donations)
	}
}

// A donation that Noted cannot decide reaches the downstream as noted.undecided, and
// waits for a person in the inbox.
func TestInboxUndecided(t *testing.T) {
	h, _ := inboxHarness(t)
	gift := payment("I-OLD")
	gift.at = time.Now().Add(-60 * 24 * time.Hour)
	h.mustTake(h.payPal.IPN(gift.fields()))
	m := inState(t, h.box(), inbox.Person, 1)[0]
	if m.Cause != "OCCURRED_TOO_EARLY" || m.Donations[0].Outcome != inbox.Undecided {
		t.Errorf("the journal has %+v", m)
	}
	if events := h.downstream.got(); len(events) != 1 || events[0].Type() != "noted.undecided" {
		t.Errorf("the downstream got %v", events)
	}
}

// Verified messages that are not for this gateway are journalled: PayPal gets 200, and
// nothing is noted. A forged message still gets 400, and leaves no row.
func TestInboxJournalsRefusedMessages(t *testing.T) {
	h, now := inboxHarness(t)
	box := h.box()
	foreign := payment("I-FOREIGN").fields()
	foreign.Set("receiver_email", "other@example.net")
	named := payment("I-NAMED").fields()
	named.Set("receiver_email", "other@example.net")
	named.Set("receiver_id", "6STRANGER")
	unknown := payment("I-UNKNOWN").fields()
	unknown.Set("txn_type", "brand_new")
	skipped := payment("I-OUT").fields()
	skipped.Set("txn_type", "masspay")
	malformed := payment("I-BAD").fields()
	malformed.Del("recurring_payment_id")
	malformed.Del("txn_id")
	for _, fields := range []map[string][]string{foreign, named, unknown, skipped, malformed} {
		h.mustTake(h.payPal.IPN(fields))
	}
	if status, reason := h.deliver(h.payPal.IPN(payment("I-FORGED").fields()).Flipped("25.00")); status != 400 {
		t.Errorf("a forged message: got %d %s, want 400", status, reason)
	}
	drained(t, box)
	got := map[string]string{}
	for _, m := range messages(t, box, inbox.Filter{}) {
		if m.FinishedAt.IsZero() || !m.Verified {
			t.Errorf("the journal has %+v", m)
		}
		cause, _, _ := strings.Cut(m.Cause, ":")
		got[string(m.State)+" "+cause+" "+m.Receiver] = m.Row
	}
	for _, want := range []string{
		"refused foreign …@example.net", "refused foreign 6STRANGER", "refused unknown ", "done skipped ", "refused malformed ",
	} {
		if got[want] == "" {
			t.Errorf("the journal lacks %q: %v", want, got)
		}
	}
	if len(got) != 5 || len(h.downstream.got()) != 0 || len(h.notes("paypal-live")) != 0 {
		t.Errorf("the journal has %v, the downstream %v", got, h.downstream.got())
	}
	now.pass(15 * 24 * time.Hour)
	if err := box.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range messages(t, box, inbox.Filter{}) {
		if m.HasBody {
			t.Errorf("the body is not wiped: %+v", m)
		}
	}
}

// A message whose account is added later is processed when PayPal repeats it, and when a
// person asks for it.
func TestInboxRefusedMessageIsRedone(t *testing.T) {
	h, now := inboxHarness(t)
	box := h.box()
	var sent []paypaltest.Delivery
	for _, series := range []string{"I-COPY", "I-REDO"} {
		fields := payment(series).fields()
		fields.Set("receiver_email", "second@example.org")
		sent = append(sent, h.payPal.IPN(fields))
		h.mustTake(sent[len(sent)-1])
	}
	refused := inState(t, box, inbox.Refused, 2)
	h.gateway.Close()
	h.config.Accounts = append(h.config.Accounts, "second@example.org")
	h.gateway, h.front = h.open()
	h.mustTake(sent[0])
	inState(t, box, inbox.Done, 1)
	for _, m := range refused {
		if m.IDs.Series == "I-REDO" {
			if err := box.Redo(t.Context(), m.Row, now.time(), "test", ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	inState(t, box, inbox.Done, 2)
	if events := h.downstream.got(); len(events) != 2 {
		t.Errorf("the downstream got %v, want both donations", events)
	}
}

// A copy with another body, under the id of a message whose body is wiped, waits for a
// person: PayPal's signature covers little of a body, so one of them may be forged.
func TestInboxCopyWithAnotherBody(t *testing.T) {
	h, now := inboxHarness(t)
	h.payPal.Serve("CERT-1", h.payPal.Signer(paypaltest.CertName, -time.Hour, 30*24*time.Hour))
	box := h.box()
	gift := payment("I-WIPED")
	h.mustTake(h.payPal.Webhook(gift.event()))
	inState(t, box, inbox.Done, 1)
	now.pass(15 * 24 * time.Hour)
	if err := box.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	gift.series, gift.saleID = "I-FORGED", "I-FORGEDT"
	h.mustTake(h.payPal.Signed([]byte(gift.event()), now.time(), paypaltest.WebhookID, "CERT-1", paypaltest.SigningKey()))
	if m := inState(t, box, inbox.Person, 1)[0]; m.Cause != "other_body" || len(h.downstream.got()) != 1 {
		t.Errorf("the journal has %+v, the downstream %v", m, h.downstream.got())
	}
}

// One message, two donations: the downstream rejects one of them for good, and the other
// is tried until it is accepted. Only then the message is for a person.
func TestInboxOneOfTwoIsRejected(t *testing.T) {
	h, now := inboxHarness(t)
	box := h.box()
	fields := payment("I-TWO2").fields()
	for name, value := range map[string]string{
		"txn_type": "recurring_payment_profile_created", "initial_payment_txn_id": "9FIRST2",
		"initial_payment_status": "Completed", "initial_payment_amount": "5.00", "currency_code": "EUR",
		"time_created": paypaltest.Pacific(time.Now()),
	} {
		fields.Set(name, value)
	}
	var rejections, failures atomic.Int32
	h.downstream.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
		switch {
		case e.Type() == "noted.donation.signup":
			rejections.Add(1)
			w.WriteHeader(http.StatusGone)
		case failures.Add(1) <= 2:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			return false
		}
		return true
	})
	h.mustTake(h.payPal.IPN(fields))
	for tries := range 2 { // the clock must not jump during a try: the lease would run out
		eventually(t, "it waits after a try", func() bool {
			m := messages(t, box, inbox.Filter{})[0]
			return m.State == inbox.Waiting && m.Tries == tries+1
		})
		now.pass(time.Hour)
	}
	m := inState(t, box, inbox.Person, 1)[0]
	if m.Cause != "downstream: it answered 410" || rejections.Load() != 1 || len(h.downstream.got()) != 1 {
		t.Errorf("the journal has %+v after %d rejections, the downstream %v", m, rejections.Load(), h.downstream.got())
	}
}

// A message that PayPal calls INVALID keeps its body for a person until -inbox-keep:
// PayPal has said so of genuine messages. A redo asks PayPal again. Later the body is
// wiped, and the row stays.
func TestInboxDiscardedMessages(t *testing.T) {
	h, now := inboxHarness(t)
	h.payPal.Serve("CERT-1", h.payPal.Signer(paypaltest.CertName, -time.Hour, 60*24*time.Hour))
	box := h.box()
	away := func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true }
	h.payPal.Disturb(away)
	h.mustTake(h.payPal.IPN(payment("I-GENUINE").fields()))
	h.mustTake(h.payPal.Webhook(payment("I-FORGED").event()).Flipped("25.00"))
	eventually(t, "both are tried", func() bool {
		all := messages(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
		return len(all) == 2 && all[0].Tries > 0 && all[1].Tries > 0
	})
	h.payPal.Disturb(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			io.WriteString(w, "INVALID")
		}
		return r.Method == http.MethodPost // a certificate is fetched
	})
	now.pass(time.Hour)
	rows := map[string]string{} // :: channel → row
	for _, m := range inState(t, box, inbox.Discarded, 2) {
		rows[m.Channel] = m.Row
	}
	h.payPal.Disturb(nil)
	now.pass(gateway.DefaultInboxKeep - 2*time.Hour)
	if err := box.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, channel := range []string{"ipn", "webhook"} {
		if c, err := box.Contents(t.Context(), rows[channel]); err != nil || !c.HasBody || len(c.Body) == 0 {
			t.Errorf("before -inbox-keep has passed the %s is %+v, %v, want it with its body", channel, c.Message, err)
		}
		if err := box.Redo(t.Context(), rows[channel], now.time(), "test", "PayPal may have been wrong"); err != nil {
			t.Fatal(err)
		}
	}
	inState(t, box, inbox.Done, 1)
	m := inState(t, box, inbox.Discarded, 1)[0]
	if got := h.downstream.got(); len(got) != 1 || got[0].Subject() != "I-GENUINE" || m.Row != rows["webhook"] {
		t.Errorf("after a redo the downstream has %v, and the journal %+v, want the IPN alone verified", got, m)
	}
	now.pass(gateway.DefaultInboxKeep + time.Hour)
	if err := box.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := inState(t, box, inbox.Discarded, 1)[0]; m.HasBody || m.Cause == "" {
		t.Errorf("after -inbox-keep the journal has %+v, want the row without its body", m)
	}
	if err := box.Redo(t.Context(), rows["webhook"], now.time(), "test", ""); !errors.Is(err, inbox.ErrNoBody) {
		t.Errorf("a redo without a body: %v, want %v", err, inbox.ErrNoBody)
	}
}
