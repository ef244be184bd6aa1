package process

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/traces"
)

// kept is the outcome of a message in the inbox.
const kept = "kept"

// averageBody is the number of bytes that Config.InboxUnverified allows for each message.
const averageBody = 16 << 10

var errNotKept = answer.Again("inbox", "the message could not be kept; come again")

// take keeps a message. PayPal gets 200 as soon as the message is on disk. unverified
// says why PayPal did not verify it, and is nil for a verified message.
func (w *workers) take(
	ctx context.Context, c *Channel, header http.Header, body []byte, v verified, arrived time.Time, unverified error,
) (outcome, kind string, err error) {
	p := w.processor
	account, whose := c.ownerOf(v, body)
	q := w.queues[account.Name]
	if unverified != nil {
		if p.config.InboxUnverified < 0 {
			return "", "", unverified
		}
		a := inbox.Arrival{
			Ledger: account.Ledger, Channel: c.Name, ReceivedAt: arrived, Cause: "PayPal could not be asked",
			Header: traces.Kept(ctx, paypalHeader(header)), Body: body,
		}
		most := p.config.InboxUnverified
		err := q.box.KeepUnverified(ctx, a, most, int64(most)*averageBody)
		if errors.Is(err, inbox.ErrNoRoom) {
			return "", "", unverified
		}
		return kept, "", w.kept(q, err)
	}
	m, a := judge(c, header, body, origin{account, whose, account.ledger(v.test), v.test})
	a.ReceivedAt, a.Header = arrived, traces.Kept(ctx, a.Header)
	for _, warning := range m.identified.Warnings {
		p.config.Log.Warning(c.Name, a.Type, warning)
	}
	switch {
	case m.identified.Unknown && a.Cause == unknown:
		p.config.Log.Unknown(c.Name, a.Type, m.identified.Skipped)
	case a.State == inbox.Refused:
		p.config.Log.Journalled(c.Name, a.Type, a.Cause, a.Receiver)
	}
	err = q.box.Keep(ctx, a)
	return kept, a.Type, w.kept(q, err)
}

// kept wakes a worker for a message in a queue. Its error tells PayPal that the message
// is not kept.
func (w *workers) kept(q *queue, err error) error {
	if err != nil {
		w.processor.config.Log.Inbox("a message could not be kept", err)
		return errNotKept
	}
	failpoint("kept")
	select {
	case q.wake <- struct{}{}:
	default: // all workers are awake
	}
	return nil
}
