// Package process brings the donations of a message to the downstream: it verifies the
// message, identifies its donations, asks Noted, and settles each donation that the
// downstream has accepted.
//
// # How a message travels
//
// [Processor.Take] gets the bytes of a message. Without an inbox it does all steps before
// it answers PayPal (work.go). With an inbox it keeps the message (take.go). Workers
// claim it (workers.go) and process its donations (donate.go), as often as necessary.
// Both ways end in a delivery to the downstream (deliver.go), or in an event for a person
// (person.go).
package process

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/metrics"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

// Config has the settings of processing. They have the same meaning as in gateway.Config,
// which also checks them and has their defaults.
type Config struct {
	Accounts []*Account // one or more; the first takes messages without an account

	ForwardTimeout time.Duration
	Hold           time.Duration

	InboxURL        string
	InboxKeys       []inbox.Key
	InboxKeep       time.Duration
	InboxJournal    time.Duration
	InboxPatience   time.Duration
	InboxUnverified int

	Noted    *client.Client
	Channels []*Channel
	Metrics  *metrics.Metrics
	Log      *metrics.Log
	Now      func() time.Time

	// TracerProvider gets the spans of messages that are processed later; nil: no spans.
	TracerProvider trace.TracerProvider

	// Idle opens an existing inbox, and starts no worker.
	Idle bool
}

// workTime is the time after which no further donation of a message begins. PayPal hangs
// up after 30 seconds, and its redelivery continues at the next donation.
const workTime = 25 * time.Second

// A Processor processes messages.
type Processor struct {
	config   Config
	inbox    *workers // nil without an inbox
	workTime time.Duration
}

// New makes a processor. With an inbox it opens the database and starts the workers.
func New(config Config) (*Processor, error) {
	p := &Processor{config: config, workTime: workTime}
	if config.InboxURL != "" {
		var err error
		if p.inbox, err = openInbox(p); err != nil {
			return nil, err
		}
		if !config.Idle {
			p.inbox.start()
		}
	}
	return p, nil
}

// SetWorkTime shortens workTime.
func (p *Processor) SetWorkTime(d time.Duration) { p.workTime = d }

// InboxReady reports whether the inbox's database answers. kept is false without an
// inbox.
func (p *Processor) InboxReady(ctx context.Context) (kept bool, err error) {
	if p.inbox == nil {
		return false, nil
	}
	return true, p.inbox.box.Ready(ctx)
}

// SweepInbox sweeps the inbox once, as a worker does every minute.
func (p *Processor) SweepInbox(ctx context.Context) error { return p.inbox.sweep(ctx) }

// ForeignAccounts counts the waiting messages of accounts that this gateway does not have, by
// account.
func (p *Processor) ForeignAccounts(ctx context.Context) (map[string]int64, error) {
	if p.inbox == nil {
		return nil, nil
	}
	own := make(map[string]bool)
	for _, account := range p.config.Accounts {
		own[account.Name] = true
	}
	return p.inbox.box.Waiting(ctx, own)
}

// Close lets the workers finish their messages.
func (p *Processor) Close() error {
	if p.inbox == nil {
		return nil
	}
	return p.inbox.stop()
}

// Take takes a message whose bytes have arrived. It returns its outcome, or the refusal
// for PayPal. kind is PayPal's type of the message, set after verification.
func (p *Processor) Take(
	ctx context.Context, c *Channel, header http.Header, body []byte,
) (outcome, kind string, err error) {
	arrived := p.config.Now()
	v, err := c.verified(ctx, header, body, arrived)
	if err == nil {
		p.heard(c, v, body, arrived)
	}
	if p.inbox != nil && (err == nil || verify.IsAway(err)) {
		return p.inbox.take(ctx, c, header, body, v, arrived, err)
	}
	if err != nil {
		return "", "", err
	}
	return p.takeNow(ctx, c, header, body, v)
}

// heard records the time of a channel's last message. PayPal's tests and foreign messages
// do not make it look alive.
func (p *Processor) heard(c *Channel, v verified, body []byte, at time.Time) {
	if account, whose := c.ownerOf(v, body); whose != Foreign && !v.test {
		p.config.Metrics.Heard(account.Name, c.Name, at)
	}
}

// takeNow processes a verified message before PayPal gets its answer.
func (p *Processor) takeNow(
	ctx context.Context, c *Channel, header http.Header, body []byte, v verified,
) (outcome, kind string, err error) {
	account, whose := c.ownerOf(v, body)
	ledger := account.ledger(v.test)
	if v.test && ledger == "" && whose != Foreign { // the refusal of a foreign message names its receiver
		return "", "", errNoSandbox
	}
	m, err := identify(c, header, body, account, ledger)
	if err != nil {
		return "", "", &answer.Refusal{Status: http.StatusBadRequest, Reason: "malformed", Text: err.Error()}
	}
	kind = m.identified.Type
	for _, warning := range m.identified.Warnings {
		p.config.Log.Warning(c.Name, kind, warning)
	}
	if m.identified.Skipped != "" && !m.identified.Unknown {
		return skipped, kind, nil // before the account: PayPal also tells of our own payments
	}
	if whose == Foreign {
		return "", kind, &answer.Refusal{
			Status: http.StatusForbidden,
			Reason: "foreign",
			Text:   "the message is about an account that is not ours",
			Who:    receiverName(body),
		}
	}
	outcome, err = p.work(ctx, m, whose)
	return outcome, kind, err
}
