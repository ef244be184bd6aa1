package desk

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// An entry is one line of a timeline. Its lane is the channel or the actor.
type entry struct {
	At      time.Time
	Lane    string // ipn, webhook, other, or own: Noted, the books, a person
	Who     string
	What    string
	Details []string
	Differs []string // warnings
}

func laneOf(channel string) string {
	if channel == "ipn" || channel == "webhook" {
		return channel
	}
	return "other"
}

// timeline tells the history of a donation: every message, the rule that decided,
// differences, tries, acceptance, outcome, holds and acts.
func (d *Desk) timeline(a *donation) (all []entry) {
	journalled := map[int]bool{}
	for _, t := range a.told {
		at := sightingOf(a.note, t)
		journalled[at] = true
		all = append(all, a.messageEntry(t, at))
		all = append(all, a.outcomeEntries(t)...)
	}
	for at, s := range a.note.GetSightings() {
		if !journalled[at] {
			all = append(all, a.sightingEntry(s, at))
		}
	}
	if a.note != nil {
		all = append(all, a.noteEntries()...)
	}
	seen := map[inbox.Act]bool{}
	for _, t := range a.told {
		for _, act := range t.Acts {
			if seen[act] {
				continue
			}
			seen[act] = true
			all = append(all, entry{
				At:      act.At,
				Lane:    "own",
				Who:     act.Actor,
				What:    actNames[act.Name],
				Details: []string{"“" + act.Reason + "”"},
			})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.At.Compare(b.At) })
	return all
}

var actNames = map[string]string{
	"acknowledge": "acknowledged that the store lost notes",
	"redo":        "asked for another try", "close": "closed it by hand", "forget": "forgot Noted's note",
	"deny": "was denied a page",
}

// messageEntry is the line of a message in the journal.
func (a *donation) messageEntry(t told, sighting int) entry {
	e := entry{
		At:   t.ReceivedAt,
		Lane: laneOf(t.Channel),
		Who:  sentenceCase(channelName(t.Channel)),
		What: "Message received",
	}
	if t.Type != "" {
		e.What += ": " + t.Type
	}
	detail := func(format string, args ...any) { e.Details = append(e.Details, fmt.Sprintf(format, args...)) }
	if t.Donation != nil && a.note != nil {
		detail("Rule: %s.", a.rule(sighting))
	}
	if t.Copies == 1 {
		detail("The same message came once more.")
	} else if t.Copies > 1 {
		detail("The same message came %d times more.", t.Copies)
	}
	if !t.Verified {
		detail("Not verified.")
	}
	if t.Test {
		detail("From PayPal's sandbox.")
	}
	if t.Tries > 1 || t.State == inbox.Waiting && t.Tries > 0 {
		detail("Tried %s.", times(t.Tries))
	}
	if t.State != inbox.Done && t.Cause != "" {
		detail("Last cause: %s.", explain(t.Cause))
	}
	detail("Message id %s", t.ID)
	if t.Donation != nil {
		e.Differs = a.differences(t)
	}
	return e
}

// sightingEntry is the line of a message that only Noted has.
func (a *donation) sightingEntry(s *client.Sighting, at int) entry {
	m := s.GetMessage()
	e := entry{
		At:   timeOf(m.GetReceivedAt()),
		Lane: laneOf(m.GetChannel()),
		Who:  sentenceCase(channelName(m.GetChannel())),
	}
	if e.At.IsZero() {
		e.At = timeOf(s.GetSeenAt())
	}
	e.What = "Message seen by Noted"
	e.Details = append(e.Details, "Rule: "+a.rule(at)+".", "Not in this inbox's journal.")
	if m.GetId() != "" {
		e.Details = append(e.Details, "Message id "+m.GetId())
	}
	return e
}

// rule names the rule that took a message for the donation. The first sighting is new; a
// later sighting matched an earlier sighting's id, or else was paired. A message without
// a sighting came after sixteen others, or its note is gone.
func (a *donation) rule(sighting int) string {
	sightings := a.note.GetSightings()
	switch {
	case sighting < 0:
		return "not recorded; Noted keeps sixteen messages of a donation, and this message is not among them"
	case sighting == 0:
		return "a new donation; no note matched"
	}
	id := sightings[sighting].GetTransactionId()
	for _, earlier := range sightings[:sighting] {
		if id != "" && earlier.GetTransactionId() == id {
			return "same transaction id"
		}
	}
	return "paired by amount and time"
}

// differences lists the fields in which a message disagrees with the note.
func (a *donation) differences(t told) (all []string) {
	note, pair := a.note.GetDonation(), t.pair.GetDonation()
	if note == nil || pair == nil {
		return nil
	}
	differ := func(name, noted, told string) {
		if noted != "" && told != "" && noted != told {
			all = append(all, fmt.Sprintf("%s differs: this message says %s, the note %s.", name, told, noted))
		}
	}
	x, okX := new(big.Rat).SetString(note.GetAmount())
	y, okY := new(big.Rat).SetString(pair.GetAmount())
	if okX && okY && x.Cmp(y) != 0 {
		differ("Amount", note.GetAmount(), pair.GetAmount())
	}
	differ("Currency", note.GetCurrencyCode(), pair.GetCurrencyCode())
	differ("Transaction id", note.GetTransactionId(), pair.GetTransactionId())
	if one, two := timeOf(
		note.GetOccurredAt(),
	), timeOf(
		pair.GetOccurredAt(),
	); !one.IsZero() && !two.IsZero() &&
		!one.Equal(two) {
		differ("Time", one.UTC().Format(time.RFC3339), two.UTC().Format(time.RFC3339))
	}
	return all
}

// outcomeEntries are the lines about the outcome of a message's donation.
func (a *donation) outcomeEntries(t told) (all []entry) {
	d := t.Donation
	if d == nil {
		if !t.FinishedAt.IsZero() && t.Cause != "" {
			all = append(all, entry{
				At: t.FinishedAt, Lane: "own", Who: "Gateway",
				What: sentenceCase(string(t.State)) + ": " + explain(t.Cause),
			})
		}
		return all
	}
	if !d.AcceptedAt.IsZero() {
		what := "Accepted"
		if d.Attempt > 1 {
			what += fmt.Sprintf(", at attempt %d", d.Attempt)
		}
		all = append(all, entry{At: d.AcceptedAt, Lane: "own", Who: "Books", What: what + answered(d)})
	}
	if d.DecidedAt.IsZero() || d.Outcome == "" || d.Outcome == inbox.Closed { // an act shows a close
		return all
	}
	e := entry{At: d.DecidedAt, Lane: "own", Who: "Noted"}
	switch d.Outcome {
	case inbox.Settled:
		e.What = "Settled"
	case inbox.Duplicate:
		e.What = "Duplicate: the " + channelName(t.Channel) + " tells of a noted donation"
	case inbox.Undecided:
		e.What = "Undecided: " + explain(d.Reason)
	case inbox.Rejected:
		e.Who, e.What = "Books", "Refused it for good: "+strings.TrimPrefix(d.Reason, "downstream: ")
	default:
		e.What = string(d.Outcome)
	}
	return append(all, e)
}

// noteEntries are the lines that come from the note alone.
func (a *donation) noteEntries() (all []entry) {
	if held := a.note.GetHeldUntil(); held != nil {
		what := "The hold ran out"
		if a.note.GetState() == client.StateHeld {
			what = "The hold ends"
		}
		all = append(all, entry{At: held.AsTime(), Lane: "own", Who: "Noted", What: what})
	}
	return all
}
