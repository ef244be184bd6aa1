package gateway_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
)

// A recipe is a program of RECIPES.md, with a listener in testdata/listeners that treats
// PayPal's messages like the program.
type recipe struct {
	listener string // where it has another name than the recipe
	ipn      string // the address of its listener for IPNs, as RECIPES.md has it
	webhook  string // of its listener for webhooks; "" without one
	through  string // the server that leads to it, where it is not PHP's own

	// fields changes an IPN for a one-time payment of order 1, 2 … as the program's own
	// buttons do; foreign is an order that the program does not know.
	fields  func(fields url.Values, order string)
	foreign string

	booked func(order, transaction string) []string // the program's entries for a payment
	// pending are its entries for a pending payment that is completed later.
	pending func(order, transaction string) []string
	// doubled are its entries for a message that comes twice without a gateway.
	doubled func(order, transaction string) []string

	// unasked is what the gateway makes of the program's answer while the program cannot ask
	// PayPal: "waits", or "lost", since the program answers 200 and books nothing. "" is for a
	// program that does not ask.
	unasked string
}

func one(prefix string) func(order, transaction string) []string {
	return func(order, _ string) []string { return []string{prefix + order} }
}

var recipes = map[string]recipe{
	"woocommerce": {
		ipn:     "/?wc-api=WC_Gateway_Paypal",
		fields:  func(f url.Values, order string) { f.Set("custom", "order-"+order) },
		foreign: "another shop's",
		booked:  one("paid order-"), doubled: one("paid order-"),
		pending: func(order, _ string) []string { return []string{"on hold order-" + order, "paid order-" + order} },
		unasked: "waits",
	},
	"givewp": {
		ipn:     "/index.php?give-listener=IPN",
		fields:  func(f url.Values, order string) { f.Set("custom", "donation-"+order) },
		foreign: "another shop's",
		booked: func(order, _ string) []string {
			return []string{"note donation-" + order, "published donation-" + order}
		},
		doubled: func(order, _ string) []string {
			return []string{"note donation-" + order, "published donation-" + order, "note donation-" + order}
		},
		pending: func(order, _ string) []string {
			return []string{"note donation-" + order, "note donation-" + order, "published donation-" + order}
		},
		unasked: "lost",
	},
	"pmpro": {
		ipn:    "/wp-admin/admin-ajax.php?action=ipnhandler",
		fields: func(f url.Values, order string) { f.Set("item_number", order) },
		booked: one("member "),
		doubled: func(order, _ string) []string {
			return []string{"member " + order, "member " + order}
		},
		pending: func(order, _ string) []string {
			return []string{"member " + order, "member " + order}
		},
		unasked: "lost",
	},
	"civicrm": {
		ipn: "/civicrm/payment/ipn/3",
		fields: func(f url.Values, order string) {
			f.Set("invoice", "invoice-"+order)
			f.Set("custom", `{"module":"contribute","contactID":"7","contributionID":"`+order+`"}`)
		},
		foreign: "another shop's",
		booked:  one("contribution "), doubled: one("contribution "), pending: one("contribution "),
		unasked: "lost",
	},
	"civicrm that does not ask PayPal": {
		listener: "civicrm",
		ipn:      "/civicrm/payment/ipn/3",
		fields: func(f url.Values, order string) {
			f.Set("invoice", "invoice-"+order)
			f.Set("custom", `{"module":"contribute","contactID":"7","contributionID":"`+order+`"}`)
		},
		booked: one("contribution "), doubled: one("contribution "), pending: one("contribution "),
	},
	"plain": {
		listener: "../listener",
		ipn:      "/ipn.php",
		fields:   func(url.Values, string) {},
		booked:   func(_, transaction string) []string { return []string{transaction} },
		doubled:  func(_, transaction string) []string { return []string{transaction, transaction} },
		pending:  func(_, transaction string) []string { return []string{transaction, transaction} },
		unasked:  "waits",
	},
}

