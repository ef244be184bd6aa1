package desk

import (
	"context"
	"errors"
	"fmt"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/closing"
	"github.com/donation-dedupe/noted/client/closing/messages"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// planClose ends a message whose donations were booked by hand. Noted notes and settles
// each donation, so that its later messages are duplicates.
func (d *Desk) planClose(ctx context.Context, o order) (p plan, err error) {
	m, err := d.row(ctx, o.Row)
	if err != nil {
		return p, err
	}
	p = plan{Title: "I have booked it", About: d.about(m), Button: "Close it"}
	var states []any
	for _, each := range m.Donations {
		what := sentenceCase(spoken(each.Event, "EVENT_")) + " in series " + asked(&each)
		if each.Outcome != "" && !each.Outcome.ForPerson() {
			p.Changes = append(p.Changes, what+" is "+string(each.Outcome)+" and stays so.")
			continue
		}
		change, state, err := d.foreseeClose(ctx, each)
		if err != nil {
			return p, err
		}
		p.Changes, states = append(p.Changes, what+change), append(states, state)
	}
	p.Changes = append(p.Changes, "The message is done. No gateway tries it again, and the books get nothing.")
	if m.State != inbox.Waiting && m.State != inbox.Person && m.State != inbox.Working {
		p.Refusal = "There is nothing to close: the message is " + stateNames[m.State] + "."
	}
	if !m.Verified {
		p.Refusal = "PayPal has not confirmed this message yet, " +
			"so it proves no donation."
	}
	d.busy(&p, m)
	p.rests(m.State, m.Tries, states)
	p.do = func(ctx context.Context, who person, reason string) error {
		act := messages.Act{Actor: who.Name, Reason: reason, Said: signed(reason, who)}
		return messages.Close(ctx, d.noted, d.box, m.Row, act, nil)
	}
	return p, nil
}

// foreseeClose says what closing does with one donation.
func (d *Desk) foreseeClose(ctx context.Context, each inbox.Donation) (change, state string, err error) {
	pair := pairOf(each)
	if pair == nil {
		return "", "", errors.New("the journal's entry cannot be read; close it with noted-gateway inbox close")
	}
	found, err := d.noted.Exists(ctx, pair.Donation, pair.Message)
	switch {
	case closing.Undecidable(err):
		return " is closed in the inbox alone, because Noted cannot note it: " + explain(
			client.Reason(err),
		) + ".", "", nil
	case err != nil:
		return "", "", err
	}
	note := found.GetNote()
	state = note.GetState().String()
	switch note.GetState() {
	case client.StateSettled:
		return " was settled meanwhile under donation id " + note.GetDonationId() + ", and stays so.", state, nil
	case client.StateHeld:
		return " is held by somebody until " + d.when(
			timeOf(note.GetHeldUntil()),
		) + "; closing fails until then.", state, nil
	case client.StateOpen:
		return " is settled in Noted under donation id " + note.GetDonationId() + ", with your reason.", state, nil
	}
	return " is noted and settled in Noted, with your reason.", state, nil
}

// planCloseNote ends an open note without a message in the inbox.
func (d *Desk) planCloseNote(ctx context.Context, o order) (p plan, err error) {
	note, err := d.note(ctx, o)
	if err != nil {
		return p, err
	}
	p = plan{Title: "I have booked it", About: d.aboutNote(note), Button: "Close it"}
	p.Changes = append(
		p.Changes,
		"Noted settles the note with your reason. Later messages of the donation are duplicates.",
	)
	switch note.GetState() {
	case client.StateSettled:
		p.Refusal = "It was settled meanwhile."
	case client.StateHeld:
		p.Refusal = "Somebody is processing it until " + d.when(timeOf(note.GetHeldUntil())) + ". Look again then."
	}
	p.rests(note.GetState(), note.GetAttempt())
	p.do = func(ctx context.Context, who person, reason string) error {
		request, err := closing.Request(ctx, d.noted, note)
		if err != nil {
			return err
		}
		done, err := closing.Settle(ctx, d.noted, request, o.ID, signed(reason, who))
		switch {
		case err != nil:
			return err
		case done.Verdict == client.Duplicate:
			return errors.New("it was settled meanwhile")
		}
		act := inbox.Act{Actor: who.Name, Name: "close", Reason: reason}
		if err := d.recordOnNote(ctx, act, o.ID, nil); err != nil {
			return fmt.Errorf("the note IS settled, but the inbox did not keep the audit's line: %w", err)
		}
		return nil
	}
	return p, nil
}

// recordOnNote keeps an act on a note in the audit: with each of its messages, or without
// a message if the inbox has none.
func (d *Desk) recordOnNote(ctx context.Context, act inbox.Act, donationID string, told []inbox.Message) error {
	if d.box == nil {
		return nil
	}
	for _, m := range told {
		act.Row = m.Row
		if err := d.box.Record(ctx, act); err != nil {
			return err
		}
	}
	if len(told) > 0 {
		return nil
	}
	act.Reason += " (donation id " + donationID + ")"
	return d.box.Record(ctx, act)
}
