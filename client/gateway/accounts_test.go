package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// The webhooks of the tests' accounts beside paypaltest.WebhookID.
const (
	sandboxWebhookID = "SANDBOX-WEBHOOK"
	schoolWebhookID  = "SCHOOL-WEBHOOK"
)

// two makes a gateway of a church and a school, each with its own ledger and downstream. The
// church takes live and sandbox webhooks side by side.
func two(school *downstream) func(*gateway.Config, *servertest.Options) {
	return func(c *gateway.Config, _ *servertest.Options) {
		church := gateway.Account{
			Name: "church", Receivers: []string{paypaltest.Account, "6RECEIVERID"}, WebhookIDs: []string{c.WebhookID},
			SandboxWebhookIDs: []string{sandboxWebhookID}, Ledger: c.Ledger, SandboxLedger: "paypal-sandbox",
			ForwardTo: c.ForwardTo, ForwardSecrets: c.ForwardSecrets,
		}
		c.PayPalAccounts = []gateway.Account{church, {
			Name: "school", Receivers: []string{"School@example.org"}, WebhookIDs: []string{schoolWebhookID},
			Ledger: "paypal-school", ForwardTo: school.URL, ForwardSecrets: []string{secret},
		}}
		c.Accounts, c.WebhookID, c.Ledger, c.ForwardTo, c.ForwardSecrets = nil, "", "", "", nil
	}
}

// to makes the IPN of a gift to a receiver.
func (h *harness) to(receiver string, g gift) paypaltest.Delivery {
	fields := g.fields()
	fields.Set("receiver_email", receiver)
	return h.payPal.IPN(fields)
}

// webhookFor makes a live webhook that PayPal signed for the webhook of that id.
func (h *harness) webhookFor(id string, g gift) paypaltest.Delivery {
	return h.payPal.Signed([]byte(g.event()), time.Now(), id, "CERT-1", paypaltest.SigningKey())
}

// booked are the series that a downstream got, with their ledgers, in order.
func booked(t *testing.T, s *downstream) (all []string) {
	t.Helper()
	for _, e := range s.got() {
		donation := data(t, e).Donation
		all = append(all, donation["series_id"]+" in "+donation["ledger"])
	}
	slices.Sort(all)
	return all
}

// Each message goes to the ledger and the downstream of its account, live and sandbox
// webhooks side by side, with and without an inbox.
func TestAccounts(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(map[bool]string{false: "at once", true: "inbox"}[kept], func(t *testing.T) {
			school := newDownstream(t)
			var h *harness
			if kept {
				h, _ = inboxHarness(t, two(school))
			} else {
				h = newHarness(t, two(school))
			}
			h.payPal.Serve("CERT-SANDBOX",
				h.payPal.Signer("messageverificationcerts.sandbox.paypal.com", -time.Hour, time.Hour))
			test := payment("I-TEST").fields()
			test.Set("test_ipn", "1")
			sandbox := payment("I-SANDBOX")
			for _, d := range []paypaltest.Delivery{
				h.to(paypaltest.Account, payment("I-CHURCH")), h.to("school@EXAMPLE.org", payment("I-SCHOOL")),
				h.webhookFor(paypaltest.WebhookID, payment("I-CHURCH")), h.webhookFor(schoolWebhookID, payment("I-SCHOOL")),
				h.webhookFor(schoolWebhookID, payment("I-HOOK")), h.payPal.IPN(test),
				h.payPal.Signed([]byte(sandbox.event()), time.Now(), sandboxWebhookID, "CERT-SANDBOX",
					paypaltest.SigningKey()),
			} {
				h.mustTake(d)
			}
			want := []string{"I-CHURCH in paypal-live", "I-SANDBOX in paypal-sandbox", "I-TEST in paypal-sandbox"}
			eventually(t, "the church has its donations", func() bool { return len(h.downstream.got()) >= len(want) })
			wantSchool := []string{"I-HOOK in paypal-school", "I-SCHOOL in paypal-school"}
			eventually(t, "the school has its donations", func() bool { return len(school.got()) >= len(wantSchool) })
			if kept {
				for _, account := range []string{"church", "school"} {
					drained(t, h.boxOf(account))
				}
			}
			if got, gotSchool := booked(t, h.downstream), booked(t, school); !slices.Equal(got, want) ||
				!slices.Equal(gotSchool, wantSchool) {
				t.Errorf("the church got %q and the school %q, want %q and %q", got, gotSchool, want, wantSchool)
			}
			for ledger, want := range map[string]int{"paypal-live": 1, "paypal-sandbox": 2, "paypal-school": 2} {
				if notes := h.notes(ledger); len(notes) != want {
					t.Errorf("%s has %d notes, want %d", ledger, len(notes), want)
				}
			}
			if status, reason := h.deliver(h.webhookFor("ANOTHER-WEBHOOK", payment("I-NO"))); status != 400 || reason != "invalid" {
				t.Errorf("a webhook of none of the accounts: %d %s, want 400 invalid", status, reason)
			}
		})
	}
}

