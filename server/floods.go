package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	floodSpan  = 10 * time.Second
	floodLines = 10 // of one kind within the span; kinds are ours, and few
)

// floods keeps what callers do from filling the log, and the disk behind it. Of each kind of line the first are written at once; of those beyond it is written at
// the end of the span how many they were. What an operator must not miss for that is counted by metrics anyhow.
type floods struct {
	logger  *slog.Logger
	leftOut prometheus.Counter

	mu sync.Mutex
	of map[string]*flood // :: kind → its lines within the span
}

// A flood is what one kind of line has had since its span began.
type flood struct{ written, leftOut int }

func newFloods(logger *slog.Logger, registry prometheus.Registerer) *floods {
	f := &floods{logger: logger, of: map[string]*flood{}, leftOut: prometheus.NewCounter(prometheus.CounterOpts{Name: "noted_log_lines_left_out_total",
		Help: "Lines that were not written since there were too many of their kind; the log tells how many of which."})}
	registry.MustRegister(f.leftOut)
	return f
}

// log writes a line, unless there are too many of its kind.
func (f *floods) log(ctx context.Context, kind string, level slog.Level, message string, fields ...any) {
	if f.take(kind) {
		f.logger.Log(ctx, level, message, fields...)
	}
}

// take says whether there is room for one more line of a kind.
func (f *floods) take(kind string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.of[kind]
	if k == nil {
		k = &flood{}
		f.of[kind] = k
		time.AfterFunc(floodSpan, func() { f.end(kind) })
	}
	if k.written < floodLines {
		k.written++
		return true
	}
	k.leftOut++
	f.leftOut.Inc()
	return false
}

// end ends the span of a kind and tells what was left out of it.
func (f *floods) end(kind string) {
	f.mu.Lock()
	k := f.of[kind]
	delete(f.of, kind)
	f.mu.Unlock()
	if k != nil && k.leftOut > 0 {
		f.logger.Warn("left out lines of a kind, since there were too many", "kind", kind, "left_out", k.leftOut, "within", floodSpan.String())
	}
}

// endAll is for a server that stops: what was left out is still told.
func (f *floods) endAll() {
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
