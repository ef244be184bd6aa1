package health

import (
	"fmt"
	"io"
	"testing"

	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A question that got no connection is no news of the store: it neither opens the
// breaker, nor keeps it closed where the others get no answer, nor closes it.
func TestNoConnectionIsNoNews(t *testing.T) {
	nothing, silence := fmt.Errorf(
		"noting: %w",
		store.ErrPoolExhausted,
	), fmt.Errorf(
		"%w: %w",
		store.ErrOutcomeUnknown,
		io.EOF,
	)
	b := newBreaker(false, metrics.New(metrics.Config{}))
	for range 10 * tripAfter {
		b.end(false, slow, nothing)
	}
	if b.open.Load() {
		t.Fatal("the breaker is open, after nothing but questions without a connection")
	}
	for range tripAfter {
		b.end(false, slow, silence)
		b.end(false, slow, nothing)
	}
	if !b.open.Load() {
		t.Fatal(
			"the breaker is closed, after as many questions without an answer as it bears and others without a " +
				"connection",
		)
	}
	b.end(true, slow, nothing)
	if !b.open.Load() {
		t.Error("a trial without a connection has closed the breaker")
	}
}
