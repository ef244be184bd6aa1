package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// Messages that are not PayPal's, or not ours, are refused. They leave nothing in Redis
// or downstream.
func TestRefusals(t *testing.T) {
	plain := httptest.NewUnstartedServer(nil) // a host that is allowed, but speaks no TLS
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) {
		c.CertHosts = append(c.CertHosts, plain.Listener.Addr().String())
	})
	p := h.payPal
	plain.Config.Handler = p.Certs.Config.Handler
	plain.Start()
	defer plain.Close()
	h.mustTake(p.IPN(payment("I-FINE").fields())) // the refused ones must not touch what is there either
	before := h.inRedis()

	gift := payment("I-FORGED")
	strange := paypaltest.NewAuthority()
	day := 24 * time.Hour
	p.Serve("CERT-FOREIGN", strange.Signer(paypaltest.CertName, -time.Hour, time.Hour))
	p.Serve("CERT-EXPIRED", p.Signer(paypaltest.CertName, -9*day, -time.Minute))
	p.Serve("CERT-EARLY", p.Signer(paypaltest.CertName, time.Minute, day))
	p.Serve("CERT-NAME", p.Signer("messageverificationcerts.paypal.com.example.org", -time.Hour, time.Hour))
	foreign := paypaltest.PEM(strange.Signer(paypaltest.CertName, -time.Hour, time.Hour))
	p.ServeFile("CERT-CHAIN", append(foreign, p.File("CERT-1")...))
	p.Serve("CERT-JUNK", []byte("junk"))
	p.Serve("CERT-SANDBOX", p.Signer("messageverificationcerts.sandbox.paypal.com", -time.Hour, time.Hour))

	forged := p.IPN(payment("I-FORGED").fields())
	forged.Body = append(forged.Body, "&memo=1"...)
	ipn := func(name, value string) paypaltest.Delivery {
		fields := gift.fields()
		fields.Set(name, value)
		if value == "" {
			fields.Del(name)
		}
		return p.IPN(fields)
	}
	event := []byte(gift.event())
	signed := func(age time.Duration, id, cert string) paypaltest.Delivery {
		return p.Signed(event, time.Now().Add(-age), id, cert, paypaltest.SigningKey())
	}
	good := p.Webhook(gift.event())
	url := func(address string) paypaltest.Delivery { return good.With("PAYPAL-CERT-URL", address) }
	withoutSeries := p.IPNBody("txn_type=subscr_cancel&receiver_email=" + paypaltest.Account)

	for name, c := range map[string]struct {
		delivery paypaltest.Delivery
		status   int
		reason   string
	}{
		"forged IPN":             {forged, 400, "invalid"},
		"IPN with a flipped bit": {ipn("memo", "x").Flipped("25.00"), 400, "invalid"},
		"IPN of a foreigner":     {ipn("receiver_email", "somebody@example.net"), 403, "foreign"},
		"foreigner's business": {func() paypaltest.Delivery {
			f := gift.fields()
			f.Set("receiver_email", "somebody@example.net")
			f.Set("business", paypaltest.Account)
			return p.IPN(f)
		}(), 403, "foreign"},
		"test IPN":                 {ipn("test_ipn", "1"), 403, "sandbox"},
		"IPN without a series":     {withoutSeries, 400, "malformed"},
		"empty IPN":                {p.IPNBody(""), 400, "malformed"},
		"IPN as JSON":              {ipn("memo", "y").With("Content-Type", "application/json"), 415, "content_type"},
		"IPN without a type":       {ipn("memo", "y").With("Content-Type"), 415, "content_type"},
		"compressed IPN":           {ipn("memo", "y").With("Content-Encoding", "gzip"), 415, "content_type"},
		"webhook of another bit":   {good.Flipped("25.00"), 400, "invalid"},
		"another webhook's":        {signed(0, "WEBHOOK_ID", "CERT-1"), 400, "invalid"},
		"webhook of the sandbox":   {signed(0, paypaltest.WebhookID, "CERT-SANDBOX"), 403, "sandbox"},
		"another's signature":      {p.Signed(event, time.Now(), paypaltest.WebhookID, "CERT-1", paypaltest.StrangeKey()), 400, "invalid"},
		"foreign certificate":      {signed(0, paypaltest.WebhookID, "CERT-FOREIGN"), 400, "certificate"},
		"expired certificate":      {signed(0, paypaltest.WebhookID, "CERT-EXPIRED"), 400, "certificate"},
		"certificate to come":      {signed(0, paypaltest.WebhookID, "CERT-EARLY"), 400, "certificate"},
		"certificate of a name":    {signed(0, paypaltest.WebhookID, "CERT-NAME"), 400, "certificate"},
		"foreign before genuine":   {signed(0, paypaltest.WebhookID, "CERT-CHAIN"), 400, "certificate"},
		"certificate of junk":      {signed(0, paypaltest.WebhookID, "CERT-JUNK"), 400, "certificate"},
		"no such certificate":      {signed(0, paypaltest.WebhookID, "CERT-NONE"), 400, "certificate"},
		"old transmission":         {signed(74*time.Hour, paypaltest.WebhookID, "CERT-1"), 400, "too_old"},
		"transmission to come":     {signed(-time.Hour, paypaltest.WebhookID, "CERT-1"), 400, "too_new"},
		"host that is not allowed": {url("https://" + strings.Replace(p.CertHost(), "127.0.0.1", "localhost", 1) + "/v1/notifications/certs/CERT-1"), 400, "certificate"},
		"certificate over http":    {url(plain.URL + "/v1/notifications/certs/CERT-1"), 400, "certificate"},
		"host behind a user":       {url("https://" + p.CertHost() + "@evil.example.org/CERT-1"), 400, "certificate"},
		"user before the host":     {url("https://u@" + p.CertHost() + "/v1/notifications/certs/CERT-1"), 400, "certificate"},
		"host within a path":       {url("https://evil.example.org/" + p.CertHost()), 400, "certificate"},
		"certificate with a query": {url(p.CertURL("CERT-1") + "?n=1"), 400, "certificate"},
		"query that is empty":      {url(p.CertURL("CERT-1") + "?"), 400, "certificate"},
		"path that is escaped":     {url(p.CertURL("CERT%2D1")), 400, "certificate"},
		"path with a detour":       {url(p.CertURL("../certs/CERT-1")), 400, "certificate"},
		"path elsewhere":           {url("https://" + p.CertHost() + "/v1/notifications/CERT-1"), 400, "certificate"},
		"host with more behind":    {url("https://" + p.CertHost() + ".evil.example.org/CERT-1"), 400, "certificate"},
		"other algorithm":          {good.With("PAYPAL-AUTH-ALGO", "SHA1withRSA"), 400, "headers"},
		"no signature":             {good.With("PAYPAL-TRANSMISSION-SIG"), 400, "headers"},
		"two signatures":           {good.With("PAYPAL-TRANSMISSION-SIG", good.Header.Get("PAYPAL-TRANSMISSION-SIG"), "b"), 400, "headers"},
		"malformed signature":      {good.With("PAYPAL-TRANSMISSION-SIG", "%%%"), 400, "invalid"},
		"malformed time":           {good.With("PAYPAL-TRANSMISSION-TIME", "yesterday"), 400, "headers"},
		"other time":               {good.With("PAYPAL-TRANSMISSION-TIME", time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)), 400, "invalid"},
		"shifted bars":             {good.With("PAYPAL-TRANSMISSION-ID", "a|b"), 400, "headers"},
		"webhook of no JSON":       {p.Webhook("what?"), 400, "malformed"},
		"webhook without a type":   {p.Webhook(`{"id":"WH-1"}`), 400, "malformed"},
		"too large":                {p.IPN(map[string][]string{"memo": {strings.Repeat("x", gateway.DefaultMaxBody)}}), 413, "too_large"},
		"webhook as a form":        {good.With("Content-Type", "application/x-www-form-urlencoded"), 415, "content_type"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, reason := h.deliver(c.delivery); status != c.status || reason != c.reason {
				t.Errorf("got %d %s, want %d %s", status, reason, c.status, c.reason)
			}
			if after := h.inRedis(); !maps.Equal(before, after) {
				t.Errorf("Redis has changed: %q, before %q", after, before)
			}
		})
	}
	if events := h.downstream.got(); len(events) != 1 {
		t.Errorf("the downstream got %v, want the genuine one alone", events)
	}
	// The genuine message is still FIRST after the forgeries.
	h.mustTake(good)
	if events := h.downstream.got(); len(events) != 2 {
		t.Errorf("the downstream got %v; the forgeries have suppressed the genuine one", events)
	}
	h.counts(
		`noted_gateway_messages_total{channel="ipn",outcome="invalid"} 2`,
		`noted_gateway_verify_seconds_count{channel="ipn",outcome="invalid"} 2`,
	)
}

