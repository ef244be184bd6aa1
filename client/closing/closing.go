// Package closing closes an open donation that a person has booked by hand. It notes the
// donation with a hold and settles it with the person's reason, so that later messages of
// it are duplicates.
//
//	request, err := closing.Request(ctx, noted, note) // a question that leads to the note
//	…
//	done, err := closing.Settle(ctx, noted, request, note.GetDonationId(), "entry 12")
//
// notectl, noted-gateway and the desk use it. client/closing/messages closes the
// donations of a message in the gateway's inbox.
package closing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
)

// hold is the length of the hold during a close.
const hold = 15 * time.Second

// A Done is the result for a donation.
type Done struct {
	Note    *client.Note
	Verdict client.Verdict // First: it is closed now. Duplicate: it was settled before
}

// ID is Noted's id of the donation.
func (d Done) ID() string { return d.Note.GetDonationId() }

// A HeldError means that somebody is processing the donation.
type HeldError struct {
	Note  *client.Note
	After time.Duration // the time after which to try again
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("somebody is processing it; try again in %v", e.After.Round(time.Second))
}

// An OtherError means that the request matched another donation than the intended one.
// The other donation stays open.
type OtherError struct {
	Meant, Found string
	Release      error // why the other donation could not be released; nil after a release
}

func (e *OtherError) Error() string {
	said := fmt.Sprintf("it is known as %s, and Noted has it as %s", e.Meant, e.Found)
	if e.Release != nil {
		said += ", which could not be released: " + e.Release.Error()
	}
	return said
}

func (e *OtherError) Unwrap() error { return e.Release }

// An UnknownVerdictError means that the server is newer than this program.
type UnknownVerdictError struct{ Answer *client.NoteResponse }

func (e *UnknownVerdictError) Error() string {
	return fmt.Sprintf("the verdict %s is unknown here", e.Answer.GetVerdict())
}

// Settle notes a donation and settles it with a reason, which Noted's audit keeps. known
// is the donation id that Noted must give; empty for any. Settle sets the request's hold
// and id.
//
// If settling fails, Settle releases the donation, so that its next message need not wait
// for the hold. If the release fails because the donation is settled, this call settled
// it and only the answer was lost.
func Settle(
	ctx context.Context, noted *client.Client, request *client.NoteRequest, known, reason string,
) (done Done, err error) {
	request.Hold, request.RequestId = durationpb.New(hold), client.NewRequestID()
	answer, err := noted.Note(ctx, request)
	if err != nil {
		return Done{}, err
	}
	note := answer.GetNote()
	switch client.TrueVerdict(answer) { // a receipt in shadow may settle nothing
	case client.Duplicate:
		return Done{note, client.Duplicate}, nil
	case client.Held:
		after := cmp.Or(answer.GetRetryAfter().AsDuration(), time.Until(note.GetHeldUntil().AsTime()))
		return Done{}, &HeldError{note, after}
	case client.First:
	default:
		return Done{}, &UnknownVerdictError{answer}
	}
	if known != "" && known != note.GetDonationId() {
		_, err := noted.Release(context.WithoutCancel(ctx), answer.GetReceipt(), "closing "+known+", which is another")
		return Done{}, &OtherError{known, note.GetDonationId(), err}
	}
	settled, err := noted.Settle(ctx, answer.GetReceipt(), reason)
	if err == nil {
		return Done{settled, client.First}, nil
	}
	_, notReleased := noted.Release(context.WithoutCancel(ctx), answer.GetReceipt(), "it could not be closed")
	if !errors.Is(notReleased, client.ErrAlreadySettled) {
		return Done{}, err
	}
	note.State, note.HeldUntil = client.StateSettled, nil
	return Done{note, client.First}, nil
}

// ErrNoWay means that no message of a note leads to it and to no other note.
var ErrNoWay = errors.New("each of its messages leads to another note or to several notes; nothing was changed")

// Request returns a note request that leads to a note: by one of its messages, else by
// one of its transaction ids, else by all its fields. It tries each with DonationExists
// first, because a wrong request would make or change another note.
func Request(ctx context.Context, noted *client.Client, note *client.Note) (*client.NoteRequest, error) {
	for _, request := range requests(note) {
		found, err := noted.Exists(ctx, request.GetDonation(), request.GetMessage())
		if err != nil {
			return nil, err
		}
		if found.GetNote().GetDonationId() == note.GetDonationId() {
			return request, nil
		}
	}
	return nil, ErrNoWay
}

// requests returns the requests that may lead to a note, the surest first.
func requests(note *client.Note) []*client.NoteRequest {
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
		request := &client.NoteRequest{Donation: donation, Message: message}
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
