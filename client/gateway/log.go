package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client"
)

// A gatewayLog writes the lines for operators. Of a message it may name the channel, the
// type, a donation id, a verdict and our own reasons, but never a name, an address, an
// amount or an id of PayPal's.
type gatewayLog struct {
	logger *slog.Logger
	limit  limit
}

func newLog(logger *slog.Logger) *gatewayLog { return &gatewayLog{logger: logger} }

// refused logs a message that was not answered 200. Strangers can cause these lines, so
// only some of many in one second are logged; all are counted.
func (l *gatewayLog) refused(channel, kind string, refused *refusal) {
	if dropped, ok := l.limit.allow(time.Now()); ok {
		l.logger.Warn(
			"message refused",
			"channel",
			channel,
			"type",
			kind,
			"status",
			refused.status,
			"reason",
			refused.reason,
			"why",
			refused.text,
			"not_logged_before",
			dropped,
		)
	}
}

// readiness logs a change of readiness. why is empty where the gateway is ready.
func (l *gatewayLog) readiness(before, why string) {
	switch {
	case why == before:
	case why == "":
		l.logger.Info("ready again")
	default:
		l.logger.Warn("not ready", "why", why)
	}
}

// unknown logs a message of an unknown type. It may be about a donation.
func (l *gatewayLog) unknown(m *message) {
	l.logger.Warn(
		"message of an unknown type",
		"channel",
		m.channel.name,
		"type",
		m.identified.Type,
		"why",
		m.identified.Skipped,
	)
}

// journalled logs a message that is kept in the inbox and not processed.
func (l *gatewayLog) journalled(channel, kind, cause string) {
	if dropped, ok := l.limit.allow(time.Now()); ok {
		l.logger.Warn("message kept, but not processed", "channel", channel, "type", kind, "cause", cause,
			"not_logged_before", dropped)
	}
}

// inbox logs trouble with the inbox's database.
func (l *gatewayLog) inbox(what string, err error) {
	if dropped, ok := l.limit.allow(time.Now()); ok {
		l.logger.Error(what, "cause", err.Error(), "not_logged_before", dropped)
	}
}

// forPerson logs a message that is left to a person.
func (l *gatewayLog) forPerson(channel, kind, row, cause string) {
	l.logger.Warn("message left to a person; see noted-gateway inbox show", "channel", channel, "type", kind,
		"row", row, "cause", cause)
}

// warning logs a field that was left out of a donation; the text names the field and no
// value.
func (l *gatewayLog) warning(channel, kind, text string) {
	l.logger.Warn("left out of a donation", "channel", channel, "type", kind, "what", text)
}

// donation is the log for one donation of a message.
func (l *gatewayLog) donation(m *message, id string, verdict client.Verdict) *slog.Logger {
	return l.logger.With(
		"channel",
		m.channel.name,
		"type",
		m.identified.Type,
		"donation_id",
		id,
		"verdict",
		verdict.String(),
	)
}

// cause says why in words that are safe to log: the client's own errors name series.
func cause(err error) string {
	if reason := client.Reason(err); reason != "" {
		return reason
	}
	if trouble, ok := errors.AsType[downstreamError](err); ok {
		return trouble.Error()
	}
	switch {
	case errors.Is(err, client.ErrUnavailable):
		return "Noted cannot be reached"
	case errors.Is(err, context.DeadlineExceeded):
		return "Noted did not answer in time"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "unexpected"
}

// A limit lets ten lines a second through.
type limit struct {
	mu      sync.Mutex
	second  int64
	logged  int
	dropped int
}

const linesPerSecond = 10

// allow says whether to log now, and how many were dropped since the last line.
func (l *limit) allow(now time.Time) (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Unix() != l.second {
		l.second, l.logged = now.Unix(), 0
	}
	if l.logged == linesPerSecond {
		l.dropped++
		return 0, false
	}
	l.logged++
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}
