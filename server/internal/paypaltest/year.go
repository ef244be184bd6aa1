// Package paypaltest is PayPal as a receiver sees it, for tests: the messages of a year
// in virtual time, their delivery, the mishaps of the receivers, and the books of the
// downstream. All of it follows from a seed.
//
// The shares are the design's ("on simulated deliveries"): 98 % of payments told by IPN,
// 90 % by webhook, 10 % of messages repeated, 3 % up to three days late, 360 days.
// PayPal's own habits: an IPN comes again after 10 s, 20 s, 40 s … doubling up to 24 h,
// for 4 days; a webhook up to 25 times in 3 days (how they are spaced is not documented,
// here evenly); a receiver has 30 s to answer; a webhook is usually 10 to 90 s behind its
// payment.
package paypaltest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// What PayPal does.
const (
	ToldByIPN     = 0.98
	ToldByWebhook = 0.90

	day      = 24 * time.Hour
	year     = 360 * day
	repeated = 0.10
	late     = 0.03
	latest   = 3 * day
	hourOff  = 0.01 // of the times are wrong by an hour, as from a false daylight-saving label
	patience = 30 * time.Second
	together = 2 * time.Hour // a second payment of the same amount comes within this time
)

// The events that there are in a year.
const (
	Payment       store.Event = 1
	PaymentFailed store.Event = 3
	Refund        store.Event = 4
	Signup        store.Event = 8
	Suspension    store.Event = 10
	Reactivation  store.Event = 11
	Cancellation  store.Event = 12
)

// EventName is an event's name in the contract, without its prefix.
func EventName(e store.Event) string {
	return map[store.Event]string{
		Payment: "PAYMENT", PaymentFailed: "PAYMENT_FAILED", Refund: "REFUND", Signup: "SIGNUP",
		Suspension: "SUSPENSION", Reactivation: "REACTIVATION", Cancellation: "CANCELLATION",
	}[e]
}

