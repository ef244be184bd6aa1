package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// storeStats collects the store's own counts. The Redis client keeps them, so they are
// read when a client asks.
type storeStats func() store.Stats

var storeMetrics = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(store.Stats) uint32
}{
	{desc("noted_store_pool_hits_total"), prometheus.CounterValue, func(s store.Stats) uint32 { return s.Hits }},
	{desc("noted_store_pool_misses_total"), prometheus.CounterValue, func(s store.Stats) uint32 { return s.Misses }},
	{
		desc("noted_store_pool_timeouts_total"),
		prometheus.CounterValue,
		func(s store.Stats) uint32 { return s.Timeouts },
	},
	{desc("noted_store_pool_stale_total"), prometheus.CounterValue, func(s store.Stats) uint32 { return s.StaleConns }},
	{
		desc("noted_store_unknown_scripts_total"),
		prometheus.CounterValue,
		func(s store.Stats) uint32 { return s.UnknownScripts },
	},
	{desc("noted_store_pool_connections"), prometheus.GaugeValue, func(s store.Stats) uint32 { return s.TotalConns }},
	{
		desc("noted_store_pool_idle_connections"),
		prometheus.GaugeValue,
		func(s store.Stats) uint32 { return s.IdleConns },
	},
}

// Describe is of prometheus.Collector.
func (c storeStats) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range storeMetrics {
		descs <- m.desc
	}
}

// Collect is of prometheus.Collector.
func (c storeStats) Collect(metrics chan<- prometheus.Metric) {
	stats := c()
	for _, m := range storeMetrics {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(stats)))
	}
}
