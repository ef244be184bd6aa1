package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
)

// The limits of a sample, so that a large ledger costs no more than a small ledger.
const (
	samplePages = 4
	samplePage  = 500
)

// sample is the summary of some notes of a ledger.
type sample struct {
	notes     int
	whole     bool          // the sample has all notes of the ledger
	retention time.Duration // the longest time from a donation to forget_at
	open      int           // notes that are released, or whose hold has run out
	onlyOn    map[string]int
	both      map[string]*pair // :: two channels → their ids
}

// pair counts the notes that two channels told of, each with a transaction id.
type pair struct{ agreed, differed int }

// notes examines a sample of the ledger's notes.
func (v *visit) notes(ctx context.Context, noted *client.Client) {
	s := sample{onlyOn: map[string]int{}, both: map[string]*pair{}}
	request := &client.ListRequest{Ledger: v.Ledger, PageSize: samplePage}
	for range samplePages {
		asking, cancel := context.WithTimeout(ctx, v.Timeout)
		page, err := noted.Page(asking, request)
		cancel()
		if err != nil {
			v.tell("notes", Unseen, "they could not be listed: "+err.Error(), v.Hint(err))
			return
		}
		for _, note := range page.GetNotes() {
			s.add(note)
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			s.whole = true
			break
		}
	}
	if s.notes == 0 {
		v.tell("notes", Well, fmt.Sprintf("the ledger %q has no notes, or the first pages have none", v.Ledger),
			"if it should have notes: is -ledger right, and does the receiver name the same ledger?")
		return
	}
	of := fmt.Sprintf("%d notes of the sample", s.notes)
	if s.whole {
		of = fmt.Sprintf("all %d notes of the ledger", s.notes)
	}
	v.tell("notes", Well, fmt.Sprintf("notes reach back %s, to %s; an older donation is refused, never counted as new",
		v.Span(s.retention), v.Now().Add(-s.retention).Local().Format("2006-01-02 15:04:05 MST")), "")
	if s.open > 0 {
		v.tell("open", Advice, fmt.Sprintf("%d of %s are open: no receiver has finished them", s.open, of),
			"notectl list -state open shows them; the next message of each is FIRST, and notectl close settles a "+
				"donation that was booked by hand")
	}
	v.channels(s, of)
}

func (v *visit) channels(s sample, of string) {
	var only []string
	for _, channel := range slices.Sorted(maps.Keys(s.onlyOn)) {
		only = append(only, fmt.Sprintf("%d on %s only", s.onlyOn[channel], channel))
	}
	if len(only) > 0 {
		v.tell("channels", Well, fmt.Sprintf("of %s, %s", of, strings.Join(only, ", ")), "")
	}
	if len(s.both) == 0 {
		v.tell("ids", Unseen, "no note has two channels with a transaction id each, so the sample does not show "+
			"whether their ids agree", "notectl list -seen-only-on ipn -before 24h: is the other channel set up at PayPal?")
	}
	for _, channels := range slices.Sorted(maps.Keys(s.both)) {
		p := s.both[channels]
		found := fmt.Sprintf(
			"%s: the transaction ids agree in %d notes and differ in %d",
			channels,
			p.agreed,
			p.differed,
		)
		if p.differed > p.agreed {
			v.tell("ids", Advice, found, "keep -transaction-ids at auto or per-channel: with shared each of these "+
				"counts as two donations. A refund on both channels counts as two")
		} else {
			v.tell("ids", Well, found, "")
		}
	}
}

func (s *sample) add(note *client.Note) {
	s.notes++
	if note.GetState() == client.StateOpen {
		s.open++
	}
	last := note.GetNotedAt().AsTime()
	if at := note.GetDonation().GetOccurredAt(); at != nil && at.AsTime().After(last) {
		last = at.AsTime()
	}
	s.retention = max(s.retention, note.GetForgetAt().AsTime().Sub(last).Round(time.Second))

	ids := map[string]map[string]bool{} // :: channel → its transaction ids
	channels := map[string]bool{}
	for _, sighting := range note.GetSightings() {
		channel := sighting.GetMessage().GetChannel()
		if channel == "" {
			continue
		}
		channels[channel] = true
		if id := sighting.GetTransactionId(); id != "" {
			if ids[channel] == nil {
				ids[channel] = map[string]bool{}
			}
			ids[channel][id] = true
		}
	}
	if len(channels) == 1 {
		for channel := range channels {
			s.onlyOn[channel]++
		}
	}
	named := slices.Sorted(maps.Keys(ids))
	for i, a := range named {
		for _, b := range named[i+1:] {
			s.count(a+" and "+b, ids[a], ids[b])
		}
	}
}

func (s *sample) count(channels string, a, b map[string]bool) {
	p := s.both[channels]
	if p == nil {
		p = &pair{}
		s.both[channels] = p
	}
	for id := range a {
		if b[id] {
			p.agreed++
			return
		}
	}
	p.differed++
}
