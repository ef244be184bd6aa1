package process

import (
	"context"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// A heldDonation is a FIRST donation that this try holds.
type heldDonation struct {
	record *inbox.Donation
	answer *client.NoteResponse
}

// donateWhole processes a message for a listener of PayPal's own messages, whole or not
// at all:
//
//	every donation is FIRST       the listener gets the message, and all are settled
//	every donation is known       nothing is delivered
//	one is HELD, or not asked     the others are released, and the message waits
//	FIRST beside another verdict  nothing is delivered: a person decides, with all verdicts
//
// The listener's acceptance is on disk before a donation is settled, so after a crash in
// between the next try only settles. After a crash between the acceptance and its record
// the listener gets the message twice, because it gets no idempotency key.
func (w *workers) donateWhole(
	ctx context.Context, c *inbox.Claim, m *message, whose Ownership,
) (result inbox.Result, err error) {
	heldUntil := time.Now().Add(w.processor.config.Hold)
	count := func(d *inbox.Donation, outcome string) {
		w.processor.config.Metrics.Donation(m.Channel, m.identified.Pairs[d.Position].Donation.Event, outcome)
	}
	var first []heldDonation
	var open []*inbox.Donation
	known := 0 // donations that are duplicates, settled or closed
	release := func() {
		for _, h := range first {
			w.release(h.answer.GetReceipt())
		}
	}
	for i, pair := range m.identified.Pairs {
		d := &c.Donations[i]
		switch {
		case !isOf(d, pair):
			release()
			return otherBody, nil
		case d.Outcome != "":
			known++
			continue
		case whose == Unsaid:
			d.Reason = reasonNoReceiver
			open = append(open, d)
			continue
		}
		answer, accepted, outcome, trouble, err := w.note(ctx, c, m, pair, d)
		switch {
		case err != nil || trouble.State != "":
		case outcome == undecided:
			open = append(open, d)
			continue
		case outcome != "":
			err = w.box.Decided(ctx, c.Row, d)
		case accepted:
			outcome, trouble, err = w.settle(ctx, c, m, d, answer)
		default:
			first = append(first, heldDonation{d, answer})
			continue
		}
		if err != nil {
			release()
			return result, err
		}
		if count(d, outcome); trouble.State != "" {
			release()
			return trouble, nil
		}
		known++
	}
	switch {
	case len(first) == 0:
	case known+len(open) > 0:
		for _, h := range first {
			w.release(h.answer.GetReceipt())
			h.record.DonationID, h.record.Reason = h.answer.GetNote().GetDonationId(), reasonNotAllFirst
			open = append(open, h.record)
		}
		first = nil
	default:
		if result, err = w.give(ctx, c, m, first, heldUntil); result.State != "" || err != nil {
			release()
			return result, err
		}
	}
	result.State = inbox.Done
	for _, h := range first {
		outcome, trouble, err := w.settle(ctx, c, m, h.record, h.answer)
		if err != nil {
			return result, err
		}
		count(h.record, outcome)
		if trouble.State != "" {
			result = trouble
		}
	}
	for _, d := range open {
		d.Outcome = inbox.Undecided
		if err := w.box.Decided(ctx, c.Row, d); err != nil {
			return result, err
		}
		count(d, undecided)
	}
	return afterAll(result, c.Donations), nil
}

// give delivers a message whose donations are all FIRST, and records the acceptance. Its
// result is empty if the listener accepted the message.
func (w *workers) give(
	ctx context.Context, c *inbox.Claim, m *message, first []heldDonation, heldUntil time.Time,
) (result inbox.Result, err error) {
	config := w.processor.config
	said, err := w.processor.deliverOriginal(ctx, m, heldUntil)
	if err != nil {
		for _, h := range first {
			id := h.answer.GetNote().GetDonationId()
			config.Log.Donation(m.Channel, m.identified.Type, id, h.answer.GetVerdict()).Warn(
				"not delivered", "cause", cause(err))
		}
		return inbox.Result{State: inbox.Waiting, Cause: "downstream: " + cause(err)}, nil
	}
	failpoint("accepted")
	records := make([]*inbox.Donation, len(first))
	for i, h := range first {
		note := h.answer.GetNote()
		records[i] = h.record
		h.record.AcceptedID, h.record.DonationID = note.GetDonationId(), note.GetDonationId()
		h.record.Attempt, h.record.AcceptedAnswer = note.GetAttempt(), said
	}
	if err := w.box.Accepted(context.WithoutCancel(ctx), c, records...); err != nil {
		config.Log.Inbox("an acceptance could not be recorded; the donations are settled nevertheless", err)
	}
	failpoint("recorded")
	return result, nil
}
