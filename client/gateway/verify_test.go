package gateway_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/servertest"
)

func TestCertificateIsFetchedOnce(t *testing.T) {
	h := newHarness(t)
	release := make(chan struct{})
	h.payPal.Disturb(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	var all sync.WaitGroup
	for i := range 20 {
		d := h.payPal.Webhook(payment("I-" + string(rune('A'+i))).event())
		all.Go(func() {
			if status, reason, err := deliver(h.front.URL, d); status != 200 {
				t.Errorf("got %d %s %v", status, reason, err)
			}
		})
	}
	eventually(t, "the certificate is asked for", func() bool { return h.payPal.Fetches("CERT-1") == 1 })
	close(release)
	all.Wait()
	h.mustTake(h.payPal.Webhook(payment("I-LATER").event()))
	if n := h.payPal.Fetches("CERT-1"); n != 1 {
		t.Errorf("fetched %d times, want once", n)
	}
}

// A certificate has one address in every spelling: a stranger's spellings are not fetched
// and displace nothing.
func TestForgedAddresses(t *testing.T) {
	h := newHarness(t)
	h.mustTake(h.payPal.Webhook(payment("I-KEPT").event()))
	good := h.payPal.Webhook(payment("I-FORGED").event())
	address := h.payPal.CertURL("CERT-1")
	var all sync.WaitGroup
	for i := range 40 {
		for _, forged := range []string{fmt.Sprintf("%s?n=%d", address, i), fmt.Sprintf("%s/%d", address, i), fmt.Sprintf("%s;%d", address, i)} {
			all.Go(func() {
				if status, reason, err := deliver(
					h.front.URL,
					good.With("PAYPAL-CERT-URL", forged),
				); status != 400 ||
					reason != "certificate" {
					t.Errorf("%s: got %d %s %v, want 400 certificate", forged, status, reason, err)
				}
			})
		}
	}
	all.Wait()
	h.payPal.Disturb(func(http.ResponseWriter, *http.Request) bool { return true }) // only the kept certificate is left
	h.mustTake(good.With("PAYPAL-CERT-URL", strings.Replace(address, "https", "HTTPS", 1)+"#"))
	h.mustTake(h.payPal.Webhook(payment("I-GENUINE").event()))
	if fetched := h.payPal.Fetched(); !maps.Equal(fetched, map[string]int{"CERT-1": 1}) {
		t.Errorf("fetched %v, want CERT-1 once", fetched)
	}
}

// PayPal may renew a certificate at its address. An expired certificate is fetched again,
// but not each time that a stranger names it.
func TestKeptCertificateIsRenewed(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	signed := func(series string) paypaltest.Delivery {
		return h.payPal.Signed([]byte(payment(series).event()), now, paypaltest.WebhookID, "CERT-1", paypaltest.SigningKey())
	}
	h.mustTake(signed("I-EARLY"))
	pass(2 * time.Hour)
	for range 10 {
		if status, reason := h.deliver(signed("I-LATE")); status != 400 || reason != "certificate" {
			t.Errorf("got %d %s, want 400 certificate", status, reason)
		}
	}
	if n := h.payPal.Fetches("CERT-1"); n != 2 {
		t.Errorf("fetched %d times, want once more within a minute", n)
	}
	h.payPal.Serve("CERT-1", h.payPal.Signer(paypaltest.CertName, time.Hour, 3*time.Hour))
	pass(time.Minute)
	h.payPal.Disturb(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true })
	if status, reason := h.deliver(signed("I-LATE")); status != 503 || reason != "verifier" {
		t.Errorf("with the host in trouble: got %d %s, want 503 verifier", status, reason)
	}
	h.payPal.Disturb(nil)
	release := make(chan struct{})
	h.payPal.Disturb(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	var all sync.WaitGroup
	for i := range 20 {
		d := signed("I-NEW" + string(rune('A'+i)))
		all.Go(func() {
			if status, reason, err := deliver(h.front.URL, d); status != 200 {
				t.Errorf("with the renewed certificate: got %d %s %v, want 200", status, reason, err)
			}
		})
	}
	eventually(t, "the certificate is asked for", func() bool { return h.payPal.Fetches("CERT-1") == 4 })
	close(release)
	all.Wait()
	h.mustTake(signed("I-LATER"))
	if n := h.payPal.Fetches("CERT-1"); n != 4 {
		t.Errorf("fetched %d times, want 4", n)
	}
}

// A kept certificate is checked at every use: it ends with its dates, even in the cache.
func TestKeptCertificateEnds(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	h.mustTake(h.payPal.Webhook(payment("I-EARLY").event()))
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	late := h.payPal.Signed([]byte(payment("I-LATE").event()), now, paypaltest.WebhookID, "CERT-1", paypaltest.SigningKey())
	if status, reason := h.deliver(late); status != 400 || reason != "certificate" {
		t.Errorf("got %d %s, want 400 certificate", status, reason)
	}
}

// Three messages that PayPal signed with its certificate. The certificate has expired
// since, so they are verified at their own time.
func TestGenuineSignatures(t *testing.T) {
	const payloads = "../../../shared/payloads"
	table, err := os.ReadFile(filepath.Join(payloads, "webhook_headers.tsv"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the payloads are not here")
	}
	certificate := must(os.ReadFile(filepath.Join(payloads, "webhook_cert.pem")))
	reader := csv.NewReader(bytes.NewReader(table))
	reader.Comma = '\t'
	rows := must(reader.ReadAll())
	verified := 0
	for _, row := range rows[1:] {
		if row[6] == "" {
			continue
		}
		t.Run(row[0], func(t *testing.T) {
			at := must(time.Parse(time.RFC3339, row[2]))
			h := newHarness(t, func(c *gateway.Config, o *servertest.Options) {
				c.WebhookID, c.Now = row[3], func() time.Time { return at }
				c.CertRoots = append(c.CertRoots, certificate...) // the issuer between is not among the payloads
				o.Rules = server.Rules{Retention: 100000 * time.Hour}
			})
			h.payPal.ServeFile("CERT-GENUINE", certificate)
			d := h.payPal.Signed(must(os.ReadFile(filepath.Join(payloads, row[0]))), at, row[3], "CERT-GENUINE", paypaltest.SigningKey()).
				With("PAYPAL-TRANSMISSION-ID", row[1]).
				With("PAYPAL-TRANSMISSION-TIME", row[2]).
				With("PAYPAL-AUTH-ALGO", row[4]).
				With("PAYPAL-TRANSMISSION-SIG", row[6])
			if status, reason := h.deliver(d.Flipped("resource")); status != 400 || reason != "invalid" {
				t.Errorf("with a flipped bit: got %d %s, want 400 invalid", status, reason)
			}
			if status, reason := h.deliver(
				d.With("PAYPAL-TRANSMISSION-ID", row[1][:len(row[1])-1]+"x"),
			); status != 400 ||
				reason != "invalid" {
				t.Errorf("with another id: got %d %s, want 400 invalid", status, reason)
			}
			h.mustTake(d)
			if events := h.downstream.got(); len(events) != 1 {
				t.Errorf("the downstream got %v, want one event", events)
			}
			verified++
		})
	}
	if verified != 3 {
		t.Errorf("%d signatures were verified, want 3", verified)
	}
}

// payPalAPI stands in for PayPal's API. It says SUCCESS of the bodies it knows.
type payPalAPI struct {
	*httptest.Server
	mu       sync.Mutex
	genuine  map[string]bool
	token    string
	tokens   int
	question []byte
	answer   string // instead
}

func newPayPalAPI(t testing.TB) *payPalAPI {
	a := &payPalAPI{genuine: make(map[string]bool), token: "bearer-token-1"}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if id, secret, _ := r.BasicAuth(); id != "client" || secret != "app-secret" ||
			r.PostFormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		a.tokens++
		json.NewEncoder(w).Encode(map[string]any{"access_token": a.token, "expires_in": 32400})
	})
	mux.HandleFunc("POST /v1/notifications/verify-webhook-signature", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+a.token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		a.question, _ = io.ReadAll(r.Body)
		var asked struct {
			WebhookID    string          `json:"webhook_id"`
			WebhookEvent json.RawMessage `json:"webhook_event"`
		}
		status := "FAILURE"
		if err := json.Unmarshal(
			a.question,
			&asked,
		); err == nil && asked.WebhookID == paypaltest.WebhookID &&
			a.genuine[string(asked.WebhookEvent)] {
			status = "SUCCESS"
		}
		if a.answer != "" {
			io.WriteString(w, a.answer)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"verification_status": status})
	})
	mux.HandleFunc("GET /v1/notifications/webhooks/{id}", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case r.Header.Get("Authorization") != "Bearer "+a.token:
			w.WriteHeader(http.StatusUnauthorized)
		case r.PathValue("id") != paypaltest.WebhookID:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func TestVerifyByAPI(t *testing.T) {
	api := newPayPalAPI(t)
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) {
		c.WebhookVerify, c.PayPalAPI, c.PayPalClientID, c.PayPalClientSecret = "api", api.URL+"/", "client", "app-secret"
	})
	first, second, third := payment(
		"I-API",
	).event(),
		strings.Replace(
			payment("I-API2").event(),
			":",
			" :\n\t",
			3,
		), payment(
			"I-API3",
		).event()
	api.genuine[first], api.genuine[second], api.genuine[third] = true, true, true
	want := func(d paypaltest.Delivery, status int, reason string) {
		t.Helper()
		if got, why := h.deliver(d); got != status || why != reason {
			t.Errorf("got %d %s, want %d %s", got, why, status, reason)
		}
	}
	want(h.payPal.Webhook(first), 200, "")
	want(h.payPal.Webhook(second), 200, "") // not compacted
	if !bytes.Contains(api.question, []byte(second)) {
		t.Errorf("PayPal was asked about other bytes: %s", api.question)
	}
	want(h.payPal.Webhook(payment("I-FORGED").event()), 400, "invalid")
	// A body that ends early and brings its own webhook id.
	forged := `{"id":"WH-1"},"webhook_id":"theirs","x":{}`
	want(h.payPal.Webhook(forged), 400, "malformed")
	want(h.payPal.Webhook(`[1]`), 400, "malformed")
	old := h.payPal.Signed([]byte(first), time.Now().Add(-74*time.Hour), paypaltest.WebhookID, "CERT-1", paypaltest.SigningKey())
	want(old, 400, "too_old")
	if api.tokens != 1 {
		t.Errorf("%d tokens were fetched, want one for all", api.tokens)
	}
	api.mu.Lock()
	api.token = "bearer-token-2" // the first is withdrawn
	api.mu.Unlock()
	want(h.payPal.Webhook(third), 200, "")
	if api.tokens != 2 {
		t.Errorf("%d tokens were fetched, want a second", api.tokens)
	}
	for _, answer := range []string{`{"verification_status":"MAYBE"}`, `<html>`, `{}`} {
		api.answer = answer
		want(h.payPal.Webhook(third), 503, "verifier")
	}
	api.Close()
	want(h.payPal.Webhook(third), 503, "verifier")
	if events := h.downstream.got(); len(events) != 3 {
		t.Errorf("the downstream got %v, want three events", events)
	}
	if strings.Contains(h.log.String(), "app-secret") || strings.Contains(h.log.String(), "bearer-token") {
		t.Errorf("the log holds a secret:\n%s", h.log)
	}
}
