package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/paypal"
)

// newIPN makes the channel of IPNs.
func newIPN(config Config, metrics *metrics) *channel {
	v := newPostBack(config, metrics)
	accounts := make(map[string]bool) // account, in lower case → is ours
	for _, account := range config.Accounts {
		accounts[strings.ToLower(strings.TrimSpace(account))] = true
	}
	return &channel{
		name:        "ipn",
		contentType: "application/x-www-form-urlencoded",
		verify: func(ctx context.Context, _ http.Header, body []byte, _ time.Time) (bool, error) {
			test := isTest(body)
			if test && config.SandboxLedger == "" {
				return false, errNoSandbox
			}
			return test, v.verify(ctx, body, test)
		},
		identify: paypal.IdentifyIPN,
		account:  func(body []byte) ownership { return receiver(body, accounts) },
	}
}

// isTest says whether an IPN claims to be a test. The claim is harmless: the sandbox then
// verifies the IPN.
func isTest(body []byte) bool {
	test := paypal.IPNField(body, "test_ipn")
	return test != "" && test != "0"
}

// receiver says whose account an IPN is about. PayPal verifies every IPN that it has sent
// to anyone, so a stranger could post one of his own here. receiver_id and receiver_email
// are PayPal's words. business may be the sender's, and counts only where both are
// missing.
func receiver(body []byte, accounts map[string]bool) ownership {
	values := []string{paypal.IPNField(body, "receiver_id"), paypal.IPNField(body, "receiver_email")}
	if values[0] == "" && values[1] == "" {
		values = []string{paypal.IPNField(body, "business")}
	}
	whose := unsaid
	for _, value := range values {
		switch value = strings.ToLower(value); {
		case value == "":
		case accounts[value]:
			return ours
		default:
			whose = foreign
		}
	}
	return whose
}
