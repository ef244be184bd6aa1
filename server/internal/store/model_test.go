package store_test

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A model is the design's rules once more, as plainly as they can be said: notes in a slice, times as they are, no format and no script.
type model struct {
	now      time.Time
	notes    []*modelNote
	replaced int // sightings that made room
}

type modelNote struct {
	store.Note
	request  string // that was answered FIRST last
	released bool
	settled  bool
	rules    store.Rules
}

func (m *model) live(series string) (live []*modelNote) {
	for _, n := range m.notes {
		if n.Donation.SeriesID == series && m.now.Before(n.forgetAt()) {
			live = append(live, n)
		}
	}
	return live
}

func (n *modelNote) forgetAt() time.Time {
	t := n.NotedAt
	if n.Donation.OccurredAt.After(t) {
		t = n.Donation.OccurredAt
	}
	if t = t.Add(n.rules.Retention); t.Before(n.HeldUntil) {
		t = n.HeldUntil
	}
	return t
}

func (m *model) state(n *modelNote) store.State {
	switch {
	case n.settled:
		return store.StateSettled
	case !n.released && m.now.Before(n.HeldUntil):
		return store.StateHeld
	}
	return store.StateOpen
}

// public is the note as the store would show it.
func (m *model) public(n *modelNote) store.Note {
	p := n.Note
	p.State, p.ForgetAt = m.state(n), n.forgetAt()
	p.Sightings = append([]store.Sighting(nil), n.Sightings...)
	return p
}

func apart(a, b time.Time) time.Duration { return max(a.Sub(b), b.Sub(a)) }

func sameMoney(a, b store.Donation) bool {
	if a.Amount == "" || b.Amount == "" {
		return true
	}
	x, _ := new(big.Rat).SetString(a.Amount)
	y, _ := new(big.Rat).SetString(b.Amount)
	return x.Cmp(y) == 0 && a.CurrencyCode == b.CurrencyCode
}

// find applies the five rules, one after the other.
func (m *model) find(r store.NoteRequest) (*modelNote, store.Evidence) {
	var notes []*modelNote
	for _, n := range m.live(r.Donation.SeriesID) {
		if n.Donation.Event == r.Donation.Event {
			notes = append(notes, n)
		}
	}
	for _, n := range notes {
		if r.RequestID != "" && n.request == r.RequestID {
			return n, store.SameRequest
		}
	}
	for _, n := range notes {
		for _, s := range n.Sightings {
			if r.Message.ID != "" && s.Message == r.Message {
				return n, store.SameMessage
			}
		}
	}
	for _, n := range notes {
		for _, s := range n.Sightings {
			if r.Donation.TransactionID != "" && s.TransactionID == r.Donation.TransactionID {
				return n, store.SameTransaction
			}
		}
	}
	var nearest *modelNote
	var distance time.Duration
	for _, n := range notes {
		d, window := apart(m.now, n.NotedAt), r.Rules.ArrivalWindow
		if !r.Donation.OccurredAt.IsZero() && !n.Donation.OccurredAt.IsZero() {
			d, window = apart(r.Donation.OccurredAt, n.Donation.OccurredAt), r.Rules.MatchWindow
		}
		if d <= window && sameMoney(r.Donation, n.Donation) && !contradicts(n, r) && (nearest == nil || d < distance) {
			nearest, distance = n, d
		}
	}
	return nearest, store.Paired
}

func contradicts(n *modelNote, r store.NoteRequest) bool {
	for _, s := range n.Sightings {
		here := s.Message.Channel == r.Message.Channel
		otherID := s.Message.ID != "" && r.Message.ID != "" && s.Message.ID != r.Message.ID
		otherTransaction := s.TransactionID != "" && r.Donation.TransactionID != "" && s.TransactionID != r.Donation.TransactionID
		if here && otherID || otherTransaction && (here || r.Rules.TransactionIDs == store.Shared) {
			return true
		}
	}
	return false
}

