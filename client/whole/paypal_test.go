//go:build whole

package whole_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/internal/paypaltest"
)

// newPayPal starts PayPal's hosts. The one that verifies IPNs is in trouble now and then.
// The certificate was valid already when the oldest message was sent.
func newPayPal(t testing.TB, c *chance) *paypaltest.PayPal {
	p := paypaltest.New(t)
	p.Serve("CERT-1", p.Signer(paypaltest.CertName, -100*time.Hour, 100*time.Hour))
	p.Disturb(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, paypaltest.CertPath) || !c.of(2) {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	return p
}

// The places that PayPal posts to.
const (
	php  = "php"
	wsgi = "wsgi"
	node = "node"
	gate = "gateway"
)

// A delivery is one message on its way to a place.
type delivery struct {
	place string
	paypaltest.Delivery
}

// elsewhere sends it to another place that takes its channel.
func (d delivery) elsewhere() delivery {
	switch {
	case d.place == node:
		d.place = gate
	case d.place != gate:
		d.place = node
	case d.Channel == "ipn":
		d.place = php
	default:
		d.place = wsgi
	}
	return d
}

// webhook signs a webhook that was sent at a time. Each sending has a transmission id of
// its own.
func webhook(p *paypaltest.PayPal, body string, at time.Time) paypaltest.Delivery {
	id := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, body, at)))[:36]
	return p.SignedAs(id, []byte(body), at, webhookID, "CERT-1", paypaltest.SigningKey())
}

// post delivers a message once.
func post(ctx context.Context, to string, d delivery) (status int, said string, err error) {
	d.Header = d.Header.Clone()
	d.Header.Set("Connection", "close") // PHP's own server and wsgiref end a connection after a request
	response, err := d.Post(ctx, to)
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
	calm   bool // nothing happens by chance
}

func newChance(seed uint64) *chance { return &chance{random: rand.New(rand.NewPCG(seed, 1))} }

// of is true so many times of a hundred.
func (c *chance) of(percent int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.calm && c.random.IntN(100) < percent
}

// between is a time between two.
func (c *chance) between(least, most time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return least + time.Duration(c.random.Int64N(int64(most-least)))
}
