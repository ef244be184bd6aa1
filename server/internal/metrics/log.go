package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/donation-dedupe/noted/server/internal/contract"
)

// logUnary writes the line of a unary call that has ended. The middleware gathers its
// fields before it knows whether the line is wanted, which would cost a tenth of the whole
// call. So it sees only calls whose line will be written.
func (m *Metrics) logUnary(
	ctx context.Context,
	request any,
	info *grpc.UnaryServerInfo,
	response any,
	err error,
	began time.Time,
) {
	if err == nil && !m.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	ended := func(context.Context, any) (any, error) { return response, err }
	_, _ = m.writeLine(context.WithValue(ctx, beganKey{}, began), request, info, ended)
}

// logStream is logUnary for a stream. The middleware would take the time twice for each
// message, for lines that are not wanted.
func (m *Metrics) logStream(
	server any,
	stream grpc.ServerStream,
	info *grpc.StreamServerInfo,
	err error,
	began time.Time,
) {
	ctx := stream.Context()
	if err == nil && !m.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	ended := func(any, grpc.ServerStream) error { return err }
	known := &middleware.WrappedServerStream{
		ServerStream: stream, WrappedContext: context.WithValue(ctx, beganKey{}, began),
	}
	_ = m.writeStreamLine(server, known, info, ended)
}

// beganKey is the context key of the time at which a call began.
type beganKey struct{}

// callTimes are the fields for a call's begin and duration if the line is written after
// the call.
func callTimes(ctx context.Context) logging.Fields {
	began, ok := ctx.Value(beganKey{}).(time.Time)
	if !ok {
		return nil
	}
	return append(logging.Fields{"grpc.start_time", began.Format(time.RFC3339)}, took(time.Since(began))...)
}

// took is the field for a call's duration: a number, whose name has the unit.
func took(d time.Duration) logging.Fields {
	return logging.Fields{"took_ms", float64(d.Microseconds()) / 1000}
}

// callLogger writes one line for each call, at its end, without request or response. A call
// that was denied has its line from the audit. Lines from level info on are limited by
// kind: calls with the same method, code and reason are of one kind.
func (m *Metrics) callLogger() logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, message string, fields ...any) {
		if m.audited && denied(fields) {
			return
		}
		if level < logging.LevelInfo { // at level debug the operator wants every line
			m.logger.Log(ctx, slog.Level(level), message, fields...)
			return
		}
		m.Floods.Log(ctx, message+kindOf(fields), slog.Level(level), message, fields...)
	})
}

// denied tells a call that access has refused, and has written to the audit.
func denied(fields []any) bool {
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "grpc.code" {
			return fields[i+1] == codes.PermissionDenied.String() || fields[i+1] == codes.Unauthenticated.String()
		}
	}
	return false
}

// kindOf joins the fields that calls of one kind have in common.
func kindOf(fields []any) (kind string) {
	for i := 0; i+1 < len(fields); i += 2 {
		switch fields[i] {
		case "grpc.method", "grpc.code", "reason":
			kind += fmt.Sprint(" ", fields[i+1])
		}
	}
	return kind
}

var logOptions = []logging.Option{
	logging.WithLogOnEvents(logging.FinishCall),
	logging.WithLevels(levelOf),
	logging.WithFieldsFromContext(callTimes),
	logging.WithDurationField(took),
	logging.WithErrorFields(func(err error) logging.Fields { return logging.Fields{"reason", contract.ReasonOf(err)} }),
}

// levelOf is debug for calls that went well, info for a caller's mistake, and warn or
// error for calls that the server or the store could not answer.
func levelOf(code codes.Code) logging.Level {
	switch code {
	case codes.OK:
		return logging.LevelDebug
	case codes.Unavailable,
		codes.DeadlineExceeded,
		codes.ResourceExhausted,
		codes.FailedPrecondition,
		codes.PermissionDenied:
		return logging.LevelWarn
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return logging.LevelError
	}
	return logging.LevelInfo
}
