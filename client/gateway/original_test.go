package gateway_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/client/paypal"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A listener takes PayPal's own messages, as it did before it had a gateway. It cannot
// recognise duplicates.
type listener struct {
	*httptest.Server
	mu     sync.Mutex
	took   []paypaltest.Delivery
	answer func(w http.ResponseWriter, r *http.Request) // instead of taking it
}

func newListener(t testing.TB) *listener {
	l := &listener{}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	l.mu.Lock()
	answer := l.answer
	if answer == nil {
		l.took = append(l.took, paypaltest.Delivery{
			Channel: strings.TrimPrefix(r.URL.Path, "/"), Body: body, Header: r.Header,
		})
	}
	l.mu.Unlock()
	if answer != nil {
		answer(w, r)
	}
}

// failing lets a function answer; nil lets the listener take messages again.
func (l *listener) failing(answer func(w http.ResponseWriter, r *http.Request)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

func (l *listener) got() []paypaltest.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.took
}

// originalHarness is a harness with an inbox, whose gateway delivers to a listener.
func originalHarness(
	t *testing.T, change ...func(*gateway.Config, *servertest.Options),
) (*harness, *movedClock, *listener) {
	t.Helper()
	l := newListener(t)
	change = append([]func(*gateway.Config, *servertest.Options){func(c *gateway.Config, _ *servertest.Options) {
		c.ForwardAs, c.ForwardTo, c.ForwardSecrets = gateway.ForwardOriginal, "", nil
		c.ForwardIPNTo, c.ForwardWebhookTo = l.URL+"/ipn", l.URL+"/webhook"
	}}, change...)
	h, now := inboxHarness(t, change...)
	return h, now, l
}

// The listener gets the bytes and PayPal's headers, once for each donation, from
// whichever message comes first. PayPal itself still verifies the message.
func TestListenerGetsPayPalsOwnMessage(t *testing.T) {
	h, _, l := originalHarness(t)
	box := h.box()
	odd := h.payPal.IPNBody("receiver_email="+paypaltest.Account+"&txn_type=web_accept&payment_status=Completed"+
		"&txn_id=9BYTES&mc_gross=1%2e00&mc_currency=EUR&memo=10,00+\x80&charset=windows-1252&;&a=%zz\r\n").
		With("User-Agent", "PayPal IPN ( https://www.paypal.com/ipn )").With("Cookie", "a=b")
	gift := payment("I-BOTH")
	webhook := h.payPal.Webhook(gift.event()).With("User-Agent", "PayPal/AUHR-214.0").With("X-Forwarded-For", "192.0.2.1")
	for _, d := range []paypaltest.Delivery{odd, webhook, h.payPal.IPN(gift.fields()), odd, webhook} {
		h.mustTake(d)
		drained(t, box)
	}
	if got := l.got(); len(got) != 2 {
		t.Fatalf("the listener got %d messages, want 2: %v", len(got), got)
	}
	for i, sent := range []paypaltest.Delivery{odd, webhook} {
		got := l.got()[i]
		if got.Channel != sent.Channel || !bytes.Equal(got.Body, sent.Body) {
			t.Errorf("the %s came to %s as %q, want %q", sent.Channel, got.Channel, got.Body, sent.Body)
		}
		want := sent.Header.Clone()
		want.Del("Cookie")
		want.Del("X-Forwarded-For")
		want.Set("Via", "1.1 noted-gateway")
		got.Header.Del("Content-Length")
		got.Header.Del("Accept-Encoding") // the connection's, not the message's
		if !maps.EqualFunc(got.Header, want, func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }) {
			t.Errorf("the %s came with the headers %v, want %v", sent.Channel, got.Header, want)
		}
	}
	response := must(http.Post(h.payPal.Verifier.URL, "application/x-www-form-urlencoded",
		io.MultiReader(strings.NewReader("cmd=_notify-validate&"), bytes.NewReader(l.got()[0].Body))))
	defer response.Body.Close()
	if said := must(io.ReadAll(response.Body)); string(said) != "VERIFIED" {
		t.Errorf("PayPal calls the listener's message %s", said)
	}
	for _, note := range h.notes("paypal-live") {
		if note.GetState() != client.StateSettled {
			t.Errorf("Noted holds %v, want it settled", note)
		}
	}
	inState(t, box, inbox.Done, 3)
	if events := h.downstream.got(); len(events) != 0 {
		t.Errorf("the downstream of events got %v", events)
	}
}

