package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"

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
		verify: func(ctx context.Context, _ http.Header, body []byte) (bool, error) {
			test := isTest(body)
			if test && config.SandboxLedger == "" {
				return false, errNoSandbox
			}
			return test, v.verify(ctx, body, test)
		},
		identify: paypal.IdentifyIPN,
		account:  func(body []byte) ownership { return receiver(body, accounts) },
		id:       ipnID,
	}
}

// form reads an IPN's fields as far as they can be read. The ids and addresses that are looked at here are ASCII, so the charset does not matter.
func form(body []byte) url.Values {
	fields, _ := url.ParseQuery(strings.TrimRight(string(body), "\r\n")) // a bad field is left out; client/paypal judges the body
	return fields
}

// isTest says whether an IPN claims to be a test. It is believed only as far as it harms nobody: a genuine one is verified by the sandbox then.
func isTest(body []byte) bool {
	test := form(body).Get("test_ipn")
	return test != "" && test != "0"
}

// receiver says whose account an IPN is about. PayPal verifies every IPN that it has sent to anybody, so a stranger could post one of his own
// here. receiver_id and receiver_email are PayPal's words; business may be the sender's, and counts only where they are missing.
func receiver(body []byte, accounts map[string]bool) ownership {
	fields := form(body)
	names := []string{"receiver_id", "receiver_email"}
	if fields.Get("receiver_id") == "" && fields.Get("receiver_email") == "" {
		names = []string{"business"}
	}
	whose := unsaid
	for _, name := range names {
		switch value := strings.ToLower(strings.TrimSpace(fields.Get(name))); {
		case value == "":
		case accounts[value]:
			return ours
		default:
			whose = foreign
		}
	}
	return whose
}

// ipnID names an IPN by its fields, in any order, without the one that PayPal adds when it sends it again.
func ipnID(body []byte) string {
	fields := form(body)
	fields.Del("resend")
	return digest(fields.Encode())
}

// digest is short, and no two texts share one.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
