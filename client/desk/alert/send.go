package alert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	mail "github.com/wneessen/go-mail"
)

// NewSender makes a sender from an address:
//
//	smtp://user@mail.example.org:587?from=desk@example.org&to=anna@example.org,ben@example.org
//	smtps://user@mail.example.org?from=…&to=…
//	https://hooks.example.org/desk
//
// The secret is the password of the mail user, or the signing secret of the webhook:
// whsec_ and base64. smtps begins with TLS. smtp switches to TLS, and does without it
// only on this machine.
func NewSender(address, secret string) (Sender, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, errors.New("write smtp://USER@HOST:PORT?from=ADDRESS&to=ADDRESS, smtps://… or https://…")
	}
	if _, inURL := u.User.Password(); inURL {
		return nil, errors.New("the address must not contain a password: put it into the file of the secret")
	}
	switch u.Scheme {
	case "smtp", "smtps":
		return newMail(u, secret)
	case "http", "https":
		return newHook(u, secret)
	}
	return nil, fmt.Errorf("the scheme %q is not smtp, smtps, http or https", u.Scheme)
}

// mailer sends mails.
type mailer struct {
	client *mail.Client
	from   string
	to     []string
}

func newMail(u *url.URL, password string) (Sender, error) {
	query := u.Query()
	m := &mailer{from: query.Get("from")}
	for to := range strings.FieldsFuncSeq(query.Get("to"), func(r rune) bool { return r == ',' || r == ' ' }) {
		m.to = append(m.to, to)
	}
	if m.from == "" || len(m.to) == 0 {
		return nil, errors.New("the address of a mail server needs a sender and recipients: ?from=ADDRESS&to=ADDRESS")
	}
	if _, err := m.mail(Message{}); err != nil {
		return nil, err
	}
	options := []mail.Option{mail.WithTimeout(20 * time.Second)}
	switch {
	case u.Scheme == "smtps":
		options = append(options, mail.WithSSL(), mail.WithPort(465))
	case isLoopback(u.Hostname()):
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic), mail.WithPort(25))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory), mail.WithPort(587))
	}
	if text := u.Port(); text != "" {
		port, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a port", text)
		}
		options = append(options, mail.WithPort(port))
	}
	if user := u.User.Username(); user != "" {
		if password == "" {
			return nil, errors.New("the user of the mail server has no password: name the file with the secret")
		}
		auth := mail.SMTPAuthAutoDiscover // it sends no password without TLS
		if u.Scheme == "smtp" && isLoopback(u.Hostname()) {
			auth = mail.SMTPAuthPlain
		}
		options = append(options, mail.WithSMTPAuth(auth), mail.WithUsername(user), mail.WithPassword(password))
	}
	var err error
	m.client, err = mail.NewClient(u.Hostname(), options...)
	return m, err
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (m *mailer) mail(message Message) (*mail.Msg, error) {
	msg := mail.NewMsg()
	if err := msg.From(m.from); err != nil {
		return nil, fmt.Errorf("%q is not a sender's address", m.from)
	}
	if err := msg.To(m.to...); err != nil {
		return nil, fmt.Errorf("not all of %q are recipients' addresses", strings.Join(m.to, ", "))
	}
	_, host, _ := strings.Cut(m.from, "@")
	sum := sha256.Sum256([]byte(message.ID))
	msg.SetMessageIDWithValue(hex.EncodeToString(sum[:12]) + "@" + strings.Trim(host, "> "))
	msg.SetDateWithValue(message.At)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.Subject(message.Subject)
	msg.SetBodyString(mail.TypeTextPlain, message.Text)
	return msg, nil
}

// Send sends one mail to all recipients.
func (m *mailer) Send(ctx context.Context, message Message) error {
	msg, err := m.mail(message)
	if err != nil {
		return err
	}
	if err := m.client.DialAndSendWithContext(ctx, msg); err != nil {
		return fmt.Errorf("the mail server refuses the mail: %w", err)
	}
	return nil
}

// hook posts to a webhook, signed like the gateway's events.
type hook struct {
	url    string
	signer *standardwebhooks.Webhook // nil: unsigned
	client *http.Client
}

func newHook(u *url.URL, secret string) (Sender, error) {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	h := &hook{url: u.String(), client: &http.Client{CheckRedirect: stay, Timeout: 20 * time.Second}}
	if u.User != nil {
		return nil, errors.New("the address of a webhook must not contain a user")
	}
	if secret == "" {
		return h, nil
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || !strings.HasPrefix(secret, "whsec_") || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("the secret is not whsec_ and 24 to 64 bytes in base64; make one with: " +
			"echo whsec_$(openssl rand -base64 32)")
	}
	h.signer, err = standardwebhooks.NewWebhookRaw(key)
	return h, err
}

// Send posts a message as JSON.
func (h *hook) Send(ctx context.Context, m Message) error {
	state := "begun"
	if m.Over {
		state = "over"
	}
	body, err := json.Marshal(map[string]string{
		"type": "noted.alert", "cause": m.Cause, "state": state, "subject": m.Subject, "text": m.Text, "link": m.Link,
		"at": m.At.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the address of the webhook cannot be used")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "noted-desk")
	if h.signer != nil {
		now := time.Now()
		signature, err := h.signer.Sign(m.ID, now, body)
		if err != nil {
			return fmt.Errorf("signing: %w", err)
		}
		request.Header.Set(standardwebhooks.HeaderWebhookID, m.ID)
		request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
		request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	}
	response, err := h.client.Do(request)
	if err != nil {
		return fmt.Errorf("the webhook does not answer: %s", withoutURL(err))
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("the webhook answered %d", response.StatusCode)
	}
	return nil
}

// withoutURL is the error without the address, which may contain a secret.
func withoutURL(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "it took too long"
	}
	return err.Error()
}