// Only a 2xx is acceptance. After any other answer, or without an answer, the donation is
// released and the message waits. In the end the listener has it once.
func TestListenerFails(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, c := range map[string]struct {
		fail  func(w http.ResponseWriter, r *http.Request)
		cause string
	}{
		"500": {status(500), "it answered 500"},
		"404": {status(404), "it answered 404"},
		"410": {status(410), "it answered 410"},
		"422": {status(422), "it answered 422"},
		"304": {status(304), "it answered 304"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/somewhere-else", http.StatusFound)
		}, "it answered 302"},
		"silence":        {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "it did not answer in time"},
		"a crash":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"a closed line":  {func(w http.ResponseWriter, _ *http.Request) { breakOff(w, "") }, "EOF"},
		"bytes, no HTTP": {func(w http.ResponseWriter, _ *http.Request) { breakOff(w, "HTTPS\r\n\r\n") }, "malformed HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			h, now, l := originalHarness(t, func(config *gateway.Config, _ *servertest.Options) {
				config.ForwardTimeout, config.Hold = 300*time.Millisecond, 10*time.Minute
			})
			box := h.box()
			l.failing(c.fail)
			h.mustTake(h.payPal.IPN(payment("I-FAILS").fields()))
			var waits []inbox.Message
			eventually(t, "a try has failed", func() bool {
				waits = messages(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
				return len(waits) == 1 && waits[0].Tries > 0
			})
			if !strings.HasPrefix(waits[0].Cause, "downstream: ") || !strings.Contains(waits[0].Cause, c.cause) {
				t.Errorf("the message waits because of %q, want %q in it", waits[0].Cause, c.cause)
			}
			eventually(t, "the donation is released", func() bool {
				notes := h.notes("paypal-live")
				return len(notes) == 1 && notes[0].GetState() == client.StateOpen
			})
			l.failing(nil)
			now.pass(time.Hour)
			inState(t, box, inbox.Done, 1)
			if got := l.got(); len(got) != 1 || got[0].Channel != "ipn" {
				t.Errorf("the listener took %v, want the message once", got)
			}
		})
	}
}

// breakOff writes to a connection, and closes it.
func breakOff(w http.ResponseWriter, text string) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		io.WriteString(conn, text)
		conn.Close()
	}
}

// A listener's address that leads back to the gateway is not an acceptance: the gateway
// would treat its own delivery as PayPal's copy, and the donation would be lost.
func TestListenerIsTheGatewayItself(t *testing.T) {
	h, now, l := originalHarness(t)
	h.gateway.Close()
	var front *httptest.Server
	loop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		front.Config.Handler.ServeHTTP(w, r)
	}))
	defer loop.Close()
	h.config.ForwardIPNTo = loop.URL + "/paypal/ipn"
	h.gateway, front = h.open()
	h.front = front
	h.mustTake(h.payPal.IPN(payment("I-LOOP").fields()))
	box := h.box()
	eventually(t, "a try has failed", func() bool {
		all := messages(t, box, inbox.Filter{})
		return len(all) == 1 && all[0].Tries > 0 && all[0].Cause == "downstream: it answered 508" && all[0].Copies == 0
	})
	h.gateway.Close()
	h.config.ForwardIPNTo = l.URL + "/ipn"
	h.gateway, h.front = h.open()
	now.pass(time.Hour)
	inState(t, box, inbox.Done, 1)
	if got := l.got(); len(got) != 1 {
		t.Errorf("the listener took %v, want the message once", got)
	}
}

// A listener that is down is tried until it is back.
func TestListenerIsDown(t *testing.T) {
	h, now, l := originalHarness(t)
	l.Close()
	h.mustTake(h.payPal.IPN(payment("I-DOWN").fields()))
	box := h.box()
	eventually(t, "a try has failed", func() bool {
		all := messages(t, box, inbox.Filter{})
		return len(all) == 1 && all[0].Tries > 0 && strings.Contains(all[0].Cause, "connection refused")
	})
	back := newListener(t)
	h.gateway.Close()
	h.config.ForwardIPNTo = back.URL + "/ipn"
	h.gateway, h.front = h.open()
	now.pass(time.Hour)
	inState(t, box, inbox.Done, 1)
	if got := back.got(); len(got) != 1 {
		t.Errorf("the listener took %v, want the message once", got)
	}
}