// A site is a listener behind a real gateway, each in its own process.
type site struct {
	*harness
	recipe
	web, gate *processtest.Process
	box       *inbox.Inbox
	offline   atomic.Bool // the listener cannot ask PayPal
	before    int         // lines of the books that were looked at
}

func newSite(t *testing.T, name string, r recipe) *site {
	t.Helper()
	php, err := exec.LookPath("php")
	if err != nil {
		t.Fatal("php is not installed; .ci/need php installs it")
	}
	s := &site{harness: newHarness(t), recipe: r}
	if s.listener == "" {
		s.listener = name
	}
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.offline.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		answer := must(http.Post(s.payPal.Verifier.URL, r.Header.Get("Content-Type"), r.Body))
		defer answer.Body.Close()
		io.Copy(w, answer.Body)
	}))
	t.Cleanup(asked.Close)
	env := []string{"LISTENER=" + s.listener, "ACCOUNT=" + paypaltest.Account, "VERIFY_URL=" + asked.URL}
	if r.unasked == "" {
		env = append(env, "VERIFY_URL=")
	}
	addr := processtest.FreeAddress()
	s.web = processtest.New(t, addr, env, php, "-S", addr, must(filepath.Abs("testdata/listeners/site.php")))
	keyFile, line := filepath.Join(t.TempDir(), "key"), inbox.NewKeyLine()
	if err := os.WriteFile(keyFile, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	s.config.InboxURL = "sqlite://" + filepath.Join(t.TempDir(), "inbox.db")
	s.config.InboxKeys = must(inbox.ReadKeys([]byte(line)))
	to, webhooks := "http://"+addr, "off"
	if s.through != "" {
		to = "http://" + s.through
	}
	if s.webhook != "" {
		webhooks = to + s.webhook
	}
	s.gate = s.bareProgram(processtest.Built(t, "noted-gateway"), s.config.Noted, "-forward-as", "original",
		"-forward-ipn-to", to+s.ipn, "-forward-webhook-to", webhooks,
		"-inbox", s.config.InboxURL, "-inbox-key-file", keyFile)
	for _, process := range []*processtest.Process{s.web, s.gate} {
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
	}
	s.box = s.harness.box()
	return s
}

// take delivers a message to the gateway, which must answer 200.
func (s *site) take(d paypaltest.Delivery) {
	s.t.Helper()
	if status, reason, err := deliver("http://"+s.gate.Addr, d); status != http.StatusOK {
		s.t.Fatalf("%s: got %d %s %v, want 200\n%s", d.Channel, status, reason, err, s.gate.Said())
	}
}

// books are the lines that the listener has booked since the last look.
func (s *site) books() []string {
	s.t.Helper()
	name := map[bool]string{true: "donations", false: "books"}[s.listener == "../listener"]
	text, err := os.ReadFile(filepath.Join(filepath.Dir(s.web.Log), name))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(text) == 0 {
		lines = nil
	}
	news := lines[s.before:]
	s.before = len(lines)
	return slices.Clone(news)
}

func (s *site) mustHaveBooked(what string, want []string) {
	s.t.Helper()
	if got := s.books(); !slices.Equal(got, want) {
		s.t.Errorf("%s: the listener has booked %q, want %q\n%s", what, got, want, s.web.Said())
	}
}

// A siteRequest is a request to the listener.
type siteRequest struct {
	Address string
	Headers map[string]string
	Body    []byte
}

