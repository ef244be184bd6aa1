package verify

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
)

// An IPN verifies IPNs: it posts the bytes back to PayPal, and PayPal answers VERIFIED or
// INVALID.
type IPN struct {
	client *http.Client
	config Config
}

// NewIPN makes a verifier of IPNs.
func NewIPN(config Config) *IPN { return &IPN{client: peer.Client(nil), config: config} }

// Verify returns nil for a genuine IPN. Only PayPal's two words count, with status 200.
// After an error page, a redirect or silence PayPal comes again. INVALID refuses the
// message. PayPal sometimes says it of a genuine IPN, but that IPN comes again too.
func (p *IPN) Verify(ctx context.Context, body []byte, test bool) error {
	began := time.Now()
	verdict, why := p.ask(ctx, body, test)
	var err error
	switch verdict {
	case "VERIFIED":
	case "INVALID":
		err = &answer.Refusal{
			Status: http.StatusBadRequest,
			Reason: "invalid",
			Text:   "PayPal says that it did not send this message",
		}
	default:
		err = away("PayPal could not be asked whether it sent this message (" + why + ")")
	}
	p.config.Metrics.Verified("ipn", outcome(err), time.Since(began))
	return err
}

// ask posts back. why is the reason for a missing verdict, and quotes nothing from the
// message.
func (p *IPN) ask(ctx context.Context, body []byte, test bool) (verdict, why string) {
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	url := p.config.IPNVerifyURL
	switch {
	case url != "":
	case test:
		url = IPNURLSandbox
	default:
		url = IPNURL
	}
	// Order, percent signs and charset must stay PayPal's, so nothing decodes the body in
	// between.
	post := io.MultiReader(strings.NewReader("cmd=_notify-validate&"), bytes.NewReader(body))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, post)
	if err != nil {
		return "", "its address cannot be used"
	}
	request.ContentLength = int64(len("cmd=_notify-validate&") + len(body))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := p.client.Do(request)
	if err != nil {
		return "", peer.Trouble(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", "it answered " + response.Status
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 64))
	if err != nil {
		return "", peer.Trouble(err)
	}
	if verdict = strings.TrimSpace(string(text)); verdict != "VERIFIED" && verdict != "INVALID" {
		return "", "it said neither VERIFIED nor INVALID"
	}
	return verdict, ""
}