// signup is an IPN with two donations: a signup, and its first payment.
func signup(h *harness, g gift) paypaltest.Delivery {
	fields := g.fields()
	for name, value := range map[string]string{
		"txn_type": "recurring_payment_profile_created", "initial_payment_txn_id": g.ipnTxn,
		"initial_payment_status": "Completed", "initial_payment_amount": "5.00", "currency_code": "EUR",
		"time_created": paypaltest.Pacific(g.at),
	} {
		fields.Set(name, value)
	}
	return h.payPal.IPN(fields)
}

// A message of two donations is delivered whole if both are FIRST. While another caller
// holds one of them it waits, and the other is released. If one is a duplicate a person
// must decide, and sees both verdicts.
func TestListenerGetsMessagesWholeOrNot(t *testing.T) {
	h, now, l := originalHarness(t, func(c *gateway.Config, _ *servertest.Options) {
		c.ForwardWebhookTo = gateway.NoListener
	})
	box := h.box()
	h.mustTake(signup(h, payment("I-WHOLE")))
	inState(t, box, inbox.Done, 1)
	if got := l.got(); len(got) != 1 {
		t.Fatalf("the listener got %v, want the message", got)
	}

	hold := func(message paypaltest.Delivery, position int) *client.NoteResponse {
		pair := must(paypal.IdentifyIPN(message.Body)).Pairs[position]
		donation, _ := client.FromPayPal(pair, "paypal-live")
		return must(h.noted.Note(t.Context(), &client.NoteRequest{
			Donation: donation, Message: &client.Message{Channel: "other", Id: donation.GetSeriesId()},
			Hold: durationpb.New(10 * time.Minute),
		}))
	}
	halfHeld := signup(h, payment("I-HELD"))
	another := hold(halfHeld, 1)
	h.mustTake(halfHeld)
	eventually(t, "the message waits for the holder", func() bool {
		waits := messages(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
		return len(waits) == 1 && waits[0].Cause == "held"
	})
	for _, note := range h.notes("paypal-live") {
		d := note.GetDonation()
		if d.GetSeriesId() == "I-HELD" && d.GetEvent() == client.EventSignup && note.GetState() == client.StateHeld {
			t.Errorf("the other donation is still held: %v", note)
		}
	}
	must(h.noted.Release(t.Context(), another.GetReceipt(), "test"))
	now.pass(time.Hour)
	inState(t, box, inbox.Done, 2)

	before := len(l.got())
	mixed := signup(h, payment("I-MIXED"))
	must(h.noted.Settle(t.Context(), hold(mixed, 0).GetReceipt(), ""))
	h.mustTake(mixed)
	person := inState(t, box, inbox.Person, 1)[0]
	verdicts := map[string]string{}
	for _, d := range person.Donations {
		verdicts[d.Verdict] = string(d.Outcome) + " " + d.Reason
	}
	want := map[string]string{"FIRST": "undecided NOT_ALL_FIRST", "DUPLICATE": "duplicate "}
	if person.Cause != "NOT_ALL_FIRST" || !maps.Equal(verdicts, want) {
		t.Errorf("the journal has %q with %v, want %v", person.Cause, verdicts, want)
	}
	if before != 2 || len(l.got()) != before {
		t.Errorf("the listener got %d messages, then %d, want 2", before, len(l.got()))
	}
	// The person books the FIRST donation by hand, and closes the message.
	output, err := exec.Command(processtest.Built(t, "noted-gateway"), "inbox", "close", person.Row, "-reason", "by hand",
		"-inbox", h.config.InboxURL, "-ledger", "paypal-live", "-noted", h.config.Noted).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	inState(t, box, inbox.Done, 3)
	for _, note := range h.notes("paypal-live") {
		if note.GetState() != client.StateSettled {
			t.Errorf("Noted holds %v, want it settled", note)
		}
	}
}

// A donation that Noted cannot decide, or without a named receiver, waits for a person. A
// message of a channel without a listener does not: it is only journalled.
func TestListenerGetsNothingUndecided(t *testing.T) {
	h, _, l := originalHarness(t, func(c *gateway.Config, _ *servertest.Options) {
		c.ForwardWebhookTo = gateway.NoListener
	})
	box := h.box()
	old := payment("I-OLD")
	old.at = time.Now().Add(-60 * 24 * time.Hour)
	h.mustTake(h.payPal.IPN(old.fields()))
	unnamed := payment("I-NOBODY").fields()
	unnamed.Del("receiver_email")
	h.mustTake(h.payPal.IPN(unnamed))
	h.mustTake(h.payPal.Webhook(payment("I-OFF").event()))
	causes := map[string]bool{}
	for _, m := range inState(t, box, inbox.Person, 2) {
		causes[m.Cause] = true
	}
	if !causes["OCCURRED_TOO_EARLY"] || !causes["RECEIVER_MISSING"] {
		t.Errorf("left to a person because of %v", causes)
	}
	if off := inState(t, box, inbox.Done, 1)[0]; off.Cause != "off" || off.Channel != "webhook" {
		t.Errorf("journalled %+v, want the webhook as off", off)
	}
	if notes, got := h.notes("paypal-live"), l.got(); len(notes) != 0 || len(got) != 0 {
		t.Errorf("noted %v, and the listener got %v, want nothing", notes, got)
	}
}

// While PayPal does not answer nothing reaches the listener, and a forgery never does.
func TestListenerGetsNothingUnverified(t *testing.T) {
	h, now, l := originalHarness(t)
	box := h.box()
	h.payPal.Disturb(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true })
	h.mustTake(h.payPal.IPN(payment("I-GENUINE").fields()))
	h.mustTake(h.payPal.IPN(payment("I-FALSE").fields()).Flipped("25.00"))
	eventually(t, "both are tried", func() bool {
		all := messages(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
		return len(all) == 2 && all[0].Tries > 0 && all[1].Tries > 0
	})
	if got := l.got(); len(got) != 0 {
		t.Fatalf("the listener got %v before PayPal was asked", got)
	}
	h.payPal.Disturb(nil)
	now.pass(time.Hour)
	inState(t, box, inbox.Done, 1)
	inState(t, box, inbox.Discarded, 1)
	if got := l.got(); len(got) != 1 || !bytes.Contains(got[0].Body, []byte("I-GENUINE")) {
		t.Errorf("the listener got %v, want the genuine message", got)
	}
}

// A redo of a settled donation delivers nothing. After its note is forgotten the listener
// gets the message again.
func TestListenerAndRedo(t *testing.T) {
	h, now, l := originalHarness(t)
	box := h.box()
	h.mustTake(h.payPal.IPN(payment("I-REDO").fields()))
	row := inState(t, box, inbox.Done, 1)[0].Row
	redo := func() {
		t.Helper()
		if err := box.Redo(context.Background(), row, now.time(), "test", "test"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is done again", func() bool {
			m := messages(t, box, inbox.Filter{})[0]
			return m.State == inbox.Done && m.Tries == 1
		})
	}
	redo()
	if got := l.got(); len(got) != 1 {
		t.Errorf("the listener got %d messages after a redo, want 1", len(got))
	}
	note := h.notes("paypal-live")[0]
	must(h.noted.Forget(t.Context(), &client.ForgetRequest{
		Ledger: "paypal-live", SeriesId: "I-REDO", DonationId: note.GetDonationId(), Reason: "test",
	}))
	redo()
	if got := l.got(); len(got) != 2 {
		t.Errorf("the listener got %d messages after the note was forgotten, want 2", len(got))
	}
}

