// Package messages closes a message of the gateway's inbox whose donations a person has
// booked by hand.
package messages

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/closing"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// An Act says who closes, and why. Said is the reason as Noted's audit gets it: Noted
// itself knows the program and not the person.
type Act struct{ Actor, Reason, Said string }

// Close closes each donation of a message that is still open, and then the message. Its
// worker stays away meanwhile: the message is for a person, and stays so if this fails.
// tell, which may be nil, is told what became of each donation that was not done.
func Close(
	ctx context.Context, noted *client.Client, box *inbox.Inbox, row string, act Act, tell func(inbox.Donation),
) error {
	m, err := box.Hold(ctx, row)
	if err != nil {
		return err
	}
	for at := range m.Donations {
		d := &m.Donations[at]
		if d.Outcome != "" && !d.Outcome.ForPerson() {
			continue
		}
		if err := closeDonation(ctx, noted, m, d, act.Said); err != nil {
			return fmt.Errorf("closing %s of %s: %w; the message stays for a person", d.Event, d.SeriesID, err)
		}
		if tell != nil {
			tell(*d)
		}
	}
	return box.CloseMessage(ctx, row, m.Donations, act.Actor, act.Reason)
}

// closeDonation settles a donation if it is open. One that Noted cannot note is closed in
// the journal alone, with Noted's reason.
func closeDonation(
	ctx context.Context, noted *client.Client, m inbox.Message, d *inbox.Donation, reason string,
) error {
	request := Request(*d)
	if request == nil {
		return errors.New("the journal's entry cannot be read")
	}
	request.Message.ReceivedAt = timestamppb.New(m.ReceivedAt)
	done, err := closing.Settle(ctx, noted, request, d.DonationID, reason)
	switch {
	case closing.Undecidable(err):
		d.Outcome, d.Reason = inbox.Closed, client.Reason(err)
		return nil
	case err != nil:
		return err
	}
	d.DonationID, d.Verdict = done.ID(), strings.TrimPrefix(done.Verdict.String(), "VERDICT_")
	d.Outcome, d.Reason = inbox.Closed, ""
	if done.Verdict == client.Duplicate {
		d.Outcome = inbox.Duplicate
	}
	return nil
}

// Request is the question to Noted of a donation as the journal keeps it; nil where it
// cannot be read.
func Request(d inbox.Donation) *client.NoteRequest {
	request := &client.NoteRequest{}
	if protojson.Unmarshal(d.Pair, request) != nil || request.Donation == nil {
		return nil
	}
	if request.Message == nil {
		request.Message = &client.Message{}
	}
	if d.AskedSeries != "" {
		request.Donation.SeriesId = d.AskedSeries
	}
	return request
}
