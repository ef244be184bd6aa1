//go:build whole

package whole_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/donation-dedupe/noted/client/internal/paypaltest"
)

// A story is the events of many series of donations, with PayPal's messages about them in
// their order.
type story struct {
	random   *rand.Rand
	payPal   *paypaltest.PayPal
	now      time.Time
	want     map[string]*donation // :: name and event
	days     [2][]scene           // one day, and some days later
	told     []delivery           // each message once
	messages int                  // with the repeats

	// The channels' transaction ids agree in all series or in none, because PayPal decides
	// it for all series. In a ledger where most agree, the first payment of a series where
	// they differ would count twice.
	idsDiffer bool
}

// A donation must be in the books once.
type donation struct {
	series, amount string
	at             time.Time // zero if PayPal gives no time
	channels       []string  // those with a message about it, sorted
}

// A scene is a sequence of moments. The messages of a moment are posted at the same time.
// The next moment begins when all are answered 200.
type scene [][]delivery

const day = 24 * time.Hour

func newStory(random *rand.Rand, p *paypaltest.PayPal) *story {
	s := &story{random: random, payPal: p, now: time.Now().Truncate(time.Second), want: make(map[string]*donation)}
	s.idsDiffer = random.IntN(3) == 0
	for i := range 72 {
		s.series(i)
	}
	for _, scenes := range s.days {
		random.Shuffle(len(scenes), func(i, j int) { scenes[i], scenes[j] = scenes[j], scenes[i] })
	}
	return s
}

// A series of donations. PayPal has two kinds of series with different messages.
type series struct {
	id     string
	button bool // made by a subscribe button: subscr_… with a subscr_id
	amount string
}

// series tells the life of a series: a signup, payments of equal amounts, and random other
// events.
func (s *story) series(i int) {
	g := series{id: "I-" + s.id(12), button: i%2 == 1, amount: fmt.Sprintf("%d.00", 5+s.random.IntN(50))}
	if i%8 == 1 {
		g.id = "S-" + s.id(17)
	}
	s.signup(g, i%3 == 0)
	period, payments := 30*day, 2
	if i%5 == 0 {
		period, payments = day, 5
	}
	latest := s.now.Add(-time.Minute - time.Duration(s.random.IntN(20*3600))*time.Second)
	for k := range payments { // all at about the same hour
		at := latest.Add(-time.Duration(k)*period - time.Duration(s.random.IntN(3600))*time.Second)
		ipnTxn, sale := s.sales()
		if s.random.IntN(6) == 0 {
			s.payment(g, "PAYMENT_PENDING", ipnTxn, sale, at)
		}
		s.payment(g, "PAYMENT", ipnTxn, sale, at)
		if ipnTxn != sale {
			continue // the rest is about a sale, by an id that both channels have
		}
		switch s.random.IntN(4) {
		case 0:
			s.refund(g, g.amount, sale, at.Add(30*time.Second))
		case 1: // two parts of the same amount
			s.refund(g, "2.50", sale, at.Add(30*time.Second))
			if later := at.Add(5 * time.Hour); later.Before(s.now) {
				s.refund(g, "2.50", sale, later)
			}
		}
		if i%9 == 2 && k == 0 {
			s.dispute(sale)
		}
	}
	switch s.random.IntN(4) {
	case 0:
		s.state(g, "CANCELLATION", "recurring_payment_profile_cancel", "subscr_cancel", "CANCELLED")
	case 1:
		s.state(g, "EXPIRY", "recurring_payment_expired", "subscr_eot", "EXPIRED")
	case 2:
		s.state(g, "PAYMENT_FAILED", "recurring_payment_failed", "subscr_failed", "PAYMENT.FAILED")
		if !g.button {
			s.state(g, "SUSPENSION", "recurring_payment_suspended", "", "SUSPENDED")
		}
	}
}

// sales returns the ids of a sale in the IPN and in the webhook.
func (s *story) sales() (ipn, webhook string) {
	webhook = s.id(17)
	if s.idsDiffer {
		return s.id(17), webhook
	}
	return webhook, webhook
}

// id returns an id like PayPal's.
func (s *story) id(length int) string {
	id := make([]byte, length)
	for i := range id {
		id[i] = "0123456789ABCDEFGHJKLMNPRSTUVWXY"[s.random.IntN(32)]
	}
	return string(id)
}

