// Package model implements the store's rules a second time, in plain Go: notes in a
// slice, plain times, no format and no script. Tests compare the store with it; no
// program imports it.
//
// It is written from the design, not from the scripts, so a fault stays unseen only if it
// is made twice. rules.go decides which donation a message belongs to, life.go the life
// of a note, learner.go what a server learns about the transaction ids of a ledger.
package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// MostSightings is how many sightings a note keeps.
const MostSightings = 16

// Request asks to note a donation, or to look for it; a look has no RequestID.
type Request = store.NoteRequest

// Reply is an answer. A new note has no donation id yet, and no reply has a receipt: only
// the store can make them.
type Reply struct {
	store.NoteReply
	Contradicted *store.Note // only unequal ids kept this new note from being paired with it
}

// Refusal is an outcome that changes nothing.
type Refusal string

// The refusals.
const (
	TooEarly         Refusal = "TOO_EARLY"
	ReceivedTooEarly Refusal = "RECEIVED_TOO_EARLY"
	TooLate          Refusal = "TOO_LATE"
	SeriesFull       Refusal = "SERIES_FULL"
	RequestReused    Refusal = "REQUEST_REUSED"
	NotFound         Refusal = "NOT_FOUND"
	HoldLost         Refusal = "HOLD_LOST"
	HoldReleased     Refusal = "HOLD_RELEASED"
	SettledByAnother Refusal = "SETTLED_BY_ANOTHER"
	AlreadySettled   Refusal = "ALREADY_SETTLED"
)

// Model remembers notes, as the store does. Its clock moves when Now is set.
type Model struct {
	Now    time.Time
	Spared int // sightings that made room for others

	series map[name]*series
}

type name struct{ ledger, series string }

type series struct {
	notes     []*Note
	forgotten time.Time // the highest name of a note that was forgotten
}

// New is a model without notes.
func New(now time.Time) *Model { return &Model{Now: now, series: map[name]*series{}} }

// Note is a note with the parts that the store does not show.
type Note struct {
	store.Note
	Life
	own         int           // the sighting that was answered FIRST last
	arrived     time.Time     // the first message
	contradicts *Note         // only unequal ids kept this note from being paired with that one
	length      time.Duration // of the hold, as asked for
	retention   time.Duration
	forgotten   bool
}

func (m *Model) of(d store.Donation) *series {
	key := name{d.Ledger, d.SeriesID}
	s := m.series[key]
	if s == nil {
		s = &series{}
		m.series[key] = s
	}
	s.notes = slices.DeleteFunc(s.notes, func(n *Note) bool {
		gone := !m.Now.Before(n.forgetAt())
		n.forgotten = n.forgotten || gone
		return gone
	})
	return s
}

// Live are the notes of a series that are not forgotten, in the order they were made.
func (m *Model) Live(ledger, seriesID string) []*Note {
	return m.of(store.Donation{Ledger: ledger, SeriesID: seriesID}).notes
}

// Shown is a note as the store shows it now. After the clock was set back, a hold shows
// no more than its length.
func (m *Model) Shown(n *Note) store.Note {
	shown := n.Note
	shown.HeldUntil = m.heldUntil(n)
	shown.State, shown.Attempt, shown.ForgetAt = m.state(n), n.Life.Attempt, n.forgetAt()
	shown.Sightings = slices.Clone(n.Sightings)
	return shown
}

func (m *Model) state(n *Note) store.State {
	if n.Life.State == store.StateHeld && !m.Now.Before(n.HeldUntil) {
		return store.StateOpen
	}
	return n.Life.State
}

func (m *Model) heldUntil(n *Note) time.Time {
	if n.HeldUntil.Sub(m.Now) > n.length {
		return m.Now.Add(n.length)
	}
	return n.HeldUntil
}

// keptFrom is when a note's retention begins.
func (n *Note) keptFrom() time.Time { return latest(n.NotedAt, n.Donation.OccurredAt) }

func (n *Note) forgetAt() time.Time { return latest(n.keptFrom().Add(n.retention), n.HeldUntil) }

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// arrival is when a request's message arrived.
func (m *Model) arrival(r Request) time.Time {
	if r.Message.ReceivedAt.IsZero() || r.Message.ReceivedAt.After(m.Now) {
		return m.Now
	}
	return r.Message.ReceivedAt
}

