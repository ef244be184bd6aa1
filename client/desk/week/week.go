// Package week makes up a week of PayPal's traffic, for tests and for trials of the desk.
// Noted and an inbox get every case that a person at the desk meets.
//
//	cases, err := week.Fill(ctx, noted, inbox.Config{URL: …, Account: week.Ledger}, time.Now(), seed)
//
// The bodies are made up; all later steps are real. client/paypal reads the bodies, Noted
// decides, and the inbox keeps the journal. Noted's own clock cannot be set, so its times
// are those of the filling. The journal's times are those of the week.
package week

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/paypal"
)

// Ledger is the ledger of the made-up donations. No real ledger has this name, so a Noted
// with real notes keeps them apart.
const Ledger = "desk-trial"

// A Case is one story of the week, with an id by which the desk finds it.
type Case struct {
	Name string // the event
	ID   string // the id of the transaction, the series or the message
}

// The names of the cases.
const (
	Booked      = "booked, told on both channels"
	Late        = "its webhook came a day late"
	Differs     = "the channels have different amounts"
	Copied      = "its IPN came three times"
	Waiting     = "the books do not answer"
	Rejected    = "the books want a person"
	Undecided   = "older than Noted's notes"
	UnknownType = "of an unknown type"
	Foreign     = "for another account"
	Malformed   = "names no series"
	Unverified  = "PayPal has not confirmed it yet"
	Forged      = "PayPal did not send it"
	Held        = "in work right now"
	Crashed     = "a receiver without an inbox died"
	Closed      = "booked by hand"
	TakenOver   = "taken over after a first try failed"
	Refunded    = "paid, then refunded"
	Series      = "a series with a payment each day"
)

// A filler makes up the week.
type filler struct {
	noted *client.Client
	box   *inbox.Inbox
	now   time.Time
	rand  *rand.Rand
	cases []Case
}

// Fill makes up the week that ends at a time. The same seed makes the same ids. The
// config names the database. Fill sets its Account, Keys and Now.
func Fill(
	ctx context.Context, noted *client.Client, config inbox.Config, end time.Time, seed uint64,
) (cases []Case, err error) {
	f := &filler{noted: noted, rand: rand.New(rand.NewPCG(seed, 16)), now: end}
	config.Account, config.Now = Ledger, func() time.Time { return f.now }
	if config.Keys, err = inbox.ReadKeys([]byte(inbox.NewKeyLine())); err != nil {
		return nil, err
	}
	if f.box, err = inbox.Open(ctx, config); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.box.Close()) }()
	for _, story := range f.stories(end) {
		if err := story(ctx); err != nil {
			return nil, fmt.Errorf("making up a week: %w", err)
		}
	}
	return f.cases, nil
}

// id makes an id like PayPal's.
func (f *filler) id(length int) string {
	const letters = "0123456789ABCDEFGHJKLMNPRSTUVWXY"
	var b strings.Builder
	for range length {
		b.WriteByte(letters[f.rand.IntN(len(letters))])
	}
	return b.String()
}

func (f *filler) transaction() string { return f.id(17) }
func (f *filler) series() string      { return "I-" + f.id(12) }

func (f *filler) tell(name, id string) { f.cases = append(f.cases, Case{name, id}) }

// told is a message of the week.
type told struct {
	at      time.Time
	channel string
	body    []byte
}

func identify(channel string, body []byte) (paypal.Identified, error) {
	if channel == "webhook" {
		return paypal.IdentifyWebhook(body)
	}
	return paypal.IdentifyIPN(body)
}

// keep identifies a message and keeps it in the inbox. It reports whether the message
// waits for a worker.
func (f *filler) keep(ctx context.Context, m told) (works bool, err error) {
	f.now = m.at
	identified, malformed := identify(m.channel, m.body)
	a := inbox.Arrival{
		Ledger: Ledger, Channel: m.channel, ID: identified.Message.ID, Type: identified.Type, ReceivedAt: m.at,
		State: inbox.Waiting, Header: http.Header{}, Body: m.body,
	}
	switch {
	case malformed != nil:
		a.State, a.Cause = inbox.Refused, "malformed: "+malformed.Error()
	case identified.Unknown:
		a.State, a.Cause = inbox.Refused, "unknown"
	case identified.Skipped != "":
		a.State, a.Cause = inbox.Done, "skipped"
	}
	if m.channel == "ipn" {
		a.IDs = inbox.IDs{
			Transaction: paypal.IPNField(m.body, "txn_id"), Parent: paypal.IPNField(m.body, "parent_txn_id"),
			Series: paypal.IPNField(m.body, "subscr_id"),
		}
	}
	for _, pair := range identified.Pairs {
		donation, message := client.FromPayPal(pair, Ledger)
		text, err := pairJSON(donation, message)
		if err != nil {
			return false, err
		}
		if a.IDs.Transaction == "" {
			a.IDs.Transaction = pair.Donation.TransactionID
		}
		a.Donations = append(a.Donations, inbox.Donation{
			SeriesID: pair.Donation.SeriesID, Event: pair.Donation.Event.String(),
			TransactionID: pair.Donation.TransactionID, Pair: text,
		})
	}
	return a.State == inbox.Waiting, f.box.Keep(ctx, a)
}