// When PayPal does not answer, the gateway knows nothing about the message: PayPal comes
// again.
func TestVerifierIsInTrouble(t *testing.T) {
	h := newHarness(t)
	gift := payment("I-TROUBLE")
	certificate := h.payPal.File("CERT-1")
	before := h.inRedis()
	for name, disturb := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"error": func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(500)
			io.WriteString(w, "VERIFIED")
			return true
		},
		"page": func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, "<html>VERIFIED"); return true },
		"redirect": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/elsewhere" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
			} else if r.TLS == nil {
				io.WriteString(w, "VERIFIED")
			} else {
				w.Write(certificate)
			}
			return true
		},
		"silence": func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
		"nothing": func(http.ResponseWriter, *http.Request) bool { return true },
	} {
		h.payPal.Disturb(disturb)
		for _, d := range []paypaltest.Delivery{h.payPal.IPN(gift.fields()), h.payPal.Webhook(gift.event())} {
			if status, reason := h.deliver(d); status != 503 || reason != "verifier" {
				t.Errorf("%s: %s got %d %s, want 503 verifier", name, d.Channel, status, reason)
			}
		}
	}
	if after := h.inRedis(); !maps.Equal(before, after) {
		t.Errorf("Redis has changed: %q", after)
	}
	h.payPal.Disturb(nil)
	h.mustTake(h.payPal.IPN(gift.fields()))
	h.mustTake(h.payPal.Webhook(gift.event()))
	if events := h.downstream.got(); len(events) != 1 {
		t.Errorf("the downstream got %v, want one event", events)
	}
}

