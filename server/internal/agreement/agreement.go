// Package agreement learns whether the transaction ids of two channels agree.
//
// PayPal does not document whether an IPN and a webhook of one payment have the same
// transaction id. If they do, unequal ids on the two channels mean two donations; if they
// do not, unequal ids mean nothing. A server learns it from its callers' notes, for each
// ledger, event and pair of channels. It passes its knowledge with every call to the
// store, which applies rule 3.
//
// # Design
//
// Two channels that tell one donation under one id agree: chance makes no two ids equal.
// A message that unequal ids alone keep from being paired across two channels
// contradicts. The ids are known to agree after three agreements, while these are four
// times the contradictions. Two real payments of one sum close together contradict too,
// until the id of one appears on the other channel; then the contradiction is taken back.
//
// Series that are named by their transaction id teach nothing: unequal ids never meet
// there, so they would only ever agree.
//
// The memory is the server's own and is bounded. After a restart a server learns again.
// Until then it decides without that knowledge, but the knowledge of a series (rules.lua)
// still counts.
package agreement

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// When the ids of two channels are known to agree, and how much is remembered.
const (
	enough      = 3    // agreements
	outweigh    = 4    // times as many agreements as contradictions
	maxPairs    = 1024 // of ledger, event and two channels; callers choose the names
	maxConflict = 4096 // contradictions that may still be taken back
)

// Pair is two channels of a ledger and an event, in the order of their names.
type Pair struct {
	Ledger string
	Event  store.Event
	A, B   string
}

// Config has the functions that a Learner reports to. Each is optional and must not call
// the Learner.
type Config struct {
	// Changed is called when the ids of a pair become known to agree, or stop being known
	// to.
	Changed func(pair Pair, agree bool, agreements, contradictions int)
	// Agreed is called for each note that two channels have told of under one id.
	Agreed func(ledger string)
	// Differed is called for each note that two channels have told of under two ids, once
	// the match window has passed and neither id has turned up on the other channel.
	Differed func(ledger string)
}

// Learner is the memory of one server. Its methods may be used by many goroutines.
type Learner struct {
	config Config
	known  atomic.Pointer[map[asking][]string] // read with every call; replaced when something changes

	mu        sync.Mutex
	pairs     map[Pair]*tally
	conflicts []*conflict          // oldest first
	due       int                  // the first conflict whose match window may not have passed
	by        map[told][]*conflict // the conflicts that an id takes back
	now       time.Time            // the store's time at the last observation
	heard     time.Time            // this machine's time at that observation
}

// asking is the key under which Agreeing finds the channels that agree with a message's
// channel.
type asking struct {
	ledger  string
	event   store.Event
	channel string
}

type tally struct {
	agreements, contradictions int
	agree                      bool
}

// told is a transaction id on a channel. It does not name the series, since a message may
// have lost it.
type told struct {
	ledger      string
	event       store.Event
	channel, id string
}

// A conflict is a contradiction that was counted. It is taken back when either id arrives
// over the other channel.
type conflict struct {
	pair    Pair
	a, b    told // either takes it back
	report  bool // the two ids are in one note
	at      time.Time
	settled bool // taken back
}

// New makes a Learner that knows nothing.
func New(config Config) *Learner {
	l := &Learner{config: config, pairs: map[Pair]*tally{}, by: map[told][]*conflict{}}
	l.known.Store(&map[asking][]string{})
	return l
}

// Agreeing returns the channels whose ids are known to agree with those of a channel, in
// this ledger and event. The caller must not change the slice.
func (l *Learner) Agreeing(ledger string, event store.Event, channel string) []string {
	return (*l.known.Load())[asking{ledger, event, channel}]
}

// Observe learns from an answer.
func (l *Learner) Observe(request store.NoteRequest, reply store.NoteReply) {
	d, channel := request.Donation, request.Message.Channel
	if d.TransactionID == "" || channel == "" {
		return
	}
	this := told{d.Ledger, d.Event, channel, d.TransactionID}
	teaches := d.SeriesID != d.TransactionID
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.heard = reply.Now, time.Now()
	l.ripen(l.now)
	l.takeBack(this)
	if reply.Evidence == store.New {
		seen := map[string]bool{} // :: channel → counted
		for _, other := range reply.Against {
			if other.Channel != channel && other.Channel != "" && !seen[other.Channel] && teaches {
				seen[other.Channel] = true
				l.contradict(this, other, request.Rules.MatchWindow, false)
			}
		}
		return
	}
	if !reply.Recorded || len(reply.Note.Sightings) < 2 {
		return
	}
	for _, other := range partners(reply.Note.Sightings[:len(reply.Note.Sightings)-1], this) {
		switch {
		case other.TransactionID != d.TransactionID:
			l.contradict(this, other, request.Rules.MatchWindow, true)
		default:
			if l.config.Agreed != nil {
				l.config.Agreed(d.Ledger)
			}
			if teaches {
				l.count(pairOf(this, other.Channel), 1, 0)
			}
		}
	}
}

