package agreement_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/agreement"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// counts are the reports of a Learner.
type counts struct {
	agreed, differed int
	changes          []string
}

func learner(c *counts) *agreement.Learner {
	return agreement.New(agreement.Config{
		Changed: func(p agreement.Pair, agree bool, agreements, contradictions int) {
			c.changes = append(
				c.changes,
				fmt.Sprintf("%s %d %s %s %v %d:%d", p.Ledger, p.Event, p.A, p.B, agree, agreements, contradictions),
			)
		},
		Agreed:   func(string) { c.agreed++ },
		Differed: func(string) { c.differed++ },
	})
}

func sighting(channel, transaction string) store.Sighting {
	return store.Sighting{Message: store.Message{Channel: channel}, TransactionID: transaction}
}

// observe reports the answer to the last of the sightings, which are those of one note.
func observe(l *agreement.Learner, series string, recorded bool, sightings ...store.Sighting) {
	last := sightings[len(sightings)-1]
	evidence := store.Paired
	if len(sightings) == 1 {
		evidence = store.New
	}
	l.Observe(
		store.NoteRequest{
			Donation: store.Donation{SeriesID: series, Event: 1, TransactionID: last.TransactionID},
			Message:  last.Message,
		},
		store.NoteReply{Evidence: evidence, Recorded: recorded, Note: store.Note{Sightings: sightings}},
	)
}

// contradict reports a message that is new because its id is unequal to another
// channel's.
func contradict(l *agreement.Learner, series string, message store.Sighting, against ...store.Told) {
	l.Observe(
		store.NoteRequest{
			Donation: store.Donation{SeriesID: series, Event: 1, TransactionID: message.TransactionID},
			Message:  message.Message,
		},
		store.NoteReply{
			Evidence: store.New,
			Recorded: true,
			Note:     store.Note{Sightings: []store.Sighting{message}},
			Against:  against,
		},
	)
}

func agree(l *agreement.Learner, times int) {
	for i := range times {
		id := fmt.Sprint("T", i)
		observe(l, fmt.Sprint("I-", i), true, sighting("ipn", id), sighting("webhook", id))
	}
}

func TestPairs(t *testing.T) {
	for _, c := range []struct {
		name             string
		sightings        []store.Sighting
		unrecorded       bool
		agreed, differed int
	}{
		{name: "one sighting", sightings: []store.Sighting{sighting("ipn", "1")}},
		{name: "two channels agree", sightings: []store.Sighting{sighting("ipn", "1"), sighting("webhook", "1")}, agreed: 1},
		{name: "two channels differ", sightings: []store.Sighting{sighting("ipn", "1"), sighting("webhook", "2")}, differed: 1},
		{name: "seen before", sightings: []store.Sighting{sighting("ipn", "1"), sighting("webhook", "2")}, unrecorded: true},
		{name: "one channel twice", sightings: []store.Sighting{sighting("ipn", "1"), sighting("ipn", "1")}},
		{name: "no id on one", sightings: []store.Sighting{sighting("ipn", ""), sighting("webhook", "2")}},
		{name: "no id on the other", sightings: []store.Sighting{sighting("ipn", "1"), sighting("webhook", "")}},
		{name: "no channel", sightings: []store.Sighting{sighting("ipn", "1"), sighting("", "1")}},
		{
			name:      "the second on a channel counts no more",
			sightings: []store.Sighting{sighting("ipn", "1"), sighting("webhook", "1"), sighting("webhook", "1")},
		},
		{
			name: "the first with an id counts",
			sightings: []store.Sighting{
				sighting("ipn", "1"), sighting("webhook", ""), sighting("webhook", "1"),
			},
			agreed: 1,
		},
		{
			name: "a third channel counts with each",
			sightings: []store.Sighting{
				sighting("ipn", "1"), sighting("webhook", "2"), sighting("csv", "2"),
			},
			agreed: 1, differed: 1,
		},
		{
			name: "a channel's later ids count nothing",
			sightings: []store.Sighting{
				sighting("ipn", "1"), sighting("ipn", "2"), sighting("webhook", "1"),
			},
			agreed: 1,
		},
		{
			name: "an equal id after an unequal one",
			sightings: []store.Sighting{
				sighting("ipn", "1"), sighting("webhook", "2"), sighting("webhook", "1"),
			},
			agreed: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got counts
			observe(learner(&got), "I-1", !c.unrecorded, c.sightings...)
			if got.agreed != c.agreed || got.differed != c.differed {
				t.Errorf("%d agreed, %d differed, want %d and %d", got.agreed, got.differed, c.agreed, c.differed)
			}
		})
	}
}

