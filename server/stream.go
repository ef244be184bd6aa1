package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/store"
)

const (
	// batchSize is how many requests of a stream go to the store together, and how many may wait for the batch before them.
	batchSize = 128
	// linger is how long a stream is still answered once the server is asked to stop.
	linger = time.Second
)

// NoteDonations notes many. Three stages work at once: while one batch is at the store, the requests of the next are read and the answers of the one
// before are written. Batches of one stream go to the store one after the other, so that the earlier request of a donation is the one
// that is FIRST. Whoever does not read the answers is not read from either: all stages wait for the one after them.
func (s *service) NoteDonations(stream grpc.BidiStreamingServer[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse]) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)

	requests := make(chan streamed, batchSize)
	go func() {
		// It ends with the stream at the latest: Recv fails once the handler has returned.
		defer close(requests)
		cancelIf(cancel, s.telemetry.Recovered(ctx, func() error { return s.receive(ctx, stream, requests) }))
	}()

	answers := make(chan []*notedv1.NoteDonationsResponse)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		cancelIf(cancel, s.telemetry.Recovered(ctx, func() error { return send(stream, answers) }))
	}()

	// Guarded here too: a panic that went past this line would leave the sender waiting for good.
	err := s.telemetry.Recovered(ctx, func() error { return s.answer(ctx, requests, answers) })
	close(answers)
	<-sent // a stream must not be written to once its handler has returned
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	if errors.Is(err, contract.ErrDraining) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return contract.Refuse(err)
	}
	return err // of the transport, or a recovered panic: has a status already
}

func cancelIf(cancel context.CancelCauseFunc, err error) {
	if err != nil {
		cancel(err)
	}
}

// A streamed request is what is kept of one until it is answered: the longest message is thirty times as long.
type streamed struct {
	ledger string // also of a request that is refused, which may be refused for its ledger first; clipped where it is none
	ask    store.NoteRequest
	wrong  error
}

// receive hands on what the caller sends, until the caller has no more.
func (s *service) receive(ctx context.Context, stream grpc.BidiStreamingServer[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse],
	requests chan<- streamed) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r := streamed{ledger: clipped(request.GetRequest().GetDonation().GetLedger()), wrong: contract.CheckStreamed(request.GetRequest())}
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
	answers <-chan []*notedv1.NoteDonationsResponse) error {
	for batch := range answers {
		for _, answer := range batch {
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
	}
	return nil
}

// answer takes as many requests as are waiting, asks the store for all of them at once, and hands the answers on.
func (s *service) answer(ctx context.Context, requests <-chan streamed, answers chan<- []*notedv1.NoteDonationsResponse) error {
	end := lingering{draining: s.draining}
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

// lingering is when a stream is to end of a server that is asked to stop.
type lingering struct {
	draining <-chan struct{}
	over     <-chan time.Time // nil until it drains
}

// waiting waits for a request and takes with it what has come meanwhile. After the last one it says so; some time after the server was asked to stop it gives up
// on the caller, who may be silent, or may never be.
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
			batch = append(batch, request)
		case <-end.draining:
			end.draining, end.over = nil, time.After(linger)
		case <-end.over:
			return nil, false, contract.ErrDraining
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
	for len(batch) < batchSize {
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

// noteAll answers a batch in order. A request that is refused does not go to the store; the others do, in one round trip.
func (s *service) noteAll(ctx context.Context, batch []streamed) []*notedv1.NoteDonationsResponse {
	answers := make([]*notedv1.NoteDonationsResponse, len(batch))
	asked := make([]store.NoteRequest, 0, len(batch))
	places := make([]int, 0, len(batch)) // of asked in batch
	overloaded := s.underWay.begin()
	if overloaded == nil {
		defer s.underWay.end()
	}
	for i, request := range batch {
		err := overloaded
		if err == nil {
			err = s.access.one(ctx, request.ledger)
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
	ctx, cancel := context.WithTimeout(ctx, s.ceiling)
	defer cancel()
	replies, errs := s.store.Notes(ctx, asked)
	for i, place := range places {
		if errs[i] != nil {
			answers[place] = s.errorAnswer(ctx, contract.Refuse(errs[i]))
			continue
		}
		answers[place] = &notedv1.NoteDonationsResponse{
			Result: &notedv1.NoteDonationsResponse_Response{Response: s.noteResponse(asked[i], replies[i])},
		}
	}
	return answers
}

// errorAnswer is a failure of one request, which does not end the stream. It is counted as a call's would be; what the table does not know is logged.
func (s *service) errorAnswer(ctx context.Context, err error) *notedv1.NoteDonationsResponse {
	var f *contract.Failure
	if !errors.As(err, &f) {
		f = contract.Refuse(err)
	}
	s.telemetry.Refused(notedv1.DedupeService_NoteDonations_FullMethodName, f)
	if f.Reason() == contract.Internal {
		s.telemetry.Floods.Log(ctx, "answering a streamed request", slog.LevelError, "answering a streamed request", "error", f)
	}
	return &notedv1.NoteDonationsResponse{Result: &notedv1.NoteDonationsResponse_Error_{Error: &notedv1.NoteDonationsResponse_Error{
		Code: int32(f.GRPCStatus().Code()), Message: f.GRPCStatus().Message(), Reason: f.Reason(),
	}}}
}
