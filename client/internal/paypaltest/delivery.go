package paypaltest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"time"
)

// A Delivery is one message to a receiver, genuine unless a test changes it.
type Delivery struct {
	Channel string
	Body    []byte
	Header  http.Header
}

// IPN makes a genuine IPN of fields.
func (p *PayPal) IPN(fields url.Values) Delivery { return p.IPNBody(fields.Encode()) }

// IPNBody makes a genuine IPN of a body.
func (p *PayPal) IPNBody(body string) Delivery {
	p.mu.Lock()
	p.sent[body] = true
	p.mu.Unlock()
	return Delivery{"ipn", []byte(body), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
}

// Webhook makes a genuine webhook that is sent now.
func (p *PayPal) Webhook(body string) Delivery {
	return p.Signed([]byte(body), time.Now(), WebhookID, "CERT-1", SigningKey())
}

// Signed makes a webhook. A body has one transmission id, whenever it is sent.
func (p *PayPal) Signed(body []byte, at time.Time, webhook, cert string, key *rsa.PrivateKey) Delivery {
	return p.SignedAs(fmt.Sprintf("%x", sha256.Sum256(body))[:36], body, at, webhook, cert, key)
}

// SignedAs makes a webhook with a transmission id.
func (p *PayPal) SignedAs(
	id string, body []byte, at time.Time, webhook, cert string, key *rsa.PrivateKey,
) Delivery {
	when := at.UTC().Format(time.RFC3339)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d", id, when, webhook, crc32.ChecksumIEEE(body)))
	signature := must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]))
	header := http.Header{}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "PAYPAL-TRANSMISSION-ID": id,
		"PAYPAL-TRANSMISSION-TIME": when, "PAYPAL-AUTH-ALGO": "SHA256withRSA",
		"PAYPAL-CERT-URL":         p.CertURL(cert),
		"PAYPAL-TRANSMISSION-SIG": base64.StdEncoding.EncodeToString(signature), "PAYPAL-AUTH-VERSION": "v2",
	} {
		header.Set(name, value)
	}
	return Delivery{"webhook", body, header}
}

// With changes a header of a delivery.
func (d Delivery) With(name string, values ...string) Delivery {
	d.Header = d.Header.Clone()
	d.Header.Del(name)
	for _, value := range values {
		d.Header.Add(name, value)
	}
	return d
}

// Flipped changes one bit of the body's part.
func (d Delivery) Flipped(part string) Delivery {
	at := bytes.Index(d.Body, []byte(part))
	if at < 0 {
		panic("there is no " + part)
	}
	d.Body = bytes.Clone(d.Body)
	d.Body[at] ^= 1
	return d
}

// Post delivers it once to a receiver. The caller closes the body of the answer.
func (d Delivery) Post(ctx context.Context, to string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to+"/paypal/"+d.Channel, bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	request.Header = d.Header.Clone()
	return http.DefaultClient.Do(request)
}

// Pacific writes a time as IPNs do.
func Pacific(at time.Time) string {
	return at.UTC().Add(-8*time.Hour).Format("15:04:05 Jan 02, 2006") + " PST"
}