func TestAgreeing(t *testing.T) {
	var got counts
	l := learner(&got)
	agree(l, 2)
	if known := l.Agreeing("", 1, "ipn"); known != nil {
		t.Errorf("after two agreements %v agree with ipn, want none", known)
	}
	agree(l, 1)
	for channel, want := range map[string][]string{"ipn": {"webhook"}, "webhook": {"ipn"}, "csv": nil} {
		if known := l.Agreeing("", 1, channel); !slices.Equal(known, want) {
			t.Errorf("after three agreements %v agree with %s, want %v", known, channel, want)
		}
	}
	if known := append(l.Agreeing("", 2, "ipn"), l.Agreeing("other", 1, "ipn")...); known != nil {
		t.Errorf("another event or ledger knows %v, want nothing", known)
	}
	agree(l, 1)
	contradict(l, "I-X", sighting("webhook", "X1"), store.Told{Channel: "ipn", TransactionID: "X2"})
	contradict(
		l,
		"I-Y",
		sighting("webhook", "Y1"),
		store.Told{Channel: "ipn", TransactionID: "Y2"},
		store.Told{Channel: "ipn", TransactionID: "Y3"},
	)
	if known := l.Agreeing("", 1, "ipn"); known != nil {
		t.Errorf("after four agreements and two contradictions %v agree, want none", known)
	}
	// Now Y1 arrives over the other channel.
	observe(l, "I-Y", true, sighting("webhook", "Y1"), sighting("ipn", "Y1"))
	if known := l.Agreeing("", 1, "ipn"); !slices.Equal(known, []string{"webhook"}) {
		t.Errorf("after a contradiction was taken back %v agree, want webhook", known)
	}
	want := []string{" 1 ipn webhook true 3:0", " 1 ipn webhook false 4:2", " 1 ipn webhook true 4:1"}
	if !slices.Equal(got.changes, want) {
		t.Errorf("the reported changes are %q, want %q", got.changes, want)
	}
}

// TestOneTimePaymentsTeachNothing checks that series named by their transaction do not
// count: unequal ids never meet there.
func TestOneTimePaymentsTeachNothing(t *testing.T) {
	var got counts
	l := learner(&got)
	for i := range 10 {
		id := fmt.Sprint("T", i)
		observe(l, id, true, sighting("ipn", id), sighting("webhook", id))
	}
	if known := l.Agreeing("", 1, "ipn"); known != nil || got.agreed != 10 {
		t.Errorf(
			"after ten one-time payments %v agree with ipn and %d are counted, want none and 10",
			known,
			got.agreed,
		)
	}
}

// TestEitherIDTakesBack checks that a contradiction is taken back by its id on the other
// channel, and by the other id on its own channel.
func TestEitherIDTakesBack(t *testing.T) {
	for _, late := range []store.Sighting{sighting("ipn", "B"), sighting("webhook", "A")} {
		var got counts
		l := learner(&got)
		request := store.NoteRequest{
			Donation: store.Donation{SeriesID: "I-1", Event: 1, TransactionID: "B"},
			Message:  store.Message{Channel: "webhook"}, Rules: store.Rules{MatchWindow: time.Hour},
		}
		l.Observe(request, store.NoteReply{
			Evidence: store.Paired, Recorded: true,
			Note: store.Note{Sightings: []store.Sighting{sighting("ipn", "A"), sighting("webhook", "B")}},
		})
		observe(l, "I-1", true, late)
		agree(l, 3)
		l.Ripen()
		if known := l.Agreeing("", 1, "ipn"); known == nil || got.differed != 0 {
			t.Errorf("after %v: %v agree and %d differed, want webhook and 0", late, known, got.differed)
		}
	}
}

// TestBounds checks that made-up names take a bounded memory, and that the first pairs
// are still counted.
func TestBounds(t *testing.T) {
	var got counts
	l := learner(&got)
	agree(l, 3)
	for i := range 6000 {
		contradict(l, "I-1", sighting(fmt.Sprint("c", i), "1"), store.Told{Channel: "d", TransactionID: "2"})
	}
	if known := l.Agreeing("", 1, "ipn"); !slices.Equal(known, []string{"webhook"}) {
		t.Errorf("after a flood of channels %v agree with ipn, want webhook", known)
	}
	for i := range 6000 {
		contradict(l, fmt.Sprint("I-", i), sighting("webhook", "1"), store.Told{Channel: "ipn", TransactionID: "2"})
	}
	contradict(l, "I-1", sighting("webhook", "1"), store.Told{Channel: "csv", TransactionID: "2"})
	if known := l.Agreeing("", 1, "ipn"); known != nil {
		t.Errorf("after 6000 contradictions %v agree with ipn, want none", known)
	}
}