// signup may have the first payment with it: two donations in one IPN.
func (s *story) signup(g series, paying bool) {
	fields := g.fields("recurring_payment_profile_created", "subscr_signup")
	activated := webhookEvent{"BILLING.SUBSCRIPTION.ACTIVATED", map[string]any{"id": g.id, "state": "Active"}}
	if !paying || g.button { // never with a button's signup
		s.tell(fields, []webhookEvent{activated}, told{"SIGNUP", g.id, "", time.Time{}})
		return
	}
	ipnTxn, sale := s.sales()
	at := s.now.Add(-35 * day)
	for name, value := range map[string]string{
		"initial_payment_txn_id": ipnTxn, "initial_payment_status": "Completed",
		"initial_payment_amount": g.amount, "currency_code": "EUR", "time_created": paypaltest.Pacific(at),
	} {
		fields.Set(name, value)
	}
	s.tell(
		fields,
		[]webhookEvent{activated, s.sale(g, "COMPLETED", sale, at)},
		told{"SIGNUP", g.id, "", time.Time{}},
		told{"PAYMENT", g.id, g.amount, at},
	)
}

func (s *story) payment(g series, event, ipnTxn, sale string, at time.Time) {
	status, state := "Completed", "COMPLETED"
	if event == "PAYMENT_PENDING" {
		status, state = "Pending", "PENDING"
	}
	fields := g.fields("recurring_payment", "subscr_payment")
	s.money(fields, status, ipnTxn, g.amount, at)
	s.tell(fields, []webhookEvent{s.sale(g, state, sale, at)}, told{event, g.id, g.amount, at})
}

func (s *story) refund(g series, amount, sale string, at time.Time) {
	fields := g.fields("", "")
	id := s.id(17) // the same in both channels: a refund is a series of its own, with this id
	s.money(fields, "Refunded", id, "-"+amount, at)
	fields.Set("parent_txn_id", sale)
	s.tell(fields, []webhookEvent{{"PAYMENT.SALE.REFUNDED", map[string]any{
		"id": id, "sale_id": sale, "state": "completed", "create_time": s.about(at),
		"amount": map[string]string{"total": "-" + amount, "currency": "EUR"},
	}}}, told{"REFUND", id, amount, at})
}

func (s *story) dispute(sale string) {
	fields := url.Values{
		"txn_type":  {"new_case"},
		"txn_id":    {sale},
		"case_id":   {"PP-D-" + s.id(6)},
		"case_type": {"complaint"},
	}
	s.tell(fields, []webhookEvent{
		{
			"CUSTOMER.DISPUTE.CREATED",
			map[string]any{
				"dispute_id": fields.Get(
					"case_id",
				),
				"disputed_transactions": []any{map[string]string{"seller_transaction_id": sale}},
			},
		},
	}, told{"DISPUTE", sale, "", time.Time{}})
}

// state is a change of the series itself.
func (s *story) state(g series, event, recurring, button, webhook string) {
	s.tell(
		g.fields(recurring, button),
		[]webhookEvent{{"BILLING.SUBSCRIPTION." + webhook, map[string]any{"id": g.id}}},
		told{event, g.id, "", time.Time{}},
	)
}

func (g series) fields(recurring, button string) url.Values {
	if g.button {
		return url.Values{"txn_type": {button}, "subscr_id": {g.id}}
	}
	return url.Values{"txn_type": {recurring}, "recurring_payment_id": {g.id}}
}

func (s *story) money(fields url.Values, status, txn, amount string, at time.Time) {
	date := paypaltest.Pacific(at)
	if s.random.IntN(8) == 0 { // PayPal sometimes gives the hour a wrong zone
		date = date[:len(date)-3] + "PDT"
	}
	for name, value := range map[string]string{
		"payment_status": status, "txn_id": txn, "payment_date": date, "mc_gross": amount, "mc_currency": "EUR",
	} {
		fields.Set(name, value)
	}
}

func (s *story) sale(g series, state, id string, at time.Time) webhookEvent {
	return webhookEvent{
		"PAYMENT.SALE." + state,
		map[string]any{
			"id":                   id,
			"billing_agreement_id": g.id,
			"create_time":          s.about(at),
			"amount":               map[string]string{"total": g.amount, "currency": "EUR"},
		},
	}
}

// about is the time in the message of the other channel.
func (s *story) about(at time.Time) string {
	return at.Add(time.Duration(s.random.IntN(41)-20) * time.Second).UTC().Format(time.RFC3339)
}

