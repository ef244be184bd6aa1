package process

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/paypal"
)

// A message is verified, and identified lists its donations.
type message struct {
	downstream.Message
	account    *Account
	identified paypal.Identified
}

// identify reads a message. After an error the message has an id but no donations. A
// webhook without an id is named by its bytes.
func identify(c *Channel, header http.Header, body []byte, account *Account, ledger string) (*message, error) {
	identified, err := c.Identify(body)
	header = paypalHeader(header)
	if header.Get("Content-Type") == "" { // of a row without headers
		header.Set("Content-Type", c.ContentType)
	}
	return &message{
		Message: downstream.Message{
			Channel: c.Name, ID: cmp.Or(identified.Message.ID, digest(string(body))), Ledger: ledger,
			Header: header, Body: body,
		},
		account: account, identified: identified,
	}, err
}

// paypalHeader keeps the headers of PayPal's message: no cookie, and no header from a
// proxy. A listener may check the name of PayPal's program.
func paypalHeader(header http.Header) http.Header {
	own := http.Header{}
	for name, values := range header {
		if strings.HasPrefix(name, "Paypal-") || name == "Content-Type" || name == "User-Agent" {
			own[name] = values
		}
	}
	return own
}

// digest shortens a text; different texts have different digests.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
