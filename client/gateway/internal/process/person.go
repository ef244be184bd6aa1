package process

import (
	"context"
	"slices"
	"strings"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
)

// deliverForPerson hands a message on once, before PayPal is told that it has arrived.
// Noted sees to that too: the message is noted in a series of its own, named by an id
// that every redelivery has. The id covers which donations are open, so that a donation
// that becomes undecidable later is told as well.
func (p *Processor) deliverForPerson(
	ctx context.Context, m *message, kind string, open []downstream.OpenDonation,
) error {
	parts := []string{m.Channel, m.ID}
	for _, o := range open {
		parts = append(parts, o.Donation.SeriesID, o.Donation.Event.String())
	}
	slices.Sort(parts[2:])
	name := digest(strings.Join(parts, "\n"))
	id := strings.TrimPrefix(kind, "noted.") + "-" + name

	donation := &client.Donation{Ledger: m.Ledger, SeriesId: kind + ":" + name}
	verdict, err := p.config.Noted.Once(
		ctx,
		donation,
		&client.Message{Channel: m.Channel, Id: id},
		func(ctx context.Context, note *client.Note) error {
			return p.deliver(ctx, downstream.ForPerson(&m.Message, kind, id, open, note), note)
		},
	)
	log := p.config.Log.Donation(m.Channel, m.identified.Type, id, verdict).With("reason", open[0].Reason)
	switch {
	case err == nil && verdict == client.Held:
		return answer.Again(held, sentences[held])
	case err == nil && verdict == client.First:
		log.Warn("handed on for a person")
		return nil
	case err == nil, done(err):
		return nil
	}
	log.Error("not handed on for a person", "cause", cause(err))
	return answer.Again(notAccepted, "the message could not be handed on for a person; come again")
}
