package downstream

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
	"github.com/donation-dedupe/noted/client/gateway/internal/setting"
)

// Via is the name that the gateway adds to PayPal's headers, so that it recognises a
// message that comes back.
const Via = "1.1 noted-gateway"

// A Listener takes PayPal's own messages, as it did before it had a gateway. It knows no
// donation ids, so it cannot recognise a repeated message.
type Listener struct {
	url    string
	client *http.Client
}

// OpenListener makes the listener at an address. field is the name of the setting. The
// error quotes no part of the address: any part may belong to a password.
func OpenListener(field, address string) (*Listener, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, setting.Wrong(field, "must be the http(s) URL of your listener")
	}
	return &Listener{url: u.String(), client: peer.Downstream()}, nil
}

// Accept posts a message with its bytes and PayPal's headers. Only a 2xx answer is
// acceptance. PayPal would repeat a refused message, so no other answer is final. answer is
// the status.
func (l *Listener) Accept(ctx context.Context, m *Message) (answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader(m.Body))
	if err != nil {
		return "", Error("the address of the listener cannot be used")
	}
	request.Header = m.Header.Clone()
	request.Header.Set("Via", Via)
	response, err := l.client.Do(request)
	if err != nil {
		return "", Error(peer.Trouble(err))
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	answer = strconv.Itoa(response.StatusCode)
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return "", Error("it answered " + answer)
	}
	return answer, nil
}

// Ready only looks up the listener's name: the listener may get only PayPal's messages.
func (l *Listener) Ready(ctx context.Context) error { return peer.Resolve(ctx, l.url) }

// Close closes the connections.
func (l *Listener) Close() { l.client.CloseIdleConnections() }