// In a ledger in shadow the listener gets every message, as it did before it had a
// gateway, and each message once.
func TestListenerInShadow(t *testing.T) {
	h, _, l := originalHarness(t, func(_ *gateway.Config, o *servertest.Options) {
		o.ShadowLedgers = []string{"paypal-live"}
	})
	box := h.box()
	gift := payment("I-DARK")
	webhook := h.payPal.Webhook(gift.event())
	for _, d := range []paypaltest.Delivery{webhook, h.payPal.IPN(gift.fields()), webhook} {
		h.mustTake(d)
		drained(t, box)
	}
	if took := l.got(); len(took) != 2 || took[0].Channel != "webhook" || took[1].Channel != "ipn" {
		t.Errorf("the listener took %v, want the webhook and the IPN, each once", took)
	}
	notes := h.notes("paypal-live")
	if len(notes) != 1 || notes[0].GetState() != client.StateSettled || len(notes[0].GetSightings()) != 2 {
		t.Errorf("Noted holds %v, want one settled note with both sightings", notes)
	}
	for _, m := range messages(t, box, inbox.Filter{}) {
		if m.State != inbox.Done || m.Donations[0].Outcome != inbox.Settled ||
			m.Donations[0].DonationID != notes[0].GetDonationId() {
			t.Errorf("the journal has %+v", m)
		}
	}
}
