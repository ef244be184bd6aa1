package model

import (
	"math/big"
	"slices"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// found is the verdict of the rules on a message.
type found struct {
	note         *Note // nil: the donation is not noted
	evidence     store.Evidence
	reused       bool  // the request id belongs to another message: nothing may change
	contradicted *Note // with a nil note: the note with which only unequal ids prevented pairing
}

// find applies the rules, one after the other, to the notes of the series and event.
func (m *Model) find(r Request) found {
	var notes []*Note
	for _, n := range m.of(r.Donation).notes {
		if n.Donation.Event == r.Donation.Event {
			notes = append(notes, n)
		}
	}
	if n := first(notes, func(n *Note) bool { return r.RequestID != "" && n.Request == r.RequestID }); n != nil {
		return found{note: n, evidence: store.SameRequest, reused: n.reused(r)}
	}
	if n := first(notes, func(n *Note) bool { return r.Message.ID != "" && n.saw(r.Message) }); n != nil {
		return found{note: n, evidence: store.SameMessage}
	}
	candidates, speaksAgainst := notes, func(*Note) bool { return false }
	if id, channel := r.Donation.TransactionID, r.Message.Channel; id != "" {
		if n := first(notes, func(n *Note) bool { return n.Sightings[n.own].TransactionID == id }); n != nil {
			return found{note: n, evidence: store.SameTransaction}
		}
		candidates = slices.DeleteFunc(slices.Clone(notes), func(n *Note) bool { return n.otherID(channel, id) })
		if n := first(candidates, func(n *Note) bool { return slices.ContainsFunc(n.Sightings, bears(id)) }); n != nil {
			return found{note: n, evidence: store.SameTransaction}
		}
		known := map[string]bool{} // :: another channel → its ids and this channel's are known to agree
		for _, n := range notes {
			for _, d := range n.channels() {
				if _, asked := known[d]; !asked {
					known[d] = agreeing(notes, r, d)
				}
			}
		}
		speaksAgainst = func(n *Note) bool {
			return slices.ContainsFunc(n.channels(), func(d string) bool { return known[d] })
		}
		candidates = slices.DeleteFunc(candidates, func(n *Note) bool {
			return !speaksAgainst(n) && otherHalf(notes, n, channel, id)
		})
	}
	return m.pair(candidates, r, speaksAgainst)
}

func first(notes []*Note, is func(*Note) bool) *Note {
	if i := slices.IndexFunc(notes, is); i >= 0 {
		return notes[i]
	}
	return nil
}

// reused tells that the request was answered FIRST for another message, as the note
// shows. A missing field never differs.
func (n *Note) reused(r Request) bool {
	own := n.Sightings[n.own]
	if own.Message.ID != "" && r.Message.ID != "" {
		return !n.saw(r.Message)
	}
	return own.TransactionID != "" && r.Donation.TransactionID != "" && own.TransactionID != r.Donation.TransactionID ||
		n.Life.Attempt == 1 && !sameMoney(n.Donation, r.Donation)
}

func (n *Note) saw(message store.Message) bool {
	return slices.ContainsFunc(
		n.Sightings,
		func(s store.Sighting) bool { return withoutTime(s.Message) == withoutTime(message) },
	)
}

func bears(id string) func(store.Sighting) bool {
	return func(s store.Sighting) bool { return s.TransactionID == id }
}

// otherID tells that a channel has given the note another transaction id.
func (n *Note) otherID(channel, id string) bool {
	return slices.ContainsFunc(n.Sightings, func(s store.Sighting) bool {
		return s.Message.Channel == channel && s.TransactionID != "" && s.TransactionID != id
	})
}

// otherHalf tells that a channel has given another id to a note that contradicts n, or
// that n contradicts. If the ids of the channels differ, the two notes are one donation,
// which this channel has told already. If the ids agree, the two are two donations, and
// the messages with their ids have been found.
func otherHalf(notes []*Note, n *Note, channel, id string) bool {
	return slices.ContainsFunc(notes, func(half *Note) bool {
		return (half.contradicts == n || n.contradicts == half) && half.otherID(channel, id)
	})
}

// channels are the channels that gave the note a transaction id.
func (n *Note) channels() (channels []string) {
	for _, s := range n.Sightings {
		if s.TransactionID != "" && !slices.Contains(channels, s.Message.Channel) {
			channels = append(channels, s.Message.Channel)
		}
	}
	return channels
}

// agreeing tells whether the transaction ids of the request's channel and another channel
// are known to agree.
func agreeing(notes []*Note, r Request, other string) bool {
	channel := r.Message.Channel
	switch {
	case channel == other, r.Rules.TransactionIDs == store.PerChannel:
		return false
	case r.Rules.TransactionIDs == store.Shared:
		return true
	}
	contradiction := false
	for _, n := range notes {
		switch both, equal := n.compared(channel, other); {
		case equal:
			return true
		case both:
			contradiction = true
		}
		contradiction = contradiction || n.contradicts.has(n, channel, other)
	}
	return slices.Contains(r.Rules.Agreeing, other) && !contradiction
}

// compared tells whether two channels gave the note ids, and whether they gave it the
// same id.
func (n *Note) compared(c, d string) (both, equal bool) {
	for _, s := range n.Sightings {
		for _, t := range n.Sightings {
			if s.Message.Channel == c && t.Message.Channel == d && s.TransactionID != "" && t.TransactionID != "" {
				both, equal = true, equal || s.TransactionID == t.TransactionID
			}
		}
	}
	return both, equal
}

// has tells that note n, which contradicts note by, shows two channels that gave what may
// be one donation unequal ids.
func (n *Note) has(by *Note, c, d string) bool {
	if n == nil || n.forgotten {
		return false
	}
	channel, others := by.Sightings[0].Message.Channel, n.channels()
	return channel == c && slices.Contains(others, d) || channel == d && slices.Contains(others, c)
}

// pair is rule 4: it finds the note nearest in time that nothing speaks against. If there
// is none, the nearest note that only ids of agreeing channels speak against is
// contradicted.
func (m *Model) pair(notes []*Note, r Request, speaksAgainst func(*Note) bool) found {
	var nearest, contradicted struct {
		note     *Note
		distance time.Duration
	}
	for _, n := range notes {
		distance, window := between(m.arrival(r), n.arrived), r.Rules.ArrivalWindow
		if !r.Donation.OccurredAt.IsZero() && !n.Donation.OccurredAt.IsZero() {
			distance, window = between(r.Donation.OccurredAt, n.Donation.OccurredAt), r.Rules.MatchWindow
		}
		if distance > window || !sameMoney(r.Donation, n.Donation) || n.otherMessage(r.Message) {
			continue
		}
		best := &nearest
		if speaksAgainst(n) {
			best = &contradicted
		}
		if best.note == nil || distance < best.distance {
			best.note, best.distance = n, distance
		}
	}
	if nearest.note == nil {
		return found{contradicted: contradicted.note}
	}
	return found{note: nearest.note, evidence: store.Paired}
}

// otherMessage tells that the message's channel has told the note under another message
// id.
func (n *Note) otherMessage(m store.Message) bool {
	return m.ID != "" && slices.ContainsFunc(n.Sightings, func(s store.Sighting) bool {
		return s.Message.Channel == m.Channel && s.Message.ID != "" && s.Message.ID != m.ID
	})
}

func between(a, b time.Time) time.Duration { return max(a.Sub(b), b.Sub(a)) }

func sameMoney(a, b store.Donation) bool {
	if a.Amount == "" || b.Amount == "" {
		return true
	}
	if a.CurrencyCode != b.CurrencyCode {
		return false
	}
	if a.Amount == b.Amount {
		return true
	}
	x, _ := new(big.Rat).SetString(a.Amount)
	y, _ := new(big.Rat).SetString(b.Amount)
	return x.Cmp(y) == 0
}
