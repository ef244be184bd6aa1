package process

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/setting"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

const (
	inboxWorkerCount = 8
	pollEvery        = time.Second // how soon a message is seen that is due or that another gateway kept
	sweepEvery       = time.Minute
	countEvery       = 15 * time.Second
	shortestPause    = time.Second      // after the first try
	longestPause     = 10 * time.Minute // between later tries
)

// workers process the messages of an inbox.
type workers struct {
	processor *Processor
	box       *inbox.Inbox
	wake      chan struct{}
	ctx       context.Context // ends when the workers must stop claiming
	cancel    context.CancelFunc
	running   sync.WaitGroup
}

func openInbox(p *Processor) (*workers, error) {
	ctx, cancel := context.WithCancel(context.Background())
	box, err := inbox.Open(ctx, inbox.Config{
		URL: p.config.InboxURL, Account: p.config.Ledger, Keys: p.config.InboxKeys, Lease: p.config.Hold, Existing: p.config.Idle,
		BodiesFor: p.config.InboxKeep, RowsFor: p.config.InboxJournal, Now: p.config.Now,
	})
	if err != nil {
		cancel()
		return nil, setting.Wrong("InboxURL", "cannot be used: %v", err)
	}
	return &workers{
		processor: p, box: box, wake: make(chan struct{}, inboxWorkerCount), ctx: ctx, cancel: cancel,
	}, nil
}

func (w *workers) start() {
	for range inboxWorkerCount {
		w.running.Go(w.work)
	}
	w.running.Go(func() { w.every(sweepEvery, "the inbox could not be swept", w.box.Sweep) })
	w.running.Go(func() { w.every(countEvery, "the inbox could not be counted", w.count) })
}

// stop lets the workers finish the messages that they own.
func (w *workers) stop() error {
	w.cancel()
	w.running.Wait()
	return w.box.Close()
}

// work claims and processes messages until the workers stop.
func (w *workers) work() {
	for w.ctx.Err() == nil {
		claim, err := w.box.Claim(w.ctx)
		if claim != nil {
			failpoint("claimed")
			w.try(claim, err)
			continue
		}
		if err != nil && w.ctx.Err() == nil {
			w.processor.config.Log.Inbox("no message could be claimed", err)
		}
		select {
		case <-w.wake:
		case <-time.After(pollEvery):
		case <-w.ctx.Done():
		}
	}
}

func (w *workers) every(pause time.Duration, complaint string, f func(context.Context) error) {
	for {
		if err := f(w.ctx); err != nil && w.ctx.Err() == nil {
			w.processor.config.Log.Inbox(complaint, err)
		}
		select {
		case <-time.After(pause):
		case <-w.ctx.Done():
			return
		}
	}
}

func (w *workers) count(ctx context.Context) error {
	counts, err := w.box.Count(ctx)
	if err != nil {
		return err
	}
	m := w.processor.config.Metrics
	for state, n := range counts.Messages {
		m.InboxMessages(string(state), n)
	}
	m.InboxOldest(counts.Oldest)
	m.InboxPending("unverified", counts.Unverified)
	m.InboxPending("old_key", counts.OldKeys)
	return nil
}

// try processes a claimed message once, and records the result. A result that cannot be
// recorded is no loss: the lease runs out, and the next try finds each step done.
func (w *workers) try(c *inbox.Claim, opened error) {
	p := w.processor
	ctx, cancel := context.WithCancel(context.Background()) // a stop does not interrupt a try
	defer cancel()
	stopRenewing := w.renew(ctx, cancel, c)
	result, err := w.process(ctx, c, opened)
	stopRenewing()
	if errors.Is(err, errConfirmed) {
		return
	}
	if err != nil {
		result = inbox.Result{State: inbox.Waiting, Cause: "the inbox cannot be written"}
		p.config.Log.Inbox("a try could not be recorded", err)
	}
	if result.State == inbox.Waiting {
		if result.After == 0 {
			result.After = pauseAfter(c.Tries + 1)
		}
		if p.config.Now().Sub(c.Since) > p.config.InboxPatience {
			result.State, result.Cause = inbox.Person, "patience ended: "+result.Cause
		}
	}
	if result.State == inbox.Person {
		p.config.Log.ForPerson(c.Channel, c.Type, c.Row, result.Cause)
	}
	failpoint("processed")
	if err := w.box.Finish(ctx, c, result); err != nil {
		p.config.Log.Inbox("a try could not be recorded", err)
		return
	}
	failpoint("finished")
	p.config.Metrics.InboxTried(c.Channel, string(result.State))
}

