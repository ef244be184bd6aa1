package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/paypal"
)

// ahead is how far PayPal's clock may be ahead of ours.
const ahead = 5 * time.Minute

// A transmission is the part of PayPal's headers about one delivery of a webhook.
type transmission struct {
	id        string
	time      string // as written: the signature covers the text
	at        time.Time
	signature string // base64
	certURL   string
	algorithm string
}

// newWebhook makes the channel of webhooks.
func newWebhook(config Config, metrics *metrics, seen *transmissions) (*channel, error) {
	var verify func(context.Context, transmission, []byte) (bool, error)
	if config.WebhookVerify == VerifyByAPI {
		verify = newAPI(config).verify
	} else {
		certificates, err := newCertificates(config)
		if err != nil {
			return nil, err
		}
		verify = (&signature{webhookID: config.WebhookID, certificates: certificates}).verify
	}
	return &channel{
		name:        "webhook",
		contentType: "application/json",
		verify: func(ctx context.Context, header http.Header, body []byte, arrived time.Time) (test bool, err error) {
			began, now := time.Now(), config.Now()
			sent, err := readTransmission(header, arrived, config.WebhookMaxAge)
			if err == nil {
				test, err = verify(ctx, sent, body)
			}
			if err == nil { // only now: a forged message must not be remembered
				err = seen.admit(sent.id, body, sent.at.Add(config.WebhookMaxAge), now)
			}
			metrics.verified("webhook", verification(err), time.Since(began))
			return test, err
		},
		identify: paypal.IdentifyWebhook,
		// The signature covers the id of our webhook, and PayPal sends that webhook
		// nothing of another account.
		account: func([]byte) ownership { return ours },
	}, nil
}

// readTransmission reads the headers of a delivery. The delivery must be at most maxAge
// old: only a checksum binds the body to the signature, so an old transmission could
// carry another body. PayPal's redeliveries come within three days. transmissions
// remembers a delivery for as long.
func readTransmission(header http.Header, now time.Time, maxAge time.Duration) (t transmission, err error) {
	for name, field := range map[string]*string{
		"Paypal-Transmission-Id": &t.id, "Paypal-Transmission-Time": &t.time, "Paypal-Transmission-Sig": &t.signature,
		"Paypal-Cert-Url": &t.certURL, "Paypal-Auth-Algo": &t.algorithm,
	} {
		values := header[name]
		if len(values) != 1 || values[0] == "" || len(values[0]) > 1024 {
			return t, &refusal{
				status: http.StatusBadRequest,
				reason: "headers",
				text:   "the header " + strings.ToUpper(name) + " must be there once: this is no webhook of PayPal's",
			}
		}
		*field = values[0]
	}
	// A bar in the id could shift the parts of the signed text.
	if strings.Contains(t.id, "|") {
		return t, &refusal{status: http.StatusBadRequest, reason: "headers", text: "the transmission id holds a |"}
	}
	if t.at, err = time.Parse(time.RFC3339Nano, t.time); err != nil {
		return t, &refusal{
			status: http.StatusBadRequest,
			reason: "headers",
			text:   "the transmission time cannot be read",
		}
	}
	switch age := now.Sub(t.at); {
	case age > maxAge:
		return t, &refusal{
			status: http.StatusBadRequest,
			reason: "too_old",
			text:   "the transmission is older than " + maxAge.String(),
		}
	case age < -ahead:
		return t, &refusal{
			status: http.StatusBadRequest,
			reason: "too_new",
			text:   "the transmission time lies ahead; compare the clocks",
		}
	}
	return t, nil
}

// verification is the metric's label of a verification.
func verification(err error) string {
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case err == nil:
		return "verified"
	case ok && refused.status != http.StatusServiceUnavailable:
		return "invalid"
	}
	return "unknown"
}
