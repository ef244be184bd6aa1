package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
)

// An api verifies webhooks by PayPal's API. It needs a token, and keeps it until shortly
// before its end.
type api struct {
	base             string
	clientID, secret string
	client           *http.Client
	timeout          time.Duration
	test             bool // the API is the sandbox's
	now              func() time.Time
	mu               sync.Mutex // held during a fetch, so that all callers share it
	token            string
	tokenEnds        time.Time
}

// errToken means that PayPal no longer accepts the token.
var errToken = errors.New("token refused")

func newAPI(app Credentials, config Config) *api {
	base, _ := url.Parse(app.URL) // checked
	return &api{
		base:     strings.TrimRight(app.URL, "/"),
		clientID: app.ClientID,
		secret:   app.ClientSecret,
		client:   peer.Client(nil),
		timeout:  config.Timeout,
		test:     strings.Contains(base.Hostname(), "sandbox"),
		now:      config.Now,
	}
}

// verify asks PayPal, with the exact bytes of the body: PayPal rejects genuine bodies
// that were parsed and written again. The body is embedded in JSON, so it must be one
// whole JSON object. Otherwise a body could end early and bring its own webhook_id.
func (a *api) verify(ctx context.Context, webhookID string, t transmission, body []byte) (test bool, err error) {
	object := bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if trimmed := bytes.TrimLeft(object, " \t\r\n"); !json.Valid(object) || trimmed[0] != '{' {
		return false, &answer.Refusal{
			Status: http.StatusBadRequest,
			Reason: "malformed",
			Text:   "the body is no JSON object",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	status, err := a.ask(ctx, webhookID, t, object)
	if errors.Is(err, errToken) { // PayPal withdrew it early
		a.forget()
		status, err = a.ask(ctx, webhookID, t, object)
	}
	switch {
	case err != nil:
		return false, away("PayPal could not be asked whether it sent this message (" + peer.Trouble(err) + ")")
	case status == "SUCCESS":
		return a.test, nil
	case status == "FAILURE":
		return false, &answer.Refusal{
			Status: http.StatusBadRequest,
			Reason: "invalid",
			Text:   "PayPal says that it did not send this message to this webhook",
		}
	}
	return false, away("PayPal said neither SUCCESS nor FAILURE of this message")
}

func (a *api) ask(ctx context.Context, webhookID string, t transmission, object []byte) (status string, err error) {
	token, err := a.authorise(ctx)
	if err != nil {
		return "", err
	}
	question, err := json.Marshal(map[string]string{
		"transmission_id": t.id, "transmission_time": t.time, "transmission_sig": t.signature,
		"cert_url": t.certURL, "auth_algo": t.algorithm, "webhook_id": webhookID,
	})
	if err != nil {
		return "", err
	}
	// Not as a json.RawMessage, which would compact the bytes under the checksum.
	question = append(question[:len(question)-1], `,"webhook_event":`...)
	question = append(append(question, object...), '}')
	var answer struct {
		Status string `json:"verification_status"`
	}
	err = a.post(
		ctx,
		"/v1/notifications/verify-webhook-signature",
		"application/json",
		question,
		func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
		&answer,
	)
	return answer.Status, err
}

// authorise returns a token: the kept token while it is valid.
func (a *api) authorise(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && a.now().Before(a.tokenEnds) {
		return a.token, nil
	}
	var answer struct {
		Token     string `json:"access_token"`
		ExpiresIn int64  `json:"expires_in"` // seconds
	}
	err := a.post(
		ctx,
		"/v1/oauth2/token",
		"application/x-www-form-urlencoded",
		[]byte("grant_type=client_credentials"),
		func(r *http.Request) { r.SetBasicAuth(a.clientID, a.secret) },
		&answer,
	)
	switch {
	case errors.Is(err, errToken):
		return "", errors.New("it does not know the client id and secret")
	case err != nil:
		return "", err
	case answer.Token == "":
		return "", errors.New("it gave no token")
	}
	a.token, a.tokenEnds = answer.Token, a.now().Add(time.Duration(answer.ExpiresIn)*time.Second-time.Minute)
	return a.token, nil
}

func (a *api) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = ""
}

func (a *api) post(
	ctx context.Context,
	path, contentType string,
	body []byte,
	authorise func(*http.Request),
	answer any,
) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", "application/json")
	authorise(request)
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusUnauthorized:
		return errToken
	case response.StatusCode != http.StatusOK:
		return errors.New("it answered " + response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(answer); err != nil {
		return errors.New("its answer cannot be read")
	}
	return nil
}
