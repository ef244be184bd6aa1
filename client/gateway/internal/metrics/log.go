package metrics

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
)

// A Log writes the lines for operators. About a message it may show the channel, the
// type, a donation id, a verdict and our own reasons, but never a name, an address, an
// amount or a PayPal id.
type Log struct {
	logger *slog.Logger
	limit  limit
}

// NewLog makes a log from a logger.
func NewLog(logger *slog.Logger) *Log { return &Log{logger: logger} }

// Refused logs a message that did not get 200. Strangers can cause these lines, so only
// some of many in one second are logged. The metrics count all of them.
func (l *Log) Refused(channel, kind, remote string, refused *answer.Refusal) {
	if dropped, ok := l.limit.allow(time.Now()); ok {
		line := l.logger.With("channel", channel, "type", kind, "status", refused.Status, "reason", refused.Reason)
		if refused.Who != "" {
			line = line.With("receiver", refused.Who)
		}
		line.Warn("message refused", "why", refused.Text, "remote", remote, "not_logged_before", dropped)
	}
}

// AtStart logs a part that is in trouble at the start of the gateway.
func (l *Log) AtStart(part, why string) {
	l.logger.Warn("a part is in trouble at the start", "part", part, "why", why)
}

// Deserted logs a message that is left to a person because no gateway has its account.
func (l *Log) Deserted(account, channel, row string) {
	if dropped, ok := l.limit.allow(time.Now()); ok {
		l.logger.Warn("message left to a person: no gateway has its account; give the account back to a gateway, "+
			"which then processes the message, or close it", "account", account, "channel", channel, "row", row,
			"not_logged_before", dropped)
	}
}

// Readiness logs a change of readiness. why is empty if the gateway is ready.
func (l *Log) Readiness(before, why string) {
	switch {
	case why == before:
	case why == "":
		l.logger.Info("ready again")
	default:
		l.logger.Warn("not ready", "why", why)
	}
}

// Unknown logs a message of an unknown type. It may be about a donation.
func (l *Log) Unknown(channel, kind, why string) {
	l.logger.Warn("message of an unknown type", "channel", channel, "type", kind, "why", why)
}

// Journalled logs a message that is kept in the inbox but not processed. receiver is the
// receiver of a message for a foreign account.
func (l *Log) Journalled(channel, kind, cause, receiver string) {
	if dropped, ok := l.limit.allow(time.Now()); ok {
		line := l.logger.With("channel", channel, "type", kind, "cause", cause)
		if receiver != "" {
			line = line.With("receiver", receiver)
		}
		line.Warn("message kept, but not processed", "not_logged_before", dropped)
	}
}

// Inbox logs trouble with the inbox's database.
func (l *Log) Inbox(what string, err error) {
	if dropped, ok := l.limit.allow(time.Now()); ok {
		l.logger.Error(what, "cause", err.Error(), "not_logged_before", dropped)
	}
}

// ForPerson logs a message that waits for a person.
func (l *Log) ForPerson(channel, kind, row, cause string) {
	l.logger.Warn("message left to a person; see noted-gateway inbox show", "channel", channel, "type", kind,
		"row", row, "cause", cause)
}

// Warning logs a field that was left out of a donation. The text names the field and has
// no value.
func (l *Log) Warning(channel, kind, text string) {
	l.logger.Warn("left out of a donation", "channel", channel, "type", kind, "what", text)
}

// Donation is the log of one donation of a message.
func (l *Log) Donation(channel, kind, id string, verdict fmt.Stringer) *slog.Logger {
	return l.logger.With("channel", channel, "type", kind, "donation_id", id, "verdict", verdict.String())
}

// A limit lets ten lines a second through.
type limit struct {
	mu      sync.Mutex
	second  int64
	logged  int
	dropped int
}

const linesPerSecond = 10

// allow reports whether to log now, and returns the number of dropped lines since the
// last line.
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
