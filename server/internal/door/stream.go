package door

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// NoteDonations passes the stream through the interceptors of streams.
func (d *Door) NoteDonations(
	ctx context.Context,
	stream *connect.BidiStream[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse],
) error {
	info := &grpc.StreamServerInfo{
		FullMethod:     notedv1.DedupeService_NoteDonations_FullMethodName,
		IsClientStream: true,
		IsServerStream: true,
	}
	handler := func(_ any, stream grpc.ServerStream) error {
		return d.Service.NoteDonations(
			&grpc.GenericServerStream[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse]{
				ServerStream: stream,
			},
		)
	}
	for _, interceptor := range slices.Backward(d.Stream) {
		inner := handler
		handler = func(service any, stream grpc.ServerStream) error { return interceptor(service, stream, info, inner) }
	}
	s := &doorStream{ctx: ctx, conn: stream.Conn()}
	defer s.end()
	if err := handler(d.Service, s); err != nil {
		return connectError(err)
	}
	return nil
}

// doorStream is a stream of this door in the form that the service knows.
type doorStream struct {
	ctx  context.Context
	conn connect.StreamingHandlerConn

	receiving sync.Mutex
	ended     bool // guarded by receiving
}

var errStreamEnded = status.Error(codes.Canceled, "the stream has ended")

// end returns when no goroutine reads the stream any more: unlike gRPC's, a body of
// net/http must not be read once its request has been answered.
func (s *doorStream) end() {
	s.ctx.Value(connectionKey{}).(*http.ResponseController).SetReadDeadline(time.Unix(1, 0))
	s.receiving.Lock()
	s.ended = true
	s.receiving.Unlock()
}

// Context is of grpc.ServerStream, as are all that follow.
func (s *doorStream) Context() context.Context { return s.ctx }

func (s *doorStream) RecvMsg(message any) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	if s.ended {
		return errStreamEnded
	}
	err := s.conn.Receive(message)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return statusError(err)
}

func (s *doorStream) SendMsg(message any) error { return statusError(s.conn.Send(message)) }

func (s *doorStream) SetHeader(md metadata.MD) error {
	addTo(s.conn.ResponseHeader(), md)
	return nil
}

func (s *doorStream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

func (s *doorStream) SetTrailer(md metadata.MD) { addTo(s.conn.ResponseTrailer(), md) }

func addTo(header http.Header, md metadata.MD) {
	for name, values := range md {
		for _, value := range values {
			header.Add(name, value)
		}
	}
}
