//go:build whole

package whole_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
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
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// payPal is what the receivers see of PayPal: the host that says whether an IPN is
// genuine, and the one that serves the certificate of webhooks.
type payPal struct {
	verifier *httptest.Server
	certs    *httptest.Server
	root     *x509.Certificate
	rootKey  *ecdsa.PrivateKey
	key      *rsa.PrivateKey // signs webhooks

	mu   sync.Mutex
	sent map[string]bool // :: body of an IPN → is genuine
}

func newPayPal(t *testing.T, c *chance) *payPal {
	p := &payPal{
		sent:    make(map[string]bool),
		key:     must(rsa.GenerateKey(crand.Reader, 2048)),
		rootKey: must(ecdsa.GenerateKey(elliptic.P256(), crand.Reader)),
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(
			1,
		),
		Subject:               pkix.Name{CommonName: "test authority"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
		NotBefore:             time.Now().Add(-1000 * time.Hour),
		NotAfter:              time.Now().Add(1000 * time.Hour),
	}
	p.root = must(
		x509.ParseCertificate(
			must(x509.CreateCertificate(crand.Reader, template, template, p.rootKey.Public(), p.rootKey)),
		),
	)

	p.verifier = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ipn, ok := strings.CutPrefix(string(body), "cmd=_notify-validate&")
		p.mu.Lock()
		ok = ok && p.sent[ipn]
		p.mu.Unlock()
		switch {
		case c.of(2):
			w.WriteHeader(http.StatusBadGateway)
		case ok:
			io.WriteString(w, "VERIFIED")
		default:
			io.WriteString(w, "INVALID")
		}
	}))
	t.Cleanup(p.verifier.Close)

	hostKey := must(ecdsa.GenerateKey(elliptic.P256(), crand.Reader))
	host := p.issue(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, hostKey.Public())
	signer := asPEM(
		p.issue(&x509.Certificate{DNSNames: []string{"messageverificationcerts.paypal.com"}}, p.key.Public()),
	)
	p.certs = httptest.NewUnstartedServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(signer) }),
	)
	p.certs.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{host}, PrivateKey: hostKey}}}
	p.certs.StartTLS()
	t.Cleanup(p.certs.Close)
	return p
}

// issue makes a certificate that was valid already when the oldest message was sent.
func (p *payPal) issue(template *x509.Certificate, public crypto.PublicKey) []byte {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject.CommonName = strings.Join(template.DNSNames, "")
	template.NotBefore, template.NotAfter = time.Now().Add(-100*time.Hour), time.Now().Add(100*time.Hour)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{
		x509.ExtKeyUsageServerAuth,
	}
	return must(x509.CreateCertificate(crand.Reader, template, p.root, public, p.rootKey))
}

func asPEM(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }

func (p *payPal) roots() []byte    { return asPEM(p.root.Raw) }
func (p *payPal) certHost() string { return strings.TrimPrefix(p.certs.URL, "https://") }

// The places that PayPal posts to.
const (
	php  = "php"
	wsgi = "wsgi"
	node = "node"
	gate = "gateway"
)

// A delivery is one message on its way to a place.
type delivery struct {
	place   string
	channel string
	body    []byte
	header  http.Header
}

// elsewhere sends it to another place that takes its channel.
func (d delivery) elsewhere() delivery {
	switch {
	case d.place == node:
		d.place = gate
	case d.place != gate:
		d.place = node
	case d.channel == "ipn":
		d.place = php
	default:
		d.place = wsgi
	}
	return d
}

// ipn makes an IPN genuine.
func (p *payPal) ipn(place, body string) delivery {
	p.mu.Lock()
	p.sent[body] = true
	p.mu.Unlock()
	return delivery{place, "ipn", []byte(body), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
}

// webhook signs a webhook that was sent at a time.
func (p *payPal) webhook(place, body string, at time.Time) delivery {
	id, when := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, body, at)))[:36], at.UTC().Format(time.RFC3339)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d", id, when, webhookID, crc32.ChecksumIEEE([]byte(body))))
	header := http.Header{"Content-Type": {"application/json"}}
	for name, value := range map[string]string{
		"TRANSMISSION-ID": id, "TRANSMISSION-TIME": when, "AUTH-ALGO": "SHA256withRSA", "CERT-URL": p.certs.URL + "/v1/notifications/certs/CERT-1",
		"TRANSMISSION-SIG": base64.StdEncoding.EncodeToString(must(rsa.SignPKCS1v15(crand.Reader, p.key, crypto.SHA256, sum[:]))),
	} {
		header.Set("PAYPAL-"+name, value)
	}
	return delivery{place, "webhook", []byte(body), header}
}

// post delivers a message once.
func post(ctx context.Context, to string, d delivery) (status int, said string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to+"/paypal/"+d.channel, bytes.NewReader(d.body))
	if err != nil {
		return 0, "", err
	}
	request.Header = d.header.Clone()
	request.Close = true // PHP's own server and wsgiref end a connection after a request
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// chance decides what happens by chance while the story is played.
type chance struct {
	mu     sync.Mutex
	random *rand.Rand
}

func newChance(seed uint64) *chance { return &chance{random: rand.New(rand.NewPCG(seed, 1))} }

// of is true so many times of a hundred.
func (c *chance) of(percent int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(100) < percent
}

// between is a time between two.
func (c *chance) between(least, most time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return least + time.Duration(c.random.Int64N(int64(most-least)))
}
