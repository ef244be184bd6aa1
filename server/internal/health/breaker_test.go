package health

import (
	"fmt"
	"io"
	"testing"

	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A question that got no connection says nothing about the store. It does not open the
// breaker. It does not keep the breaker closed while other questions get no answer. It
// does not close the breaker.
func TestNoConnectionIsNoNews(t *testing.T) {
	noConnection := fmt.Errorf("noting: %w", store.ErrPoolExhausted)
	noAnswer := fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, io.EOF)
	b := newBreaker(false, metrics.New(metrics.Config{}))
	for range 10 * tripAfter {
		b.end(false, slow, noConnection)
	}
	if b.open.Load() {
		t.Fatal("questions that got no connection have opened the breaker")
	}
	for range tripAfter {
		b.end(false, slow, noAnswer)
		b.end(false, slow, noConnection)
	}
	if !b.open.Load() {
		t.Fatalf(
			"the breaker is closed after %d questions without an answer, between others without a connection",
			tripAfter,
		)
	}
	b.end(true, slow, noConnection)
	if !b.open.Load() {
		t.Error("a trial without a connection has closed the breaker")
	}
}
