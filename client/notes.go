package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// window is how many requests of a stream may wait for an answer: enough to keep a server
// busy, few enough to ask again.
const window = 256

// NoteResult is the answer to one request of Notes. Response is nil beside an error.
type NoteResult struct {
	Request  *NoteRequest // as it was asked: with a RequestId
	Response *NoteResponse
}

// Notes is Note for many, over one stream: it yields one result for each request, in the
// order of the requests. An error belongs to that request alone, and the stream goes on.
// Only the end of ctx ends it early. Notes then yields every request that has no answer
// with the context's error, and reads no further request. The last result has that error
// too; its Request is nil if every request had an answer.
//
//	for result, err := range noted.Notes(ctx, requests) { … }
//
// When a stream breaks, Notes opens another and asks again for each request without an
// answer, with the same RequestId. So no donation is lost or doubled. It repeats an
// UNAVAILABLE request as Note does. An ErrWrongAnswer ends a stream too: the answers
// behind it may belong to other requests. Notes adds no deadline to ctx.
//
// A goroutine reads the requests, up to 256 ahead of the results. A break out of the loop
// ends the stream, and ends the reading at the next request. It is then unknown whether
// the requests without an answer have been noted.
func (c *Client) Notes(ctx context.Context, requests iter.Seq[*NoteRequest]) iter.Seq2[NoteResult, error] {
	return func(yield func(NoteResult, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		source := make(chan *NoteRequest)
		go func() {
			defer close(source)
			for request := range requests {
				select {
				case source <- withRequestID(request):
				case <-ctx.Done():
					return
				}
			}
		}()
		s := &notes{client: c, source: source, yield: yield}
		for s.more(ctx) {
			err := s.pass(ctx)
			if s.stopped || err != nil && !s.resume(ctx, err) {
				return
			}
		}
	}
}

// notes is one run of Notes, over one stream after another as they break.
type notes struct {
	client     *Client
	source     <-chan *NoteRequest
	yield      func(NoteResult, error) bool
	unanswered []*NoteRequest // asked on a stream that broke, oldest first
	tries      int            // since the last answer
	stopped    bool           // the consumer wants no more
}

// more waits for a request, so that no stream is opened in vain, and returns false at the
// end of the source.
func (s *notes) more(ctx context.Context) bool {
	if len(s.unanswered) > 0 {
		return true
	}
	select {
	case request, ok := <-s.source:
		if ok {
			s.unanswered = []*NoteRequest{request}
			return true
		}
		if ctx.Err() == nil {
			return false
		}
	case <-ctx.Done():
	}
	s.yield(NoteResult{}, failing("noting", contextEnded(ctx)))
	return false
}

// pass opens a stream, sends the unanswered requests and then the source's, and yields
// the answers. It returns nil at the end of the source, and otherwise why the stream
// broke; unanswered then holds the requests to send again.
func (s *notes) pass(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.rpc.NoteDonations(ctx)
	if err != nil {
		return err
	}
	asked := make(chan *NoteRequest, window) // sent or about to be sent, without an answer
	slots := make(chan struct{}, window)     // one for each request in asked, so that asked never blocks
	ended := make(chan struct{})             // closed when everything has been sent
	again := s.unanswered
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			request, ok := next(ctx, &again, s.source)
			if !ok {
				if ctx.Err() == nil {
					close(ended)
					_ = stream.CloseSend() // never fails, says its comment
				}
				return
			}
			asked <- request
			if stream.Send(&notedv1.NoteDonationsRequest{Request: request}) != nil {
				return // Recv tells why
			}
		}
	})
	defer func() {
		cancel()
		sending.Wait()
		close(asked)
		s.unanswered = nil
		for request := range asked {
			s.unanswered = append(s.unanswered, request)
		}
		s.unanswered = append(s.unanswered, again...)
	}()
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if isClosed(ended) && len(asked) == 0 {
				return nil
			}
			return status.Error(codes.Unavailable, "the server ended the stream")
		}
		if err != nil {
			return err
		}
		if len(asked) == 0 {
			return status.Error(codes.Internal, "the server answered what it was not asked")
		}
		request := <-asked
		<-slots
		s.tries = 0
		if wrong := checkAnswer(request, response); wrong != nil {
			if !s.give(NoteResult{Request: request}, wrong) {
				return nil
			}
			return wrong // later answers may belong to other requests
		}
		if !s.answer(ctx, request, response) {
			return nil
		}
	}
}

