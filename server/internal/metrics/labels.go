package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/store"
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

// verdicts keeps the counters of answers: looking one up by its labels takes longer than
// all other counting for a call.
type verdicts struct {
	vec  *prometheus.CounterVec
	last *prometheus.GaugeVec

	mu    sync.RWMutex
	found map[verdictLabels]counted
}

// counted is what is counted of an answer: itself, and when its channel last told of a
// donation.
type counted struct {
	answers prometheus.Counter
	last    prometheus.Gauge
}

// verdictLabels has the bounded labels of ledger and channel, not their names.
type verdictLabels struct {
	ledger, channel string
	event           store.Event
	verdict         store.Verdict
	evidence        store.Evidence
}

func newVerdicts(vec *prometheus.CounterVec, last *prometheus.GaugeVec) verdicts {
	return verdicts{vec: vec, last: last, found: map[verdictLabels]counted{}}
}

func (v *verdicts) of(labels verdictLabels) counted {
	v.mu.RLock()
	found, ok := v.found[labels]
	v.mu.RUnlock()
	if ok {
		return found
	}
	found.last = v.last.WithLabelValues(labels.ledger, labels.channel)
	found.answers = v.vec.WithLabelValues(labels.ledger, labels.channel,
		label(notedv1.Event_name, int(labels.event), "EVENT_"),
		label(notedv1.Verdict_name, int(labels.verdict), "VERDICT_"),
		label(notedv1.Evidence_name, int(labels.evidence), "EVIDENCE_"))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found[labels] = found
	return found
}