// pairJSON writes a donation and its message in the journal's form.
func pairJSON(donation *client.Donation, message *client.Message) ([]byte, error) {
	options := protojson.MarshalOptions{UseProtoNames: true}
	one, err := options.Marshal(donation)
	if err != nil {
		return nil, err
	}
	two, err := options.Marshal(message)
	return fmt.Appendf(nil, `{"donation":%s,"message":%s}`, one, two), err
}

// An ending is the books' answer to a donation.
type ending int

const (
	accepts ending = iota // the books accept, and the donation is settled
	silent                // the message waits for the next try
	refuses               // the message waits for a person
	dies                  // the worker dies during the hold
)

// process keeps a message, notes its donations and books them as the ending says.
func (f *filler) process(ctx context.Context, m told, end ending) error {
	if works, err := f.keep(ctx, m); err != nil || !works {
		return err
	}
	return f.try(ctx, m.at, end)
}

// try works once on the message that is due at a time.
func (f *filler) try(ctx context.Context, at time.Time, end ending) error {
	f.now = at
	claim, err := f.box.Claim(ctx)
	if err == nil && claim == nil {
		err = errors.New("the inbox has no message that is due")
	}
	if err != nil {
		return err
	}
	identified, err := identify(claim.Channel, claim.Body)
	if err != nil {
		return err
	}
	result := inbox.Result{State: inbox.Done}
	for i, pair := range identified.Pairs {
		d := &claim.Donations[i]
		if d.AskedSeries, err = f.box.Series(ctx, Ledger, *d); err != nil {
			return err
		}
		donation, message := client.FromPayPal(pair, Ledger)
		donation.SeriesId, message.ReceivedAt = d.AskedSeries, timestamppb.New(claim.ReceivedAt)
		hold := 10 * time.Second
		if end == dies {
			hold = 15 * time.Minute
		}
		answer, err := f.noted.Note(ctx, &client.NoteRequest{
			Donation: donation, Message: message, Hold: durationpb.New(hold),
		})
		if err != nil {
			if client.Reason(err) == "" {
				return err
			}
			d.Outcome, d.Reason = inbox.Undecided, client.Reason(err)
			result = inbox.Result{State: inbox.Person, Cause: d.Reason}
			if err := f.box.Decided(ctx, claim.Row, d); err != nil {
				return err
			}
			continue
		}
		if result, err = f.book(ctx, claim, d, answer, end); err != nil {
			return err
		}
	}
	return f.box.Finish(ctx, claim, result)
}

// book treats one donation as the books do.
func (f *filler) book(
	ctx context.Context, claim *inbox.Claim, d *inbox.Donation, answer *client.NoteResponse, end ending,
) (result inbox.Result, err error) {
	result.State = inbox.Done
	d.DonationID = answer.GetNote().GetDonationId()
	d.Verdict = strings.TrimPrefix(answer.GetVerdict().String(), "VERDICT_")
	switch {
	case answer.GetVerdict() == client.Held:
		result = inbox.Result{State: inbox.Waiting, Cause: "held", After: answer.GetRetryAfter().AsDuration()}
	case answer.GetVerdict() == client.Duplicate:
		d.Outcome = inbox.Duplicate
	case end == accepts:
		f.now = f.now.Add(time.Duration(1+f.rand.IntN(4)) * time.Second)
		d.AcceptedID, d.Attempt, d.AcceptedAnswer = d.DonationID, answer.GetNote().GetAttempt(), "204"
		if err := f.box.Accepted(ctx, claim, d); err != nil {
			return result, err
		}
		if _, err := f.noted.Settle(ctx, answer.GetReceipt(), ""); err != nil {
			return result, err
		}
		d.Outcome = inbox.Settled
	case end == dies:
		result = inbox.Result{State: inbox.Waiting, Cause: "held", After: 15 * time.Minute}
	default:
		if _, err := f.noted.Release(ctx, answer.GetReceipt(), "the downstream has not accepted it"); err != nil {
			return result, err
		}
		result = inbox.Result{State: inbox.Waiting, Cause: "downstream: it answered 503", After: 10 * time.Minute}
		if d.Reason = result.Cause; end == refuses {
			d.Outcome, d.Reason = inbox.Rejected, "downstream: it answered 422"
			result = inbox.Result{State: inbox.Person, Cause: d.Reason}
		}
	}
	return result, f.box.Decided(ctx, claim.Row, d)
}
