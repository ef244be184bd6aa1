package desk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/closing"
	"github.com/donation-dedupe/noted/client/closing/messages"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// row reads a message of the inbox.
func (d *Desk) row(ctx context.Context, row string) (m inbox.Message, err error) {
	if d.box == nil {
		return m, errNoInbox
	}
	found := false
	err = d.box.List(ctx, inbox.Filter{Rows: []string{row}}, func(each inbox.Message) error {
		m, found = each, true
		return nil
	})
	if err == nil && !found {
		err = inbox.ErrNotFound
	}
	return m, err
}

func (d *Desk) about(m inbox.Message) string {
	return fmt.Sprintf("%s message received on %s, row %s", channelName(m.Channel), d.when(m.ReceivedAt), m.Row)
}

// busy refuses an act on a message while a worker holds it.
func (d *Desk) busy(p *plan, m inbox.Message) {
	if m.State == inbox.Working && m.NextAt.After(time.Now()) {
		p.Refusal = "A worker is processing the message right now. Try again after " + d.when(m.NextAt) + "."
	}
}

func (d *Desk) planRedo(ctx context.Context, o order) (p plan, err error) {
	m, err := d.row(ctx, o.Row)
	if err != nil {
		return p, err
	}
	p = plan{Title: "Redo now", About: d.about(m), Button: "Redo it now"}
	p.Changes = append(
		p.Changes,
		fmt.Sprintf("The message is %s now. A gateway takes it again at once.", stateNames[m.State]),
	)
	if !m.Verified {
		p.Changes = append(p.Changes, "PayPal is first asked whether it sent the message.")
	}
	var states []any
	for _, each := range m.Donations {
		change, state, err := d.foresee(ctx, each)
		if err != nil {
			return p, err
		}
		p.Changes = append(p.Changes, change)
		states = append(states, state)
		if each.AcceptedID != "" && state == "" {
			p.Warning = "The books accepted this donation before, under donation id " + each.AcceptedID +
				". They get it again under another id, and may book it twice."
		}
	}
	if !m.HasBody {
		p.Refusal = "The body of the message has been wiped. Have PayPal send the message again."
	}
	d.busy(&p, m)
	p.rests(m.State, m.Tries, m.Copies, states)
	p.do = func(ctx context.Context, who person, reason string) error {
		return d.box.Redo(ctx, m.Row, time.Now(), who.Name, reason)
	}
	return p, nil
}

// stateNames are the states of a message, in a person's words.
var stateNames = map[inbox.State]string{
	inbox.Waiting: "waiting", inbox.Working: "in work", inbox.Done: "done", inbox.Person: "left to a person",
	inbox.Refused: "refused", inbox.Discarded: "discarded",
}

// foresee says what a redo does with one donation. state is the state of Noted's note,
// empty without a note.
func (d *Desk) foresee(ctx context.Context, each inbox.Donation) (change, state string, err error) {
	what := sentenceCase(spoken(each.Event, "EVENT_")) + " in series " + asked(&each) + ": "
	if each.Outcome == inbox.Closed {
		return what + "it was closed by hand, and stays closed.", string(each.Outcome), nil
	}
	pair := pairOf(each)
	if pair == nil {
		return what + "the journal's entry cannot be read; the gateway reads the message itself.", "", nil
	}
	found, err := d.noted.Exists(ctx, pair.Donation, pair.Message)
	switch {
	case errors.Is(err, client.ErrUndecidable):
		return what + "Noted cannot decide it (" + explain(client.Reason(err)) + "). It will wait for a person again.",
			client.Reason(err), nil
	case err != nil:
		return "", "", err
	case found.GetNote() == nil:
		return what + "Noted has no note of it. The books get it as a new donation.", "", nil
	}
	state = spoken(found.GetNote().GetState().String(), "STATE_")
	id := found.GetNote().GetDonationId()
	switch found.GetNote().GetState() {
	case client.StateSettled:
		return what + "it is settled under donation id " + id + ". The books get nothing. " +
				"To deliver it again, forget the note first.",
			state, nil
	case client.StateHeld:
		return what + "somebody is processing it. The redo waits until then.", state, nil
	}
	if each.AcceptedID == id {
		return what + "the books have accepted it, so it is only settled.", state, nil
	}
	return what + "the books get it under donation id " + id + ".", state, nil
}

// note finds a note by series and id.
func (d *Desk) note(ctx context.Context, o order) (*client.Note, error) {
	for note, err := range d.noted.List(ctx, &client.ListRequest{Ledger: o.Ledger, SeriesId: o.Series}) {
		if err != nil {
			return nil, err
		}
		if note.GetDonationId() == o.ID {
			return note, nil
		}
	}
	return nil, client.ErrNoteNotFound
}

func (d *Desk) aboutNote(note *client.Note) string {
	one := donation{note: note, event: note.GetDonation().GetEvent().String()}
	return fmt.Sprintf(
		"%s, series %s, donation id %s",
		one.title(),
		note.GetDonation().GetSeriesId(),
		note.GetDonationId(),
	)
}

func (d *Desk) planForget(ctx context.Context, o order) (p plan, err error) {
	note, err := d.note(ctx, o)
	if err != nil {
		return p, err
	}
	var told []inbox.Message
	if d.box != nil {
		if told, err = d.box.Find(ctx, o.ID, mostMessages); err != nil {
			return p, err
		}
	}
	p = plan{Title: "Forget the note", About: d.aboutNote(note), Button: "Forget it"}
	p.Changes = append(
		p.Changes,
		"Noted forgets this note, which is "+spoken(note.GetState().String(), "STATE_")+" now. You cannot undo this.",
		"The next message of the donation, or a redo of a message, goes to the books as a new donation, "+
			"under another donation id.",
	)
	if note.GetState() == client.StateSettled {
		p.Warning = "If this donation is in the books, it will be booked twice. Remove it from the books first."
	}
	if note.GetState() == client.StateHeld {
		p.Refusal = "Somebody is processing the donation until " + d.when(
			timeOf(note.GetHeldUntil()),
		) + ". Look again then."
	}
	p.rests(note.GetState(), note.GetAttempt(), len(note.GetSightings()))
	p.do = func(ctx context.Context, who person, reason string) error {
		_, err := d.noted.Forget(ctx, &client.ForgetRequest{
			Ledger: o.Ledger, SeriesId: o.Series, DonationId: o.ID, Reason: signed(reason, who),
		})
		if err != nil {
			return err
		}
		act := inbox.Act{Actor: who.Name, Name: "forget", Reason: reason}
		if err := d.recordOnNote(ctx, act, o.ID, told); err != nil {
			return fmt.Errorf("the note IS forgotten, but the inbox did not keep the audit's line: %w", err)
		}
		return nil
	}
	return p, nil
}

// signed adds the person to a reason, since Noted itself knows only the desk.
func signed(reason string, who person) string { return reason + " (" + who.Name + ", at the desk)" }

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
	case errors.Is(err, client.ErrUndecidable):
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
