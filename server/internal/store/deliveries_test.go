package store_test

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// What is in this file is PayPal as a receiver sees it, in virtual time. All of it follows from a seed.
//
// The shares are design.md's ("on simulated deliveries"): 98 % of payments told by IPN, 90 % by webhook, 10 % of messages repeated, 3 % up to
// three days late, 360 days. PayPal's own habits are from paypal.md: an IPN comes again after 10 s, 20 s, 40 s … doubling up to 24 h, for 4 days (1.8);
// a webhook up to 25 times in 3 days (2.6; how they are spaced is not documented, here evenly); a receiver has 30 s to answer (1.8); a webhook is
// usually 10 to 90 s behind its payment (2.4).
const (
	year          = 360 * day
	day           = 24 * time.Hour
	toldByIPN     = 0.98
	toldByWebhook = 0.90
	repeated      = 0.10
	late          = 0.03
	latest        = 3 * day
	hourOff       = 0.01 // of the times are wrong by an hour, as from a false daylight-saving label
	patience      = 30 * time.Second
)

var (
	yearsStart      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ipnSchedule     = doubling(10*time.Second, day, 4*day)
	webhookSchedule = evenly(25, 3*day)
)

func doubling(step, most, end time.Duration) []time.Duration {
	times := []time.Duration{0}
	for at := step; at <= end; at += step {
		times = append(times, at)
		step = min(2*step, most)
	}
	return times
}

func evenly(n int, end time.Duration) []time.Duration {
	times := make([]time.Duration, n)
	for i := range times {
		times[i] = end * time.Duration(i) / time.Duration(n-1)
	}
	return times
}

// A plan says what series there are in a ledger.
type plan struct {
	series   int
	payments int           // of each series, which begins somewhere in the year so that they all fall in it
	every    time.Duration // between two payments, give or take an hour and a half
	shared   bool          // both channels tell one transaction id
	seconds  float64       // the share of payments that are followed by a second one of the same amount within the match window
}

// A message is one that PayPal sends, once or twice, each time until it is answered.
type message struct {
	number   int
	payment  int // of which it tells, in truth
	donation store.Donation
	message  store.Message
	sent     []time.Duration
	schedule []time.Duration
}

// deliveries are a year's messages of a plan; the payments that none tells of are not counted.
func deliveries(seed uint64, ledger string, p plan) (payments int, messages []*message) {
	r := rand.New(rand.NewPCG(seed, 1))
	for series := range p.series {
		id := fmt.Sprintf("I-%012d", series)
		amount := []string{"5.00", "10.00", "25.00", "100.00"}[r.IntN(4)]
		begin := upTo(r, year-time.Duration(p.payments)*p.every+1)
		for k := range p.payments {
			at := begin + time.Duration(k)*p.every + upTo(r, 3*time.Hour)
			times := []time.Duration{at}
			if r.Float64() < p.seconds {
				times = append(times, at+upTo(r, usual.MatchWindow))
			}
			for _, at := range times {
				told := tell(r, store.Donation{Ledger: ledger, SeriesID: id, Event: 1, Amount: amount, CurrencyCode: "USD"}, at, p.shared)
				for _, m := range told {
					m.number, m.payment = len(messages), payments
					messages = append(messages, m)
				}
				if len(told) > 0 {
					payments++
				}
			}
		}
	}
	return payments, messages
}

// tell makes the messages of one payment.
func tell(r *rand.Rand, d store.Donation, at time.Duration, shared bool) []*message {
	var told []*message
	d.TransactionID = letters(r, 17)
	if r.Float64() < toldByIPN {
		d.OccurredAt = eventTime(r, at)
		m := store.Message{Channel: "ipn", ID: fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())}
		told = append(told, &message{donation: d, message: m, sent: sent(r, at+2*time.Second+upTo(r, time.Minute), ipnSchedule), schedule: ipnSchedule})
	}
	if r.Float64() < toldByWebhook {
		if !shared {
			d.TransactionID = letters(r, 17)
		}
		d.OccurredAt = eventTime(r, at+upTo(r, 3*time.Second))
		m := store.Message{Channel: "webhook", ID: "WH-" + letters(r, 17) + "-" + letters(r, 17)}
		told = append(told, &message{donation: d, message: m, sent: sent(r, at+2*time.Second+upTo(r, 88*time.Second), webhookSchedule), schedule: webhookSchedule})
	}
	return told
}

func eventTime(r *rand.Rand, at time.Duration) time.Time {
	if r.Float64() < hourOff {
		at -= time.Hour
	}
	return yearsStart.Add(at).Truncate(time.Second)
}

// sent are the times at which PayPal starts to send a message: a second one, though the first was answered, as redeliveries come.
func sent(r *rand.Rand, at time.Duration, schedule []time.Duration) []time.Duration {
	if r.Float64() < late {
		at += upTo(r, latest)
	}
	times := []time.Duration{at}
	if r.Float64() < repeated {
		times = append(times, at+schedule[1+r.IntN(len(schedule)-1)])
	}
	return times
}

func letters(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[r.IntN(36)]
	}
	return string(b)
}

func upTo(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most))).Truncate(time.Millisecond)
}

// A world lets virtual time pass from event to event.
type world struct {
	now    time.Duration // since yearsStart
	events events
	made   int
}

type event struct {
	at   time.Duration
	made int // parts events of one time: what was made first happens first
	do   func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(e[i].at, e[j].at), e[i].made-e[j].made) < 0
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

