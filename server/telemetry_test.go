package server

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
	metrics := newTelemetry(nil, map[string]LedgerRules{"paypal-live": {}}, func() store.Stats { return store.Stats{} })
	for i := range 1000 {
		metrics.ledgers.of(fmt.Sprint(i))
	}
	for _, ledger := range []string{"", "paypal-live"} {
		if got := metrics.ledgers.of(ledger); got != ledger {
			t.Errorf("ledger %q is labelled %q after a flood of names", ledger, got)
		}
	}
}

func TestNumber(t *testing.T) {
	same := [][]string{{"25", "25.0", "25.00", "025"}, {"0", "-0", "0.00", "-00.0"}, {"-1.50", "-1.5", "-01.5"}, {"0.1", "00.10"}}
	for i, group := range same {
		for j, other := range same {
			for _, a := range group {
				for _, b := range other {
					if (number(a) == number(b)) != (i == j) {
						t.Errorf("%s and %s: equal = %v, want %v", a, b, i != j, i == j)
					}
				}
			}
		}
	}
	for _, pair := range [][2]string{{"1", "-1"}, {"10", "1"}, {"0.1", "0.01"}, {"1.0", "10"}} {
		if number(pair[0]) == number(pair[1]) {
			t.Errorf("%s and %s are equal", pair[0], pair[1])
		}
	}
}
