package model

import (
	"slices"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// Learner is a server's knowledge of its ledgers' transaction ids, in memory. For each
// event and pair of channels it counts the donations that both told under one id, and
// those that they told under unequal ids.
//
// An agreement counts once for a note, when the sighting that completes it is recorded.
// It does not count if the series is named by the transaction: unequal ids could never
// have met there. A contradiction is a new note that only unequal ids kept from being
// paired, or a message that was paired although its id differs. It is taken back when the
// two turn out to be two donations: the id of one also arrives over the channel of the
// other.
type Learner struct {
	pairs map[pair]*experience
}

type pair struct {
	ledger string
	event  store.Event
	c, d   string // c < d
}

type experience struct {
	agreements     int
	contradictions map[int]contradiction
	explains       map[told][]int // :: an id on a channel → the contradictions that it takes back
	made           int
}

// told is an id that arrived over a channel.
type told struct{ channel, id string }

// A contradiction is kept as the two ids that take it back: the id of each sighting, on
// the channel of the other.
type contradiction [2]told

// The ledger knows that ids agree after this many agreements, if they are this many times
// the contradictions.
const (
	enough = 3
	times  = 4
)

func pairOf(d store.Donation, a, b string) pair {
	if b < a {
		a, b = b, a
	}
	return pair{d.Ledger, d.Event, a, b}
}

func (l *Learner) of(d store.Donation, a, b string) *experience {
	if l.pairs == nil {
		l.pairs = map[pair]*experience{}
	}
	p := pairOf(d, a, b)
	if l.pairs[p] == nil {
		l.pairs[p] = &experience{contradictions: map[int]contradiction{}, explains: map[told][]int{}}
	}
	return l.pairs[p]
}

// Agreeing are the channels whose ids are known to agree with those of a channel, in the
// order of their names.
func (l *Learner) Agreeing(d store.Donation, channel string) (channels []string) {
	for p, known := range l.pairs {
		if p.ledger != d.Ledger || p.event != d.Event || !known.known() {
			continue
		}
		switch channel {
		case p.c:
			channels = append(channels, p.d)
		case p.d:
			channels = append(channels, p.c)
		}
	}
	slices.Sort(channels)
	return channels
}

func (e *experience) known() bool {
	return e.agreements >= enough && e.agreements >= times*len(e.contradictions)
}

// Counts are the agreements and the contradictions of two channels.
func (l *Learner) Counts(d store.Donation, a, b string) (agreements, contradictions int) {
	e := l.pairs[pairOf(d, a, b)]
	if e == nil {
		return 0, 0
	}
	return e.agreements, len(e.contradictions)
}

// Observe learns from the reply to a message.
func (l *Learner) Observe(d store.Donation, m store.Message, reply Reply) {
	id := d.TransactionID
	if id == "" || !reply.Recorded {
		return
	}
	l.takeBack(d, told{m.Channel, id})
	if reply.Contradicted != nil {
		l.compare(d, told{m.Channel, id}, reply.Contradicted.Sightings)
		return
	}
	sightings := reply.Note.Sightings
	l.compare(d, told{m.Channel, id}, sightings[:len(sightings)-1])
}

// compare counts, for each other channel of a note, an agreement if the two channels have
// now told the note under one id for the first time, and a contradiction if the ids
// differ and this is the first id of its channel.
func (l *Learner) compare(d store.Donation, t told, sightings []store.Sighting) {
	ids := map[string][]string{} // :: channel → ids
	for _, s := range sightings {
		if s.TransactionID != "" {
			ids[s.Message.Channel] = append(ids[s.Message.Channel], s.TransactionID)
		}
	}
	here := ids[t.channel]
	for channel, there := range ids {
		agreed := slices.ContainsFunc(here, func(id string) bool { return slices.Contains(there, id) })
		if channel == t.channel || agreed {
			continue
		}
		switch e := l.of(d, t.channel, channel); {
		case !slices.Contains(there, t.id):
			if len(here) == 0 {
				e.contradict(contradiction{{channel, t.id}, {t.channel, there[0]}})
			}
		case d.SeriesID != t.id:
			e.agreements++
		}
	}
}

func (e *experience) contradict(c contradiction) {
	e.made++
	e.contradictions[e.made] = c
	for _, t := range c {
		e.explains[t] = append(e.explains[t], e.made)
	}
}

// takeBack drops the contradictions that an id over a channel explains.
func (l *Learner) takeBack(d store.Donation, t told) {
	for p, e := range l.pairs {
		if p.ledger == d.Ledger && p.event == d.Event {
			for _, i := range e.explains[t] {
				delete(e.contradictions, i)
			}
			delete(e.explains, t)
		}
	}
}
