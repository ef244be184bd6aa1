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
	"github.com/donation-dedupe/noted/client/gateway/internal/traces"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

const (
	inboxWorkerCount = 8           // of a gateway with one account
	fewestWorkers    = 2           // of an account beside others: a hanging downstream delays only its own account
	pollEvery        = time.Second // the delay until a message is seen that is due or that another gateway kept
	sweepEvery       = time.Minute
	countEvery       = 15 * time.Second
	shortestPause    = time.Second      // after the first try
	longestPause     = 10 * time.Minute // between later tries
)

// workers process the messages of an inbox.
type workers struct {
	processor *Processor
	box       *inbox.Inbox      // for rows of any account
	queues    map[string]*queue // :: name of an account → its messages
	ctx       context.Context   // ends when the workers must stop claiming
	cancel    context.CancelFunc
	running   sync.WaitGroup

	sweeping   sync.Mutex
	sweptSince time.Time // the first of the successful sweeps since the last failure
}

// A queue is the messages of one account, which has its own workers.
type queue struct {
	account *Account
	box     *inbox.Inbox
	wake    chan struct{}
}

func openInbox(p *Processor) (*workers, error) {
	ctx, cancel := context.WithCancel(context.Background())
	box, err := inbox.Open(ctx, inbox.Config{
		URL: p.config.InboxURL, Keys: p.config.InboxKeys, Lease: p.config.Hold, Existing: p.config.Idle,
		BodiesFor: p.config.InboxKeep, RowsFor: p.config.InboxJournal, Now: p.config.Now,
	})
	if err != nil {
		cancel()
		return nil, setting.Wrong("InboxURL", "cannot be used: %v", err)
	}
	w := &workers{processor: p, box: box, queues: make(map[string]*queue), ctx: ctx, cancel: cancel}
	for _, account := range p.config.Accounts {
		w.queues[account.Name] = &queue{account, box.Of(account.Name), make(chan struct{}, inboxWorkerCount)}
	}
	return w, nil
}

func (w *workers) start() {
	for _, q := range w.queues {
		if err := q.box.Serve(w.ctx); err != nil { // before it can keep a message
			w.processor.config.Log.Inbox("an account could not be recorded", err) // the next sweep records it
		}
		for range max(fewestWorkers, inboxWorkerCount/len(w.queues)) {
			w.running.Go(func() { w.work(q) })
		}
	}
	w.running.Go(func() { w.every(sweepEvery, "the inbox could not be swept", w.sweep) })
	w.running.Go(func() { w.every(countEvery, "the inbox could not be counted", w.count) })
}

// stop lets the workers finish their messages.
func (w *workers) stop() error {
	w.cancel()
	w.running.Wait()
	return w.box.Close()
}

