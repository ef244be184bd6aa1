package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"
)

// A postBack asks PayPal whether it has sent an IPN: it posts the bytes back, and PayPal
// says VERIFIED or INVALID.
type postBack struct {
	client  *http.Client
	url     string // for all IPNs, where it is set
	timeout time.Duration
	metrics *metrics
}

func newPostBack(config Config, metrics *metrics) *postBack {
	return &postBack{
		client:  newHTTPClient(nil),
		url:     config.IPNVerifyURL,
		timeout: config.VerifyTimeout,
		metrics: metrics,
	}
}

// verify returns nil for an IPN of PayPal's. Only PayPal's two words count, with status
// 200. An error page, a redirect or silence says nothing, and PayPal comes again. INVALID
// refuses the message, although PayPal is known to say it of a genuine IPN now and then:
// that IPN comes again too.
func (p *postBack) verify(ctx context.Context, body []byte, test bool) error {
	began := time.Now()
	verdict, why := p.ask(ctx, body, test)
	switch verdict {
	case "VERIFIED":
		p.metrics.verified("ipn", "verified", time.Since(began))
		return nil
	case "INVALID":
		p.metrics.verified("ipn", "invalid", time.Since(began))
		return &refusal{
			status: http.StatusBadRequest,
			reason: "invalid",
			text:   "PayPal says that it has not sent this message",
		}
	}
	p.metrics.verified("ipn", "unknown", time.Since(began))
	return again("verifier", "PayPal could not be asked whether it has sent this message ("+why+")")
}

// ask posts back. why says why there is no verdict, and quotes nothing of the message.
func (p *postBack) ask(ctx context.Context, body []byte, test bool) (verdict, why string) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	url := p.url
	switch {
	case url != "":
	case test:
		url = DefaultIPNVerifyURLSandbox
	default:
		url = DefaultIPNVerifyURL
	}
	// Order, percent signs and charset must stay PayPal's: nothing is decoded in between.
	post := io.MultiReader(strings.NewReader("cmd=_notify-validate&"), bytes.NewReader(body))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, post)
	if err != nil {
		return "", "its address cannot be used"
	}
	request.ContentLength = int64(len("cmd=_notify-validate&") + len(body))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := p.client.Do(request)
	if err != nil {
		return "", transportTrouble(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", "it answered " + response.Status
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 64))
	if err != nil {
		return "", transportTrouble(err)
	}
	if verdict = strings.TrimSpace(string(text)); verdict != "VERIFIED" && verdict != "INVALID" {
		return "", "it said neither VERIFIED nor INVALID"
	}
	return verdict, ""
}