// note is what Note should reply, less what the model cannot know: the donation id and the receipt of a new note.
func (m *model) note(r store.NoteRequest) (store.NoteReply, *modelNote, error) {
	n, evidence := m.find(r)
	reply := store.NoteReply{Verdict: store.First, Evidence: store.New, Now: m.now}
	if n == nil {
		occurred := r.Donation.OccurredAt
		switch {
		case !occurred.IsZero() && !occurred.After(m.now.Add(-r.Rules.Retention)):
			return reply, nil, store.ErrTooEarly
		case !occurred.IsZero() && occurred.After(m.now.Add(r.Rules.SkewAhead)):
			return reply, nil, store.ErrTooLate
		case len(m.live(r.Donation.SeriesID)) >= r.Rules.SeriesLimit:
			return reply, nil, store.ErrSeriesFull
		}
		noted := m.now
		for slices.ContainsFunc(m.live(r.Donation.SeriesID), func(n *modelNote) bool { return n.NotedAt.Equal(noted) }) {
			noted = noted.Add(time.Millisecond) // when it was noted is a note's name
		}
		n = &modelNote{request: r.RequestID, rules: r.Rules, settled: r.Hold == 0, Note: store.Note{
			Donation: r.Donation, NotedAt: noted, Attempt: 1,
			Sightings: []store.Sighting{{Message: r.Message, TransactionID: r.Donation.TransactionID, SeenAt: noted}}}}
		n.hold(m.now, r.Hold)
		m.notes = append(m.notes, n)
		reply.Recorded = true
		return reply, n, nil
	}
	reply.Evidence = evidence
	switch {
	case evidence == store.SameRequest && !n.released:
		if m.state(n) == store.StateOpen {
			n.settled = r.Hold == 0
			n.hold(m.now, r.Hold)
		}
	case m.state(n) == store.StateSettled:
		reply.Verdict = store.Duplicate
	case m.state(n) == store.StateHeld:
		reply.Verdict = store.Held
	default:
		reply.Evidence = store.TakenOver
		n.Attempt, n.request, n.released, n.settled = n.Attempt+1, r.RequestID, false, r.Hold == 0
		n.hold(m.now, r.Hold)
	}
	known := false
	for _, s := range n.Sightings {
		known = known || s.Message == r.Message && (r.Message.ID != "" || s.TransactionID == r.Donation.TransactionID)
	}
	if !known && len(n.Sightings) == 16 && needed(n, r) {
		if spare := spared(n.Sightings); spare > 0 {
			n.Sightings = slices.Delete(n.Sightings, spare, spare+1)
			m.replaced++
		}
	}
	if !known && len(n.Sightings) < 16 {
		seen := m.now
		if seen.Before(n.NotedAt) {
			seen = n.NotedAt
		}
		n.Sightings = append(n.Sightings, store.Sighting{Message: r.Message, TransactionID: r.Donation.TransactionID, SeenAt: seen})
		reply.Recorded = true
	}
	return reply, n, nil
}

// needed tells whether a message is the first of its channel to bear an id, or a transaction id.
func needed(n *modelNote, r store.NoteRequest) bool {
	onChannel := func(bears func(store.Sighting) bool) bool {
		return slices.ContainsFunc(n.Sightings, func(s store.Sighting) bool { return s.Message.Channel == r.Message.Channel && bears(s) })
	}
	return r.Message.ID != "" && !onChannel(func(s store.Sighting) bool { return s.Message.ID != "" }) ||
		r.Donation.TransactionID != "" && !onChannel(func(s store.Sighting) bool { return s.TransactionID != "" })
}

// spared is the last sighting of which an earlier one has channel and transaction id, and an id if it has one; 0 where each has something of its own.
func spared(sightings []store.Sighting) int {
	for i := len(sightings) - 1; i > 0; i-- {
		for _, early := range sightings[:i] {
			late := sightings[i]
			if late.TransactionID != "" && early.TransactionID == late.TransactionID && early.Message.Channel == late.Message.Channel && (early.Message.ID != "" || late.Message.ID == "") {
				return i
			}
		}
	}
	return 0
}

func (n *modelNote) hold(now time.Time, d time.Duration) {
	n.HeldUntil = time.Time{}
	if d > 0 {
		n.HeldUntil = now.Add(d)
	}
}

// A held is a receipt that was given, and what the model has to know of it.
type held struct {
	receipt string
	note    *modelNote
	attempt int
}

func (m *model) finish(h held, verb string, d time.Duration) error {
	n := h.note
	switch {
	case !m.now.Before(n.forgetAt()):
		return store.ErrNotFound
	case n.Attempt != h.attempt && n.settled:
		return store.ErrSettledByAnother
	case n.Attempt != h.attempt:
		return store.ErrHoldLost
	case n.released && verb != "release":
		return store.ErrHoldReleased
	case n.settled && verb != "settle":
		return store.ErrAlreadySettled
	}
	switch verb {
	case "settle":
		if n.HeldUntil.IsZero() {
			break // before
		}
		from := n.NotedAt
		if n.Donation.OccurredAt.After(from) {
			from = n.Donation.OccurredAt
		}
		if n.HeldUntil.After(from.Add(n.rules.Retention)) { // counts from the end of the hold, in whole seconds
			n.rules.Retention += (n.HeldUntil.Sub(from) + time.Second - 1).Truncate(time.Second)
		}
		n.settled, n.HeldUntil = true, time.Time{}
	case "release":
		n.released, n.HeldUntil = true, time.Time{}
	case "extend":
		n.HeldUntil = m.now.Add(d)
	}
	return nil
}

