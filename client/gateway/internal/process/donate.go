package process

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/paypal"
)

// donate processes the donations of a message without an outcome. A donation in trouble
// does not stop the others.
func (w *workers) donate(
	ctx context.Context, c *inbox.Claim, m *message, whose Ownership,
) (result inbox.Result, err error) {
	result.State = inbox.Done
	var open []downstream.OpenDonation
	var openAt []int
	leave := func(i int, reason string) {
		open = append(open, downstream.OpenDonation{
			Pair: m.identified.Pairs[i], Reason: reason, Explanation: explanations[reason],
		})
		openAt = append(openAt, i)
	}
	for i, pair := range m.identified.Pairs {
		d := &c.Donations[i]
		switch {
		case !isOf(d, pair):
			return otherBody, nil
		case d.Outcome != "":
			continue
		case whose == Unsaid:
			// A refusal could lose a genuine donation, and a note could count a
			// stranger's donation.
			leave(i, reasonNoReceiver)
			continue
		}
		outcome, trouble, err := w.ask(ctx, c, m, pair, d)
		if err != nil {
			return result, err
		}
		w.processor.config.Metrics.Donation(m.Channel, pair.Donation.Event, outcome)
		switch {
		case outcome == undecided:
			leave(i, d.Reason)
		case trouble.State == inbox.Waiting && result.State == inbox.Done:
			result = trouble
		}
	}
	if len(open) == 0 {
		return afterAll(result, c.Donations), nil
	}
	// A person learns of these donations even if another donation is in trouble: the
	// trouble may never end.
	if err := w.processor.deliverForPerson(ctx, m, downstream.KindUndecided, open); err != nil {
		return inbox.Result{State: inbox.Waiting, Cause: err.Error()}, nil //nolint:nilerr // the row keeps it
	}
	for at, i := range openAt {
		d := &c.Donations[i]
		d.Outcome, d.Reason = inbox.Undecided, open[at].Reason
		if err := w.box.Decided(ctx, c.Row, d); err != nil {
			return result, err
		}
	}
	return afterAll(result, c.Donations), nil
}

// isOf reports whether a record belongs to a pair.
func isOf(d *inbox.Donation, pair paypal.Pair) bool {
	return d.SeriesID == pair.Donation.SeriesID && d.Event == pair.Donation.Event.String() &&
		d.TransactionID == pair.Donation.TransactionID
}

// otherBody is the result of a message whose body was wiped and whose copy has another
// body: one of them may be forged.
var otherBody = inbox.Result{State: inbox.Person, Cause: "other_body"}

// afterAll leaves a message to a person if no donation in it waits, but a donation needs
// a person.
func afterAll(result inbox.Result, donations []inbox.Donation) inbox.Result {
	for _, d := range donations {
		if result.State == inbox.Done && d.Outcome.ForPerson() {
			return inbox.Result{State: inbox.Person, Cause: d.Reason}
		}
	}
	return result
}

// ask asks Noted about one donation, delivers it if it is FIRST, and settles it. The
// acceptance of the downstream is on disk before the donation is settled, so after a
// crash in between the next try only settles.
//
// It holds the donation for Config.Hold and does not extend the hold: ForwardTimeout is
// shorter. If outcome is not final, trouble is the result of the message.
func (w *workers) ask(
	ctx context.Context, c *inbox.Claim, m *message, pair paypal.Pair, d *inbox.Donation,
) (outcome string, trouble inbox.Result, err error) {
	p := w.processor
	answer, accepted, outcome, trouble, err := w.note(ctx, c, m, pair, d)
	switch {
	case err != nil || outcome != "" && outcome != duplicate && outcome != settled:
		return outcome, trouble, err
	case outcome != "":
		return outcome, trouble, w.box.Decided(ctx, c.Row, d)
	}
	note := answer.GetNote()
	log := p.config.Log.Donation(m.Channel, m.identified.Type, note.GetDonationId(), answer.GetVerdict())
	if !accepted {
		said, err := p.deliver(ctx, m, downstream.Donation(&m.Message, pair, note), note)
		if err != nil {
			log.Warn("not delivered", "cause", cause(err))
			return w.refused(ctx, c, d, answer, err)
		}
		failpoint("accepted")
		d.AcceptedID, d.DonationID, d.Attempt = note.GetDonationId(), note.GetDonationId(), note.GetAttempt()
		d.AcceptedAnswer = said
		if err := w.box.Accepted(context.WithoutCancel(ctx), c, d); err != nil {
			p.config.Log.Inbox("an acceptance could not be recorded; the donation is settled nevertheless", err)
		}
		failpoint("recorded")
	}
	return w.settle(ctx, c, m, d, answer)
}