// next takes an unanswered request, or the next of the source.
func next(ctx context.Context, again *[]*NoteRequest, source <-chan *NoteRequest) (*NoteRequest, bool) {
	if len(*again) > 0 {
		request := (*again)[0]
		*again = (*again)[1:]
		return request, true
	}
	select {
	case request, ok := <-source:
		return request, ok
	case <-ctx.Done():
		return nil, false
	}
}

// checkAnswer refuses a response to another request.
func checkAnswer(request *NoteRequest, response *notedv1.NoteDonationsResponse) error {
	if response.GetResponse() == nil {
		return nil
	}
	donation := request.GetDonation()
	return checkNote("noting "+donation.GetSeriesId(), donation, response.GetResponse().GetNote())
}

// answer yields the result of one request. If the store could not answer, it makes the
// call again by itself while the other requests wait.
func (s *notes) answer(ctx context.Context, request *NoteRequest, response *notedv1.NoteDonationsResponse) bool {
	result := NoteResult{Request: request, Response: response.GetResponse()}
	e := response.GetError()
	if e == nil && result.Response == nil {
		return s.give(
			result,
			failed(
				"noting "+request.GetDonation().GetSeriesId(),
				codes.Internal,
				"the server answered with neither a response nor an error",
				"",
			),
		)
	}
	if e == nil {
		s.client.budget.succeed()
		return s.give(result, nil)
	}
	err := failed("noting "+request.GetDonation().GetSeriesId(), codes.Code(e.GetCode()), e.GetMessage(), e.GetReason())
	if retriable(err) && s.client.budget.spend() && sleep(ctx, waitAfter(1, err)) {
		result.Response, err = s.client.Note(ctx, request)
	}
	return s.give(result, err)
}

// resume decides what becomes of the unanswered requests of a broken stream; false ends
// Notes.
func (s *notes) resume(ctx context.Context, err error) bool {
	if len(s.unanswered) == 0 {
		return true // an idle stream was closed, or ctx has ended, which more notices
	}
	if ctx.Err() != nil {
		s.failAll(contextEnded(ctx))
		return false
	}
	if s.tries++; retriable(err) {
		if s.client.budget.spend() && s.tries < maxTries && sleep(ctx, waitAfter(s.tries, err)) {
			return true
		}
		s.tries = 0
		return s.failAll(err)
	}
	// One of the requests broke the stream: it is too large, or not valid UTF-8. Make each call
	// by itself, so that only that one fails.
	s.tries = 0
	unanswered := s.unanswered
	s.unanswered = nil
	for _, request := range unanswered {
		response, err := s.client.Note(ctx, request)
		if !s.give(NoteResult{Request: request, Response: response}, err) {
			return false
		}
	}
	return true
}

// failAll yields the error for every unanswered request.
func (s *notes) failAll(err error) bool {
	unanswered := s.unanswered
	s.unanswered = nil
	for _, request := range unanswered {
		if !s.give(NoteResult{Request: request}, failing("noting "+request.GetDonation().GetSeriesId(), err)) {
			return false
		}
	}
	return true
}

// give yields a result and remembers whether the consumer wants more.
func (s *notes) give(result NoteResult, err error) bool {
	s.stopped = !s.yield(result, err)
	return !s.stopped
}

func contextEnded(ctx context.Context) error { return status.FromContextError(ctx.Err()).Err() }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
