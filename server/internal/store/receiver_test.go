package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// aYear delivers a year's messages to receivers of ours, and with compare also to
// receivers of the designs that Noted replaces.
func aYear(
	t *testing.T, seed uint64, p paypaltest.Plan, setting store.TransactionIDs, on newSubject, compare bool, sum *tally,
) {
	donations, messages := paypaltest.Deliveries(seed, ledgerOf(t), p)
	for _, event := range donations {
		sum.donations[event]++
	}
	for _, m := range messages {
		sum.sent += len(m.Sent)
	}
	ledger := &model.Learner{}
	r := &receiver{
		World: &paypaltest.World{}, subject: on(t, paypaltest.Start).learning(ledger), ledger: ledger, t: t, tally: sum,
		rules: ruledBy(setting), books: paypaltest.NewBooks(donations),
		noted: map[string]int{},
	}
	sum.tries, sum.givenUp = paypaltest.Deliver(r.World, messages, paypaltest.Misfortunes(seed), r.receive)
	sum.repeats, sum.wrongs = r.books.Repeats, r.books.Wrongs()
	if !compare {
		return
	}
	for i, d := range designs(donations) {
		paypaltest.Deliver(d.World, messages, paypaltest.Misfortunes(seed), d.receive)
		sum.others[i] = d.Wrongs().Sum()
	}
	for i, d := range designs(donations) {
		paypaltest.Deliver(d.World, messages, paypaltest.AllWell, d.receive)
		sum.healthy[i] = d.Wrongs().Sum()
	}
}

// A receiver uses Noted, and may handle several messages at a time: it notes with a hold,
// works, and settles.
type receiver struct {
	*paypaltest.World
	subject
	ledger *model.Learner
	t      *testing.T
	rules  store.Rules
	books  *paypaltest.Books
	tally  *tally
	noted  map[string]int // the donation whose message made the note
}

const (
	holds       = time.Minute
	asksIn      = 300 * time.Millisecond // it asks again after this time
	received    = true                   // 200
	unavailable = false                  // 503, or a connection that breaks
)

func (r *receiver) receive(m *paypaltest.Message, try string, f paypaltest.Fate, answer func(bool)) {
	r.After(f.Asks, func() {
		if r.crashes(f, paypaltest.BeforeNoting) {
			answer(unavailable)
			return
		}
		r.ask(m, try, f, answer)
	})
}

func (r *receiver) ask(m *paypaltest.Message, try string, f paypaltest.Fate, answer func(bool)) {
	var reply model.Reply
	err := r.call(f.Asking, func() (err error) {
		request := model.Request{Donation: m.Donation, Message: m.Message, Hold: holds, RequestID: try, Rules: r.rules}
		agreeing := r.ledger.Agreeing(m.Donation, m.Message.Channel)
		reply, err = r.note(request)
		if err == nil && reply.Contradicted != nil && len(agreeing) > 0 && m.Donation.Event == paypaltest.Payment {
			r.tally.contradicted++
		}
		return err
	})
	switch {
	case errors.Is(err, errLost) && f.Again:
		f.Asking = paypaltest.Arrives
		r.After(asksIn, func() { r.ask(m, try, f, answer) })
		return
	case errors.Is(err, errLost):
		answer(unavailable)
		return
	case err != nil:
		r.t.Fatalf("Note(%+v): %v", m, err)
	}
	r.judge(m, reply)
	switch reply.Verdict {
	case store.Duplicate:
		answer(received)
	case store.Held:
		r.tally.held++
		answer(unavailable)
	case store.First:
		if reply.Evidence == store.TakenOver {
			r.tally.takenOver++
		}
		if r.crashes(f, paypaltest.BeforeProcessing) {
			answer(unavailable)
			return
		}
		r.After(f.Works, func() { r.process(m, reply, f, answer) })
	}
}

// judge compares the note that the store chose for a message with the truth.
func (r *receiver) judge(m *paypaltest.Message, reply model.Reply) {
	id := reply.Note.DonationID
	if donation, known := r.noted[id]; !known {
		r.noted[id] = m.Tells
	} else if donation != m.Tells {
		r.tally.mispaired[m.Donation.Event]++
	}
}

func (r *receiver) process(m *paypaltest.Message, reply model.Reply, f paypaltest.Fate, answer func(bool)) {
	if r.crashes(f, paypaltest.Halfway) { // whatever the receiver has done, the payment is not in the books
		answer(unavailable)
		return
	}
	if f.Refused {
		err := r.call(paypaltest.Arrives, func() error { return r.release(reply.Receipt) })
		if err != nil && !notHolder(err) {
			r.t.Fatalf("Release: %v", err)
		}
		answer(unavailable)
		return
	}
	r.books.Book(m.Tells, reply.Note.DonationID)
	if r.crashes(f, paypaltest.BeforeSettling) {
		answer(unavailable)
		return
	}
	r.After(f.Settles, func() { r.finish(reply.Receipt, f, answer) })
}

