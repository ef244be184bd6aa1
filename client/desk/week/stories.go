package week

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// A payment is a payment that both channels tell of.
type payment struct {
	series, transaction string
	at                  time.Time
	amount              string
}

func (f *filler) payment(at time.Time, amount string) payment {
	return payment{f.series(), f.transaction(), at.Truncate(time.Second), amount}
}

// paypalTime writes a time as in an IPN, always in Pacific standard time.
func paypalTime(t time.Time) string {
	return t.In(time.FixedZone("PST", -8*60*60)).Format("15:04:05 Jan 02, 2006 PST")
}

// ipn is the IPN of a payment. Each pair sets a field or removes it.
func (p payment) ipn(after time.Duration, pairs ...string) told {
	form := url.Values{
		"txn_type": {"subscr_payment"}, "payment_status": {"Completed"}, "subscr_id": {p.series},
		"txn_id": {p.transaction}, "payment_date": {paypalTime(p.at)}, "mc_gross": {p.amount}, "mc_currency": {"EUR"},
		"receiver_id": {"6RECEIVERID"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if form.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			form.Del(pairs[i])
		}
	}
	return told{p.at.Add(after), "ipn", []byte(form.Encode())}
}

// webhook is the webhook of a payment.
func (p payment) webhook(f *filler, after time.Duration) told {
	resource := map[string]any{
		"id": p.transaction, "state": "completed", "create_time": p.at.UTC().Format(time.RFC3339),
		"amount": map[string]string{"total": p.amount, "currency": "EUR"},
	}
	if p.series != "" {
		resource["billing_agreement_id"] = p.series
	}
	body, err := json.Marshal(map[string]any{
		"id": "WH-" + f.transaction(), "event_type": "PAYMENT.SALE.COMPLETED", "resource": resource,
	})
	if err != nil {
		panic(err) // all parts are text
	}
	return told{p.at.Add(after), "webhook", body}
}

type story = func(context.Context) error

// stories are the events of the week that ends at a time, the oldest story first.
func (f *filler) stories(end time.Time) []story {
	at := func(days int, clock string) time.Time {
		t, err := time.Parse("15:04", clock)
		if err != nil {
			panic(err) // the constant is below
		}
		day := end.AddDate(0, 0, -days).Truncate(24 * time.Hour)
		return day.Add(time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute)
	}
	ago := func(d time.Duration) time.Time { return end.Add(-d) }
	return []story{
		f.ordinary(at(7, "06:00"), 5),
		f.both(Booked, f.payment(at(6, "10:15"), "25.00"), time.Minute),
		f.ordinary(at(6, "11:00"), 6),
		f.both(Late, f.payment(at(6, "18:40"), "10.00"), 25*time.Hour),
		f.daily(f.series(), at(6, "04:30")),
		f.refunded(f.payment(at(5, "08:05"), "60.00"), at(4, "15:30")),
		f.differs(f.payment(at(5, "09:20"), "12.50")),
		f.ordinary(at(4, "07:00"), 6),
		f.copied(f.payment(at(4, "13:10"), "5.00")),
		f.takenOver(f.payment(at(3, "16:45"), "30.00")),
		f.closed(f.payment(at(3, "17:30"), "75.00")),
		f.undecided(f.payment(end.AddDate(-1, -2, 0), "20.00"), at(3, "19:00")),
		f.refused(UnknownType, f.payment(at(2, "09:00"), "15.00"), "txn_type", "donation_pledge"),
		f.refused(Malformed, f.payment(at(2, "09:30"), "18.00"), "subscr_id", "", "txn_id", ""),
		f.foreign(f.payment(at(2, "10:00"), "40.00")),
		f.forged(f.payment(at(2, "11:00"), "999.00")),
		f.ordinary(at(2, "12:00"), 5),
		f.rejected(f.payment(at(1, "14:00"), "35.00")),
		f.ordinary(ago(3*time.Hour), 4),
		f.crashed(f.payment(ago(4*time.Hour), "22.00")),
		f.waiting(f.payment(ago(5*time.Hour), "45.00"), ago(6*time.Minute)),
		f.held(f.payment(ago(2*time.Minute), "50.00")),
		f.unverified(f.payment(ago(20*time.Minute), "8.00")), // the last story: its message is due
	}
}

