package door

import (
	"context"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
)

// The door answers every call of the contract, and knows which of them stream.
func TestDoorKnowsEveryCall(t *testing.T) {
	for _, method := range notedv1.DedupeService_ServiceDesc.Methods {
		if !contract.IsUnary("/noted.v1.DedupeService/" + method.MethodName) {
			t.Errorf("the door does not know %s", method.MethodName)
		}
	}
	var streams []string
	for _, stream := range notedv1.DedupeService_ServiceDesc.Streams {
		streams = append(streams, stream.StreamName)
	}
	if !slices.Equal(streams, []string{"NoteDonations"}) {
		t.Errorf("the contract has the streams %v; the door knows NoteDonations only", streams)
	}
}

// After a stream is answered, no read of it begins and no read is still running: net/http
// forbids both.
func TestEndOfAStreamEndsItsReader(t *testing.T) {
	body := &blockingBody{receiving: make(chan struct{}), unblocked: make(chan struct{})}
	ctx := context.WithValue(t.Context(), connectionKey{}, http.NewResponseController(body))
	s := &doorStream{ctx: ctx, conn: body}
	received := make(chan error)
	go func() {
		received <- s.RecvMsg(nil)
	}()
	<-body.receiving
	s.end()
	if body.reads != 1 {
		t.Errorf("%d reads, want 1", body.reads)
	}
	if err := <-received; err == nil {
		t.Errorf("the reader got %v, want an error", err)
	}
	if err := s.RecvMsg(nil); err == nil || body.reads != 1 {
		t.Errorf("after the end: error %v and %d reads, want an error and no further read", err, body.reads)
	}
}

// blockingBody is a request whose body never comes, until its read deadline passes.
type blockingBody struct {
	connect.StreamingHandlerConn
	http.ResponseWriter
	receiving, unblocked chan struct{}
	reads                int
}

func (b *blockingBody) Receive(any) error {
	close(b.receiving)
	<-b.unblocked
	b.reads++ // unsynchronized on purpose: end must wait for it, or the race detector complains
	return os.ErrDeadlineExceeded
}

func (b *blockingBody) SetReadDeadline(at time.Time) error {
	if at.Before(time.Now()) {
		close(b.unblocked)
	}
	return nil
}
