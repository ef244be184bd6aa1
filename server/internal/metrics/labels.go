package metrics

import (
	"strings"
	"sync"
)

// Callers choose the names of ledgers and channels, and each name costs a time series for
// as long as the process lives. So this many names get a label of their own; later names
// count as other.
const (
	maxLedgerLabels  = 64
	maxChannelLabels = 16
	otherLabel       = "other"
)

// labels holds the names that have a label of their own.
type labels struct {
	limit int
	mu    sync.RWMutex
	names map[string]bool
}

func newLabels(limit int) *labels { return &labels{limit: limit, names: map[string]bool{}} }

// of is the label of a name: the name itself for the first ones, other for the rest.
func (l *labels) of(name string) string {
	l.mu.RLock()
	known, full := l.names[name], len(l.names) >= l.limit
	l.mu.RUnlock()
	if known {
		return name
	}
	if full {
		return otherLabel
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.names[name] && len(l.names) >= l.limit {
		return otherLabel
	}
	l.names[name] = true
	return name
}

// label is an enum's value as metrics write it: EVENT_PAYMENT is "payment".
func label(names map[int32]string, value int, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(names[int32(value)], prefix))
}