// work claims and processes messages of a queue until the workers stop.
func (w *workers) work(q *queue) {
	for w.ctx.Err() == nil {
		claim, err := q.box.Claim(w.ctx)
		if claim != nil {
			failpoint("claimed")
			w.try(q, claim, err)
			continue
		}
		if err != nil && w.ctx.Err() == nil {
			w.processor.config.Log.Inbox("no message could be claimed", err)
		}
		select {
		case <-q.wake:
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

// sweep wipes and deletes rows that have aged out. It leaves the messages of a deserted
// account to a person, but only if this gateway has seen the inbox for as long: after an
// outage of the database the other gateways need time to record their accounts.
func (w *workers) sweep(ctx context.Context) error {
	w.sweeping.Lock()
	defer w.sweeping.Unlock()
	now := w.processor.config.Now()
	for _, q := range w.queues {
		if err := errors.Join(q.box.Serve(ctx), q.box.Sweep(ctx)); err != nil {
			w.sweptSince = time.Time{}
			return err
		}
	}
	if w.sweptSince.IsZero() {
		w.sweptSince = now
	}
	if now.Sub(w.sweptSince) < inbox.Deserted {
		return nil
	}
	deserted, err := w.box.Desert(ctx)
	for _, m := range deserted {
		w.processor.config.Log.Deserted(m.Account, m.Channel, m.Row)
	}
	return err
}

func (w *workers) count(ctx context.Context) error {
	m := w.processor.config.Metrics
	deserted, err := w.box.CountDeserted(ctx)
	if err != nil {
		return err
	}
	m.InboxMessages("", string(inbox.Person), deserted.Messages[inbox.Person])
	m.InboxOldestPerson("", deserted.OldestPerson)
	m.InboxPending("", "old_key", deserted.OldKeys)
	for name, q := range w.queues {
		counts, err := q.box.Count(ctx)
		if err != nil {
			return err
		}
		if name == "" { // the account of a gateway without a ledger shares the label
			counts.Messages[inbox.Person] += deserted.Messages[inbox.Person]
			counts.OldestPerson = max(counts.OldestPerson, deserted.OldestPerson)
			counts.OldKeys += deserted.OldKeys
		}
		for state, n := range counts.Messages {
			m.InboxMessages(name, string(state), n)
		}
		m.InboxOldest(name, counts.Oldest)
		m.InboxOldestPerson(name, counts.OldestPerson)
		m.InboxPending(name, "unverified", counts.Unverified)
		m.InboxPending(name, "old_key", counts.OldKeys)
		if err := w.heard(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// heard records the time of each channel's last message, including messages from before
// this gateway's start and messages to the gateways beside it.
func (w *workers) heard(ctx context.Context, q *queue) error {
	pulses, err := q.box.Pulses(ctx)
	for _, pulse := range pulses {
		if pulse.Ledger == q.account.Ledger { // the ledger of tests does not count
			w.processor.config.Metrics.Heard(q.account.Name, pulse.Channel, pulse.Last)
		}
	}
	return err
}

// try processes a claimed message once, and records the result. If the result cannot be
// recorded, nothing is lost: the lease runs out, and the next try finds each step done.
func (w *workers) try(q *queue, c *inbox.Claim, opened error) {
	p := w.processor
	ctx, cancel := context.WithCancel(context.Background()) // a stop does not interrupt a try
	defer cancel()
	stopRenewing := w.renew(ctx, cancel, c)
	ctx, span := traces.Resume(ctx, p.config.TracerProvider, c.Header, "process "+c.Channel)
	result, err := w.process(ctx, q, c, opened)
	failure := ""
	switch {
	case err == nil:
		span.Set("noted.state", string(result.State))
	case !errors.Is(err, errMoved):
		failure = "inbox"
	}
	span.End(failure)
	stopRenewing()
	if errors.Is(err, errMoved) {
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
	p.config.Metrics.InboxTried(q.account.Name, c.Channel, string(result.State))
}

// pauseAfter doubles with each try.
func pauseAfter(tries int) time.Duration {
	return min(shortestPause<<min(tries-1, 16), longestPause)
}

// renew keeps the lease of a message until the caller calls the returned function. It
// ends the try when the lease is lost, because another worker then has the message.
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

// errMoved means that the message waits elsewhere and the worker gives up its claim. An
// unverified message is now verified and waits under its own id, or the message belongs
// to another account.
var errMoved = errors.New("moved")

// process does the next step of a message. Its error is the database's.
func (w *workers) process(
	ctx context.Context, q *queue, c *inbox.Claim, opened error,
) (result inbox.Result, err error) {
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
	channel := p.config.Channels[i]
	if !c.Verified {
		return w.verify(ctx, channel, c)
	}
	// Settings may have changed since the message came. It stays with the account and,
	// after the first request to Noted, in the ledger of that request. A foreign message
	// has no account yet.
	asked := slices.ContainsFunc(c.Donations, func(d inbox.Donation) bool { return d.Verdict != "" })
	owner, whose := channel.owner(c.Body)
	if owner != q.account && whose == Ours && c.Receiver != "" && !asked {
		return result, w.move(ctx, c, owner)
	}
	from := origin{q.account, whose, q.account.ledger(c.Test), c.Test}
	if asked {
		from.ledger = c.Ledger
	}
	m, a := judge(channel, c.Header, c.Body, from)
	if a.State != inbox.Waiting {
		return inbox.Result{State: a.State, Cause: a.Cause, Receiver: a.Receiver}, nil
	}
	if m.identified.Unknown {
		if err := p.tellUnknown(ctx, m); err != nil {
			return wait(err.Error())
		}
		return inbox.Result{State: inbox.Person, Cause: unknown}, nil
	}
	if err := w.box.Donate(ctx, c, a.Ledger, a.Donations); err != nil {
		return result, err
	}
	if q.account.Listeners != nil {
		return w.donateWhole(ctx, c, m, whose)
	}
	return w.donate(ctx, c, m, whose)
}

// verify asks PayPal about a message that was kept unverified. The age of a webhook
// counts at its receipt.
func (w *workers) verify(ctx context.Context, ch *Channel, c *inbox.Claim) (inbox.Result, error) {
	v, err := ch.verified(ctx, c.Header, c.Body, c.ReceivedAt)
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
	w.processor.heard(ch, v, c.Body, c.ReceivedAt)
	account, whose := ch.ownerOf(v, c.Body)
	_, a := judge(ch, c.Header, c.Body, origin{account, whose, account.ledger(v.test), v.test})
	a.ReceivedAt, a.Header = c.ReceivedAt, traces.Kept(ctx, a.Header)
	to := w.queues[account.Name]
	if err := to.box.Confirm(ctx, c, a); err != nil {
		return inbox.Result{}, err
	}
	_ = w.kept(to, nil)
	return inbox.Result{}, errMoved
}

// move gives a message to the account that now has its receiver.
func (w *workers) move(ctx context.Context, c *inbox.Claim, to *Account) error {
	if err := w.box.Move(ctx, c, to.Name); err != nil {
		return err
	}
	_ = w.kept(w.queues[to.Name], nil)
	return errMoved
}
