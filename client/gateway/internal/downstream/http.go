package downstream

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
	"github.com/donation-dedupe/noted/client/gateway/internal/setting"
)

// An endpoint gets one POST for each event, signed according to Standard Webhooks.
type endpoint struct {
	url     string
	signers []*standardwebhooks.Webhook // one, or two while a secret is being replaced
	client  *http.Client
}

func openHTTP(u *url.URL, secrets []string) (Downstream, error) {
	if u.Host == "" {
		return nil, setting.Wrong("ForwardTo", "names no host")
	}
	if len(secrets) == 0 {
		return nil, setting.Wrong(
			"ForwardSecrets",
			"is missing: without a signature the downstream cannot tell the gateway from a stranger; make a "+
				"secret with: echo whsec_$(openssl rand -base64 32)",
		)
	}
	d := &endpoint{url: u.String(), client: peer.Downstream()}
	for i, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || !strings.HasPrefix(secret, "whsec_") || len(key) < 24 || len(key) > 64 {
			return nil, setting.Wrong(
				"ForwardSecrets",
				"cannot be used: secret %d is not whsec_ and 24 to 64 bytes in base64; make one with: echo "+
					"whsec_$(openssl rand -base64 32)",
				i+1,
			)
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, setting.Wrong("ForwardSecrets", "cannot be used: secret %d makes no key", i+1)
		}
		d.signers = append(d.signers, signer)
	}
	return d, nil
}

// Accept posts the event. Only a 2xx answer is acceptance. Redirects are not followed:
// the signature and the donor's data are for this endpoint alone.
func (d *endpoint) Accept(ctx context.Context, e *Event, body []byte, _ time.Duration) (answer string, err error) {
	status, said, err := d.post(ctx, e.ID, body)
	answer = strconv.Itoa(status)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusGone || status == http.StatusUnprocessableEntity:
		return "", RejectedError("it answered " + answer + reasonIn(said))
	case status < 200 || status > 299:
		return "", Error("it answered " + answer)
	}
	return answer, nil
}

// post signs a body and posts it. said is the beginning of the answer.
func (d *endpoint) post(ctx context.Context, id string, body []byte) (status int, said []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, Error("the address of the downstream cannot be used")
	}
	now := time.Now()
	var signatures []string
	for _, signer := range d.signers {
		signature, err := signer.Sign(id, now, body)
		if err != nil {
			return 0, nil, Error("signing: " + err.Error())
		}
		signatures = append(signatures, signature)
	}
	request.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	request.Header.Set("User-Agent", "noted-gateway")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	response, err := d.client.Do(request)
	if err != nil {
		return 0, nil, Error(peer.Trouble(err))
	}
	defer response.Body.Close()
	said, _ = io.ReadAll(io.LimitReader(response.Body, 64<<10)) // to the end, so that the connection can be used again
	return response.StatusCode, said, nil
}

// Ping posts a signed event that is not a donation.
func (d *endpoint) Ping(ctx context.Context) error {
	e := Ping(time.Now())
	body, err := e.JSON()
	if err != nil {
		return err
	}
	status, _, err := d.post(ctx, e.ID, body)
	switch {
	case err != nil:
		return fmt.Errorf("cannot be reached (%w); check that it runs, and its address", err)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf(
			"answered %d to a signed ping; compare its secret with this gateway's, and the clocks",
			status,
		)
	case status < 200 || status > 299:
		return fmt.Errorf("answered %d to a signed ping; let it answer 2xx to an event of type %s, and keep nothing",
			status, KindPing)
	}
	return nil
}

// reasonPattern matches one word. A sentence could contain a donor's data, which must
// stay out of journal and log.
var reasonPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// reasonIn returns the reason in a downstream's answer, {"reason":"one_word"}, after a
// colon.
func reasonIn(answer []byte) string {
	var said struct{ Reason string }
	if json.Unmarshal(answer, &said) != nil || !reasonPattern.MatchString(said.Reason) {
		return ""
	}
	return ": " + said.Reason
}

// Ready only looks up the name: the gateway must not post at each readiness check.
func (d *endpoint) Ready(ctx context.Context) error { return peer.Resolve(ctx, d.url) }

func (d *endpoint) Close() error {
	d.client.CloseIdleConnections()
	return nil
}
