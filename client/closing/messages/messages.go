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

// An Act is the person and the reason. Said is the reason for Noted's audit, because
// Noted itself knows the program and not the person.
type Act struct{ Actor, Reason, Said string }

// Close closes each open donation of a message, and then the message. Meanwhile no worker
// takes it: the message waits for a person, and still does if this fails. tell, which may
// be nil, gets the result of each donation that was not done.
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

// closeDonation settles a donation if it is open. If Noted cannot note it, it is closed
// in the journal alone, with Noted's reason.
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
	case errors.Is(err, client.ErrUndecidable):
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

// Request is the note request of a donation in the journal; nil if it cannot be read.
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
