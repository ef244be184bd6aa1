package verify

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
)

// Ahead is the accepted lead of PayPal's clock over ours.
const Ahead = 5 * time.Minute

// A transmission is the part of PayPal's headers about one delivery of a webhook.
type transmission struct {
	id        string
	time      string // as written: the signature covers the text
	at        time.Time
	signature string // base64
	certURL   string
	algorithm string
}

// A Webhook verifies webhooks.
type Webhook struct {
	config Config
	apis   map[Credentials]*api // nil without ByAPI
	verify func(context.Context, transmission, []byte) (id string, test bool, err error)
	seen   *transmissions
}

// NewWebhook makes a verifier of webhooks.
func NewWebhook(config Config) (*Webhook, error) {
	w := &Webhook{config: config, seen: newTransmissions(config.Metrics)}
	if config.ByAPI {
		w.apis = make(map[Credentials]*api)
		for _, s := range config.Webhooks {
			if w.apis[s.API] == nil {
				w.apis[s.API] = newAPI(s.API, config)
			}
		}
		w.verify = w.askEach
		return w, nil
	}
	certificates, err := newCertificates(config)
	if err != nil {
		return nil, err
	}
	w.verify = (&signature{webhooks: config.Webhooks, certificates: certificates}).verify
	return w, nil
}

// askEach asks PayPal's API about each of our webhooks in turn, until PayPal confirms the
// message for one of them. Only PayPal's no for each of them refuses it.
func (w *Webhook) askEach(ctx context.Context, t transmission, body []byte) (id string, test bool, err error) {
	for _, s := range w.config.Webhooks {
		test, refused := w.apis[s.API].verify(ctx, s.ID, t, body)
		if refused == nil {
			return s.ID, test || s.Test, nil
		}
		if err == nil || IsAway(refused) {
			err = refused
		}
	}
	return "", false, err
}

// Verify returns nil for a genuine webhook. id is the id of our webhook that PayPal sent
// it to, and test means that the sandbox sent it. Its age counts at its arrival.
func (w *Webhook) Verify(
	ctx context.Context, header http.Header, body []byte, arrived time.Time,
) (id string, test bool, err error) {
	began, now := time.Now(), w.config.Now()
	sent, err := readTransmission(header, arrived, w.config.WebhookMaxAge)
	if err == nil {
		id, test, err = w.verify(ctx, sent, body)
	}
	if err == nil { // not earlier: a forged message must not be remembered
		err = w.seen.admit(sent.id, body, sent.at.Add(w.config.WebhookMaxAge), now)
	}
	w.config.Metrics.Verified("webhook", outcome(err), time.Since(began))
	return id, test, err
}

// RememberAtMost shrinks the memory of transmissions.
func (w *Webhook) RememberAtMost(transmissions int) {
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	w.seen.most = transmissions
}

// readTransmission reads the headers of a delivery. The delivery must be at most maxAge
// old: only a checksum binds the body to the signature, so a forger could make another
// body for an old transmission. PayPal's redeliveries come within three days.
// transmissions remembers a delivery for as long.
func readTransmission(header http.Header, now time.Time, maxAge time.Duration) (t transmission, err error) {
	for name, field := range map[string]*string{
		"Paypal-Transmission-Id": &t.id, "Paypal-Transmission-Time": &t.time, "Paypal-Transmission-Sig": &t.signature,
		"Paypal-Cert-Url": &t.certURL, "Paypal-Auth-Algo": &t.algorithm,
	} {
		values := header[name]
		if len(values) != 1 || values[0] == "" || len(values[0]) > 1024 {
			return t, &answer.Refusal{
				Status: http.StatusBadRequest,
				Reason: "headers",
				Text: "the header " + strings.ToUpper(name) +
					" must be there once: this is not a webhook from PayPal",
			}
		}
		*field = values[0]
	}
	// A bar in the id could shift the parts of the signed text.
	if strings.Contains(t.id, "|") {
		return t, &answer.Refusal{
			Status: http.StatusBadRequest,
			Reason: "headers",
			Text:   "the transmission id holds a |",
		}
	}
	if t.at, err = time.Parse(time.RFC3339Nano, t.time); err != nil {
		return t, &answer.Refusal{
			Status: http.StatusBadRequest,
			Reason: "headers",
			Text:   "the transmission time cannot be read",
		}
	}
	switch age := now.Sub(t.at); {
	case age > maxAge:
		return t, &answer.Refusal{
			Status: http.StatusBadRequest,
			Reason: "too_old",
			Text:   "the transmission is older than " + maxAge.String(),
		}
	case age < -Ahead:
		return t, &answer.Refusal{
			Status: http.StatusBadRequest,
			Reason: "too_new",
			Text:   "the transmission time is in the future; compare the clocks",
		}
	}
	return t, nil
}