var (
	// Start is when the year begins.
	Start           = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
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

// A Plan says what series there are in a ledger.
type Plan struct {
	Series   int
	Payments int           // of each series, which begins early enough for all of them to fall in the year
	Every    time.Duration // between two payments, give or take an hour and a half
	Agree    float64       // the share of the series whose two channels share transaction ids
	Seconds  float64       // the share of payments that are followed by a second one of the same amount
	Events   bool          // refunds, failed payments and the states of the series, too

	NoTime, NoTransaction float64 // the shares of messages that have no time, or no transaction id
}

// A Message is sent by PayPal once or twice, each time until it is answered.
type Message struct {
	Number   int
	Tells    int // the donation that it is really about
	Donation store.Donation
	Message  store.Message
	Sent     []time.Duration // since Start
	schedule []time.Duration
}

// A teller makes the messages of a plan.
type teller struct {
	Plan
	r         *rand.Rand
	ledger    string
	donations []store.Event
	messages  []*Message
}

// Deliveries are a year's messages of a plan, and the event of each donation that has a
// message.
func Deliveries(seed uint64, ledger string, p Plan) (donations []store.Event, messages []*Message) {
	t := &teller{Plan: p, r: rand.New(rand.NewPCG(seed, 1)), ledger: ledger}
	for series := range p.Series {
		t.series(fmt.Sprintf("I-%012d", series))
	}
	return t.donations, t.messages
}

func (t *teller) series(id string) {
	d := store.Donation{Ledger: t.ledger, SeriesID: id, Amount: Amount(t.r), CurrencyCode: "USD"}
	agree := t.r.Float64() < t.Agree
	begin := UpTo(t.r, year-time.Duration(t.Payments)*t.Every+1)
	for k := range t.Payments {
		at := begin + time.Duration(k)*t.Every + UpTo(t.r, 3*time.Hour)
		times := []time.Duration{at}
		if t.chance(t.Seconds) {
			times = append(times, at+UpTo(t.r, together))
		}
		for _, at := range times {
			t.money(d, Payment, at, agree)
			if t.Events {
				t.aftermath(d, at, agree)
			}
		}
	}
	if t.Events {
		t.states(d, begin, begin+time.Duration(t.Payments)*t.Every)
	}
}

func (t *teller) chance(p float64) bool { return p > 0 && t.r.Float64() < p }

// aftermath adds the events that may follow a payment: refunds of half of it, each in a
// series of one that is named by its own id, and a next payment that fails, perhaps again
// days later.
func (t *teller) aftermath(d store.Donation, at time.Duration, agree bool) {
	if t.chance(0.04) {
		half := d
		half.Amount, half.SeriesID = "2.50", ""
		at := at + UpTo(t.r, 20*day)
		t.money(half, Refund, at, agree)
		if t.chance(0.25) {
			t.money(half, Refund, at+UpTo(t.r, together), agree)
		}
	}
	for at := at + UpTo(t.r, day); t.chance(0.03); at += day + UpTo(t.r, 4*day) {
		t.state(d, PaymentFailed, at)
	}
}

// states adds the events of the series itself.
func (t *teller) states(d store.Donation, begin, end time.Duration) {
	d.Amount, d.CurrencyCode = "", ""
	t.state(d, Signup, begin)
	if t.chance(0.5) {
		t.state(d, Cancellation, end)
	}
	for at := begin + UpTo(t.r, end-begin); t.chance(0.2); at += UpTo(t.r, 10*day) {
		t.state(d, Suspension, at)
		at += UpTo(t.r, 5*day)
		t.state(d, Reactivation, at)
	}
}

// money makes the messages of a payment, or of a refund.
func (t *teller) money(d store.Donation, event store.Event, at time.Duration, agree bool) {
	d.Event, d.TransactionID = event, Letters(t.r, 17)
	told := t.begin()
	for _, c := range t.channels() {
		if c == "webhook" && !agree {
			d.TransactionID = Letters(t.r, 17)
		}
		occurred := at
		if c == "webhook" {
			occurred += UpTo(t.r, 3*time.Second)
		}
		d.OccurredAt = t.eventTime(occurred)
		m := d
		if event == Refund {
			m.SeriesID = d.TransactionID
		}
		t.tell(c, m, at)
	}
	t.end(told, event)
}

// state makes the messages of an event without money. They have no transaction id, and
// only the IPN of a failed payment may have a time.
func (t *teller) state(d store.Donation, event store.Event, at time.Duration) {
	d.Event = event
	told := t.begin()
	for _, c := range t.channels() {
		m := d
		if event == PaymentFailed && c == "ipn" && t.r.IntN(2) == 0 {
			m.OccurredAt = t.eventTime(at)
		}
		if c == "webhook" {
			m.Amount, m.CurrencyCode = "", ""
		}
		t.tell(c, m, at)
	}
	t.end(told, event)
}

// begin and end enclose the messages of one donation. A donation without messages is not
// counted.
func (t *teller) begin() int { return len(t.messages) }

func (t *teller) end(begun int, event store.Event) {
	if len(t.messages) == begun {
		return
	}
	for _, m := range t.messages[begun:] {
		m.Tells = len(t.donations)
	}
	t.donations = append(t.donations, event)
}

func (t *teller) channels() (channels []string) {
	if t.r.Float64() < ToldByIPN {
		channels = append(channels, "ipn")
	}
	if t.r.Float64() < ToldByWebhook {
		channels = append(channels, "webhook")
	}
	return channels
}

func (t *teller) tell(channel string, d store.Donation, at time.Duration) {
	if t.chance(t.NoTime) {
		d.OccurredAt = time.Time{}
	}
	if t.chance(t.NoTransaction) {
		d.TransactionID = ""
	}
	m := &Message{Number: len(t.messages), Donation: d, Message: MessageOn(t.r, channel), schedule: webhookSchedule}
	behind := 88 * time.Second
	if channel == "ipn" {
		m.schedule, behind = ipnSchedule, time.Minute
	}
	m.Sent = t.sent(at+2*time.Second+UpTo(t.r, behind), m.schedule)
	t.messages = append(t.messages, m)
}

func (t *teller) eventTime(at time.Duration) time.Time {
	if t.r.Float64() < hourOff {
		at -= time.Hour
	}
	return Start.Add(at).Truncate(time.Second)
}

// sent are the times at which PayPal starts to send a message. Some messages are sent a
// second time although the first was answered, like real redeliveries.
func (t *teller) sent(at time.Duration, schedule []time.Duration) []time.Duration {
	if t.r.Float64() < late {
		at += UpTo(t.r, latest)
	}
	times := []time.Duration{at}
	if t.r.Float64() < repeated {
		times = append(times, at+schedule[1+t.r.IntN(len(schedule)-1)])
	}
	return times
}

// MessageOn makes a message id as a channel bears it.
func MessageOn(r *rand.Rand, channel string) store.Message {
	if channel == "ipn" {
		return store.Message{Channel: channel, ID: fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())}
	}
	return store.Message{Channel: channel, ID: "WH-" + Letters(r, 17) + "-" + Letters(r, 17)}
}

// Amount is one of few, so that different donations often have the same.
func Amount(r *rand.Rand) string { return []string{"5.00", "10.00", "25.00", "100.00"}[r.IntN(4)] }

// Letters are as many capitals and digits as PayPal's ids have.
func Letters(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[r.IntN(36)]
	}
	return string(b)
}

// UpTo is a random time from 0 to less than most, in whole milliseconds.
func UpTo(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most))).Truncate(time.Millisecond)
}