// pauseAfter doubles with each try.
func pauseAfter(tries int) time.Duration {
	return min(shortestPause<<min(tries-1, 16), longestPause)
}

// renew keeps the lease of a message until the returned function is called. It ends the
// try when the lease is lost: another worker has the message then.
func (w *workers) renew(ctx context.Context, cancel context.CancelFunc, c *inbox.Claim) (stop func()) {
	ctx, stopRenewing := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-time.After(w.processor.config.Hold / 3):
			case <-ctx.Done():
				return
			}
			if err := w.box.Renew(ctx, c); errors.Is(err, inbox.ErrLeaseLost) {
				cancel()
				return
			}
		}
	})
	return func() { stopRenewing(); running.Wait() }
}

// errConfirmed means that an unverified message is verified now, and waits under its own
// id: the row of the try is gone.
var errConfirmed = errors.New("confirmed")

// process does what a message asks for now. Its error is the database's.
func (w *workers) process(ctx context.Context, c *inbox.Claim, opened error) (result inbox.Result, err error) {
	p := w.processor
	defer func() {
		if r := recover(); r != nil {
			p.config.Log.Inbox("a try panicked", fmt.Errorf("%v\n%s", r, debug.Stack()))
			result, err = inbox.Result{State: inbox.Waiting, Cause: "internal"}, nil
		}
	}()
	wait := func(cause string) (inbox.Result, error) { return inbox.Result{State: inbox.Waiting, Cause: cause}, nil }
	if opened != nil {
		return wait(opened.Error())
	}
	i := slices.IndexFunc(p.config.Channels, func(known *Channel) bool { return known.Name == c.Channel })
	if i < 0 {
		return wait("this gateway takes no " + c.Channel)
	}
	if !c.Verified {
		return w.verify(ctx, p.config.Channels[i], c)
	}
	m, a := p.judge(p.config.Channels[i], c.Header, c.Body, c.Test)
	if a.State != inbox.Waiting {
		return inbox.Result{State: a.State, Cause: a.Cause, Receiver: a.Receiver}, nil
	}
	if m.identified.Unknown {
		if err := p.tellUnknown(ctx, m); err != nil {
			return wait(err.Error())
		}
		return inbox.Result{State: inbox.Person, Cause: unknown}, nil
	}
	if err := w.box.Donate(ctx, c, a.Donations); err != nil {
		return result, err
	}
	whose := p.config.Channels[i].Account(c.Body)
	if p.config.Listeners != nil {
		return w.donateWhole(ctx, c, m, whose)
	}
	return w.donate(ctx, c, m, whose)
}

// verify asks PayPal about a message that was kept unverified. The age of a webhook is
// measured at its receipt.
func (w *workers) verify(ctx context.Context, ch *Channel, c *inbox.Claim) (inbox.Result, error) {
	test, err := ch.Verify(ctx, c.Header, c.Body, c.ReceivedAt)
	switch {
	case verify.IsAway(err):
		return inbox.Result{State: inbox.Waiting, Cause: "PayPal could not be asked"}, nil
	case err != nil:
		cause := "refused"
		if refused, ok := errors.AsType[*answer.Refusal](err); ok {
			cause = refused.Reason
		}
		return inbox.Result{State: inbox.Discarded, Cause: cause}, nil
	}
	_, a := w.processor.judge(ch, c.Header, c.Body, test)
	a.ReceivedAt = c.ReceivedAt
	if err := w.box.Confirm(ctx, c, a); err != nil {
		return inbox.Result{}, err
	}
	_ = w.kept(nil)
	return inbox.Result{}, errConfirmed
}