// ordinary makes a number of ordinary payments, one every 37 minutes.
func (f *filler) ordinary(from time.Time, n int) story {
	return func(ctx context.Context) error {
		amounts := []string{"5.00", "10.00", "25.00", "50.00", "100.00"}
		for i := range n {
			p := f.payment(from.Add(time.Duration(i)*37*time.Minute), amounts[f.rand.IntN(len(amounts))])
			if err := f.all(ctx, p.ipn(3*time.Second), p.webhook(f, 41*time.Second)); err != nil {
				return err
			}
		}
		return nil
	}
}

// all processes messages that the books accept.
func (f *filler) all(ctx context.Context, messages ...told) error {
	for _, m := range messages {
		if err := f.process(ctx, m, accepts); err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) both(name string, p payment, apart time.Duration) story {
	f.tell(name, p.transaction)
	return func(ctx context.Context) error { return f.all(ctx, p.ipn(4*time.Second), p.webhook(f, apart)) }
}

func (f *filler) daily(series string, from time.Time) story {
	f.tell(Series, series)
	return func(ctx context.Context) error {
		for day := range 6 {
			p := payment{series, f.transaction(), from.AddDate(0, 0, day), "3.00"}
			if err := f.all(ctx, p.webhook(f, 9*time.Second), p.ipn(2*time.Minute)); err != nil {
				return err
			}
		}
		return nil
	}
}

func (f *filler) refunded(p payment, at time.Time) story {
	f.tell(Refunded, p.transaction)
	return func(ctx context.Context) error {
		back := payment{p.series, f.transaction(), at, "-" + p.amount}
		return f.all(ctx, p.ipn(5*time.Second), p.webhook(f, time.Minute),
			back.ipn(6*time.Second, "txn_type", "", "payment_status", "Refunded", "parent_txn_id", p.transaction))
	}
}

func (f *filler) differs(p payment) story {
	f.tell(Differs, p.transaction)
	return func(ctx context.Context) error {
		other := p
		other.amount = "12.00"
		return f.all(ctx, p.ipn(2*time.Second), other.webhook(f, 50*time.Second))
	}
}

func (f *filler) copied(p payment) story {
	f.tell(Copied, p.transaction)
	return func(ctx context.Context) error {
		return f.all(ctx, p.ipn(3*time.Second), p.ipn(2*time.Minute), p.ipn(6*time.Minute))
	}
}

func (f *filler) takenOver(p payment) story {
	f.tell(TakenOver, p.transaction)
	return func(ctx context.Context) error {
		if err := f.process(ctx, p.ipn(3*time.Second), silent); err != nil {
			return err
		}
		if err := f.all(ctx, p.webhook(f, 90*time.Second)); err != nil {
			return err
		}
		return f.try(ctx, p.at.Add(11*time.Minute), accepts)
	}
}

func (f *filler) closed(p payment) story {
	f.tell(Closed, p.transaction)
	return func(ctx context.Context) error {
		m := p.ipn(3 * time.Second)
		if err := f.process(ctx, m, refuses); err != nil {
			return err
		}
		found, err := f.box.Find(ctx, p.transaction, 1)
		if err != nil {
			return err
		}
		message := found[0]
		request := &client.NoteRequest{
			Donation: &client.Donation{}, Message: &client.Message{Channel: message.Channel, Id: message.ID},
			Hold: durationpb.New(10 * time.Second),
		}
		request.Donation = &client.Donation{
			Ledger: Ledger, SeriesId: p.series, TransactionId: p.transaction, Amount: p.amount, CurrencyCode: "EUR",
			OccurredAt: timestamppb.New(p.at),
		}
		answer, err := f.noted.Note(ctx, request)
		if err != nil {
			return err
		}
		f.now = m.at.Add(16 * time.Hour)
		const reason = "booked by hand, entry 4711"
		if _, err := f.noted.Settle(ctx, answer.GetReceipt(), reason); err != nil {
			return err
		}
		message.Donations[0].Outcome, message.Donations[0].Reason = inbox.Closed, ""
		message.Donations[0].DecidedAt = time.Time{}
		return f.box.CloseMessage(ctx, message.Row, message.Donations, "clerk", reason)
	}
}

func (f *filler) undecided(p payment, arrived time.Time) story {
	f.tell(Undecided, p.transaction)
	return func(ctx context.Context) error { return f.process(ctx, p.ipn(arrived.Sub(p.at)), accepts) }
}

func (f *filler) refused(name string, p payment, pairs ...string) story {
	m := p.ipn(7*time.Second, pairs...)
	id := p.transaction
	if name == Malformed {
		id = f.series()
		m = p.ipn(7*time.Second, append(pairs, "parent_txn_id", id)...)
	}
	f.tell(name, id)
	return func(ctx context.Context) error { return f.process(ctx, m, accepts) }
}

func (f *filler) foreign(p payment) story {
	f.tell(Foreign, p.transaction)
	return func(ctx context.Context) error {
		m := p.ipn(3*time.Second, "receiver_id", "7OTHERACCOUNT")
		f.now = m.at
		return f.box.Keep(ctx, inbox.Arrival{
			Ledger: Ledger, Channel: "ipn", ID: f.id(32), Type: "subscr_payment", Receiver: "7OTHERACCOUNT",
			IDs: inbox.IDs{Transaction: p.transaction, Series: p.series}, ReceivedAt: m.at,
			State: inbox.Refused, Cause: "foreign", Body: m.body,
		})
	}
}

// strange keeps a message unverified, and returns its id.
func (f *filler) strange(ctx context.Context, m told) error {
	f.now = m.at
	return f.box.KeepUnverified(ctx, inbox.Arrival{
		Ledger: Ledger, Channel: m.channel, ReceivedAt: m.at, Cause: "PayPal could not be asked", Body: m.body,
	}, 100, 1<<20)
}

func (f *filler) forged(p payment) story {
	return func(ctx context.Context) error {
		if err := f.strange(ctx, p.ipn(2*time.Second)); err != nil {
			return err
		}
		claim, err := f.box.Claim(ctx)
		if err != nil || claim == nil {
			return fmt.Errorf("claiming the forged message: %w", err)
		}
		f.tell(Forged, claim.ID)
		return f.box.Finish(ctx, claim, inbox.Result{State: inbox.Discarded, Cause: "unverified"})
	}
}

func (f *filler) unverified(p payment) story {
	return func(ctx context.Context) error {
		if err := f.strange(ctx, p.webhook(f, time.Second)); err != nil {
			return err
		}
		return f.box.List(ctx, inbox.Filter{States: []inbox.State{inbox.Waiting}, Cause: "PayPal could"},
			func(m inbox.Message) error { f.tell(Unverified, m.ID); return nil })
	}
}

func (f *filler) rejected(p payment) story {
	f.tell(Rejected, p.transaction)
	return func(ctx context.Context) error { return f.process(ctx, p.ipn(3*time.Second), refuses) }
}

func (f *filler) waiting(p payment, again time.Time) story {
	f.tell(Waiting, p.transaction)
	return func(ctx context.Context) error {
		if err := f.process(ctx, p.ipn(3*time.Second), silent); err != nil {
			return err
		}
		return f.try(ctx, again, silent)
	}
}

func (f *filler) held(p payment) story {
	f.tell(Held, p.transaction)
	return func(ctx context.Context) error { return f.process(ctx, p.ipn(3*time.Second), dies) }
}

// crashed is a donation that a receiver without an inbox gave up. Only Noted has it.
func (f *filler) crashed(p payment) story {
	f.tell(Crashed, p.transaction)
	return func(ctx context.Context) error {
		answer, err := f.noted.Note(ctx, &client.NoteRequest{
			Donation: &client.Donation{
				Ledger: Ledger, SeriesId: p.series, TransactionId: p.transaction, Amount: p.amount, CurrencyCode: "EUR",
				OccurredAt: timestamppb.New(p.at),
			},
			Message: &client.Message{Channel: "ipn", Id: f.id(32), ReceivedAt: timestamppb.New(p.at)},
			Hold:    durationpb.New(10 * time.Second),
		})
		if err != nil {
			return err
		}
		_, err = f.noted.Release(ctx, answer.GetReceipt(), "the receiver died")
		return err
	}
}
