package process

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/gateway/internal/traces"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
	"github.com/donation-dedupe/noted/client/paypal"
)

// An Account is one of our accounts at PayPal, with the ledgers and the downstream of its
// donations.
type Account struct {
	Name           string   // in the journal
	Receivers      []string // of IPNs
	WebhookIDs     []string
	Ledger         string
	SandboxLedger  string
	ForwardUnknown bool
	Downstream     downstream.Downstream // nil with listeners
	// Listeners get PayPal's own messages instead of events to the downstream. They need
	// an inbox. Messages of a channel without a listener are journalled, but not noted.
	Listeners map[string]*downstream.Listener // :: channel → its listener; nil for events
}

// ledger is the ledger of the account's donations, or of PayPal's tests.
func (a *Account) ledger(test bool) string {
	if test {
		return a.SandboxLedger
	}
	return a.Ledger
}

// A Channel is one of PayPal's two channels.
type Channel struct {
	Name        string // as in the contract and in the path: /paypal/NAME
	ContentType string

	// Verify finds out whether PayPal sent this body, and whether as a test. Otherwise it
	// returns a refusal.
	Verify func(ctx context.Context, header http.Header, body []byte, arrived time.Time) (verified, error)
	// Identify lists the donations in a verified body.
	Identify func(body []byte) (paypal.Identified, error)
	// owner returns the account that a verified body is about, as far as the body tells.
	// The first account takes a message without an account.
	owner func(body []byte) (*Account, Ownership)
}

// verified is the result of a message's verification.
type verified struct {
	test    bool
	account *Account // nil if only the body tells
}

// verified verifies a message, in its own span.
func (c *Channel) verified(ctx context.Context, header http.Header, body []byte, arrived time.Time) (verified, error) {
	ctx, span := traces.Begin(ctx, "verify "+c.Name, trace.SpanKindInternal)
	v, err := c.Verify(ctx, header, body, arrived)
	failure := ""
	if err != nil {
		failure = "internal"
		if refused, ok := errors.AsType[*answer.Refusal](err); ok {
			failure = refused.Reason
		}
	}
	span.End(failure)
	return v, err
}

// ownerOf returns the account that a verified message is about.
func (c *Channel) ownerOf(v verified, body []byte) (*Account, Ownership) {
	if v.account != nil {
		return v.account, Ours
	}
	return c.owner(body)
}

// Ownership says whether a message is about one of our accounts.
type Ownership int

// The values of Ownership.
const (
	Ours Ownership = iota
	Foreign
	Unsaid // it names no receiver
)

// Webhooks is the channel of webhooks of our accounts.
func Webhooks(verifier *verify.Webhook, accounts []*Account) *Channel {
	owners := make(map[string]*Account) // id of a webhook → its account
	for _, account := range accounts {
		for _, id := range account.WebhookIDs {
			owners[id] = account
		}
	}
	return &Channel{
		Name:        "webhook",
		ContentType: "application/json",
		Verify: func(ctx context.Context, header http.Header, body []byte, arrived time.Time) (verified, error) {
			id, test, err := verifier.Verify(ctx, header, body, arrived)
			return verified{test, owners[id]}, err
		},
		Identify: paypal.IdentifyWebhook,
		// The signature covers the id of our webhook, and PayPal sends that webhook only
		// messages of its own account.
		owner: func([]byte) (*Account, Ownership) { return accounts[0], Ours },
	}
}

// IPNs is the channel of IPNs to our accounts. If no account has a ledger for tests, it
// refuses PayPal's tests without a call to PayPal.
func IPNs(verifier *verify.IPN, accounts []*Account) *Channel {
	owners := make(map[string]*Account) // receiver, in lower case → its account
	tests := false
	for _, account := range accounts {
		for _, receiver := range account.Receivers {
			owners[strings.ToLower(strings.TrimSpace(receiver))] = account
		}
		tests = tests || account.SandboxLedger != ""
	}
	return &Channel{
		Name:        "ipn",
		ContentType: "application/x-www-form-urlencoded",
		Verify: func(ctx context.Context, _ http.Header, body []byte, _ time.Time) (verified, error) {
			test := isTest(body)
			if test && !tests {
				return verified{}, errNoSandbox
			}
			return verified{test: test}, verifier.Verify(ctx, body, test)
		},
		Identify: paypal.IdentifyIPN,
		owner: func(body []byte) (*Account, Ownership) {
			account, whose := receiver(body, owners)
			if account == nil {
				account = accounts[0]
			}
			return account, whose
		},
	}
}

var errNoSandbox = &answer.Refusal{
	Status: http.StatusForbidden,
	Reason: "sandbox",
	Text:   "this is a test of PayPal's sandbox, and there is no ledger for tests here",
}

// isTest reports whether an IPN claims to be a test. The claim is harmless: the sandbox
// then verifies the IPN.
func isTest(body []byte) bool {
	test := paypal.IPNField(body, "test_ipn")
	return test != "" && test != "0"
}

// receiver returns the account that an IPN is about; nil for a foreign account. PayPal
// verifies every IPN that it sent to anyone, so a stranger could post another account's
// IPN here. receiver_id and receiver_email come from PayPal. business may come from the
// sender, and counts only if both are missing.
func receiver(body []byte, owners map[string]*Account) (*Account, Ownership) {
	values := []string{paypal.IPNField(body, "receiver_id"), paypal.IPNField(body, "receiver_email")}
	if values[0] == "" && values[1] == "" {
		values = []string{paypal.IPNField(body, "business")}
	}
	whose := Unsaid
	for _, value := range values {
		value = strings.ToLower(value)
		if account := owners[value]; account != nil {
			return account, Ours
		}
		if value != "" {
			whose = Foreign
		}
	}
	return nil, whose
}
