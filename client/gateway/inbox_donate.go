package gateway

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
	"github.com/donation-dedupe/noted/client/paypal"
)

// donate processes the donations of a message that have no outcome yet. A donation in
// trouble does not stop the others.
func (w *inboxWorkers) donate(
	ctx context.Context, c *inbox.Claim, m *message, whose ownership,
) (result inbox.Result, err error) {
	result.State = inbox.Done
	var open []openPair
	var openAt []int
	leave := func(i int, reason, explanation string) {
		open = append(open, openPair{m.identified.Pairs[i], reason, explanation})
		openAt = append(openAt, i)
	}
	for i, pair := range m.identified.Pairs {
		d := &c.Donations[i]
		switch {
		case d.SeriesID != pair.Donation.SeriesID || d.Event != pair.Donation.Event.String() ||
			d.TransactionID != pair.Donation.TransactionID:
			// Its body was wiped, and a copy brought another: one of the two may be forged.
			return inbox.Result{State: inbox.Person, Cause: "other_body"}, nil
		case d.Outcome != "":
			continue
		case whose == unsaid:
			// Refusing it could lose a genuine donation, and noting it could count a stranger's.
			leave(i, "RECEIVER_MISSING", "the message does not say whose account it is about")
			continue
		}
		outcome, trouble, err := w.ask(ctx, c, m, pair, d)
		if err != nil {
			return result, err
		}
		w.gateway.metrics.donation(m.channel.name, pair.Donation.Event, outcome)
		switch {
		case outcome == undecided:
			leave(i, d.Reason, explanations[d.Reason])
		case trouble.State == inbox.Waiting && result.State == inbox.Done:
			result = trouble
		}
	}
	if len(open) == 0 {
		return afterAll(result, c.Donations), nil
	}
	// Also where another donation is in trouble: that trouble may never end.
	if err := w.gateway.handOnForPerson(ctx, m, kindUndecided, open); err != nil {
		return inbox.Result{State: inbox.Waiting, Cause: err.Error()}, nil //nolint:nilerr // the row keeps it
	}
	for at, i := range openAt {
		d := &c.Donations[i]
		d.Outcome, d.Reason = inbox.Undecided, open[at].reason
		if err := w.box.Decided(ctx, c.Row, d); err != nil {
			return result, err
		}
	}
	return afterAll(result, c.Donations), nil
}

// afterAll leaves a message to a person if nothing in it waits, but a donation needs one.
func afterAll(result inbox.Result, donations []inbox.Donation) inbox.Result {
	for _, d := range donations {
		if result.State == inbox.Done && d.Outcome.ForPerson() {
			return inbox.Result{State: inbox.Person, Cause: d.Reason}
		}
	}
	return result
}

