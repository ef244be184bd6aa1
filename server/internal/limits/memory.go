package limits

import (
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"

	"github.com/donation-dedupe/noted/server/internal/contract"
)

// The memory that callers can make the server hold. Only the number of connections bounds
// the sum, since the server cannot refuse a call before its request has arrived. If a
// call took its place when it begins, clients that never send the rest or never read the
// answer would keep the places from the others.
const (
	// idleConnection is a connection without a call.
	idleConnection = 100 << 10
	// waitingStream is a stream whose request is not complete; the server takes no more
	// than a message of it.
	waitingStream = contract.MaxMessage + streamOverhead
	// unreadPage is a stream whose page, with the token of the next page, the client does
	// not read.
	unreadPage = contract.MaxPage + contract.MaxMessage + streamOverhead
	// unreadAnswers is a stream of notes whose answers the client does not read: one
	// batch waits to be sent, and another to be asked or to be sent after it.
	unreadAnswers = 2*Batch*longestNote + streamOverhead
	// streamOverhead is the goroutine of a stream, with the stack and context that it has
	// grown.
	streamOverhead = 32 << 10
	// longestNote is an answer with as many sightings as are recorded, and its request.
	longestNote = 12 << 10

	busyConnection = idleConnection + contract.MaxStreams*max(waitingStream, unreadPage, unreadAnswers)
)

// LogMemory logs at level debug how much memory callers can take: the bound of all
// connections, each at its worst, is far beyond most machines, and no caller gets there. It
// warns if idle connections alone can take more than GOMEMLIMIT.
func LogMemory(maxConnections int, logger *slog.Logger) {
	connections := int64(maxConnections)
	fields := []any{"max_connections", connections, "idle", binary(connections * idleConnection)}
	limit := debug.SetMemoryLimit(-1)
	if limit != math.MaxInt64 && connections*idleConnection > limit {
		logger.Warn(
			"callers' connections alone can take more memory than GOMEMLIMIT grants; set a lower -max-connections, "+
				"or grant more",
			append(fields, "GOMEMLIMIT", binary(limit))...)
		return
	}
	fields = append(fields, "busy", binary(connections*busyConnection),
		"each_idle", binary(idleConnection), "each_busy", binary(busyConnection))
	if limit == math.MaxInt64 {
		logger.Debug(
			"the memory that callers can take at most; -max-connections bounds it, and GOMEMLIMIT says when to be "+
				"thrifty",
			fields...)
		return
	}
	logger.Debug("the memory that callers can take at most; -max-connections bounds it",
		append(fields, "GOMEMLIMIT", binary(limit))...)
}

func binary(n int64) string {
	if n >= 10<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
