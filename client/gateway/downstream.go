package gateway

import (
	"context"
	"net/url"
	"strings"
	"time"
)

// A downstream is whoever processes donations: an HTTP endpoint or a Redis stream.
type downstream interface {
	// accept gives an event to it. nil means that it has it and will not lose it. The
	// note of the event lives for the given time, and a second attempt may come within
	// it, under the same id.
	accept(ctx context.Context, e *outgoing, body []byte, life time.Duration) error
	// ready says whether it can be reached; nil where that cannot be known without
	// handing something on.
	ready(ctx context.Context) error
	close() error
}

// openDownstream reads ForwardTo. Its errors hold no part of the URL: wherever it is cut,
// that may be one of a password.
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

// A downstreamError says why the downstream has not accepted an event, in words that are safe
// to be logged.
type downstreamError string

func (e downstreamError) Error() string { return string(e) }
