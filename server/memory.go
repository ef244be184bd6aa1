package server

import (
	"fmt"
	"math"
	"runtime/debug"

	"github.com/donation-dedupe/noted/server/internal/contract"
)

// What callers can make the server hold at a time. There is no bound on them together beyond these: a call is known to be one too many only once its request is
// there, and one that takes places for requests that never come, or for answers that are never taken, would shut out those that do.
const (
	idleConnection = 100 << 10                                               // a connection on which nobody asks
	waitingStream  = contract.MaxMessage + streamOverhead                    // a stream whose request is not whole yet, and of which no more than a message is taken
	unreadPage     = contract.MaxPage + contract.MaxMessage + streamOverhead // one whose page, with the token of the next, nobody takes
	unreadAnswers  = 2*batchSize*longestNote + streamOverhead                // one of notes, of which a batch waits to be sent and another to be asked or to be sent after it
	streamOverhead = 32 << 10                                                // the goroutine of a stream, with the stack and the context that it has grown by then
	longestNote    = 12 << 10                                                // an answer of as many sightings as are recorded, with the request that it answers
	busyConnection = idleConnection + contract.MaxStreams*max(waitingStream, unreadPage, unreadAnswers)
)

// tellMemory says at the start how much memory callers can take, and warns where they can take more than the process is to have (GOMEMLIMIT) without even asking for
// anything.
func (s *Server) tellMemory() {
	connections := int64(s.config.MaxConnections)
	fields := []any{"max_connections", connections, "idle", binary(connections * idleConnection), "busy", binary(connections * busyConnection),
		"each_idle", binary(idleConnection), "each_busy", binary(busyConnection)}
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		s.logger.Info("the memory that callers can take at most; -max-connections bounds it, and GOMEMLIMIT says when to be thrifty", fields...)
		return
	}
	fields = append(fields, "GOMEMLIMIT", binary(limit))
	if connections*idleConnection > limit {
		s.logger.Warn("callers' connections alone can take more memory than GOMEMLIMIT grants; set a lower -max-connections, or grant more", fields...)
		return
	}
	s.logger.Info("the memory that callers can take at most; -max-connections bounds it", fields...)
}

func binary(n int64) string {
	if n >= 10<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
