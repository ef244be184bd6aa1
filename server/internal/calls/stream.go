package calls

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/access"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/limits"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// linger is how long a stream is still answered once the server is asked to stop.
const linger = time.Second

// NoteDonations notes many donations. Three stages work at once: while one batch is at
// the store, the requests of the next are read, and the answers of the batch before are
// written. Batches of one stream go to the store one after the other, so that the earlier
// request of a donation is FIRST. If the client does not read answers, all stages wait,
// and its requests are not read either.
func (s *Service) NoteDonations(
	stream grpc.BidiStreamingServer[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse],
) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)

	requests := make(chan streamed, limits.Batch)
	go func() {
		// The goroutine ends with the stream at the latest: Recv fails once the handler
		// has returned.
		defer close(requests)
		cancelIf(cancel, s.Metrics.Recovered(ctx, func() error { return s.receive(ctx, stream, requests) }))
	}()

	answers := make(chan []*notedv1.NoteDonationsResponse)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		cancelIf(cancel, s.Metrics.Recovered(ctx, func() error { return send(stream, answers) }))
	}()

	// Recovered here too: beyond this line a panic would leave the sender waiting
	// forever.
	err := s.Metrics.Recovered(ctx, func() error { return s.answer(ctx, requests, answers) })
	close(answers)
	<-sent // a stream must not be written to once its handler has returned
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if errors.Is(err, contract.ErrDraining) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) {
		return contract.Refuse(err)
	}
	return err // of the transport, or a recovered panic: it has a status already
}

func cancelIf(cancel context.CancelCauseFunc, err error) {
	if err != nil {
		cancel(err)
	}
}

// A streamed request is the part that is kept until it is answered: the longest message
// is thirty times as long.
type streamed struct {
	ledger string // also of a wrong request, whose ledger may be refused first; clipped
	ask    store.NoteRequest
	wrong  error
}

// receive passes the requests of the caller on until there are no more.
func (s *Service) receive(
	ctx context.Context,
	stream grpc.BidiStreamingServer[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse],
	requests chan<- streamed,
) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r := streamed{
			ledger: access.Clipped(request.GetRequest().GetDonation().GetLedger()),
			wrong:  contract.CheckStreamed(request.GetRequest()),
		}
		if r.wrong == nil {
			r.ask = s.noteRequest(request.GetRequest())
		}
		select {
		case requests <- r:
		case <-ctx.Done():
			return nil
		}
	}
}

// send writes answers until there are no more.
func send(stream grpc.BidiStreamingServer[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse],
	answers <-chan []*notedv1.NoteDonationsResponse,
) error {
	for batch := range answers {
		for _, answer := range batch {
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
	}
	return nil
}

// answer takes the requests that are waiting, asks the store for all of them at once, and
// passes the answers on.
func (s *Service) answer(
	ctx context.Context,
	requests <-chan streamed,
	answers chan<- []*notedv1.NoteDonationsResponse,
) error {
	end := lingering{draining: s.Draining}
	for {
		batch, last, err := waiting(ctx, requests, &end)
		if len(batch) > 0 {
			select {
			case answers <- s.noteAll(ctx, batch):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if last || err != nil {
			return err
		}
	}
}

// lingering knows when a stream must end after its server is asked to stop.
type lingering struct {
	draining <-chan struct{}
	over     <-chan time.Time // nil until it drains
}

// waiting waits for a request and takes with it all that have come meanwhile. last means
// that there are no more. Some time after the server is asked to stop it gives up on the
// caller, which may be silent for now or forever.
func waiting(ctx context.Context, requests <-chan streamed, end *lingering) (batch []streamed, last bool, err error) {
	for len(batch) == 0 {
		select {
		case <-end.over:
			return nil, false, contract.ErrDraining
		default:
		}
		select {
		case request, more := <-requests:
			if !more {
				return nil, true, nil
			}
			batch = append(make([]streamed, 0, 1+len(requests)), request) // and those that wait behind it
		case <-end.draining:
			end.draining, end.over = nil, time.After(linger)
		case <-end.over:
			return nil, false, contract.ErrDraining
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
	for len(batch) < limits.Batch {
		select {
		case request, more := <-requests:
			if !more {
				return batch, true, nil
			}
			batch = append(batch, request)
		default:
			return batch, false, nil
		}
	}
	return batch, false, nil
}

// noteAll answers a batch in order. Refused requests do not go to the store; the others
// do, in one round trip.
func (s *Service) noteAll(ctx context.Context, batch []streamed) []*notedv1.NoteDonationsResponse {
	answers := make([]*notedv1.NoteDonationsResponse, len(batch))
	asked := make([]store.NoteRequest, 0, len(batch))
	places := make([]int, 0, len(batch)) // of asked in batch
	overloaded := s.UnderWay.Begin()
	if overloaded == nil {
		defer s.UnderWay.End()
	}
	for i, request := range batch {
		err := overloaded
		if err == nil {
			err = s.Access.Note(ctx, request.ledger)
		}
		if err == nil {
			err = request.wrong
		}
		if err != nil {
			answers[i] = s.errorAnswer(ctx, err)
			continue
		}
		asked = append(asked, request.ask)
		places = append(places, i)
	}
	if len(asked) == 0 {
		return answers
	}
	ctx, cancel := context.WithTimeout(ctx, s.MaxDeadline)
	defer cancel()
	replies, errs := s.Store.Notes(ctx, asked)
	made := make([]struct {
		answer notedv1.NoteDonationsResponse
		result notedv1.NoteDonationsResponse_Response
	}, len(asked)) // in one piece of memory
	for i, place := range places {
		if errs[i] != nil {
			answers[place] = s.errorAnswer(ctx, contract.Refuse(errs[i]))
			continue
		}
		of := &made[i]
		of.result.Response = s.noteResponse(asked[i], replies[i])
		of.answer.Result = &of.result
		answers[place] = &of.answer
	}
	return answers
}

// errorAnswer is the failure of one request, which does not end the stream. It is counted
// like the failure of a call, and logged if the table of refusals does not know it.
func (s *Service) errorAnswer(ctx context.Context, err error) *notedv1.NoteDonationsResponse {
	var f *contract.Failure
	if !errors.As(err, &f) {
		f = contract.Refuse(err)
	}
	s.Metrics.Refused(notedv1.DedupeService_NoteDonations_FullMethodName, f)
	if f.Reason() == contract.Internal {
		s.Metrics.Floods.Log(
			ctx,
			"answering a streamed request",
			slog.LevelError,
			"answering a streamed request",
			"error", f,
		)
	}
	return &notedv1.NoteDonationsResponse{
		Result: &notedv1.NoteDonationsResponse_Error_{Error: &notedv1.NoteDonationsResponse_Error{
			Code: int32(f.GRPCStatus().Code()), Message: f.GRPCStatus().Message(), Reason: f.Reason(),
		}},
	}
}