// TestModel compares the store with the model over random steps of every kind, on few series, so that they meet. NOTED_SEED repeats a run.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("NOTED_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	counts := map[string]int{}
	for run := range uint64(4) {
		t.Run(fmt.Sprint(run), func(t *testing.T) { walk(t, seed+run, 3000, randomRequest, counts) })
	}
	t.Run("crowded", func(t *testing.T) { walk(t, seed, 3000, crowdedRequest, counts) })
	for _, must := range []string{"verdict 1 by 1", "verdict 1 by 2", "verdict 1 by 6", "verdict 2 by 3", "verdict 2 by 4", "verdict 2 by 5", "verdict 3 by 3", "verdict 3 by 4", "verdict 3 by 5",
		"settle: <nil>", "release: <nil>", "extend: <nil>", "settle: " + store.ErrHoldLost.Error(), "settle: " + store.ErrSettledByAnother.Error(), "settle: " + store.ErrHoldReleased.Error(),
		"release: " + store.ErrAlreadySettled.Error(), "replaced", "extend: " + store.ErrHoldReleased.Error(), store.ErrTooEarly.Error(), store.ErrTooLate.Error(), store.ErrSeriesFull.Error()} {
		if counts[must] == 0 {
			t.Errorf("there was no %q; the walks prove less than they should: %v", must, counts)
		}
	}
}

func walk(t *testing.T, seed uint64, steps int, request func(*rand.Rand, *model) store.NoteRequest, counts map[string]int) {
	t.Logf("NOTED_SEED=%d repeats this", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := &model{now: time.UnixMilli(1_790_000_000_000)}
	defer func() { counts["replaced"] += m.replaced }()
	server, err := embedded.StartFrozen(m.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL())
	var receipts []held
	for step := range steps {
		fail := func(format string, args ...any) {
			t.Fatalf("step %d: %s", step, fmt.Sprintf(format, args...))
		}
		switch pick := random.IntN(100); {
		case pick < 55:
			r := request(random, m)
			want, n, wantErr := m.note(r)
			got, err := s.Note(ctx(t), r)
			if !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
				fail("Note(%+v): got error %v, want %v", r, err, wantErr)
			}
			if err != nil {
				counts[wantErr.Error()]++
				break
			}
			counts[fmt.Sprintf("verdict %d by %d", want.Verdict, want.Evidence)]++
			if n.DonationID == "" {
				n.DonationID = got.Note.DonationID
			}
			want.Note, want.Receipt = m.public(n), got.Receipt
			if diff := cmp.Diff(want, got); diff != "" {
				fail("Note(%+v) (-want +got):\n%s", r, diff)
			}
			if (got.Receipt != "") != (got.Verdict == store.First && r.Hold > 0) {
				fail("Note(%+v): verdict %d with receipt %q", r, got.Verdict, got.Receipt)
			}
			if got.Receipt != "" {
				receipts = append(receipts, held{got.Receipt, n, n.Attempt})
			}
		case pick < 62:
			r := request(random, m)
			r.RequestID = ""
			n, evidence := m.find(r)
			got, err := s.Exists(ctx(t), r.Donation, r.Message, r.Rules)
			want := store.ExistsReply{Now: m.now}
			if n != nil {
				want.Evidence, want.Note = evidence, m.public(n)
			}
			if errors.Is(err, store.ErrTooEarly) || errors.Is(err, store.ErrTooLate) {
				if n != nil {
					fail("Exists(%+v): %v, want %+v", r, err, want)
				}
			} else if diff := cmp.Diff(want, got); err != nil || diff != "" {
				fail("Exists(%+v): %v (-want +got):\n%s", r, err, diff)
			}
		case pick < 85 && len(receipts) > 0:
			h := receipts[max(0, len(receipts)-1-random.IntN(12))]
			verb := []string{"settle", "settle", "release", "extend"}[random.IntN(4)]
			d := time.Duration(1+random.IntN(600)) * time.Second
			wantErr := m.finish(h, verb, d)
			var n store.Note
			var err error
			switch verb {
			case "settle":
				n, err = s.Settle(ctx(t), h.receipt)
			case "release":
				n, err = s.Release(ctx(t), h.receipt)
			case "extend":
				n, err = s.Extend(ctx(t), h.receipt, d)
			}
			counts[fmt.Sprintf("%s: %v", verb, wantErr)]++
			if !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
				fail("%s: got error %v, want %v; note %+v", verb, err, wantErr, h.note)
			}
			if err == nil {
				if diff := cmp.Diff(m.public(h.note), n); diff != "" {
					fail("%s (-want +got):\n%s", verb, diff)
				}
			}
		case pick < 88:
			series := randomSeries(random)
			got, err := s.List(ctx(t), store.ListRequest{Ledger: "l", SeriesID: series, PageSize: 1000})
			var want []store.Note
			for _, n := range m.live(series) {
				want = append(want, m.public(n))
			}
			slices.SortFunc(want, func(a, b store.Note) int { return a.NotedAt.Compare(b.NotedAt) })
			if diff := cmp.Diff(want, got.Notes); err != nil || diff != "" {
				fail("List(%s): %v (-want +got):\n%s", series, err, diff)
			}
		case pick < 89:
			if live := m.live(randomSeries(random)); len(live) > 0 {
				n := live[random.IntN(len(live))]
				if got, err := s.Forget(ctx(t), "l", n.Donation.SeriesID, n.DonationID); err != nil || got.DonationID != n.DonationID {
					fail("Forget(%+v): %+v, %v", n, got, err)
				}
				n.rules, n.HeldUntil = store.Rules{Retention: -1000 * time.Hour}, time.Time{} // long forgotten
				// Its name is free again, and would be taken by a note of the same millisecond: on a clock that runs there is none.
				m.now = m.now.Add(time.Second)
				server.Advance(time.Second)
			}
		default:
			d := []time.Duration{time.Millisecond, time.Second, time.Minute, 10 * time.Minute, time.Hour, 7 * time.Hour}[random.IntN(6)]
			m.now = m.now.Add(d)
			server.Advance(d)
		}
	}
}

