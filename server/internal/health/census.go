package health

import (
	"context"
	"log/slog"
	"time"

	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A server walks through the notes of all ledgers, one step of 100 series a second. That
// costs Redis about a thousandth of its time, with any number of notes. Servers that
// share a store walk each on its own.
const (
	censusStep     = time.Second
	censusPatience = 900 * time.Millisecond
	// censusFirst is before the first walk: a server that starts has other things to do.
	censusFirst = 10 * time.Second
	// censusRest is between two walks, in a store so small that a walk is short.
	censusRest = time.Minute
)

// Census keeps the metrics of what the store holds.
type Census struct {
	store   *store.Store
	metrics *metrics.Metrics
	logger  *slog.Logger
	ready   func() bool
	rest    time.Duration // between two walks
}

// NewCensus makes a census that walks while the watch finds the store ready. A rest of 0
// means a minute.
func NewCensus(w *Watch, rest time.Duration) *Census {
	if rest == 0 {
		rest = censusRest
	}
	return &Census{
		store: w.Store, metrics: w.Metrics, logger: w.Logger, rest: rest,
		ready: func() bool { return w.Ready() == "" },
	}
}

// Run walks until ctx is done.
func (c *Census) Run(ctx context.Context) {
	for wait := min(c.rest, censusFirst); ; wait = c.rest {
		select {
		case <-time.After(wait):
			// It reads what callers had noted, so a panic must not end the process.
			_ = c.metrics.Recovered(ctx, func() error { c.walk(ctx); return nil }) // logged there
		case <-ctx.Done():
			return
		}
	}
}

// walk goes through all notes once. It gives up where the store cannot be asked: the next
// walk begins anew.
func (c *Census) walk(ctx context.Context) {
	census, began := c.store.NewCensus(), time.Now()
	tick := time.NewTicker(min(censusStep, c.rest))
	defer tick.Stop()
	for c.ready() {
		asking, cancel := context.WithTimeout(ctx, censusPatience)
		counts, whole, err := census.Step(asking)
		cancel()
		switch {
		case err != nil:
			c.logger.DebugContext(ctx, "notes could not be counted; the next walk begins anew", "error", err)
			return
		case whole:
			c.metrics.Walked(counts, time.Now(), time.Since(began))
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
