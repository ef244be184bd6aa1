package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
)

// workTime is how long a message is processed before no further donation of it begins.
// PayPal hangs up after 30 seconds, and its redelivery continues where this one stopped.
const workTime = 25 * time.Second

// The outcomes of a donation, and of a message. The outcome of a refused message is the
// reason of its refusal.
const (
	settled     = "settled"
	duplicate   = "duplicate"
	held        = "held"      // by another
	undecided   = "undecided" // handed on for a person
	notAccepted = "forward"   // the downstream did not accept it
	unavailable = "noted"     // Noted could not be asked, or could not settle
	postponed   = "postponed" // not begun
	skipped     = "skipped"   // of a message: no donation in it
	unknown     = "unknown"   // of a message: a type that is not known
)

// work processes a verified message. A donation in trouble does not stop the others. It
// makes the answer 503, and the redelivery finds the others settled.
func (g *Gateway) work(ctx context.Context, m *message, whose ownership) (outcome string, err error) {
	switch {
	case m.identified.Unknown:
		return unknown, g.tellUnknown(ctx, m)
	case whose == unsaid:
		// Refusing it could lose a genuine donation, and noting it could count a
		// stranger's. PayPal leaves the receiver out of some adjustments.
		var open []openPair
		for _, pair := range m.identified.Pairs {
			g.metrics.donation(m.channel.name, pair.Donation.Event, undecided)
			open = append(
				open,
				openPair{pair, "RECEIVER_MISSING", "the message does not say whose account it is about"},
			)
		}
		return undecided, g.handOnForPerson(ctx, m, kindUndecided, open)
	}
	began := time.Now()
	var trouble *refusal
	var open []openPair
	outcome = duplicate
	for i, pair := range m.identified.Pairs {
		result, reason := postponed, ""
		if i == 0 || time.Since(began) < g.workTime {
			result, reason = g.settle(ctx, m, pair)
		}
		g.metrics.donation(m.channel.name, pair.Donation.Event, result)
		switch result {
		case settled:
			outcome = settled
		case duplicate:
		case undecided:
			open = append(open, openPair{pair, reason, explanations[reason]})
		default:
			trouble = again(result, sentences[result])
		}
	}
	if len(open) > 0 {
		// Also where another donation is in trouble: that trouble may never end, and this
		// donation must not vanish with it.
		if outcome = undecided; trouble == nil {
			return outcome, g.handOnForPerson(ctx, m, kindUndecided, open)
		}
		_ = g.handOnForPerson(ctx, m, kindUndecided, open) // logged there, and tried again with the redelivery
	}
	if trouble != nil {
		return "", trouble
	}
	return outcome, nil
}

// sentences explain to PayPal why it must come again.
var sentences = map[string]string{
	held:        "another caller is processing this donation; come again",
	notAccepted: "the donation could not be handed on; come again",
	unavailable: "Noted could not be asked, or could not settle; come again",
	postponed:   "the message tells of more donations than there was time for; come again",
}

// explanations tell a person why Noted cannot decide.
var explanations = map[string]string{
	"OCCURRED_TOO_EARLY": "it is older than the notes reach back, so Noted cannot say whether it was handed on before",
	"RECEIVED_TOO_EARLY": "it came before the notes reach back, so Noted cannot say whether it was handed on before",
	"OCCURRED_TOO_LATE":  "it lies further ahead than clocks may disagree",
	"SERIES_FULL":        "its series holds more donations than a real one could; is its id a constant?",
	"INVALID_REQUEST":    "Noted does not take it as it is",
}

// settle notes one donation, hands it on if it is FIRST, and settles it. It returns an
// outcome, and the reason with undecided.
func (g *Gateway) settle(ctx context.Context, m *message, pair paypal.Pair) (result, reason string) {
	donation, told := client.FromPayPal(pair, m.ledger)
	id := ""
	verdict, err := g.noted.Once(ctx, donation, told, func(ctx context.Context, note *client.Note) error {
		id = note.GetDonationId()
		return g.handOn(ctx, donationEvent(m, pair, note), note)
	})
	log := g.log.donation(m, id, verdict)
	switch {
	case verdict == client.Duplicate:
		return duplicate, ""
	case verdict == client.Held:
		log.Info("held by another")
		return held, ""
	case err == nil:
		log.Info("handed on")
		return settled, ""
	case verdict == client.Undecided:
		if reason := client.Reason(err); hopeless(err) {
			return undecided, reason
		}
		log.Warn("not noted", "cause", cause(err))
		return unavailable, ""
	case !errors.Is(err, client.ErrNotSettled):
		log.Warn("not handed on", "cause", cause(err))
		return notAccepted, ""
	case done(err):
		log.Error(
			"handed on, but another had settled it or its note is gone: compare it downstream",
			"cause",
			cause(err),
		)
		return settled, ""
	}
	// The redelivery takes it over and hands it on again, under the same id.
	log.Warn("handed on, but not settled", "cause", cause(err))
	return unavailable, ""
}

// hopeless says whether Noted would answer the same each time.
func hopeless(err error) bool {
	return errors.Is(err, client.ErrOccurredTooEarly) || errors.Is(err, client.ErrOccurredTooLate) ||
		errors.Is(err, client.ErrReceivedTooEarly) ||
		errors.Is(err, client.ErrSeriesFull) || errors.Is(err, client.ErrInvalidRequest)
}

// done says whether a message is finished although its donation could not be settled.
// Either another attempt has settled it (the downstream saw its id twice), or an operator
// intervened. In both cases a redelivery could be a new donation by now and double this
// one.
func done(err error) bool {
	return errors.Is(err, client.ErrNotSettled) &&
		(errors.Is(err, client.ErrSettledByAnother) ||
			errors.Is(err, client.ErrHoldReleased) ||
			errors.Is(err, client.ErrNoteNotFound))
}

// tellUnknown deals with a message of an unknown type.
func (g *Gateway) tellUnknown(ctx context.Context, m *message) error {
	g.log.unknown(m)
	if !g.config.ForwardUnknown {
		return nil
	}
	return g.handOnForPerson(
		ctx,
		m,
		kindUnknown,
		[]openPair{{reason: "UNKNOWN_TYPE", explanation: m.identified.Skipped}},
	)
}

// handOn gives an event to the downstream, which has ForwardTimeout to accept it.
func (g *Gateway) handOn(ctx context.Context, e *outgoing, note *client.Note) error {
	ctx, cancel := context.WithTimeout(ctx, g.config.ForwardTimeout)
	defer cancel()
	began := time.Now()
	body, err := e.json()
	if err == nil {
		err = g.downs.accept(ctx, e, body, note.GetForgetAt().AsTime().Sub(note.GetNotedAt().AsTime()))
	}
	g.metrics.forwarded(strings.TrimPrefix(e.kind, "noted."), err, time.Since(began))
	return err
}