// ask asks Noted about one donation, hands it on if it is FIRST, and settles it. The
// acceptance of the downstream is on disk before the donation is settled, so after a
// crash in between the next try settles only.
//
// It holds the donation for Config.Hold and does not extend the hold: the downstream has
// less time than that. trouble is the result of the message where outcome is none of the
// final outcomes.
func (w *inboxWorkers) ask(
	ctx context.Context, c *inbox.Claim, m *message, pair paypal.Pair, d *inbox.Donation,
) (outcome string, trouble inbox.Result, err error) {
	g := w.gateway
	wait := func(outcome, cause string) (string, inbox.Result, error) {
		return outcome, inbox.Result{State: inbox.Waiting, Cause: cause}, nil
	}
	if d.AskedSeries, err = w.box.Series(ctx, m.ledger, *d); err != nil {
		return "", trouble, err
	}
	donation, told := client.FromPayPal(pair, m.ledger)
	donation.SeriesId = d.AskedSeries
	told.ReceivedAt = timestamppb.New(c.ReceivedAt)
	answer, err := g.noted.Note(ctx, &client.NoteRequest{
		Donation: donation, Message: told, Hold: durationpb.New(g.config.Hold), RequestId: client.NewRequestID(),
	})
	if err != nil {
		if hopeless(err) {
			d.Reason = client.Reason(err)
			return undecided, trouble, nil
		}
		return wait(unavailable, cause(err))
	}
	failpoint("noted")
	note, verdict := answer.GetNote(), answer.GetVerdict()
	d.Verdict = strings.TrimPrefix(verdict.String(), "VERDICT_")
	log := g.log.donation(m, note.GetDonationId(), verdict)
	switch verdict {
	case client.Duplicate:
		d.DonationID, d.Outcome = note.GetDonationId(), inbox.Duplicate
		if d.AcceptedID == d.DonationID {
			d.Outcome = inbox.Settled
		}
		return string(d.Outcome), trouble, w.box.Decided(ctx, c.Row, d)
	case client.Held:
		trouble = inbox.Result{State: inbox.Waiting, Cause: held}
		trouble.After = min(max(answer.GetRetryAfter().AsDuration(), 100*time.Millisecond), g.config.Hold)
		return held, trouble, nil
	case client.First:
	default:
		return wait(unavailable, "Noted gave a verdict that this gateway does not know")
	}
	accepted, err := w.box.WasAccepted(ctx, note.GetDonationId())
	switch {
	case err != nil:
		w.release(answer.GetReceipt())
		return "", trouble, err
	case accepted: // by this message's last try, or by another message's
	case d.AcceptedID != "" && !c.Redo:
		log.Error("accepted under another donation id before, so it is settled and not handed on",
			"accepted_id", d.AcceptedID)
	default:
		if err := g.handOn(ctx, donationEvent(m, pair, note), note); err != nil {
			log.Warn("not handed on", "cause", cause(err))
			return w.refused(ctx, c, d, answer, err)
		}
		failpoint("accepted")
		d.AcceptedID, d.DonationID, d.Attempt = note.GetDonationId(), note.GetDonationId(), note.GetAttempt()
		if err := w.box.Accepted(context.WithoutCancel(ctx), c, d); err != nil {
			g.log.inbox("an acceptance could not be recorded; the donation is settled all the same", err)
		}
		failpoint("recorded")
	}
	d.DonationID = note.GetDonationId()
	_, err = g.noted.Settle(context.WithoutCancel(ctx), answer.GetReceipt(), "")
	if err != nil && !settledElsewhere(err) {
		log.Warn("handed on, but not settled", "cause", cause(err))
		return wait(unavailable, cmp.Or(cause(err), "not settled"))
	}
	failpoint("settled")
	if err != nil {
		log.Error("handed on, but another had settled it or its note is gone: compare it downstream",
			"cause", cause(err))
	} else {
		log.Info("handed on")
	}
	d.Outcome = inbox.Settled
	return settled, trouble, w.box.Decided(context.WithoutCancel(ctx), c.Row, d)
}

// refused gives up a donation that the downstream has not accepted, so that the next try
// need not wait for its hold. Where the downstream wants a person, there is no next try.
func (w *inboxWorkers) refused(
	ctx context.Context, c *inbox.Claim, d *inbox.Donation, answer *client.NoteResponse, why error,
) (outcome string, trouble inbox.Result, err error) {
	w.release(answer.GetReceipt())
	d.DonationID, d.Reason = answer.GetNote().GetDonationId(), "downstream: "+cause(why)
	if _, rejected := errors.AsType[rejectedError](why); !rejected {
		return notAccepted, inbox.Result{State: inbox.Waiting, Cause: d.Reason}, nil
	}
	d.Outcome = inbox.Rejected
	return notAccepted, trouble, w.box.Decided(ctx, c.Row, d)
}

// settledElsewhere says whether a donation is finished although its receipt no longer
// settles it, as done does of Once's errors.
func settledElsewhere(err error) bool {
	return errors.Is(err, client.ErrSettledByAnother) || errors.Is(err, client.ErrHoldReleased) ||
		errors.Is(err, client.ErrNoteNotFound)
}

// release ends the hold of a donation.
func (w *inboxWorkers) release(receipt string) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	_, _ = w.gateway.noted.Release(ctx, receipt, "the downstream has not accepted it") // or the hold runs out
}

const releaseTimeout = 5 * time.Second