// Exists decides as Note does and changes nothing. The note is nil if no note matches.
func (m *Model) Exists(r Request) (*Note, store.Evidence, error) {
	f := m.find(r)
	if f.note == nil {
		return nil, 0, m.refused(r)
	}
	return f.note, f.evidence, nil
}

// refused is the reason why a message of no known donation cannot be noted.
func (m *Model) refused(r Request) error {
	occurred, begin := r.Donation.OccurredAt, m.Now.Add(-r.Rules.Retention)
	switch {
	case !occurred.IsZero() && !occurred.After(begin):
		return TooEarly
	case !occurred.IsZero() && occurred.After(m.Now.Add(r.Rules.SkewAhead)):
		return TooLate
	case !m.arrival(r).After(begin):
		return ReceivedTooEarly
	}
	return nil
}

// Error makes a Refusal an error.
func (r Refusal) Error() string { return string(r) }

// Note decides whether a donation has been noted, and notes it.
func (m *Model) Note(r Request) (Reply, *Note, error) {
	f := m.find(r)
	switch {
	case f.reused:
		return Reply{}, f.note, RequestReused
	case f.note == nil:
		return m.begin(r, f.contradicted)
	}
	n := f.note
	reply := Reply{NoteReply: store.NoteReply{Evidence: f.evidence, Now: m.Now}}
	before, lapsed := n.Life, n.Life.State == store.StateHeld && m.state(n) == store.StateOpen
	n.Life, reply.Verdict = n.Life.Note(r.RequestID, r.Hold > 0, lapsed)
	taken := n.Life.Attempt > before.Attempt
	switch {
	case taken || lapsed && reply.Verdict == store.First:
		n.hold(m.Now, r.Hold)
	case n.Life.State == store.StateHeld: // by another, or by this request before
		n.HeldUntil = m.heldUntil(n)
	}
	if taken {
		reply.Evidence = store.TakenOver
	}
	reply.Recorded = m.see(n, r, taken)
	reply.Note = m.Shown(n)
	return reply, n, nil
}

// begin makes a note.
func (m *Model) begin(r Request, contradicted *Note) (Reply, *Note, error) {
	s := m.of(r.Donation)
	if err := m.refused(r); err != nil {
		return Reply{}, nil, err
	}
	if len(s.notes) >= r.Rules.SeriesLimit {
		return Reply{}, nil, SeriesFull
	}
	noted := latest(m.Now, s.forgotten.Add(time.Millisecond)) // the time is the note's name, so it must be new
	for slices.ContainsFunc(s.notes, func(n *Note) bool { return n.NotedAt.Equal(noted) }) {
		noted = noted.Add(time.Millisecond)
	}
	sighting := store.Sighting{Message: withoutTime(r.Message), TransactionID: r.Donation.TransactionID, SeenAt: noted}
	arrived := noted
	if at := m.arrival(r); at.Before(m.Now) {
		arrived, sighting.Message.ReceivedAt = at, at
	}
	n := &Note{
		Note:        store.Note{Donation: r.Donation, NotedAt: noted, Sightings: []store.Sighting{sighting}},
		arrived:     arrived,
		contradicts: contradicted,
		retention:   r.Rules.Retention,
	}
	reply := Reply{NoteReply: store.NoteReply{Evidence: store.New, Now: m.Now, Recorded: true}}
	n.Life, reply.Verdict = n.Life.Note(r.RequestID, r.Hold > 0, false)
	n.hold(m.Now, r.Hold)
	s.notes = append(s.notes, n)
	reply.Note = m.Shown(n)
	if contradicted != nil {
		shown := m.Shown(contradicted)
		reply.Contradicted = &shown
		for _, s := range shown.Sightings {
			if s.TransactionID != "" {
				reply.Against = append(
					reply.Against,
					store.Told{Channel: s.Message.Channel, TransactionID: s.TransactionID},
				)
			}
		}
	}
	return reply, n, nil
}

func (n *Note) hold(now time.Time, d time.Duration) {
	n.length, n.HeldUntil = d, time.Time{}
	if d > 0 {
		n.HeldUntil = now.Add(d)
	}
}

