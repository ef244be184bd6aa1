package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// closeHold is how long a donation is held while it is closed.
const closeHold = 15 * time.Second

// closeInbox closes messages whose donations were booked by hand. It notes each open
// donation as the gateway would and settles it with the reason, so that later messages of
// the donation are duplicates.
func closeInbox(ctx context.Context, i *inboxCommand) error {
	if strings.TrimSpace(i.reason) == "" {
		return cmdline.Usagef("-reason: say why, such as \"booked by hand, entry 4711\"; the audit keeps it")
	}
	all, err := i.selected(ctx)
	if err != nil {
		return err
	}
	noted, err := i.noted()
	if err != nil {
		return err
	}
	defer noted.Close()
	var failed []error
	for _, m := range all {
		if m.State != inbox.Waiting && m.State != inbox.Person {
			fmt.Fprintf(i.out, "%s: nothing to close, it is %s\n", m.Row, m.State)
			continue
		}
		if i.dryRun {
			fmt.Fprintf(i.out, "%s: would close %d donations\n", m.Row, len(m.Donations))
			continue
		}
		if err := i.close(ctx, noted, m.Row); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// noted connects to Noted with the gateway's own flags. Acts that do not ask Noted need no
// right to read the gateway's token.
func (i *inboxCommand) noted() (*client.Client, error) {
	if wrong := i.reachNoted(); len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return client.New(i.config.Noted, i.config.NotedClient)
}

// close closes one message. Its worker stays away meanwhile: the message is for a person.
func (i *inboxCommand) close(ctx context.Context, noted *client.Client, row string) error {
	m, err := i.box.Hold(ctx, row)
	if err != nil {
		return err
	}
	for at := range m.Donations {
		d := &m.Donations[at]
		if d.Outcome != "" && !d.Outcome.ForPerson() {
			continue
		}
		said, err := closeDonation(ctx, noted, m, d, i.reason)
		if err != nil {
			return fmt.Errorf("%s: closing %s of %s: %w; the message stays for a person", row, d.Event, d.SeriesID, err)
		}
		fmt.Fprintf(i.out, "%s: %s of %s %s\n", row, d.Event, d.SeriesID, said)
	}
	if err := i.box.CloseMessage(ctx, row, m.Donations, actor(), i.reason); err != nil {
		return err
	}
	fmt.Fprintf(i.out, "%s: closed\n", row)
	return nil
}

// closeDonation settles a donation if it is open, and says what it did.
func closeDonation(
	ctx context.Context, noted *client.Client, m inbox.Message, d *inbox.Donation, reason string,
) (said string, err error) {
	request := &client.NoteRequest{}
	if err := protojson.Unmarshal(d.Pair, request); err != nil {
		return "", fmt.Errorf("reading the journal: %w", err)
	}
	if d.AskedSeries != "" {
		request.Donation.SeriesId = d.AskedSeries
	}
	request.Hold, request.RequestId = durationpb.New(closeHold), client.NewRequestID()
	request.Message.ReceivedAt = timestamppb.New(m.ReceivedAt)
	answer, err := noted.Note(ctx, request)
	switch {
	case errors.Is(err, client.ErrOccurredTooEarly), errors.Is(err, client.ErrOccurredTooLate),
		errors.Is(err, client.ErrReceivedTooEarly), errors.Is(err, client.ErrSeriesFull),
		errors.Is(err, client.ErrInvalidRequest):
		d.Outcome, d.Reason = inbox.Closed, client.Reason(err)
		return "is closed; Noted cannot note it (" + d.Reason + ")", nil
	case err != nil:
		return "", err
	}
	d.Verdict = strings.TrimPrefix(answer.GetVerdict().String(), "VERDICT_")
	id := answer.GetNote().GetDonationId()
	switch answer.GetVerdict() {
	case client.Duplicate:
		d.Outcome, d.DonationID = inbox.Duplicate, id
		return "was settled meanwhile under donation id " + id, nil
	case client.Held:
		return "", fmt.Errorf("somebody is processing it; try again in %v", answer.GetRetryAfter().AsDuration())
	case client.First:
	default:
		return "", fmt.Errorf("the verdict %s is unknown here", answer.GetVerdict())
	}
	if d.DonationID != "" && d.DonationID != id {
		_, released := noted.Release(ctx, answer.GetReceipt(), "closing another donation")
		return "", errors.Join(fmt.Errorf("the journal has it as %s and Noted as %s", d.DonationID, id), released)
	}
	if _, err := noted.Settle(ctx, answer.GetReceipt(), reason); err != nil {
		return "", err
	}
	d.Outcome, d.DonationID, d.Reason = inbox.Closed, id, ""
	return "is settled under donation id " + id, nil
}