// The gateway does not wait for a body that does not come, and does not read an overlong
// body to its end, declared or not.
func TestSlowAndEndlessBodies(t *testing.T) {
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.BodyTimeout = 200 * time.Millisecond })
	before := h.inRedis()
	const head = "POST /paypal/ipn HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	for name, c := range map[string]struct {
		send   string
		status int
	}{
		"half a body":        {head + "Content-Length: 1000\r\n\r\ntxn_id=1&", 408},
		"no body":            {head + "Content-Length: 1000\r\n\r\n", 408},
		"a chunk":            {head + "Transfer-Encoding: chunked\r\n\r\n5\r\ntxn_i\r\n", 408},
		"declared too large": {head + "Content-Length: 99999999999\r\n\r\n", 413},
		"chunks too large":   {head + "Transfer-Encoding: chunked\r\n\r\n50000\r\n" + strings.Repeat("x", 0x50000) + "\r\n", 413},
		"broken chunk":       {head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", h.front.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			go fmt.Fprint(conn, c.send)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != c.status || !response.Close {
				t.Errorf(
					"got %d, close %v, want %d and a closed connection",
					response.StatusCode,
					response.Close,
					c.status,
				)
			}
		})
	}
	if after := h.inRedis(); !maps.Equal(before, after) {
		t.Errorf("Redis has changed: %q", after)
	}
	response, err := http.Get(h.front.URL + "/paypal/ipn")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 405 || response.Header.Get("Allow") != "POST" {
		t.Errorf("GET got %v", response)
	}
}

// Half-sent bodies take memory up to a limit, and never the place of a complete message.
func TestHalfSentBodies(t *testing.T) {
	const maxBody = 64 << 10
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.MaxBody, c.BodyTimeout = maxBody, time.Minute })
	const head = "POST /paypal/ipn HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 65536\r\n\r\n"
	var conns []net.Conn
	half := func(bytes int) net.Conn {
		conn, err := net.Dial("tcp", h.front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		go fmt.Fprint(conn, head+strings.Repeat("x", bytes))
		return conn
	}
	leave := func() {
		for _, conn := range conns {
			conn.Close()
		}
		conns = nil
	}
	defer leave()

	for range 600 {
		half(100)
	}
	eventually(t, "the slow senders are read", func() bool { return h.gateway.InBodies() >= 600*100 })
	h.mustTake(h.payPal.IPN(payment("I-BESIDE").fields()))
	leave()
	eventually(t, "the memory of slow senders is free", func() bool { return h.gateway.InBodies() == 0 })

	refused := make(chan int, 300)
	for range 300 {
		conn := half(maxBody - 1)
		go func() {
			conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				refused <- response.StatusCode
			}
		}()
	}
	for range 300 - 256 {
		select {
		case status := <-refused:
			if status != 503 {
				t.Errorf("got %d, want 503", status)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("more is read than there is memory for")
		}
	}
	if n := h.gateway.InBodies(); n > 256*maxBody {
		t.Errorf("bodies take %d bytes, want no more than 256 of the largest", n)
	}
	leave()
	eventually(t, "the memory of slow senders is free", func() bool { return h.gateway.InBodies() == 0 })
	h.mustTake(h.payPal.IPN(payment("I-AFTER").fields()))
	if n := h.gateway.InBodies(); n != 0 {
		t.Errorf("bodies take %d bytes with no message there", n)
	}
}
