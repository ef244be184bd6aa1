package calls

import (
	"context"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // requests in gzip; gRPC unpacks no more than a message may have
	"google.golang.org/grpc/tap"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
)

// Unary gives the interceptor that every unary call passes, at both doors. It is one
// interceptor and not a chain, since each link of a chain costs every call an allocation.
func (s *Service) Unary() []grpc.UnaryServerInterceptor {
	return []grpc.UnaryServerInterceptor{s.unary}
}

// unary counts and logs a call, and passes it on.
func (s *Service) unary(
	ctx context.Context,
	request any,
	info *grpc.UnaryServerInfo,
	handler grpc.UnaryHandler,
) (any, error) {
	call := s.Metrics.Begin(info.FullMethod)
	response, err := s.admitted(ctx, request, info, handler)
	call.End(ctx, request, info, response, err)
	return response, err
}

// admitted finds the call a place, checks its rights, bounds its time and passes it on.
// It recovers a panic.
func (s *Service) admitted(
	ctx context.Context,
	request any,
	info *grpc.UnaryServerInfo,
	handler grpc.UnaryHandler,
) (response any, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, s.Metrics.Panicked(ctx, p)
		}
	}()
	answerPlain(ctx)
	if !contract.IsHealth(info.FullMethod) { // a busy server must not look dead
		if err := s.UnderWay.Begin(); err != nil {
			return nil, err
		}
		defer s.UnderWay.End()
	}
	ctx, err = s.Access.Admit(ctx, info.FullMethod, request)
	if err != nil {
		return nil, err
	}
	// A script does nothing after its deadline. Without a deadline it would still note
	// whenever Redis gets to it.
	bounded := ctx
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > s.MaxDeadline {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, s.MaxDeadline)
		defer cancel()
	}
	if response, err = handler(bounded, request); err != nil {
		s.Access.AuditReceipt(ctx, info.FullMethod, request, err)
	}
	return response, err
}

// Stream gives the interceptors that every stream passes, outermost first: metrics, log
// and the recovery of a panic; access; and the end of foreign streams.
func (s *Service) Stream() []grpc.StreamServerInterceptor {
	return append(s.Metrics.Stream(), uncompressedStream, s.Access.Stream, s.endWithDrain)
}

// answerPlain lets answers to compressed requests be sent uncompressed: answers are
// small, and a compressor takes most of a MiB. gRPC compresses no other answer, and the
// JSON door compresses none.
func answerPlain(ctx context.Context) {
	stream, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
	if ok && stream.RecvCompress() != "" {
		_ = grpc.SetSendCompressor(ctx, encoding.Identity) // fails only before or after a call
	}
}

// uncompressedStream sends answers uncompressed, as unary does.
func uncompressedStream(
	server any,
	stream grpc.ServerStream,
	_ *grpc.StreamServerInfo,
	handler grpc.StreamHandler,
) error {
	answerPlain(stream.Context())
	return handler(server, stream)
}

// BoundArrival bounds the time of a unary call before its request has been read, when no
// interceptor runs yet. Otherwise a client that announces a request and never sends it
// would stay until its connection is too old.
func (s *Service) BoundArrival(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !contract.IsUnary(info.FullMethodName) {
		return ctx, nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= s.MaxDeadline {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.MaxDeadline)
	_ = cancel // the end of the stream cancels ctx's parent, which frees the timer
	return ctx, nil
}

// endWithDrain ends foreign streams (a health watch, a reflection session) a moment after
// the server is asked to stop: they never end by themselves, and would hold every drain
// to its limit. NoteDonations ends by itself.
func (s *Service) endWithDrain(
	server any,
	stream grpc.ServerStream,
	info *grpc.StreamServerInfo,
	handler grpc.StreamHandler,
) error {
	if info.FullMethod == notedv1.DedupeService_NoteDonations_FullMethodName {
		return handler(server, stream)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() {
		select {
		case <-s.Draining:
			select {
			case <-time.After(linger):
				cancel()
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}()
	return handler(server, &middleware.WrappedServerStream{ServerStream: stream, WrappedContext: ctx})
}