type webhookEvent struct {
	kind     string
	resource map[string]any
}

// told is the content of a message.
type told struct {
	event, series, amount string
	at                    time.Time
}

// tell posts one IPN and the webhooks about the same donations, in one of the orders that
// PayPal is known for. Now and then one channel sends nothing.
func (s *story) tell(fields url.Values, events []webhookEvent, donations ...told) {
	name := fmt.Sprintf("whole-%04d", s.messages)
	at := s.now.Add(-time.Duration(s.random.Int64N(int64(70 * time.Hour)))) // the webhooks' first transmission
	if later := donations[len(donations)-1].at; later.After(at) {
		at = later
	}
	for field, value := range map[string]string{
		"custom": name, "receiver_email": account, "payer_email": "donor@example.net", "first_name": "Zoë",
		"charset": "UTF-8",
	} {
		fields.Set(field, value)
	}
	ipns := s.copies(func(again bool) delivery {
		body := fields.Encode()
		if again && s.random.IntN(2) == 0 {
			body += "&resend=true"
		}
		return delivery{s.place(php), s.payPal.IPNBody(body)}
	})
	var webhooks []delivery
	for i, e := range events {
		e.resource["custom"] = name
		body := string(must(json.Marshal(map[string]any{
			"id":            fmt.Sprintf("WH-%s-%d", s.id(17), i),
			"event_version": "1.0",
			"event_type":    e.kind,
			"create_time":   s.now.UTC().Format(time.RFC3339),
			"resource":      e.resource,
		})))
		webhooks = append(webhooks, s.copies(func(again bool) delivery {
			sent := at
			if again {
				sent = s.now
			}
			return delivery{s.place(wsgi), webhook(s.payPal, body, sent)}
		})...)
	}
	s.messages += len(ipns) + len(webhooks)

	channels := []string{"ipn", "webhook"}
	switch s.random.IntN(12) {
	case 0: // IPN alone
		s.days[0], channels = append(s.days[0], scene{ipns}), channels[:1]
		s.messages -= len(webhooks)
		webhooks = nil
	case 1: // webhook alone
		s.days[0], channels = append(s.days[0], scene{webhooks}), channels[1:]
		s.messages -= len(ipns)
		ipns = nil
	case 2, 3, 4: // days apart, the IPN first
		s.days[0], s.days[1] = append(s.days[0], scene{ipns}), append(s.days[1], scene{webhooks})
	case 5, 6, 7: // days apart, the webhook first
		s.days[0], s.days[1] = append(s.days[0], scene{webhooks}), append(s.days[1], scene{ipns})
	case 8: // one after the other
		s.days[0] = append(s.days[0], scene{ipns, webhooks})
	case 9:
		s.days[0] = append(s.days[0], scene{webhooks, ipns})
	default: // at the same moment
		s.days[0] = append(s.days[0], scene{slices.Concat(ipns, webhooks)})
	}
	s.told = slices.Concat(s.told, ipns, webhooks)
	for _, d := range donations {
		s.want[name+" EVENT_"+d.event] = &donation{d.series, d.amount, d.at, channels}
	}
}

// copies returns a message, now and then with repeats.
func (s *story) copies(make func(again bool) delivery) []delivery {
	copies := []delivery{make(false)}
	for s.random.IntN(4) == 0 && len(copies) < 4 {
		copies = append(copies, make(true))
	}
	return copies
}

// place chooses the receiver of a message: mostly the one of its channel.
func (s *story) place(ofChannel string) string {
	switch s.random.IntN(5) {
	case 0:
		return gate
	case 1:
		return node
	}
	return ofChannel
}

// compare names the wrong field of a booked donation, or returns nothing.
func (d *donation) compare(e entry) string {
	at, err := time.Parse(time.RFC3339, e.Donation["occurred_at"])
	switch {
	case e.Donation["ledger"] != ledger:
		return "ledger"
	case e.Donation["series_id"] != d.series:
		return "series"
	case e.Donation["amount"] != d.amount || (e.Donation["currency_code"] == "EUR") != (d.amount != ""):
		return "amount"
	case d.at.IsZero() && e.Donation["occurred_at"] != "",
		!d.at.IsZero() && (err != nil || at.Sub(d.at).Abs() > 61*time.Minute):
		return "time"
	case !slices.Contains(d.channels, e.Message["channel"]) || e.Message["id"] == "":
		return "message"
	}
	return ""
}
