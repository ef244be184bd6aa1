package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// closeHold is how long a donation is held while it is closed.
const closeHold = 15 * time.Second

func (a *app) closeCommand() *cli.Command {
	return &cli.Command{
		Name: "close", UsageText: "notectl close -series ID -reason TEXT DONATION_ID",
		Usage: "settle an open donation that was booked by hand: later messages of it are DUPLICATE",
		Description: `For an open donation that a person has booked by hand. DONATION_ID is Noted's id, as
"notectl list -state open" shows it. The server's audit keeps the caller and the reason. The
caller needs the verbs read and note.

Only an open donation can be closed. Otherwise nothing is settled, an error tells why, and the
exit code is

    10   it is settled already: make sure that it is not booked twice
    11   it is held: a receiver is processing it; the last line says when to try again
     1   there is no such note, or it cannot be closed`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "series", Required: true, Usage: "`ID` of the donation's series"},
			&cli.StringFlag{
				Name:     "reason",
				Required: true,
				Usage:    "`TEXT` for the server's audit, such as the place of the booking, without personal data",
			},
		},
		Action: a.act(a.close),
	}
}

func (a *app) close(ctx context.Context, cmd *cli.Command) (int, error) {
	id, err := one(cmd, "the donation's id")
	if err != nil {
		return 0, err
	}
	reason := cmd.String("reason")
	if strings.TrimSpace(reason) == "" {
		return 0, usageError{inCommand{errors.New("-reason is empty: say where the donation is booked"), cmd.FullName()}}
	}
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	note, err := find(ctx, noted, cmd, id)
	if err != nil {
		return 0, err
	}
	if note.GetState() != client.StateOpen {
		return a.refuseToClose(note, note.GetHeldUntil().AsTime().Sub(now()))
	}
	request, err := requestOf(ctx, noted, note)
	if err != nil {
		return 0, err
	}
	answer, err := noted.Note(ctx, request)
	if err != nil {
		return 0, err
	}
	if answer.GetVerdict() == client.First && answer.GetNote().GetDonationId() != id {
		_, err := noted.Release(context.WithoutCancel(ctx), answer.GetReceipt(), "closing "+id+", which is gone")
		return 0, errors.Join(goneMeanwhile(id, answer.GetNote().GetDonationId()), err)
	}
	switch answer.GetVerdict() {
	case client.First:
	case client.Held, client.Duplicate:
		return a.refuseToClose(answer.GetNote(), answer.GetRetryAfter().AsDuration())
	default:
		return 0, unknownVerdict(answer)
	}
	note, err = noted.Settle(ctx, answer.GetReceipt(), reason)
	if err != nil {
		// It may have been settled, and only its answer lost: then it cannot be released.
		_, notReleased := noted.Release(context.WithoutCancel(ctx), answer.GetReceipt(), "it could not be closed")
		if !errors.Is(notReleased, client.ErrAlreadySettled) {
			return 0, err
		}
		note = answer.GetNote()
		note.State, note.HeldUntil = client.StateSettled, nil
	}
	return exitFirst, a.printer(cmd).note(note)
}

// refuseToClose says why a note that is not open stays as it is.
func (a *app) refuseToClose(note *client.Note, wait time.Duration) (int, error) {
	id := note.GetDonationId()
	if note.GetState() == client.StateHeld {
		a.warnf("closing %s: a receiver is processing it; nothing was changed", id)
		a.warnf("hint: if it is still open then, close it in %s", seconds(max(wait, time.Second)))
		return exitHeld, nil
	}
	a.warnf("closing %s: it is settled already; nothing was changed", id)
	a.warnf("hint: unless you closed it before, a receiver has processed it: make sure that it is not booked twice")
	return exitDuplicate, nil
}

// find returns the note that a command names by its series and id.
func find(ctx context.Context, noted *client.Client, cmd *cli.Command, id string) (*client.Note, error) {
	request := &client.ListRequest{Ledger: cmd.String("ledger"), SeriesId: cmd.String("series"), PageSize: 500}
	for note, err := range noted.List(ctx, request) {
		if err != nil {
			return nil, err
		}
		if note.GetDonationId() == id {
			return note, nil
		}
	}
	return nil, advised{
		fmt.Errorf("there is no donation %q in series %q of ledger %q", id, request.SeriesId, request.Ledger),
		"are -series and -ledger right? notectl list -series SERIES shows its ids; notes are forgotten after their retention",
	}
}

// requestOf returns a question to note that leads to this note: by a message of it, else
// by a transaction id of it, else by all that is known of it. Each is looked at before,
// since noting what leads elsewhere would make or change another note.
func requestOf(ctx context.Context, noted *client.Client, note *client.Note) (*client.NoteRequest, error) {
	for _, request := range requestsOf(note) {
		found, err := noted.Exists(ctx, request.GetDonation(), request.GetMessage())
		if err != nil {
			return nil, err
		}
		if found.GetNote().GetDonationId() == note.GetDonationId() {
			return request, nil
		}
	}
	return nil, advised{
		fmt.Errorf(
			"closing %s: no message that it has seen leads to it and to no other note; nothing was changed",
			note.GetDonationId(),
		),
		"another donation of the series looks the same: close or settle the other one first, then this",
	}
}

// requestsOf returns the questions that may lead to a note, the surest first.
func requestsOf(note *client.Note) []*client.NoteRequest {
	var messages, transactions, rest []*client.NoteRequest
	for _, s := range note.GetSightings() {
		donation := proto.CloneOf(note.GetDonation())
		donation.TransactionId = s.GetTransactionId()
		message := proto.CloneOf(s.GetMessage())
		if message == nil {
			message = &client.Message{}
		}
		if message.ReceivedAt == nil {
			message.ReceivedAt = s.GetSeenAt()
		}
		request := &client.NoteRequest{
			Donation: donation, Message: message,
			Hold: durationpb.New(closeHold), RequestId: client.NewRequestID(),
		}
		switch {
		case message.GetId() != "":
			messages = append(messages, request)
		case donation.GetTransactionId() != "":
			transactions = append(transactions, request)
		default:
			rest = append(rest, request)
		}
	}
	return append(append(messages, transactions...), rest...)
}

// goneMeanwhile says that the question to note met another note, or made one.
func goneMeanwhile(id, other string) error {
	return advised{
		fmt.Errorf("closing %s: it was forgotten meanwhile; its message now belongs to %s, which is left open", id, other),
		"if that is the donation that you have booked, close it under this id: notectl list -series SERIES",
	}
}
