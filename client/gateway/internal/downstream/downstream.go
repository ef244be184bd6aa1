// Package downstream delivers events to the program that processes donations: an HTTP
// endpoint or a Redis stream.
package downstream

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/setting"
)

// A Downstream processes donations.
type Downstream interface {
	// Accept delivers an event, whose JSON is the body. Without an error the downstream
	// has the event and will not lose it, and answer is its word for that: the status of
	// an HTTP endpoint, such as 204, or the entry in a Redis stream. The
	// event's note lives for the given time, and a second attempt may come within it,
	// under the same id.
	Accept(ctx context.Context, e *Event, body []byte, life time.Duration) (answer string, err error)
	// Ready reports whether the downstream can be reached, as far as that shows without a
	// delivery: peer.ErrUnresolved if its name has no address.
	Ready(ctx context.Context) error
	// Ping asks the downstream for an answer. An HTTP endpoint gets a signed event of
	// type KindPing, which is not a donation. The error says what is wrong and what to
	// do.
	Ping(ctx context.Context) error
	Close() error
}

// Open opens the downstream at an address, in the form of gateway.Config.ForwardTo. Its
// errors quote no part of the address: any part may belong to a password.
func Open(address string, secrets []string) (Downstream, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, setting.Wrong(
			"ForwardTo",
			"is not a URL; write %%40, %%2F and so on for special characters in a password",
		)
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return openHTTP(u, secrets)
	case "redis", "rediss":
		return openRedis(u)
	}
	return nil, setting.Wrong("ForwardTo", "must begin with http://, https://, redis:// or rediss://")
}

// An Error is the reason why the downstream did not accept an event. Its text is safe to
// log.
type Error string

func (e Error) Error() string { return string(e) }

// A RejectedError is an Error that another try would repeat: the downstream asks for a
// person.
type RejectedError string

func (e RejectedError) Error() string { return string(e) }
func (e RejectedError) Unwrap() error { return Error(e) }
