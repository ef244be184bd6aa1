package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// notes are the metrics of what the store holds, as a walk has counted it.
type notes struct {
	byState, oldestOpen, oneChannel *prometheus.GaugeVec
	ended, took                     prometheus.Gauge
}

func newNotes(m *Metrics) notes {
	return notes{
		byState:    m.GaugeVec("noted_notes"),
		oldestOpen: m.GaugeVec("noted_notes_oldest_open_timestamp_seconds"),
		oneChannel: m.GaugeVec("noted_notes_on_one_channel"),
		ended:      m.Gauge("noted_notes_walk_timestamp_seconds"),
		took:       m.Gauge("noted_notes_walk_duration_seconds"),
	}
}

// Walked publishes what a walk through all notes has counted. What it has not found any
// more is 0, or gone.
func (m *Metrics) Walked(counts store.Counts, ended time.Time, took time.Duration) {
	n := m.notes
	n.byState.Reset()
	n.oldestOpen.Reset()
	n.oneChannel.Reset()
	for of, count := range counts.States {
		ledger := m.ledgers.of(of.Ledger)
		for state := range notedv1.State_name { // the others begin at 0
			if state != 0 {
				n.byState.WithLabelValues(ledger, label(notedv1.State_name, int(state), "STATE_")).Add(0)
			}
		}
		n.byState.WithLabelValues(ledger, label(notedv1.State_name, int(of.State), "STATE_")).Add(float64(count))
	}
	oldest := map[string]time.Time{} // ledgers without a label of their own share one
	for ledger, at := range counts.OldestOpen {
		name := m.ledgers.of(ledger)
		if known, ok := oldest[name]; !ok || at.Before(known) {
			oldest[name] = at
			n.oldestOpen.WithLabelValues(name).Set(float64(at.Unix()))
		}
	}
	for of, count := range counts.OneChannel {
		n.oneChannel.WithLabelValues(m.ledgers.of(of.Ledger), m.channels.of(of.Channel)).Add(float64(count))
	}
	n.ended.Set(float64(ended.Unix()))
	n.took.Set(took.Seconds())
}

// scriptBuckets resolve a tenth of a millisecond, where a script's time lies.
var scriptBuckets = []float64{
	.0001, .0002, .0003, .0004, .0005, .0006, .0007, .0008, .0009, .001, .0015, .002, .003, .005, .01, .025, .05, .1,
	.25, .5, 1, 2.5,
}

// ScriptTimes makes the histogram of how long each script takes, and what fills it. The
// scripts are those of the store, so there are few.
func (m *Metrics) ScriptTimes(scripts []string) func(script string, took time.Duration) {
	vec := m.HistogramVec("noted_store_script_seconds", scriptBuckets)
	of := map[string]prometheus.Observer{}
	for _, script := range scripts {
		of[script] = vec.WithLabelValues(script)
	}
	return func(script string, took time.Duration) {
		if observer := of[script]; observer != nil {
			observer.Observe(took.Seconds())
		}
	}
}
