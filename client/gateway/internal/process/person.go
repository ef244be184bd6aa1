package process

import (
	"context"
	"slices"
	"strings"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
)

// deliverForPerson delivers a message for a person once, before PayPal gets 200. Noted
// prevents a second delivery: the message is noted in its own series, and every
// redelivery has the id of that series. The id depends on the open donations, so that a
// donation that becomes undecidable later is delivered too.
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
			_, err := p.deliver(ctx, m, downstream.ForPerson(&m.Message, kind, id, open, note), note)
			return err
		},
	)
	log := p.config.Log.Donation(m.Channel, m.identified.Type, id, verdict).With("reason", open[0].Reason)
	switch {
	case err == nil && verdict == client.Held:
		return answer.Again(held, sentences[held])
	case err == nil && verdict == client.First:
		log.Warn("delivered for a person")
		return nil
	case err == nil, done(err):
		return nil
	}
	log.Error("not delivered for a person", "cause", cause(err))
	return answer.Again(notAccepted, "the message could not be delivered for a person; come again")
}
