package soak_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// patience is how long a receiver waits for one answer.
const patience = time.Second

// receive handles one try of a message as a receiver without a client library does. It
// returns true if PayPal got 200.
func (s *storm) receive(ctx context.Context, m *message, try int) bool {
	f := fateOf(s.seed, m, try)
	in := input{
		call:    "note",
		payment: m.payment,
		message: m.number,
		request: fmt.Sprintf("%d-%d", m.number, try),
		hold:    f.hold,
	}
	if f.looksFirst && s.kind.looksAreCurrent {
		look := in
		look.call = "exists"
		s.call(ctx, f, look)
	}
	first := s.ask(ctx, f, in)
	switch first.answer {
	case "DUPLICATE":
		s.known(m, first)
		return true
	case "FIRST":
	default: // held, or the outcome is unknown
		return false
	}
	receipt := in
	receipt.attempt, receipt.receipt = first.attempt, first.receipt
	with := func(call string) output {
		receipt.call = call
		return s.ask(ctx, f, receipt)
	}
	booked := false
	if f.late {
		defer func() {
			calls := []string{"release", "extend", "settle"}
			if !booked { // a donation that it has not processed is not settled
				calls = calls[:2]
			}
			if sleep(ctx, f.work) {
				with(calls[m.number%len(calls)])
			}
		}()
	}
	if first.state == settled { // an earlier try has settled it, and its receiver did not learn of it
		s.known(m, first)
		return true
	}
	if f.crash == beforeProcessing {
		return false
	}
	if f.extends {
		if sleep(ctx, f.work/2); with("extend").answer == "HOLD_LOST" {
			return false
		}
		f.work /= 2
	}
	sleep(ctx, f.work)
	if booked = !f.refused && s.books.book(m.payment, first.id, first.attempt, in.request); !booked {
		with("release")
		return false
	}
	if f.crash == beforeSettling {
		return false
	}
	switch with("settle").answer {
	case done:
		s.known(m, first)
		return f.crash != beforeAnswering
	}
	return false
}

// ask makes a call. While the outcome is unknown it repeats the call, as often as the
// receiver's fate allows.
func (s *storm) ask(ctx context.Context, f fate, in input) (out output) {
	for i := range f.asks {
		if out = s.call(ctx, f, in); out.answer != unknown && out.answer != notDone {
			return out
		}
		f.server = (f.server + 1) % servers
		if !sleep(ctx, 50*time.Millisecond<<i) {
			return out
		}
	}
	return out
}

// call makes a call once and records it. The end of the storm does not cancel it, since
// the answer would be lost.
func (s *storm) call(_ context.Context, f fate, in input) (out output) {
	ctx, cancel := context.WithTimeout(
		metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token),
		patience,
	)
	defer cancel()
	in.called = time.Since(s.history.began)
	var note *notedv1.Note
	var err error
	out.answer = done
	switch client := s.clients[f.server]; in.call {
	case "note":
		request := &notedv1.NoteDonationRequest{
			Donation:  s.messages[in.message].donation,
			Message:   s.messages[in.message].message,
			Hold:      durationpb.New(in.hold),
			RequestId: in.request,
		}
		var answered *notedv1.NoteDonationResponse
		if f.streams {
			answered, err = onStream(ctx, client, request)
		} else {
			answered, err = client.NoteDonation(ctx, request)
		}
		note, out.receipt, out.answer = answered.GetNote(), answered.GetReceipt(), answer(
			strings.TrimPrefix(answered.GetVerdict().String(), "VERDICT_"),
		)
	case "exists":
		var answered *notedv1.DonationExistsResponse
		answered, err = client.DonationExists(
			ctx,
			&notedv1.DonationExistsRequest{
				Donation: s.messages[in.message].donation,
				Message:  s.messages[in.message].message,
			},
		)
		if note = answered.GetNote(); note == nil {
			out.answer = none
		}
		if isHeld := note.GetState() != notedv1.State_STATE_OPEN &&
			note != nil; err == nil &&
			answered.GetExists() != isHeld {
			s.wrong("a look at payment %d: exists is %v, and the note is %v", in.payment, answered.GetExists(), note)
		}
	case "settle":
		var answered *notedv1.SettleDonationResponse
		answered, err = client.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: in.receipt})
		note = answered.GetNote()
	case "release":
		var answered *notedv1.ReleaseDonationResponse
		answered, err = client.ReleaseDonation(
			ctx,
			&notedv1.ReleaseDonationRequest{Receipt: in.receipt, Reason: "it was not taken"},
		)
		note = answered.GetNote()
	case "extend":
		var answered *notedv1.ExtendHoldResponse
		answered, err = client.ExtendHold(
			ctx,
			&notedv1.ExtendHoldRequest{Receipt: in.receipt, Hold: durationpb.New(in.hold)},
		)
		note = answered.GetNote()
	}
	out.returned = time.Since(s.history.began)
	if err != nil {
		out = output{answer: s.meant(in, err), returned: out.returned}
	} else if note != nil {
		out.id, out.attempt, out.state = note.GetDonationId(), note.GetAttempt(), state(
			strings.ToLower(strings.TrimPrefix(note.GetState().String(), "STATE_")),
		)
		if note.HeldUntil != nil {
			out.heldUntil = note.HeldUntil.AsTime().Sub(s.history.began)
		}
	}
	if in.call == "exists" && out.answer == unknown {
		out.answer = notDone // a look never has an effect
	}
	s.history.add(in, out)
	return out
}

// onStream notes on a stream. An error that ends a stream says nothing of the last
// request.
func onStream(
	ctx context.Context,
	client notedv1.DedupeServiceClient,
	request *notedv1.NoteDonationRequest,
) (*notedv1.NoteDonationResponse, error) {
	stream, err := client.NoteDonations(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(
		&notedv1.NoteDonationsRequest{Request: request},
	); err != nil &&
		!errors.Is(err, io.EOF) { // at EOF Recv knows why
		return nil, err
	}
	answered, err := stream.Recv()
	if err != nil {
		return nil, streamEnded{err}
	}
	if refused := answered.GetError(); refused != nil {
		s := status.New(codes.Code(refused.GetCode()), refused.GetMessage())
		s, _ = s.WithDetails(&errdetails.ErrorInfo{Reason: refused.GetReason()})
		return nil, s.Err()
	}
	return answered.GetResponse(), nil
}

type streamEnded struct{ error }

// meant returns the answer that a caller may conclude from an error.
func (s *storm) meant(in input, err error) answer {
	reason := reasonOf(err)
	code, said := status.Code(err), status.Convert(err).Message()
	var ended streamEnded
	if errors.As(err, &ended) {
		code, said, reason = status.Code(ended.error), status.Convert(ended.error).Message(), ""
	}
	s.history.failed(cmp.Or(reason, code.String()))
	switch {
	case code == codes.FailedPrecondition, code == codes.NotFound:
		return answer(reason)
	case reason == "STORE_UNAVAILABLE", reason == "POOL_EXHAUSTED", reason == "OVERLOADED", reason == "STORE_FULL":
		return notDone
	case strings.Contains(said, "while dialing"), strings.Contains(said, "reading server preface"): // never sent
		return notDone
	case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled:
		return unknown
	}
	s.wrong("%s of payment %d: %v", in.call, in.payment, err)
	return unknown
}

// reasonOf is the reason in an error's ErrorInfo; empty if there is none.
func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// sleep waits, and is false if the storm has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
