package metrics

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestBuildInfo wants one series of noted_build_info, with this Go's version.
func TestBuildInfo(t *testing.T) {
	metrics := New(Config{
		Logger: slog.New(slog.DiscardHandler), Stats: func() store.Stats { return store.Stats{} },
	})
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "noted_build_info" {
			continue
		}
		labels := map[string]string{}
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		if len(family.GetMetric()) != 1 || family.GetMetric()[0].GetGauge().GetValue() != 1 ||
			labels["go"] != runtime.Version() || labels["version"] == "" {
			t.Errorf("noted_build_info is %v", family)
		}
		return
	}
	t.Error("there is no noted_build_info")
}
