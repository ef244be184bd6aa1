package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
)

// The types of events that a person must look at: a donation that Noted cannot decide,
// and a message of an unknown type.
const (
	kindUndecided = "noted.undecided"
	kindUnknown   = "noted.unknown"
)

// An openPair is a donation that is left to a person, and why.
type openPair struct {
	paypal.Pair
	reason      string
	explanation string
}

// id names the message, the same in every redelivery. A webhook without an id is named by
// its bytes.
func (m *message) id() string { return cmp.Or(m.identified.Message.ID, digest(string(m.body))) }

// digest shortens a text; different texts have different digests.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// handOnForPerson hands a message on once, before PayPal is told that it has arrived.
// Noted sees to that too: the message is noted in a series of its own, named by an id
// that every redelivery has. The id covers which donations are open, so that a donation
// that becomes undecidable later is told as well.
func (g *Gateway) handOnForPerson(ctx context.Context, m *message, kind string, open []openPair) error {
	parts := []string{m.channel.name, m.id()}
	for _, p := range open {
		parts = append(parts, p.Donation.SeriesID, p.Donation.Event.String())
	}
	slices.Sort(parts[2:])
	name := digest(strings.Join(parts, "\n"))
	id := strings.TrimPrefix(kind, "noted.") + "-" + name

	donation := &client.Donation{Ledger: m.ledger, SeriesId: kind + ":" + name}
	verdict, err := g.noted.Once(
		ctx,
		donation,
		&client.Message{Channel: m.channel.name, Id: id},
		func(ctx context.Context, note *client.Note) error {
			return g.handOn(ctx, personEvent(m, kind, id, open, note), note)
		},
	)
	log := g.log.donation(m, id, verdict).With("reason", open[0].reason)
	switch {
	case err == nil && verdict == client.Held:
		return again(held, sentences[held])
	case err == nil && verdict == client.First:
		log.Warn("handed on for a person")
		return nil
	case err == nil, done(err):
		return nil
	}
	log.Error("not handed on for a person", "cause", cause(err))
	return again(notAccepted, "the message could not be handed on for a person; come again")
}