func (s *site) requests() (all []siteRequest) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(s.web.Log), "requests"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r siteRequest
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// mustHaveSent checks a request of the listener against PayPal's message.
func (s *site) mustHaveSent(got siteRequest, address string, sent paypaltest.Delivery) {
	s.t.Helper()
	if got.Address != address || !bytes.Equal(got.Body, sent.Body) {
		s.t.Errorf("%s got %q, want %q at %s", got.Address, got.Body, sent.Body, address)
	}
	headers := map[string]string{}
	for name, value := range got.Headers {
		headers[http.CanonicalHeaderKey(name)] = value
	}
	want := map[string]string{
		"Via": "1.1 noted-gateway", "Host": s.web.Addr, "Content-Length": headers["Content-Length"],
		"Accept-Encoding": headers["Accept-Encoding"], // the connection's, not the message's
	}
	for name, values := range sent.Header {
		want[http.CanonicalHeaderKey(name)] = values[0]
	}
	if diff := cmp.Diff(want, headers); diff != "" {
		s.t.Errorf("the headers (-want +got):\n%s", diff)
	}
}

// order makes an IPN for a one-time payment of an order, as the program's buttons do.
func (s *site) order(number, status string) paypaltest.Delivery {
	gift := payment("T" + number)
	fields := gift.fields()
	fields.Del("recurring_payment_id")
	fields.Set("txn_type", "web_accept")
	fields.Set("payment_status", status)
	fields.Set("txn_id", "9ORDER"+number)
	s.fields(fields, number)
	return s.payPal.IPN(fields).With("User-Agent", "PayPal IPN ( https://www.paypal.com/ipn )")
}

// Each program gets PayPal's own message once, and books the payment once. Without the
// gateway some programs book a repeated message twice.
func TestRecipes(t *testing.T) {
	for name, r := range recipes {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, name, r)
			first := s.order("1", "Completed")
			for _, d := range []paypaltest.Delivery{first, first, s.payPal.Webhook(payment("I-OFF").event()), first} {
				s.take(d)
				drained(t, s.box)
			}
			requests := s.requests()
			if len(requests) != 1 {
				t.Fatalf("the listener got %d messages, want 1", len(requests))
			}
			s.mustHaveSent(requests[0], r.ipn, first)
			s.mustHaveBooked("a payment, three times", r.booked("1", "9ORDER1"))

			s.take(s.order("2", "Pending"))
			drained(t, s.box)
			s.take(s.order("2", "Completed"))
			drained(t, s.box)
			s.mustHaveBooked("a pending payment, completed later", r.pending("2", "9ORDER2"))

			if r.foreign != "" {
				fields := payment("T3").fields()
				fields.Del("recurring_payment_id")
				fields.Set("txn_type", "web_accept")
				fields.Set("custom", r.foreign)
				s.take(s.payPal.IPN(fields))
				drained(t, s.box)
				s.mustHaveBooked("a payment of another shop", nil)
			}
			if got := len(s.requests()); got != map[bool]int{true: 4, false: 3}[r.foreign != ""] {
				t.Errorf("the listener got %d messages in all", got)
			}
			inState(t, s.box, inbox.Waiting, 0)

			// The same without a gateway.
			again := s.order("4", "Completed")
			for range 2 {
				request := must(http.NewRequest(http.MethodPost, "http://"+s.web.Addr+r.ipn, bytes.NewReader(again.Body)))
				request.Header = again.Header.Clone()
				must(http.DefaultClient.Do(request)).Body.Close()
			}
			s.mustHaveBooked("a message that comes twice without a gateway", r.doubled("4", "9ORDER4"))
		})
	}
}

