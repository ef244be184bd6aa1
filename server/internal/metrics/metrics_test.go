package metrics

import (
	"fmt"
	"sync"
	"testing"

	"github.com/donation-dedupe/noted/server/internal/store"
)

func TestLabelsAreBounded(t *testing.T) {
	l := newLabels(64)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for i := range 1000 {
				l.of(fmt.Sprint(i))
			}
		})
	}
	wait.Wait()
	distinct := map[string]bool{}
	for i := range 1000 {
		distinct[l.of(fmt.Sprint(i))] = true
	}
	if len(distinct) != 65 || !distinct[otherLabel] {
		t.Errorf("1000 names have %d labels, want 64 and other", len(distinct))
	}
}

func TestNamedLedgersKeepTheirLabel(t *testing.T) {
	metrics := New(Config{Ledgers: []string{"paypal-live"}, Stats: func() store.Stats { return store.Stats{} }})
	for i := range 1000 {
		metrics.ledgers.of(fmt.Sprint(i))
	}
	for _, ledger := range []string{"", "paypal-live"} {
		if got := metrics.ledgers.of(ledger); got != ledger {
			t.Errorf("ledger %q is labelled %q after a flood of names", ledger, got)
		}
	}
}
