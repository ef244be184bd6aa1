package ops_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// busy runs a noted with TLS and callers on a real Redis, and gateways with and without
// an inbox. It lets them work and meet each kind of fault that has a label of its own,
// and returns the addresses of their metrics.
func busy(t *testing.T) (notedAdmin string, gatewayAdmins []string) {
	t.Helper()
	dir := t.TempDir()
	ca := pkitest.New(t, "a CA")
	cert, key := ca.Issue(nil).Files(t, dir)
	token, line := newToken(t, "note,read,admin")
	callers := write(t, dir+"/callers.json", "{"+line+"}")

	notedAddr := freeAddr()
	notedAdmin = freeAddr()
	start(t, notedAddr, exec.Command(built(t, "noted"), "-redis", redistest.Start(t).URL(), "-listen", notedAddr,
		"-admin-listen", notedAdmin, "-tls-cert", cert, "-tls-key", key, "-callers", callers, "-shadow-ledgers", "dark"))
	await(t, "ready noted", func() bool { return answers("http://" + notedAdmin + "/readyz") })

	note := func(
		c *client.Client, ledger, series, transaction, channel, id, amount string,
	) (*notedv1.NoteDonationResponse, error) {
		return c.Note(t.Context(), &notedv1.NoteDonationRequest{
			Donation: &notedv1.Donation{
				Ledger: ledger, SeriesId: series, TransactionId: transaction, Amount: amount, CurrencyCode: "EUR",
			},
			Message: &notedv1.Message{Channel: channel, Id: id},
			Hold:    durationpb.New(time.Minute),
		})
	}
	c, err := client.New(notedAddr, client.Config{
		CA: ca.PEM(), Token: func(context.Context) (string, error) { return token, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for i := range 4 { // four donations with one id on both channels: the ids agree
		for _, channel := range []string{"ipn", "webhook"} {
			series, id := fmt.Sprintf("I-%d", i), fmt.Sprintf("%s-%d", channel, i)
			if _, err := note(c, "l", series, fmt.Sprintf("T%d", i), channel, id, "5.00"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if response, err := note(c, "dark", "I-1", "T1", "ipn", "ipn-1", "5.00"); err != nil || response.ShadowVerdict == 0 {
		t.Fatalf("in shadow: %v, %v", response, err)
	}
	if response, err := note(c, "l", "I-1", "T1", "ipn", "ipn-1", "6.00"); err != nil ||
		len(response.Differences) == 0 {
		t.Fatalf("another sum under one id: %v, %v", response, err)
	}
	tried, err := note(c, "l", "I-open", "", "ipn", "open", "5.00")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Release(t.Context(), tried.GetReceipt(), "a test"); err != nil {
		t.Fatal(err)
	}
	mistaken, err := note(c, "l", "I-forgotten", "", "ipn", "forgotten", "5.00")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Forget(t.Context(), &client.ForgetRequest{
		Ledger: "l", SeriesId: "I-forgotten", DonationId: mistaken.GetNote().GetDonationId(), Reason: "a test",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note(c, "l", "not a series", "", "", "", "5.00"); err == nil {
		t.Fatal("a series with spaces was noted")
	}

	payPal, downstream := payPalStandIn(t), downstreamStandIn(t)
	gateway := func(more ...string) (addr, admin string) {
		addr, admin = freeAddr(), freeAddr()
		start(t, addr, exec.Command(built(t, "noted-gateway"), append([]string{
			"-listen", addr, "-admin-listen", admin,
			"-noted", notedAddr, "-noted-ca", write(t, dir+"/ca.pem", string(ca.PEM())),
			"-noted-token", write(t, dir+"/token", token), "-ledger", "l",
			"-accounts", "shop@example.org", "-ipn-verify-url", payPal.URL,
			"-webhook-id", "WH-1", "-webhook-verify", "api", "-paypal-api", payPal.URL, "-paypal-client-id", "id",
			"-paypal-client-secret-file", write(t, dir+"/secret", "secret"),
			"-forward-to", downstream.URL, "-forward-secret-file", write(t, dir+"/forward.secret", newSecret(t)),
		}, more...)...))
		return addr, admin
	}
	addr, admin := gateway("-inbox", "sqlite://"+filepath.Join(dir, "inbox.db"), "-inbox-unverified", "1",
		"-inbox-key-file", write(t, dir+"/inbox.key", run(t, built(t, "noted-gateway"), "inbox-key")))
	without, withoutAdmin := gateway()

	post := func(addr, path string, header http.Header, body string, want int) {
		t.Helper()
		request := must(http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+path, strings.NewReader(body)))
		for name, values := range header {
			request.Header[name] = values
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Fatalf("POST %s %.60s…: %s, want %d", path, body, response.Status, want)
		}
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	ipn := func(fields string) string {
		return fields + "&receiver_email=shop%40example.org&mc_gross=5.00&mc_currency=EUR"
	}
	post(addr, "/paypal/ipn", form, ipn("txn_type=web_accept&txn_id=0TEST1&payment_status=Completed"), 200)
	refund := "txn_type=web_accept&txn_id=0TEST2&payment_status=Refunded&parent_txn_id=0TEST1"
	post(addr, "/paypal/ipn", form, ipn(refund), 200)
	post(addr, "/paypal/ipn", form, ipn("txn_type=recurring_payment_profile_created&recurring_payment_id=I-TEST"), 200)
	post(addr, "/paypal/ipn", form, ipn("txn_type=a_new_one&txn_id=0TEST3"), 200)
	post(addr, "/paypal/ipn", form, ipn("txn_type=web_accept&txn_id=0TEST4&payment_status=Completed&custom=unasked1"), 200)
	post(addr, "/paypal/ipn", form, ipn("txn_type=web_accept&txn_id=0TEST5&payment_status=Completed&custom=unasked2"), 503)
	post(without, "/paypal/ipn", form, ipn("txn_type=a_new_one&txn_id=0TEST3"), 200)
	webhook := http.Header{
		"Content-Type": {"application/json"}, "Paypal-Transmission-Id": {"1"}, "Paypal-Transmission-Sig": {"c2ln"},
		"Paypal-Transmission-Time": {time.Now().UTC().Format(time.RFC3339)}, "Paypal-Auth-Algo": {"SHA256withRSA"},
		"Paypal-Cert-Url": {"https://api.paypal.com/v1/notifications/certs/CERT-1"},
	}
	event := `{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED","resource":{"id":"0TEST%d",` +
		`"status":"COMPLETED","amount":{"value":"5.00","currency_code":"EUR"}}}`
	post(addr, "/paypal/webhook", webhook, fmt.Sprintf(event, 6), 200)
	post(addr, "/paypal/webhook", webhook, fmt.Sprintf(event, 7), 400)
	for _, want := range []string{
		`noted_gateway_inbox_messages{account="l",state="person"} 1`,
		`noted_gateway_inbox_messages{account="l",state="done"} 2`,
		`noted_gateway_inbox_messages{account="l",state="refused"} 1`,
		`noted_gateway_inbox_pending{account="l",kind="unverified"} 1`,
		`noted_gateway_inbox_pending{account="l",kind="old_key"} 0`,
	} {
		await(t, want, func() bool { return strings.Contains(fetched(t, "http://"+admin+"/metrics"), want) })
	}
	await(t, "walk through all notes", func() bool {
		return strings.Contains(fetched(t, "http://"+notedAdmin+"/metrics"), `noted_notes{ledger="l",state="open"} `)
	})
	return notedAdmin, []string{admin, withoutAdmin}
}

// payPalStandIn verifies each webhook, and each IPN except those with "unasked" in them.
func payPalStandIn(t *testing.T) *httptest.Server {
	payPal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(body), "unasked"):
			http.Error(w, "later", http.StatusServiceUnavailable)
		case r.URL.Path == "/v1/oauth2/token":
			io.WriteString(w, `{"access_token":"t","expires_in":3600}`)
		case strings.HasPrefix(r.URL.Path, "/v1/"):
			io.WriteString(w, `{"verification_status":"SUCCESS"}`)
		default:
			io.WriteString(w, "VERIFIED")
		}
	}))
	t.Cleanup(payPal.Close)
	return payPal
}

// downstreamStandIn accepts payments, leaves signups to a person, and is down for all
// other events.
func downstreamStandIn(t *testing.T) *httptest.Server {
	downstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event struct{ Type string }
		json.NewDecoder(r.Body).Decode(&event)
		status := map[string]int{"noted.donation.payment": 204, "noted.donation.signup": 422}[event.Type]
		w.WriteHeader(max(status, 0) + map[bool]int{true: 503}[status == 0])
	}))
	t.Cleanup(downstream.Close)
	return downstream
}

// newToken lets notectl make a token, and returns it with its line for the file of
// callers.
func newToken(t *testing.T, verbs string) (token, line string) {
	t.Helper()
	command := exec.Command(built(t, "notectl"), "token", "-verbs", verbs, "-ledgers", "l,dark", "a-caller")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("notectl token: %v\n%s", err, output)
	}
	for text := range strings.Lines(string(output)) {
		if text = strings.TrimSpace(text); strings.HasPrefix(text, `"`) {
			line = text
		} else if fields := strings.Fields(text); len(fields) == 1 && token == "" {
			token = fields[0]
		}
	}
	if token == "" || line == "" {
		t.Fatalf("notectl token printed\n%s", output)
	}
	return token, line
}

// newSecret makes a secret that signs posts to the downstream.
func newSecret(t *testing.T) string {
	t.Helper()
	return run(t, "sh", "-c", "echo whsec_$(openssl rand -base64 32)")
}