// boxOf opens the inbox of an account beside the gateway.
func (h *harness) boxOf(account string) *inbox.Inbox { return h.box().Of(account) }

// A message of a foreign account is refused. Log and journal name its receiver, but no
// whole address. A donation without a receiver waits for a person in the first account.
func TestAccountsRefuseForeign(t *testing.T) {
	school := newDownstream(t)
	h := newHarness(t, two(school))
	if status, reason := h.deliver(h.to("stranger@example.net", payment("I-FOREIGN"))); status != 403 || reason != "foreign" {
		t.Errorf("a foreign message: %d %s, want 403 foreign", status, reason)
	}
	if !strings.Contains(h.log.String(), `"reason":"foreign","receiver":"…@example.net"`) ||
		strings.Contains(h.log.String(), "stranger@") {
		t.Errorf("the log does not name the domain of the receiver, or its address:\n%s", h.log)
	}
	unsaid := payment("I-UNSAID").fields()
	unsaid.Del("receiver_email")
	h.mustTake(h.payPal.IPN(unsaid))
	if events := h.downstream.got(); len(events) != 1 || events[0].Type() != "noted.undecided" || len(school.got()) != 0 {
		t.Errorf("without a receiver the church got %v and the school %v", events, school.got())
	}

	slices.Reverse(h.config.PayPalAccounts) // the first has no ledger for tests now
	_, front := h.open()
	fields := payment("I-FOREIGN-TEST").fields()
	fields.Set("receiver_email", "stranger@example.com")
	fields.Set("test_ipn", "1")
	status, reason, err := deliver(front.URL, h.payPal.IPN(fields))
	if err != nil || status != 403 || reason != "foreign" || !strings.Contains(h.log.String(), `"receiver":"…@example.com"`) {
		t.Errorf("a foreign test: %d %s %v, want 403 foreign\n%s", status, reason, err, h.log)
	}

	h, _ = inboxHarness(t, two(school))
	fields = payment("I-FOREIGN").fields()
	fields.Set("receiver_id", "9STRANGER")
	fields.Set("receiver_email", "stranger@example.net")
	foreign := h.payPal.IPN(fields)
	h.mustTake(foreign)
	m := inState(t, h.boxOf("church"), inbox.Refused, 1)[0]
	if m.Receiver != "9STRANGER" || m.Cause != "foreign" ||
		!strings.Contains(h.log.String(), `"cause":"foreign","receiver":"9STRANGER"`) {
		t.Errorf("the journal has %+v, the log says\n%s", m, h.log)
	}

	// The receiver gets an account of its own. The message moves there, with its row and acts.
	h.gateway.Close()
	garden := newDownstream(t)
	h.config.PayPalAccounts = append(h.config.PayPalAccounts, gateway.Account{
		Name: "garden", Receivers: []string{"9stranger"}, Ledger: "paypal-garden", ForwardTo: garden.URL,
		ForwardSecrets: []string{secret},
	})
	h.gateway, h.front = h.open()
	if err := h.boxOf("church").Redo(t.Context(), m.Row, time.Now(), "test", "the garden has joined"); err != nil {
		t.Fatal(err)
	}
	moved := inState(t, h.boxOf("garden"), inbox.Done, 1)[0]
	if got := booked(t, garden); moved.Row != m.Row || moved.Ledger != "paypal-garden" || len(got) != 1 ||
		got[0] != "I-FOREIGN in paypal-garden" || len(h.notes("paypal-live")) != 0 {
		t.Errorf("the garden got %q, and the journal has %+v", got, moved)
	}
	if !strings.Contains(string(moved.Donations[0].Pair), `"ledger":"paypal-garden"`) {
		t.Errorf("the pair by which the message would be closed is %s", moved.Donations[0].Pair)
	}
	if acts := must(h.box().Acts(t.Context(), m.Row)); len(acts) != 1 || acts[0].Reason != "the garden has joined" {
		t.Errorf("the acts are %+v", acts)
	}
	h.mustTake(foreign) // PayPal's copy
	drained(t, h.boxOf("garden"))
	if got := garden.got(); len(got) != 1 {
		t.Errorf("the copy was delivered too: %v", got)
	}
}

