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

// newPayPal starts PayPal's hosts. The host that verifies IPNs fails now and then. The
// certificate is valid since before the oldest message.
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

// The receivers that PayPal posts to.
const (
	php  = "php"
	wsgi = "wsgi"
	node = "node"
	gate = "gateway"
)

// A delivery is one message, and the place that gets it.
type delivery struct {
	place string
	paypaltest.Delivery
}

// elsewhere chooses another place that takes the channel.
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

// webhook signs a webhook as of a time of sending. Each sending has another transmission
// id.
func webhook(p *paypaltest.PayPal, body string, at time.Time) paypaltest.Delivery {
	id := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, body, at)))[:36]
	return p.SignedAs(id, []byte(body), at, webhookID, "CERT-1", paypaltest.SigningKey())
}

// post delivers a message once.
func post(ctx context.Context, to string, d delivery) (status int, said string, err error) {
	d.Header = d.Header.Clone()
	d.Header.Set("Connection", "close") // PHP's own server and wsgiref close a connection after each request
	response, err := d.Post(ctx, to)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// chance is the random source while the story is played.
type chance struct {
	mu     sync.Mutex
	random *rand.Rand
	calm   bool // nothing happens by chance
}

func newChance(seed uint64) *chance { return &chance{random: rand.New(rand.NewPCG(seed, 1))} }

// of is true in the given percentage of calls.
func (c *chance) of(percent int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.calm && c.random.IntN(100) < percent
}

// between is a random time between two.
func (c *chance) between(least, most time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return least + time.Duration(c.random.Int64N(int64(most-least)))
}
