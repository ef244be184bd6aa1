package gateway

import (
	"context"
	"net/url"
	"strings"
	"time"
)

// A downstream processes donations: an HTTP endpoint or a Redis stream.
type downstream interface {
	// accept gives it an event. nil means that the downstream has the event and will not
	// lose it. The event's note lives for the given time, and a second attempt may come
	// within it, under the same id.
	accept(ctx context.Context, e *outgoing, body []byte, life time.Duration) error
	// ready says whether it can be reached; nil where only a delivery would tell.
	ready(ctx context.Context) error
	close() error
}

// openDownstream reads ForwardTo. Its errors quote no part of the URL: any part may
// belong to a password.
func openDownstream(config Config) (downstream, error) {
	u, err := url.Parse(config.ForwardTo)
	if err != nil {
		return nil, wrongField(
			"ForwardTo",
			"is no URL; write %%40, %%2F and so on for the signs in a password that mean something there",
		)
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return openHTTP(u, config.ForwardSecrets)
	case "redis", "rediss":
		return openRedis(u)
	}
	return nil, wrongField("ForwardTo", "begins with none of http://, https://, redis:// and rediss://")
}

// A downstreamError says why the downstream has not accepted an event. Its text is safe
// to log.
type downstreamError string

func (e downstreamError) Error() string { return string(e) }

// A rejectedError is a downstreamError that another try would not change: the downstream
// wants a person to look at the event.
type rejectedError struct{ downstreamError }

func (e rejectedError) Unwrap() error { return e.downstreamError }
