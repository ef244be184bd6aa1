package desk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// closeHold is how long a donation is held while it is closed.
const closeHold = 15 * time.Second

// planClose ends a message whose donations were booked by hand. Noted notes and settles
// each, so that later messages of them are duplicates.
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
		p.Refusal = "PayPal has not said yet that it has sent this message, " +
			"so it tells of nothing that could be booked."
	}
	d.busy(&p, m)
	p.rests(m.State, m.Tries, states)
	p.do = func(ctx context.Context, who person, reason string) error { return d.closeRow(ctx, m.Row, who, reason) }
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
	case undecidable(err):
		return " is closed in the inbox alone, since Noted cannot note it: " + explain(
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

// undecidable says whether Noted would answer the same each time.
func undecidable(err error) bool {
	return errors.Is(err, client.ErrOccurredTooEarly) || errors.Is(err, client.ErrOccurredTooLate) ||
		errors.Is(err, client.ErrReceivedTooEarly) || errors.Is(err, client.ErrSeriesFull) ||
		errors.Is(err, client.ErrInvalidRequest)
}

// closeRow closes one message. Its worker stays away meanwhile: the message is for a
// person, and stays so if this fails.
func (d *Desk) closeRow(ctx context.Context, row string, who person, reason string) error {
	m, err := d.box.Hold(ctx, row)
	if err != nil {
		return err
	}
	for at := range m.Donations {
		each := &m.Donations[at]
		if each.Outcome != "" && !each.Outcome.ForPerson() {
			continue
		}
		request := pairOf(*each)
		if request == nil {
			return errors.New("the journal's entry cannot be read; the message stays for a person")
		}
		request.Message.ReceivedAt = timestamppb.New(m.ReceivedAt)
		id, verdict, err := d.settle(ctx, request, each.DonationID, signed(reason, who))
		switch {
		case undecidable(err):
			each.Outcome, each.Reason = inbox.Closed, client.Reason(err)
			continue
		case err != nil:
			return fmt.Errorf("closing %s: %w; the message stays for a person", spoken(each.Event, "EVENT_"), err)
		}
		each.DonationID, each.Verdict = id, strings.TrimPrefix(verdict.String(), "VERDICT_")
		each.Outcome, each.Reason = inbox.Closed, ""
		if verdict == client.Duplicate {
			each.Outcome = inbox.Duplicate
		}
	}
	return d.box.CloseMessage(ctx, row, m.Donations, who.Name, reason)
}

// settle notes a donation and settles it with a reason. The id that it is known under, if
// any, must be the one that Noted gives.
func (d *Desk) settle(
	ctx context.Context, request *client.NoteRequest, known, reason string,
) (id string, verdict client.Verdict, err error) {
	request.Hold, request.RequestId = durationpb.New(closeHold), client.NewRequestID()
	answer, err := d.noted.Note(ctx, request)
	if err != nil {
		return "", client.Undecided, err
	}
	id, verdict = answer.GetNote().GetDonationId(), answer.GetVerdict()
	switch verdict {
	case client.Duplicate:
		return id, verdict, nil
	case client.Held:
		return "", verdict, fmt.Errorf("somebody is processing it; try again in %v",
			answer.GetRetryAfter().AsDuration().Round(time.Second))
	case client.First:
	default:
		return "", verdict, fmt.Errorf("the verdict %s is unknown here", verdict)
	}
	if known != "" && known != id {
		_, released := d.noted.Release(ctx, answer.GetReceipt(), "closing another donation")
		return "", verdict, errors.Join(fmt.Errorf("it is known as %s, and Noted has it as %s", known, id), released)
	}
	_, err = d.noted.Settle(ctx, answer.GetReceipt(), reason)
	return id, verdict, err
}

// planCloseNote ends an open note that no message of the inbox belongs to.
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
		_, verdict, err := d.settle(ctx, requestOf(note), o.ID, signed(reason, who))
		if err == nil && verdict == client.Duplicate {
			return errors.New("it was settled meanwhile")
		}
		return err
	}
	return p, nil
}

// requestOf asks about a note by a message that it has seen. Without a message id its own
// transaction id names it.
func requestOf(note *client.Note) *client.NoteRequest {
	about := note.GetDonation()
	request := &client.NoteRequest{
		Donation: &client.Donation{
			Ledger: about.GetLedger(), SeriesId: about.GetSeriesId(), Event: about.GetEvent(),
			TransactionId: about.GetTransactionId(), OccurredAt: about.GetOccurredAt(),
			Amount: about.GetAmount(), CurrencyCode: about.GetCurrencyCode(),
		},
		Message: &client.Message{},
	}
	for _, s := range note.GetSightings() {
		if s.GetMessage().GetId() != "" {
			request.Message = &client.Message{Channel: s.GetMessage().GetChannel(), Id: s.GetMessage().GetId()}
			request.Donation.TransactionId = s.GetTransactionId()
			break
		}
	}
	return request
}