// see records a message, and tells whether it was new and found room. A message that
// takes a note over becomes its own sighting. The own sighting is always recorded, and is
// never removed to make room.
func (m *Model) see(n *Note, r Request, takes bool) bool {
	if i := n.sighting(r); i >= 0 {
		if takes {
			n.own = i
		}
		return false
	}
	if takes {
		n.own = -1 // the former own sighting may be spared now
	}
	if len(n.Sightings) == MostSightings {
		spare := n.spare()
		if spare == 0 && takes {
			spare = MostSightings - 1
		}
		if spare == 0 || !takes && !n.needs(r) {
			return false
		}
		n.Sightings = slices.Delete(n.Sightings, spare, spare+1)
		if spare < n.own {
			n.own--
		}
		m.Spared++
	}
	s := store.Sighting{
		Message: withoutTime(r.Message), TransactionID: r.Donation.TransactionID, SeenAt: latest(m.Now, n.NotedAt),
	}
	n.Sightings = append(n.Sightings, s)
	if takes {
		n.own = len(n.Sightings) - 1
	}
	return true
}

// withoutTime is the part of a message by which it is recognized: channel and id.
func withoutTime(m store.Message) store.Message { return store.Message{Channel: m.Channel, ID: m.ID} }

// sighting is the index of a request's message among the sightings, or -1. A message
// without an id is recognized by its channel and transaction id.
func (n *Note) sighting(r Request) int {
	return slices.IndexFunc(n.Sightings, func(s store.Sighting) bool {
		return withoutTime(s.Message) == withoutTime(r.Message) &&
			(r.Message.ID != "" || s.TransactionID == r.Donation.TransactionID)
	})
}

// needs tells whether a message is the first of its channel with an id, or with a
// transaction id.
func (n *Note) needs(r Request) bool {
	id, transaction := r.Message.ID != "", r.Donation.TransactionID != ""
	for _, s := range n.Sightings {
		if s.Message.Channel == r.Message.Channel {
			id = id && s.Message.ID == ""
			transaction = transaction && s.TransactionID == ""
		}
	}
	return id || transaction
}

// spare is the last sighting for which an earlier sighting stands: it has the same
// channel and transaction id, and an id if this sighting has one. The first sighting and
// the own sighting are never spared; 0 means that no sighting can be spared.
func (n *Note) spare() int {
	for i := len(n.Sightings) - 1; i > 0; i-- {
		late := n.Sightings[i]
		standsFor := func(early store.Sighting) bool {
			return early.TransactionID == late.TransactionID && early.Message.Channel == late.Message.Channel &&
				(early.Message.ID != "" || late.Message.ID == "")
		}
		if i != n.own && late.TransactionID != "" && slices.ContainsFunc(n.Sightings[:i], standsFor) {
			return i
		}
	}
	return 0
}

// A Receipt proves who holds a note.
type Receipt struct {
	Note    *Note
	Request string
	Attempt int
}

// Finish settles, releases or extends by a receipt.
func (m *Model) Finish(verb Verb, given Receipt, hold time.Duration) error {
	n := given.Note
	m.of(n.Donation)
	if n.forgotten {
		return NotFound
	}
	before := n.Life.State
	var err error
	if n.Life, err = n.Life.Finish(verb, given.Request, given.Attempt); err != nil {
		return err
	}
	switch {
	case verb == Extend:
		n.hold(m.Now, hold)
	case verb == Settle && before == store.StateHeld:
		// Callers who were told HELD return when the hold ends: from then on the note is
		// kept, in whole seconds.
		if over := n.HeldUntil.Sub(n.keptFrom()); over > n.retention {
			n.retention += (over + time.Second - 1).Truncate(time.Second)
		}
		n.HeldUntil = time.Time{}
	default:
		n.HeldUntil = time.Time{}
	}
	return nil
}

// Forget undoes a note. No other note of the series gets its name.
func (m *Model) Forget(n *Note) error {
	s := m.of(n.Donation)
	if n.forgotten {
		return NotFound
	}
	n.forgotten = true
	s.notes = slices.DeleteFunc(s.notes, func(other *Note) bool { return other == n })
	s.forgotten = latest(s.forgotten, n.NotedAt)
	return nil
}

// String describes a note, for a test that fails.
func (n *Note) String() string {
	return fmt.Sprintf("%+v, %+v, own sighting %d, contradicts %v", n.Note, n.Life, n.own, n.contradicts != nil)
}