func randomSeries(random *rand.Rand) string { return fmt.Sprint("I-", random.IntN(5)) }

// randomRequest draws from few values, so that requests agree in some things and differ in others.
func randomRequest(random *rand.Rand, m *model) store.NoteRequest {
	r := store.NoteRequest{
		Donation:  store.Donation{Ledger: "l", SeriesID: randomSeries(random), Event: store.Event(1 + random.IntN(2))},
		RequestID: fmt.Sprint("r", random.IntN(4000)),
		Rules: store.Rules{MatchWindow: 2 * time.Hour, ArrivalWindow: 6 * time.Hour, Retention: 48 * time.Hour, SkewAhead: time.Hour, SeriesLimit: 25,
			TransactionIDs: store.TransactionIDs(1 + random.IntN(2))},
	}
	if random.IntN(8) == 0 && len(m.notes) > 0 {
		r.RequestID = m.notes[max(0, len(m.notes)-1-random.IntN(8))].request
	}
	if random.IntN(3) > 0 {
		r.Hold = time.Duration(1+random.IntN(900)) * time.Second
	}
	if random.IntN(6) > 0 {
		back := time.Duration(random.IntN(10*3600)) * time.Second
		if random.IntN(20) == 0 {
			back = time.Duration(random.IntN(60)-3) * time.Hour
		}
		if random.IntN(4) == 0 {
			back += time.Duration(random.IntN(1000)) * time.Millisecond
		}
		r.Donation.OccurredAt = m.now.Add(-back)
	}
	if random.IntN(5) > 0 {
		r.Donation.Amount = []string{"25.00", "25", "25.000", "7.50"}[random.IntN(4)]
		r.Donation.CurrencyCode = []string{"USD", "USD", "EUR"}[random.IntN(3)]
	}
	if random.IntN(2) > 0 {
		r.Donation.TransactionID = fmt.Sprint("T", random.IntN(60))
	}
	switch random.IntN(5) {
	case 0, 1:
		r.Message = store.Message{Channel: "ipn", ID: fmt.Sprintf("%032x", random.IntN(80))}
	case 2, 3:
		r.Message = store.Message{Channel: "webhook", ID: fmt.Sprintf("WH-%017d-%017d", 0, random.IntN(80))}
	case 4:
		r.Message.Channel = []string{"", "ipn"}[random.IntN(2)]
	}
	return r
}

// crowdedRequest draws many messages of few donations, so that notes fill up; few come on a second and a third channel.
func crowdedRequest(random *rand.Rand, m *model) store.NoteRequest {
	r := randomRequest(random, m)
	r.Donation.SeriesID, r.Donation.Event = "I-0", pay
	if r.Donation.TransactionID != "" || random.IntN(4) > 0 {
		r.Donation.TransactionID = fmt.Sprint("T", random.IntN(2))
	}
	if r.Message.ID != "" {
		r.Message = store.Message{Channel: "ipn", ID: fmt.Sprintf("%032x", random.IntN(400))}
		if random.IntN(25) == 0 {
			r.Message.Channel = []string{"webhook", "post"}[random.IntN(2)]
		}
	}
	return r
}