// A waiting message keeps its account over restarts with other settings. It goes to the
// account's present downstream. After the first request to Noted it stays in the ledger
// of that request.
func TestAccountsChange(t *testing.T) {
	school := newDownstream(t)
	h, now := inboxHarness(t, two(school))
	refuse := func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true }
	school.refusing(refuse)
	h.mustTake(h.to("school@example.org", payment("I-WAITS")))
	h.mustTake(h.webhookFor(schoolWebhookID, payment("I-HOOK")))
	eventually(t, "both have been tried", func() bool {
		tried := messages(t, h.boxOf("school"), inbox.Filter{})
		return len(tried) == 2 && tried[0].Tries > 0 && tried[1].Tries > 0
	})
	h.mustTake(h.to(paypaltest.Account, payment("I-DONE")))
	done := inState(t, h.boxOf("church"), inbox.Done, 1)[0]
	h.gateway.Close()

	// The school gets another downstream, and its receiver and its webhook change hands. The
	// church gets another ledger.
	other := newDownstream(t)
	accounts := h.config.PayPalAccounts
	accounts[1].ForwardTo = other.URL
	accounts[0].Receivers, accounts[1].Receivers = accounts[1].Receivers, accounts[0].Receivers
	accounts[0].WebhookIDs, accounts[1].WebhookIDs = accounts[1].WebhookIDs, accounts[0].WebhookIDs
	accounts[0].Ledger = "paypal-new"
	h.gateway, h.front = h.open()
	now.pass(time.Hour)
	inState(t, h.boxOf("school"), inbox.Done, 2)
	if got := booked(t, other); !slices.Equal(got, []string{"I-HOOK in paypal-school", "I-WAITS in paypal-school"}) {
		t.Errorf("the school's new downstream got %q", got)
	}
	if err := h.boxOf("church").Redo(t.Context(), done.Row, now.time(), "test", "again"); err != nil {
		t.Fatal(err)
	}
	m := inState(t, h.boxOf("church"), inbox.Done, 1)[0]
	got := booked(t, h.downstream)
	if len(got) != 1 || m.Ledger != "paypal-live" || m.Donations[0].Outcome != inbox.Settled {
		t.Errorf("after a redo under another ledger the church got %q, and the journal has %+v", got, m)
	}
	if notes := h.notes("paypal-new"); len(notes) != 0 {
		t.Errorf("the new ledger has %v", notes)
	}
}

