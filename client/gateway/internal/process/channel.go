package process

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
	"github.com/donation-dedupe/noted/client/paypal"
)

// A Channel is one of PayPal's two ways to tell of a donation.
type Channel struct {
	Name        string // as in the contract, and in the path: /paypal/NAME
	ContentType string

	// Verify finds out whether PayPal has sent this body, and whether as a test.
	// Otherwise it returns a refusal.
	Verify func(ctx context.Context, header http.Header, body []byte, arrived time.Time) (test bool, err error)
	// Identify lists the donations that a verified body tells of.
	Identify func(body []byte) (paypal.Identified, error)
	// Account says whether a verified body is about an account of ours.
	Account func(body []byte) Ownership
}

// Ownership says whose account a message is about.
type Ownership int

// The values of Ownership.
const (
	Ours Ownership = iota
	Foreign
	Unsaid // it names no receiver
)

// Webhooks is the channel of webhooks.
func Webhooks(verifier *verify.Webhook) *Channel {
	return &Channel{
		Name:        "webhook",
		ContentType: "application/json",
		Verify:      verifier.Verify,
		Identify:    paypal.IdentifyWebhook,
		// The signature covers the id of our webhook, and PayPal sends that webhook
		// nothing of another account.
		Account: func([]byte) Ownership { return Ours },
	}
}

// IPNs is the channel of IPNs to our accounts. Without a ledger for tests it refuses
// PayPal's tests unasked.
func IPNs(verifier *verify.IPN, accounts []string, testLedger bool) *Channel {
	ours := make(map[string]bool) // account, in lower case → is ours
	for _, account := range accounts {
		ours[strings.ToLower(strings.TrimSpace(account))] = true
	}
	return &Channel{
		Name:        "ipn",
		ContentType: "application/x-www-form-urlencoded",
		Verify: func(ctx context.Context, _ http.Header, body []byte, _ time.Time) (bool, error) {
			test := isTest(body)
			if test && !testLedger {
				return false, errNoSandbox
			}
			return test, verifier.Verify(ctx, body, test)
		},
		Identify: paypal.IdentifyIPN,
		Account:  func(body []byte) Ownership { return receiver(body, ours) },
	}
}

var errNoSandbox = &answer.Refusal{
	Status: http.StatusForbidden,
	Reason: "sandbox",
	Text:   "this is a test of PayPal's sandbox, and there is no ledger for tests here",
}

// isTest says whether an IPN claims to be a test. The claim is harmless: the sandbox then
// verifies the IPN.
func isTest(body []byte) bool {
	test := paypal.IPNField(body, "test_ipn")
	return test != "" && test != "0"
}

// receiver says whose account an IPN is about. PayPal verifies every IPN that it has sent
// to anyone, so a stranger could post an IPN of another account here. receiver_id and receiver_email
// are PayPal's words. business may be the sender's, and counts only where both are
// missing.
func receiver(body []byte, accounts map[string]bool) Ownership {
	values := []string{paypal.IPNField(body, "receiver_id"), paypal.IPNField(body, "receiver_email")}
	if values[0] == "" && values[1] == "" {
		values = []string{paypal.IPNField(body, "business")}
	}
	whose := Unsaid
	for _, value := range values {
		switch value = strings.ToLower(value); {
		case value == "":
		case accounts[value]:
			return Ours
		default:
			whose = Foreign
		}
	}
	return whose
}