func (r *receiver) finish(receipt string, f paypaltest.Fate, answer func(bool)) {
	err := r.call(f.Settling, func() error { return r.settle(receipt) })
	switch {
	case errors.Is(err, errLost) && f.Again:
		f.Settling = paypaltest.Arrives
		r.After(asksIn, func() { r.finish(receipt, f, answer) })
	case errors.Is(err, errLost), notHolder(err):
		answer(unavailable)
	case err != nil:
		r.t.Fatalf("Settle: %v", err)
	default:
		answer(!r.crashes(f, paypaltest.BeforeAnswering))
	}
}

func (r *receiver) crashes(f paypaltest.Fate, at paypaltest.Crash) bool {
	if f.Crash == at {
		r.tally.crashed[at]++
	}
	return f.Crash == at
}

var errLost = errors.New("the request or its reply was lost")

// call asks the subject at the world's time. loss may lose the request or the reply.
func (r *receiver) call(loss paypaltest.Loss, call func() error) error {
	if loss != paypaltest.Arrives {
		r.tally.lost[loss]++
	}
	if loss == paypaltest.RequestLost {
		return errLost
	}
	r.clock(paypaltest.Start.Add(r.Now))
	if err := call(); loss == paypaltest.Arrives {
		return err
	}
	return errLost
}

// A design is a way to find duplicates that Noted replaces. Its receivers remember a key
// for a while, and process a message whose key is not remembered. They cannot take that
// back, so their downstream never refuses.
type design struct {
	name  string
	key   func(m *paypaltest.Message) string
	keeps time.Duration
	later time.Duration // from the check to remembering the key; 0 for both in one step

	*paypaltest.World
	*paypaltest.Books
	until map[string]time.Duration // when a key is forgotten
}

func designs(donations []store.Event) []*design {
	series := func(m *paypaltest.Message) string { return m.Donation.SeriesID }
	transaction := func(m *paypaltest.Message) string { return m.Donation.TransactionID }
	all := []*design{
		{name: "check then note, by series id, kept 1 hour", key: series, keeps: time.Hour, later: 2 * time.Second},
		{name: "kept 4 days", key: series, keeps: 4 * 24 * time.Hour, later: 2 * time.Second},
		{name: "one atomic SET NX by series id, 4 days", key: series, keeps: 4 * 24 * time.Hour},
		{name: "by transaction id alone", key: transaction, keeps: defaultRules.Retention},
	}
	for _, d := range all {
		d.World, d.Books, d.until = &paypaltest.World{}, paypaltest.NewBooks(donations), map[string]time.Duration{}
	}
	return all
}

func (d *design) receive(m *paypaltest.Message, _ string, f paypaltest.Fate, answer func(bool)) {
	d.After(f.Asks, func() {
		if d.later > 0 && d.knows(m) {
			answer(received)
			return
		}
		d.After(d.later, func() { d.note(m, f, answer) })
	})
}

func (d *design) knows(m *paypaltest.Message) bool { return d.Now < d.until[d.key(m)] }

func (d *design) note(m *paypaltest.Message, f paypaltest.Fate, answer func(bool)) {
	again := func() {
		if !f.Again {
			answer(unavailable)
			return
		}
		f.Asking = paypaltest.Arrives
		d.After(asksIn, func() { d.note(m, f, answer) })
	}
	if f.Crash == paypaltest.BeforeNoting {
		answer(unavailable)
		return
	}
	if f.Asking == paypaltest.RequestLost {
		again()
		return
	}
	taken := d.later == 0 && d.knows(m)
	if !taken {
		d.until[d.key(m)] = d.Now + d.keeps
	}
	switch {
	case f.Asking == paypaltest.ReplyLost:
		again()
	case taken:
		answer(received)
	case f.Crash == paypaltest.BeforeProcessing, f.Crash == paypaltest.Halfway:
		answer(unavailable)
	default:
		d.After(f.Works, func() {
			d.Book(m.Tells, "")
			answer(f.Crash == paypaltest.Never)
		})
	}
}

// ruledBy are defaultRules with a setting of transaction ids.
func ruledBy(setting store.TransactionIDs) store.Rules {
	rules := defaultRules
	rules.TransactionIDs = setting
	return rules
}