// The messages of an account without a gateway wait for a person after an hour, and the
// log says so. Before, the log says at the start that they wait. A gateway that gets the
// account back processes them.
func TestAccountGone(t *testing.T) {
	school := newDownstream(t)
	h, now := inboxHarness(t, two(school))
	school.refusing(func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true })
	h.mustTake(h.to("school@example.org", payment("I-GONE")))
	eventually(t, "it has been tried", func() bool { return messages(t, h.boxOf("school"), inbox.Filter{})[0].Tries > 0 })
	h.gateway.Close()
	accounts := h.config.PayPalAccounts
	h.config.PayPalAccounts = accounts[:1]
	now.pass(10 * time.Minute)
	h.gateway, h.front = h.open()
	h.gateway.AtStart(t.Context())
	if want := `1 messages wait for account \"school\", which this gateway does not have`; !strings.Contains(h.log.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, h.log)
	}
	sweep := func() {
		t.Helper()
		if err := h.gateway.SweepInbox(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	now.pass(inbox.Deserted - time.Minute)
	sweep()
	if m := messages(t, h.boxOf("school"), inbox.Filter{})[0]; m.State != inbox.Waiting {
		t.Fatalf("within the hour the message is %+v", m)
	}
	now.pass(time.Minute)
	sweep()
	m := messages(t, h.boxOf("school"), inbox.Filter{})[0]
	if m.State != inbox.Person || m.Cause != inbox.CauseDeserted ||
		!strings.Contains(h.log.String(), `no gateway has its account`) || !strings.Contains(h.log.String(), m.Row) {
		t.Errorf("after the hour the message is %+v, and the log says\n%s", m, h.log)
	}
	h.gateway.Close()
	// A gateway with one account, without a ledger, has the metrics of both under one label.
	several := h.config
	h.config.PayPalAccounts, h.config.Accounts = nil, accounts[0].Receivers
	h.config.ForwardTo, h.config.ForwardSecrets = accounts[0].ForwardTo, accounts[0].ForwardSecrets
	h.gateway, h.front = h.open()
	var told string
	eventually(t, "the messages are counted", func() bool {
		told = h.metrics()
		return strings.Contains(told, `noted_gateway_inbox_oldest_seconds{account=""}`)
	})
	if !strings.Contains(told, `noted_gateway_inbox_messages{account="",state="person"} 1`) {
		t.Errorf("the metrics do not have the message that waits for a person:\n%s", told)
	}
	h.gateway.Close()
	h.config = several
	school.refusing(nil)
	h.config.PayPalAccounts = accounts
	h.gateway, h.front = h.open()
	inState(t, h.boxOf("school"), inbox.Done, 1)
	if got := booked(t, school); len(got) != 1 {
		t.Errorf("the school got %q", got)
	}
}

// A webhook that comes while PayPal's certificate cannot be fetched has no known account
// until its verification. It then goes to its own account.
func TestAccountsUnverified(t *testing.T) {
	school := newDownstream(t)
	h, now := inboxHarness(t, two(school))
	h.payPal.Disturb(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
	h.mustTake(h.webhookFor(schoolWebhookID, payment("I-LATER")))
	waiting := messages(t, h.boxOf("church"), inbox.Filter{})
	if len(waiting) != 1 || waiting[0].Verified {
		t.Fatalf("the first account holds %+v", waiting)
	}
	h.payPal.Disturb(nil)
	eventually(t, "it is verified and delivered", func() bool { now.pass(time.Second); return len(school.got()) == 1 })
	inState(t, h.boxOf("school"), inbox.Done, 1)
	if left := messages(t, h.boxOf("church"), inbox.Filter{}); len(left) != 0 || len(h.downstream.got()) != 0 {
		t.Errorf("the church is left with %+v", left)
	}
}

// A hanging downstream delays only its own account, however many of its messages wait.
func TestAccountsDoNotWaitForOneAnother(t *testing.T) {
	school := newDownstream(t)
	h, _ := inboxHarness(t, two(school), func(c *gateway.Config, _ *servertest.Options) {
		c.Hold, c.ForwardTimeout = 10*time.Minute, 9*time.Minute
	})
	hanging, released := make(chan struct{}, 100), make(chan struct{})
	school.refusing(func(_ http.ResponseWriter, _ *http.Request, _ event.Event) bool {
		hanging <- struct{}{}
		<-released
		return false
	})
	for i := range 20 {
		h.mustTake(h.to("school@example.org", payment(fmt.Sprintf("I-HANGS%02d", i))))
	}
	for range 2 {
		<-hanging
	}
	h.mustTake(h.to(paypaltest.Account, payment("I-CHURCH")))
	inState(t, h.boxOf("church"), inbox.Done, 1)
	if got := school.got(); len(got) != 0 {
		t.Errorf("the school has accepted %d, so nothing was hanging", len(got))
	}
	close(released)
	inState(t, h.boxOf("school"), inbox.Done, 20)
}

// With -webhook-verify=api PayPal is asked about the webhook of each account with its own
// app. Its sandbox reports only its own webhooks as tests.
func TestAccountsByAPI(t *testing.T) {
	school, live, sandbox := newDownstream(t), newPayPalAPI(t), newPayPalAPI(t)
	var asked buffer
	sandbox.Config.Handler = logged(&asked, sandbox.Config.Handler)
	h := newHarness(t, two(school), func(c *gateway.Config, _ *servertest.Options) {
		c.WebhookVerify = gateway.VerifyByAPI
		c.PayPalAccounts[0].WebhookIDs, c.PayPalAccounts[0].SandboxWebhookIDs = []string{"OTHER"}, []string{paypaltest.WebhookID}
		c.PayPalAccounts[0].API = gateway.API{URL: live.URL, ClientID: "client", ClientSecret: "app-secret"}
		c.PayPalAccounts[0].SandboxAPI = gateway.API{URL: sandbox.URL, ClientID: "client", ClientSecret: "app-secret"}
		c.PayPalAccounts[1].API = gateway.API{URL: live.URL, ClientID: "client", ClientSecret: "app-secret"}
	})
	gift := payment("I-API")
	d := h.webhookFor(paypaltest.WebhookID, gift)
	sandbox.mu.Lock()
	sandbox.genuine[string(d.Body)] = true
	sandbox.mu.Unlock()
	h.mustTake(d)
	if got := booked(t, h.downstream); len(got) != 1 || got[0] != "I-API in paypal-sandbox" {
		t.Errorf("the church got %q", got)
	}
	if status, reason := h.deliver(h.webhookFor(paypaltest.WebhookID, payment("I-FORGED"))); status != 400 || reason != "invalid" {
		t.Errorf("a message that no app knows: %d %s", status, reason)
	}
	live.Close() // about a message for the sandbox that other app still says yes
	again := h.webhookFor(paypaltest.WebhookID, payment("I-AGAIN"))
	sandbox.mu.Lock()
	sandbox.genuine[string(again.Body)] = true
	sandbox.mu.Unlock()
	h.mustTake(again)
	if status, reason := h.deliver(h.webhookFor(paypaltest.WebhookID, payment("I-UNKNOWN"))); status != 503 || reason != "verifier" {
		t.Errorf("with one app away: %d %s, want 503 verifier", status, reason)
	}
	if strings.Count(asked.String(), "verify-webhook-signature") < 4 {
		t.Errorf("the sandbox was asked %q", asked.String())
	}
}

// logged writes the path of each request.
func logged(to io.Writer, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(to, r.URL.Path)
		next.ServeHTTP(w, r)
	})
}

