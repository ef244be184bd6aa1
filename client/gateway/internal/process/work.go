package process

import (
	"context"
	"errors"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/paypal"
)

// work processes a verified message. A donation in trouble does not stop the others. It
// makes the answer 503, and the redelivery finds the others settled.
func (p *Processor) work(ctx context.Context, m *message, whose Ownership) (outcome string, err error) {
	switch {
	case m.identified.Unknown:
		return unknown, p.tellUnknown(ctx, m)
	case whose == Unsaid:
		// A refusal could lose a genuine donation, and a note could count a stranger's
		// donation. PayPal leaves the receiver out of some adjustments.
		var open []downstream.OpenDonation
		for _, pair := range m.identified.Pairs {
			p.config.Metrics.Donation(m.Channel, pair.Donation.Event, undecided)
			open = append(open, downstream.OpenDonation{Pair: pair, Reason: reasonNoReceiver, Explanation: explanations[reasonNoReceiver]})
		}
		return undecided, p.deliverForPerson(ctx, m, downstream.KindUndecided, open)
	}
	began := time.Now()
	var trouble *answer.Refusal
	var open []downstream.OpenDonation
	outcome = duplicate
	for i, pair := range m.identified.Pairs {
		result, reason := postponed, ""
		if i == 0 || time.Since(began) < p.workTime {
			result, reason = p.settle(ctx, m, pair)
		}
		p.config.Metrics.Donation(m.Channel, pair.Donation.Event, result)
		switch result {
		case settled:
			outcome = settled
		case duplicate:
		case undecided:
			open = append(open, downstream.OpenDonation{Pair: pair, Reason: reason, Explanation: explanations[reason]})
		default:
			trouble = answer.Again(result, sentences[result])
		}
	}
	if len(open) > 0 {
		// A person learns of these donations even if another donation is in trouble: the
		// trouble may never end, and these donations must not vanish with it.
		if outcome = undecided; trouble == nil {
			return outcome, p.deliverForPerson(ctx, m, downstream.KindUndecided, open)
		}
		_ = p.deliverForPerson(ctx, m, downstream.KindUndecided, open) // it logs a failure, and the redelivery tries again
	}
	if trouble != nil {
		return "", trouble
	}
	return outcome, nil
}

// settle notes one donation, delivers it if it is FIRST, and settles it. It returns an
// outcome, and the reason for an undecided donation.
func (p *Processor) settle(ctx context.Context, m *message, pair paypal.Pair) (result, reason string) {
	donation, told := client.FromPayPal(pair, m.Ledger)
	id := ""
	verdict, err := p.config.Noted.Once(ctx, donation, told, func(ctx context.Context, note *client.Note) error {
		id = note.GetDonationId()
		_, err := p.deliver(ctx, m, downstream.Donation(&m.Message, pair, note), note)
		return err
	})
	log := p.config.Log.Donation(m.Channel, m.identified.Type, id, verdict)
	switch {
	case verdict == client.Duplicate:
		return duplicate, ""
	case verdict == client.Held:
		log.Info("held by another caller")
		return held, ""
	case err == nil:
		log.Info("delivered")
		return settled, ""
	case verdict == client.Undecided:
		if reason := client.Reason(err); errors.Is(err, client.ErrUndecidable) {
			return undecided, reason
		}
		log.Warn("not noted", "cause", cause(err))
		return unavailable, ""
	case !errors.Is(err, client.ErrNotSettled):
		log.Warn("not delivered", "cause", cause(err))
		return notAccepted, ""
	case done(err):
		log.Error(
			"delivered, but another caller had settled it or its note is gone: compare it downstream",
			"cause",
			cause(err),
		)
		return settled, ""
	}
	// The redelivery takes it over and delivers it again, under the same id.
	log.Warn("delivered, but not settled", "cause", cause(err))
	return unavailable, ""
}

// tellUnknown processes a message of an unknown type.
func (p *Processor) tellUnknown(ctx context.Context, m *message) error {
	p.config.Log.Unknown(m.Channel, m.identified.Type, m.identified.Skipped)
	if !m.account.ForwardUnknown {
		return nil
	}
	open := []downstream.OpenDonation{{Reason: "UNKNOWN_TYPE", Explanation: m.identified.Skipped}}
	return p.deliverForPerson(ctx, m, downstream.KindUnknown, open)
}
