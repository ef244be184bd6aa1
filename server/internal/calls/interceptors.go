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

// Unary gives the interceptors that every unary call passes, at both doors, outermost
// first: metrics, log and the recovery of a panic; the bound of calls under way; access;
// and the deadline.
func (s *Service) Unary() []grpc.UnaryServerInterceptor {
	return append(s.Metrics.Unary(), uncompressed, s.UnderWay.Unary, s.Access.Unary, s.bounded)
}

// Stream gives the same for streams.
func (s *Service) Stream() []grpc.StreamServerInterceptor {
	return append(s.Metrics.Stream(), uncompressedStream, s.Access.Stream, s.endWithDrain)
}

// uncompressed sends the answer uncompressed even if the request was compressed: answers
// are small, and a compressor takes most of a MiB.
func uncompressed(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	_ = grpc.SetSendCompressor(ctx, encoding.Identity) // fails at the JSON door, which never compresses
	return handler(ctx, request)
}

// uncompressedStream is the same for streams.
func uncompressedStream(
	server any,
	stream grpc.ServerStream,
	_ *grpc.StreamServerInfo,
	handler grpc.StreamHandler,
) error {
	_ = grpc.SetSendCompressor(stream.Context(), encoding.Identity)
	return handler(server, stream)
}

// bounded gives every unary call a deadline. A script does nothing after its deadline;
// without one it would still note whenever Redis gets to it.
func (s *Service) bounded(
	ctx context.Context,
	request any,
	_ *grpc.UnaryServerInfo,
	handler grpc.UnaryHandler,
) (any, error) {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > s.MaxDeadline {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.MaxDeadline)
		defer cancel()
	}
	return handler(ctx, request)
}

// BoundArrival puts the same bound on a unary call before its request has been read, when
// no interceptor runs yet. Otherwise a client that announces a request and never sends it
// would stay until its connection is too old.
func (s *Service) BoundArrival(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !contract.IsUnary(info.FullMethodName) {
		return ctx, nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= s.MaxDeadline {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.MaxDeadline)
	// The end of the stream cancels ctx's parent, which frees the timer.
	return context.WithValue(ctx, cancelKey{}, cancel), nil
}

// cancelKey is the context key of a cancel function.
type cancelKey struct{}

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