// partners returns the ids to compare with that of a new sighting, at most one of each
// other channel. Usually it is the channel's first id. If the channel has told of the
// note under the new id, it is that id. A channel is left out if the two have agreed on
// the note before. If the new sighting's channel has told of the note under an id before,
// only equal ids count.
func partners(earlier []store.Sighting, this told) (others []store.Told) {
	own := map[string]bool{} // :: transaction id that this channel told before
	for _, s := range earlier {
		if s.Message.Channel == this.channel && s.TransactionID != "" {
			own[s.TransactionID] = true
		}
	}
	at := map[string]int{}      // :: channel → its place in others
	agreed := map[string]bool{} // :: channel → the two have agreed before
	for _, s := range earlier {
		channel, id := s.Message.Channel, s.TransactionID
		if channel == this.channel || channel == "" || id == "" {
			continue
		}
		agreed[channel] = agreed[channel] || own[id]
		if i, ok := at[channel]; !ok {
			at[channel] = len(others)
			others = append(others, store.Told{Channel: channel, TransactionID: id})
		} else if id == this.id {
			others[i].TransactionID = id
		}
	}
	return slices.DeleteFunc(others, func(o store.Told) bool {
		return agreed[o.Channel] || o.TransactionID != this.id && len(own) > 0
	})
}

func pairOf(this told, other string) Pair {
	return Pair{this.ledger, this.event, min(this.channel, other), max(this.channel, other)}
}

func (l *Learner) contradict(this told, other store.Told, window time.Duration, report bool) {
	c := &conflict{pair: pairOf(this, other.Channel), report: report, at: l.now.Add(window)}
	c.a, c.b = this, this
	c.a.channel = other.Channel  // this id, told by the other channel
	c.b.id = other.TransactionID // the other id, told by this channel
	if !l.count(c.pair, 0, 1) {
		return
	}
	l.conflicts = append(l.conflicts, c)
	l.by[c.a], l.by[c.b] = append(l.by[c.a], c), append(l.by[c.b], c)
	if len(l.conflicts) > maxConflict {
		l.drop(l.conflicts[0])
		l.conflicts, l.due = l.conflicts[1:], max(l.due-1, 0)
	}
	l.ripen(l.now)
}

// takeBack undoes the contradictions that a message refutes.
func (l *Learner) takeBack(this told) {
	for _, c := range slices.Clone(l.by[this]) {
		c.settled = true
		l.count(c.pair, 0, -1)
		l.disregard(c)
	}
}

// disregard makes a conflict final: no id takes it back any more.
func (l *Learner) disregard(c *conflict) {
	for _, t := range []told{c.a, c.b} {
		l.by[t] = slices.DeleteFunc(l.by[t], func(other *conflict) bool { return other == c })
		if len(l.by[t]) == 0 {
			delete(l.by, t)
		}
	}
}

// drop forgets the oldest conflict.
func (l *Learner) drop(c *conflict) {
	if l.due == 0 {
		l.differed(c)
	}
	l.disregard(c)
}

func (l *Learner) differed(c *conflict) {
	if c.report && !c.settled && l.config.Differed != nil {
		l.config.Differed(c.pair.Ledger)
	}
}

// Ripen reports the pairings by unequal ids that have stood for the match window.
func (l *Learner) Ripen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ripen(l.now.Add(time.Since(l.heard)))
}

func (l *Learner) ripen(now time.Time) {
	for l.due < len(l.conflicts) && !now.Before(l.conflicts[l.due].at) {
		l.differed(l.conflicts[l.due])
		l.due++
	}
}

// count adds to a pair's tally, and reports when that changes whether the ids are known
// to agree. It is false for a new pair beyond maxPairs, which it does not count.
func (l *Learner) count(pair Pair, agreements, contradictions int) bool {
	t := l.pairs[pair]
	if t == nil {
		if len(l.pairs) >= maxPairs {
			return false
		}
		t = &tally{}
		l.pairs[pair] = t
	}
	t.agreements += agreements
	t.contradictions += contradictions
	agree := t.agreements >= enough && t.agreements >= outweigh*t.contradictions
	if agree == t.agree {
		return true
	}
	t.agree = agree
	l.publish()
	if l.config.Changed != nil {
		l.config.Changed(pair, agree, t.agreements, t.contradictions)
	}
	return true
}

// publish makes the map anew that Agreeing reads.
func (l *Learner) publish() {
	known := map[asking][]string{}
	for pair, t := range l.pairs {
		if t.agree {
			a, b := asking{pair.Ledger, pair.Event, pair.A}, asking{pair.Ledger, pair.Event, pair.B}
			known[a], known[b] = append(known[a], pair.B), append(known[b], pair.A)
		}
	}
	for _, channels := range known {
		slices.Sort(channels)
	}
	l.known.Store(&known)
}
