package gateway_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// This file stands in for PayPal's hosts: it verifies IPNs, serves the certificates, and
// signs with them.

const (
	account   = "donations@example.org"
	webhookID = "8PT597110X687430LKGECATA"
	paypalCN  = "messageverificationcerts.paypal.com"
)

// keys are made once: RSA keys take long under the race detector.
var (
	signingKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	strangeKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// authority is the test's own certificate authority.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority() *authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(
			1,
		),
		Subject:               pkix.Name{CommonName: "test authority"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		NotBefore: time.Now().
			Add(-1000 * time.Hour),
		NotAfter: time.Now().Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return &authority{key, must(x509.ParseCertificate(der))}
}

func (a *authority) pem() []byte { return asPEM(a.cert.Raw) }

func asPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue makes a certificate for a name or an address, valid from now+from to now+until.
func (a *authority) issue(name string, public crypto.PublicKey, from, until time.Duration) []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	return must(x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key))
}

// payPal is the part of PayPal that a gateway sees.
type payPal struct {
	*authority
	verifier *httptest.Server // of IPNs
	certs    *httptest.Server

	mu        sync.Mutex
	sent      map[string]bool   // :: body of an IPN → is genuine
	asked     []string          // what was posted back
	files     map[string][]byte // :: name of a certificate → PEM
	fetched   map[string]int    // :: name of a certificate → times
	interfere func(w http.ResponseWriter, r *http.Request) bool
}

func newPayPal(t testing.TB) *payPal {
	p := &payPal{
		authority: newAuthority(),
		sent:      make(map[string]bool),
		files:     make(map[string][]byte),
		fetched:   make(map[string]int),
	}
	p.files["CERT-1"] = asPEM(p.issue(paypalCN, signingKey().Public(), -time.Hour, time.Hour))

	p.verifier = httptest.NewServer(http.HandlerFunc(p.verify))
	t.Cleanup(p.verifier.Close)

	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p.certs = httptest.NewUnstartedServer(http.HandlerFunc(p.serveCertificate))
	p.certs.TLS = &tls.Config{
		Certificates: []tls.Certificate{
			{Certificate: [][]byte{p.issue("127.0.0.1", key.Public(), -time.Hour, time.Hour)}, PrivateKey: key},
		},
	}
	p.certs.Config.ErrorLog = discardLog()
	p.certs.StartTLS()
	t.Cleanup(p.certs.Close)
	return p
}

// disturb lets a function answer before the stand-ins do; nil ends it.
func (p *payPal) disturb(f func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interfere = f
}

func (p *payPal) disturbed(w http.ResponseWriter, r *http.Request) bool {
	p.mu.Lock()
	f := p.interfere
	p.mu.Unlock()
	return f != nil && f(w, r)
}

func (p *payPal) verify(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if p.disturbed(w, r) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, string(body))
	rest, ok := strings.CutPrefix(string(body), "cmd=_notify-validate&")
	if ok && p.sent[rest] {
		io.WriteString(w, "VERIFIED")
		return
	}
	io.WriteString(w, "INVALID")
}

func (p *payPal) serveCertificate(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/v1/notifications/certs/")
	p.mu.Lock()
	p.fetched[name]++
	p.mu.Unlock()
	if p.disturbed(w, r) {
		return
	}
	p.mu.Lock()
	file := p.files[name]
	p.mu.Unlock()
	if file == nil {
		http.NotFound(w, r)
		return
	}
	w.Write(file)
}

func (p *payPal) fetches(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched[name]
}

func (p *payPal) certHost() string           { return strings.TrimPrefix(p.certs.URL, "https://") }
func (p *payPal) certURL(name string) string { return p.certs.URL + "/v1/notifications/certs/" + name }

// A delivery is one message on its way to a gateway, genuine unless it is changed.
type delivery struct {
	channel string
	body    []byte
	header  http.Header
}

// ipn makes a genuine IPN.
func (p *payPal) ipn(fields url.Values) delivery {
	body := fields.Encode()
	p.mu.Lock()
	p.sent[body] = true
	p.mu.Unlock()
	return delivery{"ipn", []byte(body), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
}

// webhook makes a genuine webhook.
func (p *payPal) webhook(body string) delivery {
	return p.signed([]byte(body), time.Now(), webhookID, "CERT-1", signingKey())
}

func (p *payPal) signed(body []byte, at time.Time, webhook, cert string, key *rsa.PrivateKey) delivery {
	id, when := fmt.Sprintf("%x", sha256.Sum256(body))[:36], at.UTC().Format(time.RFC3339)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d", id, when, webhook, crc32.ChecksumIEEE(body)))
	signature := must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]))
	header := http.Header{}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "PAYPAL-TRANSMISSION-ID": id,
		"PAYPAL-TRANSMISSION-TIME": when, "PAYPAL-AUTH-ALGO": "SHA256withRSA",
		"PAYPAL-CERT-URL":         p.certURL(cert),
		"PAYPAL-TRANSMISSION-SIG": base64.StdEncoding.EncodeToString(signature), "PAYPAL-AUTH-VERSION": "v2",
	} {
		header.Set(name, value)
	}
	return delivery{"webhook", body, header}
}

// with changes a header of a delivery.
func (d delivery) with(name string, values ...string) delivery {
	d.header = d.header.Clone()
	d.header.Del(name)
	for _, value := range values {
		d.header.Add(name, value)
	}
	return d
}

// flipped changes one bit of the body's part.
func (d delivery) flipped(part string) delivery {
	at := bytes.Index(d.body, []byte(part))
	if at < 0 {
		panic("there is no " + part)
	}
	d.body = bytes.Clone(d.body)
	d.body[at] ^= 1
	return d
}

// A gift is a donation as the test knows it.
type gift struct {
	series, ipnTxn, saleID, eventID, amount string
	at                                      time.Time
}

// payment is a gift of a series, told by both channels under one transaction id.
func payment(series string) gift {
	return gift{
		series:  series,
		ipnTxn:  series + "T",
		saleID:  series + "T",
		eventID: "WH-" + series,
		amount:  "25.00",
		at:      time.Now().Add(-time.Minute),
	}
}

func pacific(t time.Time) string {
	return t.UTC().Add(-8*time.Hour).Format("15:04:05 Jan 02, 2006") + " PST"
}

func (g gift) fields() url.Values {
	return url.Values{
		"txn_type": {
			"recurring_payment",
		},
		"payment_status":       {"Completed"},
		"recurring_payment_id": {g.series},
		"txn_id":               {g.ipnTxn},
		"payment_date":         {pacific(g.at)},
		"mc_gross":             {g.amount},
		"mc_currency":          {"EUR"},
		"receiver_email":       {account},
		"payer_email":          {"donor-canary@example.net"},
		"first_name":           {"Zoë Canary"},
		"charset":              {"UTF-8"},
	}
}

func (g gift) event() string {
	return fmt.Sprintf(
		`{"id":%q,"event_type":"PAYMENT.SALE.COMPLETED","resource_type":"sale","create_time":%q,"summary":"donor-canary <&>","resource":{"id":%q,"billing_agreement_id":%q,"state":"completed","create_time":%q,"amount":{"total":%q,"currency":"EUR"}}}`,
		g.eventID,
		time.Now().UTC().Format(time.RFC3339),
		g.saleID,
		g.series,
		g.at.UTC().Format(time.RFC3339),
		g.amount,
	)
}
