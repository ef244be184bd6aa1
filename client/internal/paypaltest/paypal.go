// Package paypaltest stands in for PayPal's hosts: it verifies IPNs, serves the
// certificates, and signs webhooks with them.
package paypaltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// The account that is paid, and the id of its webhook.
const (
	Account   = "donations@example.org"
	WebhookID = "8PT597110X687430LKGECATA"
)

// PayPal is the part of PayPal that a receiver sees.
type PayPal struct {
	*Authority
	Verifier *httptest.Server // of IPNs
	Certs    *httptest.Server

	mu        sync.Mutex
	sent      map[string]bool   // :: body of an IPN → is genuine
	asked     []string          // the bodies that were posted back
	files     map[string][]byte // :: name of a certificate → PEM
	fetched   map[string]int    // :: name of a certificate → times
	interfere func(w http.ResponseWriter, r *http.Request) bool
}

// New starts PayPal's hosts. CERT-1 is the certificate of SigningKey, for an hour.
func New(t testing.TB) *PayPal {
	p := &PayPal{
		Authority: NewAuthority(),
		sent:      make(map[string]bool),
		files:     make(map[string][]byte),
		fetched:   make(map[string]int),
	}
	p.Serve("CERT-1", p.Signer(CertName, -time.Hour, time.Hour))

	p.Verifier = httptest.NewServer(http.HandlerFunc(p.verify))
	t.Cleanup(p.Verifier.Close)

	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p.Certs = httptest.NewUnstartedServer(http.HandlerFunc(p.serveCertificate))
	p.Certs.TLS = &tls.Config{
		Certificates: []tls.Certificate{
			{Certificate: [][]byte{p.Issue("127.0.0.1", key.Public(), -time.Hour, time.Hour)}, PrivateKey: key},
		},
	}
	p.Certs.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.Certs.StartTLS()
	t.Cleanup(p.Certs.Close)
	return p
}

// Serve serves a certificate, or a chain, under a name.
func (p *PayPal) Serve(name string, chain ...[]byte) {
	var file []byte
	for _, der := range chain {
		file = append(file, PEM(der)...)
	}
	p.ServeFile(name, file)
}

// ServeFile serves any bytes under the name of a certificate.
func (p *PayPal) ServeFile(name string, file []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[name] = file
}

// File is served under the name of a certificate.
func (p *PayPal) File(name string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[name]
}

// Disturb lets a function answer before the stand-ins do; nil ends it.
func (p *PayPal) Disturb(f func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interfere = f
}

func (p *PayPal) disturbed(w http.ResponseWriter, r *http.Request) bool {
	p.mu.Lock()
	f := p.interfere
	p.mu.Unlock()
	return f != nil && f(w, r)
}

func (p *PayPal) verify(w http.ResponseWriter, r *http.Request) {
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

// CertPath begins the path of every certificate.
const CertPath = "/v1/notifications/certs/"

func (p *PayPal) serveCertificate(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, CertPath)
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

// Fetches is how often a certificate was fetched.
func (p *PayPal) Fetches(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched[name]
}

// Fetched is how often each certificate was fetched.
func (p *PayPal) Fetched() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.fetched)
}

// Asked are the bodies that were posted back.
func (p *PayPal) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// CertHost is the host that serves certificates, and CertURL the address of one.
func (p *PayPal) CertHost() string           { return strings.TrimPrefix(p.Certs.URL, "https://") }
func (p *PayPal) CertURL(name string) string { return p.Certs.URL + CertPath + name }
