// Package verify finds out whether PayPal sent a message. An [IPN] posts the bytes back
// to PayPal. A [Webhook] checks the signature with PayPal's certificate, or asks PayPal's
// API.
//
// The errors of both are refusals ([answer.Refusal]). [IsAway] reports the refusals that
// mean that PayPal did not answer.
package verify

import (
	"errors"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/metrics"
)

// The addresses for the post-back of IPNs, and PayPal's API.
const (
	IPNURL        = "https://ipnpb.paypal.com/cgi-bin/webscr"
	IPNURLSandbox = "https://ipnpb.sandbox.paypal.com/cgi-bin/webscr"
	API           = "https://api-m.paypal.com"
	APISandbox    = "https://api-m.sandbox.paypal.com"
)

// CertHosts are the hosts that serve PayPal's certificates.
var CertHosts = []string{
	"api.paypal.com",
	"api-m.paypal.com",
	"api.sandbox.paypal.com",
	"api-m.sandbox.paypal.com",
}

// Config has the settings of verification. The fields have the same meaning as in
// gateway.Config, which also checks them and has their defaults.
type Config struct {
	IPNVerifyURL string // for all IPNs, if set

	Webhooks      []Subscription
	ByAPI         bool
	WebhookMaxAge time.Duration
	CertHosts     []string
	CertRoots     []byte

	Timeout time.Duration
	Now     func() time.Time
	Metrics *metrics.Metrics
}

// A Subscription is one of our webhooks at PayPal. The message does not name its webhook;
// its signature or PayPal's API does.
type Subscription struct {
	ID   string
	API  Credentials // for ByAPI
	Test bool        // for ByAPI: the sandbox's, with any address of its API
}

// Credentials are the credentials of a REST app, at one of PayPal's two APIs.
type Credentials struct{ URL, ClientID, ClientSecret string }

// reasonAway is the reason of a refusal because PayPal did not answer.
const reasonAway = "verifier"

// away makes the refusal of a message that PayPal did not verify because it did not
// answer.
func away(text string) *answer.Refusal { return answer.Again(reasonAway, text) }

// IsAway reports whether PayPal did not answer about a message.
func IsAway(err error) bool {
	refused, ok := errors.AsType[*answer.Refusal](err)
	return ok && refused.Reason == reasonAway
}

// outcome is the metric's label of a verification.
func outcome(err error) string {
	refused, ok := errors.AsType[*answer.Refusal](err)
	switch {
	case err == nil:
		return "verified"
	case ok && refused.Final():
		return "invalid"
	}
	return "unknown"
}
