package gateway

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

const (
	inboxWorkerCount = 8
	pollEvery        = time.Second // how soon a message is seen that is due or that another gateway kept
	sweepEvery       = time.Minute
	countEvery       = 15 * time.Second
	shortestPause    = time.Second      // after the first try
	longestPause     = 10 * time.Minute // between later tries
)

// inboxWorkers process the messages of an inbox.
type inboxWorkers struct {
	gateway *Gateway
	box     *inbox.Inbox
	wake    chan struct{}
	ctx     context.Context // ends when the workers must stop claiming
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func openInbox(g *Gateway) (*inboxWorkers, error) {
	ctx, cancel := context.WithCancel(context.Background())
	box, err := inbox.Open(ctx, inbox.Config{
		URL: g.config.InboxURL, Account: g.config.Ledger, Keys: g.config.InboxKeys, Lease: g.config.Hold,
		BodiesFor: g.config.InboxKeep, RowsFor: g.config.InboxJournal, Now: g.config.Now,
	})
	if err != nil {
		cancel()
		return nil, &ConfigError{Field: "InboxURL", Problem: "cannot be used: " + err.Error()}
	}
	return &inboxWorkers{
		gateway: g, box: box, wake: make(chan struct{}, inboxWorkerCount), ctx: ctx, cancel: cancel,
	}, nil
}

func (w *inboxWorkers) start() {
	for range inboxWorkerCount {
		w.running.Go(w.work)
	}
	w.running.Go(func() { w.every(sweepEvery, "the inbox could not be swept", w.box.Sweep) })
	w.running.Go(func() { w.every(countEvery, "the inbox could not be counted", w.count) })
}

// stop lets the workers finish the messages that they own.
func (w *inboxWorkers) stop() error {
	w.cancel()
	w.running.Wait()
	return w.box.Close()
}

// work claims and processes messages until the workers stop.
func (w *inboxWorkers) work() {
	for w.ctx.Err() == nil {
		claim, err := w.box.Claim(w.ctx)
		if claim != nil {
			failpoint("claimed")
			w.try(claim, err)
			continue
		}
		if err != nil && w.ctx.Err() == nil {
			w.gateway.log.inbox("no message could be claimed", err)
		}
		select {
		case <-w.wake:
		case <-time.After(pollEvery):
		case <-w.ctx.Done():
		}
	}
}

func (w *inboxWorkers) every(pause time.Duration, complaint string, f func(context.Context) error) {
	for {
		if err := f(w.ctx); err != nil && w.ctx.Err() == nil {
			w.gateway.log.inbox(complaint, err)
		}
		select {
		case <-time.After(pause):
		case <-w.ctx.Done():
			return
		}
	}
}

func (w *inboxWorkers) count(ctx context.Context) error {
	counts, err := w.box.Count(ctx)
	if err == nil {
		w.gateway.metrics.inbox(counts)
	}
	return err
}

// try processes a claimed message once, and records the result. A result that cannot be
// recorded is no loss: the lease runs out, and the next try finds each step done.
func (w *inboxWorkers) try(c *inbox.Claim, opened error) {
	g := w.gateway
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
		g.log.inbox("a try could not be recorded", err)
	}
	if result.State == inbox.Waiting {
		if result.After == 0 {
			result.After = pauseAfter(c.Tries + 1)
		}
		if g.config.Now().Sub(c.Since) > g.config.InboxPatience {
			result.State, result.Cause = inbox.Person, "patience ended: "+result.Cause
		}
	}
	if result.State == inbox.Person {
		g.log.forPerson(c.Channel, c.Type, c.Row, result.Cause)
	}
	failpoint("processed")
	if err := w.box.Finish(ctx, c, result); err != nil {
		g.log.inbox("a try could not be recorded", err)
		return
	}
	failpoint("finished")
	g.metrics.tried(c.Channel, result.State)
}

// pauseAfter doubles with each try.
func pauseAfter(tries int) time.Duration {
	return min(shortestPause<<min(tries-1, 16), longestPause)
}

// renew keeps the lease of a message until the returned function is called. It ends the
// try when the lease is lost: another worker has the message then.
func (w *inboxWorkers) renew(ctx context.Context, cancel context.CancelFunc, c *inbox.Claim) (stop func()) {
	ctx, stopRenewing := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-time.After(w.gateway.config.Hold / 3):
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
func (w *inboxWorkers) process(ctx context.Context, c *inbox.Claim, opened error) (result inbox.Result, err error) {
	g := w.gateway
	defer func() {
		if p := recover(); p != nil {
			g.log.inbox("a try panicked", fmt.Errorf("%v\n%s", p, debug.Stack()))
			result, err = inbox.Result{State: inbox.Waiting, Cause: "internal"}, nil
		}
	}()
	wait := func(cause string) (inbox.Result, error) { return inbox.Result{State: inbox.Waiting, Cause: cause}, nil }
	if opened != nil {
		return wait(opened.Error())
	}
	i := slices.IndexFunc(g.channels, func(known *channel) bool { return known.name == c.Channel })
	if i < 0 {
		return wait("this gateway takes no " + c.Channel)
	}
	if !c.Verified {
		return w.verify(ctx, g.channels[i], c)
	}
	m, a := g.judge(g.channels[i], c.Body, c.Test)
	if contentType := c.Header.Get("Content-Type"); contentType != "" {
		m.contentType = contentType
	}
	if a.State != inbox.Waiting {
		return inbox.Result{State: a.State, Cause: a.Cause, Receiver: a.Receiver}, nil
	}
	if m.identified.Unknown {
		if err := g.tellUnknown(ctx, m); err != nil {
			return wait(err.Error())
		}
		return inbox.Result{State: inbox.Person, Cause: unknown}, nil
	}
	if err := w.box.Donate(ctx, c, a.Donations); err != nil {
		return result, err
	}
	return w.donate(ctx, c, m, g.channels[i].account(c.Body))
}

// verify asks PayPal about a message that was kept unverified. The age of a webhook is
// measured at its receipt.
func (w *inboxWorkers) verify(ctx context.Context, ch *channel, c *inbox.Claim) (inbox.Result, error) {
	test, err := ch.verify(ctx, c.Header, c.Body, c.ReceivedAt)
	switch {
	case isVerifierAway(err):
		return inbox.Result{State: inbox.Waiting, Cause: "PayPal could not be asked"}, nil
	case err != nil:
		cause := "refused"
		if refused, ok := errors.AsType[*refusal](err); ok {
			cause = refused.reason
		}
		return inbox.Result{State: inbox.Discarded, Cause: cause}, nil
	}
	_, a := w.gateway.judge(ch, c.Body, test)
	a.ReceivedAt, a.Header, a.Body = c.ReceivedAt, c.Header, c.Body
	if err := w.box.Confirm(ctx, c, a); err != nil {
		return inbox.Result{}, err
	}
	_ = w.kept(nil)
	return inbox.Result{}, errConfirmed
}