// note asks Noted about one donation and records its verdict in d. outcome is empty for a
// FIRST donation, which is then held. accepted says that the downstream already has it.
// If outcome is not final, trouble is the result of the message.
func (w *workers) note(
	ctx context.Context, c *inbox.Claim, m *message, pair paypal.Pair, d *inbox.Donation,
) (answer *client.NoteResponse, accepted bool, outcome string, trouble inbox.Result, err error) {
	if d.AskedSeries, err = w.box.Series(ctx, m.Ledger, *d); err != nil {
		return nil, false, "", trouble, err
	}
	config := w.processor.config
	donation, told := client.FromPayPal(pair, m.Ledger)
	donation.SeriesId = d.AskedSeries
	told.ReceivedAt = timestamppb.New(c.ReceivedAt)
	answer, err = config.Noted.Note(ctx, &client.NoteRequest{
		Donation: donation, Message: told, Hold: durationpb.New(config.Hold), RequestId: client.NewRequestID(),
	})
	if err != nil {
		if errors.Is(err, client.ErrUndecidable) {
			d.Reason = client.Reason(err)
			return nil, false, undecided, trouble, nil
		}
		return nil, false, unavailable, inbox.Result{State: inbox.Waiting, Cause: cause(err)}, nil
	}
	failpoint("noted")
	id, verdict := answer.GetNote().GetDonationId(), answer.GetVerdict()
	d.Verdict = strings.TrimPrefix(verdict.String(), "VERDICT_")
	switch verdict {
	case client.Duplicate:
		d.DonationID, d.Outcome = id, inbox.Duplicate
		if d.AcceptedID == id {
			d.Outcome = inbox.Settled
		}
		return answer, false, string(d.Outcome), trouble, nil
	case client.Held:
		trouble = inbox.Result{State: inbox.Waiting, Cause: held}
		trouble.After = min(max(answer.GetRetryAfter().AsDuration(), 100*time.Millisecond), config.Hold)
		return answer, false, held, trouble, nil
	case client.First:
	default:
		trouble = inbox.Result{State: inbox.Waiting, Cause: "Noted gave a verdict that this gateway does not know"}
		return answer, false, unavailable, trouble, nil
	}
	if client.TrueVerdict(answer) == client.First {
		accepted, err = w.box.WasAccepted(ctx, id) // by this message's last try, or by another message's
	} else {
		accepted = d.AcceptedID == id // in shadow each message is delivered, once
	}
	if err != nil {
		w.release(answer.GetReceipt())
		return nil, false, "", trouble, err
	}
	if !accepted && d.AcceptedID != "" && !c.Redo {
		config.Log.Donation(m.Channel, m.identified.Type, id, verdict).Error(
			"accepted under another donation id before, so it is settled and not delivered",
			"accepted_id", d.AcceptedID)
		accepted = true
	}
	return answer, accepted, "", trouble, nil
}

// settle settles a donation that the downstream has accepted, and records the outcome.
func (w *workers) settle(
	ctx context.Context, c *inbox.Claim, m *message, d *inbox.Donation, answer *client.NoteResponse,
) (outcome string, trouble inbox.Result, err error) {
	ctx = context.WithoutCancel(ctx)
	d.DonationID = answer.GetNote().GetDonationId()
	log := w.processor.config.Log.Donation(m.Channel, m.identified.Type, d.DonationID, answer.GetVerdict())
	_, err = w.processor.config.Noted.Settle(ctx, answer.GetReceipt(), "")
	if err != nil && !errors.Is(err, client.ErrNoteGone) {
		log.Warn("delivered, but not settled", "cause", cause(err))
		trouble = inbox.Result{State: inbox.Waiting, Cause: cmp.Or(cause(err), "not settled")}
		return unavailable, trouble, nil
	}
	failpoint("settled")
	if err != nil {
		log.Error("delivered, but another caller had settled it or its note is gone: compare it downstream",
			"cause", cause(err))
	} else {
		log.Info("delivered")
	}
	d.Outcome = inbox.Settled
	return settled, trouble, w.box.Decided(ctx, c.Row, d)
}

// refused gives up a donation that the downstream did not accept, so that the next try
// need not wait for its hold. A rejected donation has no next try.
func (w *workers) refused(
	ctx context.Context, c *inbox.Claim, d *inbox.Donation, answer *client.NoteResponse, why error,
) (outcome string, trouble inbox.Result, err error) {
	w.release(answer.GetReceipt())
	d.DonationID, d.Reason = answer.GetNote().GetDonationId(), "downstream: "+cause(why)
	if _, rejected := errors.AsType[downstream.RejectedError](why); !rejected {
		return notAccepted, inbox.Result{State: inbox.Waiting, Cause: d.Reason}, nil
	}
	d.Outcome = inbox.Rejected
	return notAccepted, trouble, w.box.Decided(ctx, c.Row, d)
}

// release ends the hold of a donation.
func (w *workers) release(receipt string) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	_, _ = w.processor.config.Noted.Release(ctx, receipt, "the downstream has not accepted it") // if this fails, the hold runs out
}

const releaseTimeout = 5 * time.Second