// A program that cannot reach PayPal has two ways. It answers with an error, and gets the
// message later. Or it answers 200 and drops the message, which the gateway treats as
// acceptance. RECIPES.md shows how to bring such a message back.
func TestRecipesWhileAListenerCannotAskPayPal(t *testing.T) {
	for name, r := range recipes {
		if r.unasked == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newSite(t, name, r)
			s.offline.Store(true)
			s.take(s.order("1", "Completed"))
			if r.unasked == "waits" {
				eventually(t, "a try has failed", func() bool {
					all := messages(t, s.box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
					return len(all) == 1 && all[0].Tries > 0 && strings.HasPrefix(all[0].Cause, "downstream: it answered ")
				})
				s.mustHaveBooked("while PayPal cannot be asked", nil)
				s.offline.Store(false)
				inState(t, s.box, inbox.Done, 1)
				s.mustHaveBooked("when PayPal can be asked again", r.booked("1", "9ORDER1"))
				return
			}
			m := inState(t, s.box, inbox.Done, 1)[0]
			s.mustHaveBooked("while PayPal cannot be asked", nil)
			s.offline.Store(false)
			run := func(program string, args ...string) {
				t.Helper()
				if output, err := exec.Command(processtest.Built(t, program), args...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", program, err, output)
				}
			}
			run("notectl", "forget", "-addr", s.config.Noted, "-ledger", "paypal-live", "-series", m.Donations[0].AskedSeries,
				"-reason", "the listener dropped it", "-yes", m.Donations[0].DonationID)
			run("noted-gateway", "inbox", "redo", m.Row, "-inbox", s.config.InboxURL, "-ledger", "paypal-live",
				"-noted", s.config.Noted)
			eventually(t, "the listener has the message again", func() bool { return len(s.requests()) == 2 })
			inState(t, s.box, inbox.Done, 1)
			s.mustHaveBooked("after forget and redo", r.booked("1", "9ORDER1"))
		})
	}
}

// GiveWP's PayPal Donations takes webhooks and asks PayPal's API about them itself. A
// payment on both channels reaches one of its two listeners, once.
func TestRecipeOfWebhooks(t *testing.T) {
	var genuine atomic.Bool
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var question map[string]any
		err := json.NewDecoder(r.Body).Decode(&question)
		status := "FAILURE"
		if err == nil && genuine.Load() && question["webhook_id"] == paypaltest.WebhookID &&
			question["transmission_id"] != nil && question["transmission_sig"] != nil && question["auth_algo"] != nil &&
			question["cert_url"] != nil && question["transmission_time"] != nil {
			status = "SUCCESS"
		}
		json.NewEncoder(w).Encode(map[string]string{"verification_status": status})
	}))
	t.Cleanup(api.Close)
	t.Setenv("VERIFY_API", api.URL)
	t.Setenv("WEBHOOK_ID", paypaltest.WebhookID)
	r := recipes["givewp"]
	r.webhook = "/index.php?give-listener=paypal-commerce"
	s := newSite(t, "givewp", r)
	event := func(transaction string) paypaltest.Delivery {
		gift := payment("")
		body := `{"id":"WH-` + transaction + `","event_type":"PAYMENT.CAPTURE.COMPLETED","resource_type":"capture","resource":{"id":"` +
			transaction + `","status":"COMPLETED","create_time":"` + gift.at.UTC().Format("2006-01-02T15:04:05Z") +
			`","amount":{"value":"25.00","currency_code":"EUR"},"custom_id":"1"}}`
		return s.payPal.Webhook(body).With("User-Agent", "PayPal/AUHR-214.0")
	}
	webhook := event("9ORDER1")
	s.take(webhook)
	eventually(t, "a try has failed", func() bool {
		all := messages(t, s.box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
		return len(all) == 1 && all[0].Tries > 0 && all[0].Cause == "downstream: it answered 500"
	})
	s.mustHaveBooked("while PayPal's API does not confirm", nil)
	genuine.Store(true)
	inState(t, s.box, inbox.Done, 1)
	s.mustHaveBooked("when it confirms", []string{"published donation-9ORDER1"})
	before := s.requests()
	s.mustHaveSent(before[len(before)-1], r.webhook, webhook)
	s.take(webhook)
	s.take(s.order("1", "Completed"))
	drained(t, s.box)
	s.mustHaveBooked("a copy, and the IPN of the payment", nil)
	if after := s.requests(); len(after) != len(before) {
		t.Errorf("the listeners got %d messages more", len(after)-len(before))
	}
}
