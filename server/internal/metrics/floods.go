package metrics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Of each kind of line, FloodLines are written within FloodSpan.
const (
	FloodSpan  = 10 * time.Second
	FloodLines = 10
)

// Floods keep callers from filling the log, and the disk behind it. The first lines of
// each kind are written at once; at the end of the span one line tells how many more
// there were. The server chooses the kinds, and they are few. Metrics count every event
// whose number matters.
type Floods struct {
	logger  *slog.Logger
	leftOut prometheus.Counter

	mu sync.Mutex
	of map[string]*flood // :: kind → its lines within the span
}

// A flood counts the lines of one kind since its span began.
type flood struct{ written, leftOut int }

func newFloods(logger *slog.Logger, leftOut prometheus.Counter) *Floods {
	return &Floods{logger: logger, leftOut: leftOut, of: map[string]*flood{}}
}

// Log writes a line unless there are too many of its kind.
func (f *Floods) Log(ctx context.Context, kind string, level slog.Level, message string, fields ...any) {
	if f.take(kind) {
		f.logger.Log(ctx, level, message, fields...)
	}
}

// take tells whether one more line of a kind may be written.
func (f *Floods) take(kind string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.of[kind]
	if k == nil {
		k = &flood{}
		f.of[kind] = k
		time.AfterFunc(FloodSpan, func() { f.end(kind) })
	}
	if k.written < FloodLines {
		k.written++
		return true
	}
	k.leftOut++
	f.leftOut.Inc()
	return false
}

// end ends the span of a kind and tells how many lines were left out.
func (f *Floods) end(kind string) {
	f.mu.Lock()
	k := f.of[kind]
	delete(f.of, kind)
	f.mu.Unlock()
	if k != nil && k.leftOut > 0 {
		f.logger.Warn(
			"left out lines of a kind, since there were too many",
			"kind", kind,
			"left_out", k.leftOut,
			"within_seconds", FloodSpan.Seconds(),
		)
	}
}

// EndAll ends every span, so that a server that stops still tells how many lines were
// left out.
func (f *Floods) EndAll() {
	f.mu.Lock()
	kinds := make([]string, 0, len(f.of))
	for kind := range f.of {
		kinds = append(kinds, kind)
	}
	f.mu.Unlock()
	for _, kind := range kinds {
		f.end(kind)
	}
}