func (w *world) after(d time.Duration, do func()) {
	w.made++
	heap.Push(&w.events, event{w.now + max(d, 0), w.made, do})
}

func (w *world) run() {
	for len(w.events) > 0 {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
}

// A receive handles one try of a message. It calls answer at most once, with true for 200; a receiver that has crashed may also stay silent.
type receive func(m *message, try string, f fate, answer func(ok bool))

// deliver lets PayPal send messages to a receiver until each has been answered 200 or PayPal gives it up. It returns how many were given up.
func deliver(w *world, messages []*message, fates func(m *message, sending, try int) fate, to receive) (tries, givenUp int) {
	var send func(m *message, sending int, begun time.Duration, try int)
	send = func(m *message, sending int, begun time.Duration, try int) {
		tries++
		open := true
		answer := func(ok bool) {
			switch {
			case !open: // PayPal waits no longer
			case ok:
				open = false
			case try+1 == len(m.schedule):
				open = false
				givenUp++
			default:
				open = false
				w.after(begun+m.schedule[try+1]-w.now, func() { send(m, sending, begun, try+1) })
			}
		}
		w.after(patience, func() { answer(false) })
		to(m, fmt.Sprintf("%d-%d-%d", m.number, sending, try), fates(m, sending, try), answer)
	}
	for _, m := range messages {
		for sending, at := range m.sent {
			w.after(at, func() { send(m, sending, w.now, 0) })
		}
	}
	w.run()
	return tries, givenUp
}

// A fate is what befalls a receiver while it handles one try of a message. It depends on nothing but the seed and the try, so that every
// design meets the same.
type fate struct {
	asks, works, settles time.Duration // how long until it asks, then works, then settles
	crash                crash
	refused              bool // the downstream does not take the donation now
	asking, settling     reply
	again                bool // where a reply is lost, it asks again, with the same request id; else it gives up and answers PayPal 503
}

// A crash is the point at which a receiver crashes.
type crash int

const (
	never crash = iota
	beforeNoting
	beforeProcessing
	halfway
	beforeSettling
	beforeAnswering
	crashes
)

func (c crash) String() string {
	return []string{"never", "before the note", "after the note, before processing", "halfway", "after processing, before settling", "after settling, before answering PayPal"}[c]
}

// A reply of the store gets lost on its way, or the request does.
type reply int

const (
	arrives reply = iota
	lostBefore
	lostAfter // the store has done what it was asked
)

// How often something goes wrong at a receiver. No source says; it is far more often than anywhere real, so that every combination comes up.
const (
	crashesAtEach = 0.01 // at each of the five points
	losesRequest  = 0.01
	losesReply    = 0.01
	asksAgain     = 0.5
	refuses       = 0.01
	hangs         = 0.01 // works for longer than its hold lasts, and does not extend it
)

func allWell(*message, int, int) fate {
	return fate{asks: 200 * time.Millisecond, works: 2 * time.Second, settles: 50 * time.Millisecond}
}

func misfortunes(seed uint64) func(m *message, sending, try int) fate {
	pcg := rand.NewPCG(0, 0)
	r := rand.New(pcg)
	return func(m *message, sending, try int) fate {
		pcg.Seed(seed, uint64(m.number)<<16|uint64(sending)<<8|uint64(try))
		f := fate{
			asks:    20*time.Millisecond + upTo(r, 480*time.Millisecond),
			works:   100*time.Millisecond + upTo(r, 5*time.Second),
			settles: 5*time.Millisecond + upTo(r, 100*time.Millisecond),
			refused: r.Float64() < refuses,
			again:   r.Float64() < asksAgain,
		}
		if at := crash(r.Float64() / crashesAtEach); at+1 < crashes {
			f.crash = at + 1
		}
		if r.Float64() < hangs {
			f.works = time.Minute + upTo(r, 4*time.Minute)
		}
		for _, reply := range []*reply{&f.asking, &f.settling} {
			switch x := r.Float64(); {
			case x < losesRequest:
				*reply = lostBefore
			case x < losesRequest+losesReply:
				*reply = lostAfter
			}
		}
		return f
	}
}

// books are a downstream's: every payment should be in them once. A donation id that is in them is not booked again.
type books struct {
	booked   []int          // how often each payment is in them
	donation map[string]int // the payment that stands under a donation id
	repeats  int            // donations that came again under their id, which did no harm
}

func newBooks(payments int) *books {
	return &books{booked: make([]int, payments), donation: map[string]int{}}
}

// book enters a payment; an id of "" is no id.
func (b *books) book(payment int, donationID string) {
	if donationID != "" {
		if _, there := b.donation[donationID]; there {
			b.repeats++
			return
		}
		b.donation[donationID] = payment
	}
	b.booked[payment]++
}

func (b *books) errors() wrongs {
	var w wrongs
	for _, n := range b.booked {
		if n == 0 {
			w.lost++
		} else {
			w.doubled += n - 1
		}
	}
	return w
}

// wrongs are what books are wrong by.
type wrongs struct{ lost, doubled int }

func (w *wrongs) add(v wrongs) {
	w.lost += v.lost
	w.doubled += v.doubled
}

func (w wrongs) String() string {
	switch {
	case w.lost == 0 && w.doubled == 0:
		return "0 and 0"
	case w.lost == 0:
		return thousands(w.doubled) + " doubled"
	case w.doubled == 0:
		return thousands(w.lost) + " lost"
	}
	return thousands(w.lost) + " lost, " + thousands(w.doubled) + " doubled"
}
