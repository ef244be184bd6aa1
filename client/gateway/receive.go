package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/donation-dedupe/noted/client/paypal"
)

// maxBusy is how many messages are processed at a time; further messages are told to come
// again. It bounds the cost of forged messages, as each is a question to PayPal. Total
// body memory, partial reads included, is capped at maxBusy × MaxBody. Slow senders hold
// little of it and occupy no place of a complete message.
const maxBusy = 256

// firstRead is the memory that a body begins with. Most of PayPal's need no more.
const firstRead = 4 << 10

// A room is the memory that bodies may take.
type room struct{ left atomic.Int64 } // bytes

func (r *room) take(bytes int) bool {
	if r.left.Add(-int64(bytes)) >= 0 {
		return true
	}
	r.free(bytes)
	return false
}

func (r *room) free(bytes int) { r.left.Add(int64(bytes)) }

// retryAfter is the Retry-After of a 503, in seconds. PayPal has its own schedule; the
// header is for other callers.
const retryAfter = 30

// A channel is one of PayPal's two ways to tell of a donation.
type channel struct {
	name        string // as in the contract, and in the path: /paypal/NAME
	contentType string

	// verify finds out whether PayPal has sent this body, and whether as a test.
	// Otherwise it returns a refusal.
	verify func(ctx context.Context, header http.Header, body []byte, arrived time.Time) (test bool, err error)
	// identify lists the donations that a verified body tells of.
	identify func(body []byte) (paypal.Identified, error)
	// account says whether a verified body is about an account of ours.
	account func(body []byte) ownership
}

// ownership says whose account a message is about.
type ownership int

const (
	ours ownership = iota
	foreign
	unsaid // it names no receiver
)

// A message is a verified one.
type message struct {
	channel     *channel
	contentType string
	body        []byte
	ledger      string
	identified  paypal.Identified
}

// A refusal is any answer to PayPal but 200.
type refusal struct {
	status int
	reason string // a label of the metrics, from a fixed list
	text   string // what is wrong and what to do about it, for the reader of the answer
}

func (r *refusal) Error() string { return r.text }

// again makes a temporary refusal: PayPal comes again.
func again(reason, text string) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, reason: reason, text: text}
}

// receive takes one message, from its first byte to the answer.
func (g *Gateway) receive(w http.ResponseWriter, r *http.Request, c *channel) {
	began := time.Now()
	outcome, kind, err := g.take(w, r, c)
	var refused *refusal
	if err != nil && !errors.As(err, &refused) {
		refused = again("internal", "something went wrong here; come again") // no part of it returns such an error
	}
	if refused != nil {
		outcome = refused.reason
		g.log.refused(c.name, kind, refused)
	}
	g.metrics.message(c.name, outcome, refused, time.Since(began))
	answer(w, refused)
}

// take does the work that receive accounts for. kind is PayPal's type of the message,
// once it is verified.
func (g *Gateway) take(w http.ResponseWriter, r *http.Request, c *channel) (outcome, kind string, err error) {
	body, err := g.read(w, r, c)
	defer g.room.free(cap(body))
	if err != nil {
		w.Header().Set("Connection", "close") // do not wait for the rest of the body
		return "", "", err
	}
	select {
	case g.busy <- struct{}{}:
		defer func() { <-g.busy }()
	default:
		return "", "", errBusy
	}
	ctx := context.WithoutCancel(r.Context()) // see Design

	arrived := g.config.Now()
	test, err := c.verify(ctx, r.Header, body, arrived)
	if g.inbox != nil && (err == nil || isVerifierAway(err)) {
		return g.inbox.take(ctx, c, r.Header, body, test, arrived, err)
	}
	if err != nil {
		return "", "", err
	}
	m := &message{channel: c, contentType: r.Header.Get("Content-Type"), body: body, ledger: g.config.Ledger}
	if test {
		if m.ledger = g.config.SandboxLedger; m.ledger == "" {
			return "", "", errNoSandbox
		}
	}
	if m.identified, err = c.identify(body); err != nil {
		return "", "", &refusal{status: http.StatusBadRequest, reason: "malformed", text: err.Error()}
	}
	kind = m.identified.Type
	for _, warning := range m.identified.Warnings {
		g.log.warning(c.name, kind, warning)
	}
	if m.identified.Skipped != "" && !m.identified.Unknown {
		return skipped, kind, nil // before the account: PayPal tells of our own payments too
	}
	whose := c.account(body)
	if whose == foreign {
		return "", kind, &refusal{
			status: http.StatusForbidden,
			reason: "foreign",
			text:   "the message is about an account that is not ours",
		}
	}
	outcome, err = g.work(ctx, m, whose)
	return outcome, kind, err
}

var errNoSandbox = &refusal{
	status: http.StatusForbidden,
	reason: "sandbox",
	text:   "this is a test of PayPal's sandbox, and there is no ledger for tests here",
}

// read takes the body, within the allowed size and time. The capacity of the returned
// body counts against the room, also beside an error.
func (g *Gateway) read(w http.ResponseWriter, r *http.Request, c *channel) ([]byte, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &refusal{status: http.StatusMethodNotAllowed, reason: "method", text: "only POST is taken here"}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != c.contentType {
		return nil, &refusal{
			status: http.StatusUnsupportedMediaType,
			reason: "content_type",
			text:   "the Content-Type must be " + c.contentType,
		}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, &refusal{
			status: http.StatusUnsupportedMediaType,
			reason: "content_type",
			text:   "a Content-Encoding is not taken: the bytes are verified as they come",
		}
	}
	tooLarge := &refusal{
		status: http.StatusRequestEntityTooLarge,
		reason: "too_large",
		text:   "the message has more than " + strconv.FormatInt(g.config.MaxBody, 10) + " bytes",
	}
	if r.ContentLength > g.config.MaxBody {
		return nil, tooLarge
	}
	// A server that cannot set deadlines has its own, or none. Then only MaxBody bounds
	// the body.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(g.config.BodyTimeout))
	body, err := g.gather(http.MaxBytesReader(w, r.Body, g.config.MaxBody))
	switch {
	case err == nil && len(body) == 0:
		return body, &refusal{status: http.StatusBadRequest, reason: "malformed", text: "the body is empty"}
	case err == nil:
		_ = control.SetReadDeadline(time.Time{})
		return body, nil
	}
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errBusy):
		return body, err
	case errors.As(err, &large):
		return body, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return body, &refusal{
			status: http.StatusRequestTimeout,
			reason: "slow",
			text:   "the message did not arrive in time",
		}
	}
	return body, &refusal{status: http.StatusBadRequest, reason: "broken", text: "the message broke off"}
}

var errBusy = again("busy", "too many messages at once; come again")

// gather reads to the end, as io.ReadAll does, and takes room as the bytes arrive.
// Announced bytes that the sender does not send take none.
func (g *Gateway) gather(from io.Reader) (body []byte, err error) {
	for {
		if len(body) == cap(body) {
			size := int(
				min(int64(max(firstRead, 2*cap(body))), g.config.MaxBody+1),
			) // one byte more than the largest, to see its end
			if !g.room.take(size - cap(body)) {
				return body, errBusy
			}
			body = append(make([]byte, 0, size), body...)
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}

// answer tells PayPal the outcome. PayPal reads only the status; the rest is for a
// person.
func answer(w http.ResponseWriter, refused *refusal) {
	if refused == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if refused.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(refused.status)
	_ = json.NewEncoder(w).
		Encode(map[string]string{"error": refused.text, "reason": refused.reason})
	// PayPal may be gone
}

// confidential says whether others can neither read nor change the traffic to a URL:
// https, or this machine.
func confidential(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}