// New reports all mistakes in several accounts at once, with the place of each.
func TestAccountMistakes(t *testing.T) {
	good := gateway.Account{
		Receivers: []string{"a@example.org"}, Ledger: "a", ForwardTo: "redis://127.0.0.1:1/0?stream=s",
	}
	_, err := gateway.New(gateway.Config{
		Noted: "127.0.0.1:1", Ledger: "x", ForwardAs: gateway.ForwardOriginal,
		PayPalAccounts: []gateway.Account{
			good,
			{Receivers: []string{" A@example.org", ""}, Ledger: "a", ForwardTo: "ftp://hush"},
			{SandboxLedger: "a", SandboxWebhookIDs: []string{"W", "W"}, ForwardTo: "http://127.0.0.1/"},
			{Name: "a", Ledger: "d", ForwardAs: "mail"},
		},
	})
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{
		`PayPalAccounts[1].Ledger is "a", which PayPalAccounts[0].Ledger has already; accounts that share`,
		`PayPalAccounts[1].Receivers[0] is "a@example.org", which PayPalAccounts[0].Receivers[0] has already; `,
		"PayPalAccounts[1].Receivers[1] is empty",
		"PayPalAccounts[2].Ledger is missing",
		`PayPalAccounts[2].SandboxLedger is "a", and so is the ledger of donations`,
		`PayPalAccounts[2].SandboxWebhookIDs[1] is "W", which PayPalAccounts`,
		`PayPalAccounts[3].Name is "a", which PayPalAccounts`,
		"PayPalAccounts[3].Receivers is missing, and so are the ids of webhooks",
		`PayPalAccounts[3].ForwardAs is "mail"`,
		"Ledger is for one account",
		"ForwardAs is for one account",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got\n%v\nwant %q in it", err, want)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("a secret is told: %v", err)
	}
	config := gateway.Config{Noted: "127.0.0.1:1", PayPalAccounts: []gateway.Account{good, {
		Name: "b", Receivers: []string{"b@example.org"}, Ledger: "a", ForwardTo: "http://127.0.0.1/?hush",
	}, {Receivers: []string{"c@example.org"}, Ledger: "c", ForwardTo: "ftp://hush"}}}
	err = config.Validate()
	for _, want := range []string{"PayPalAccounts[1].ForwardSecrets is missing", "PayPalAccounts[2].ForwardTo must begin"} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("got\n%v\nwant %q in it", err, want)
		}
	}
}
