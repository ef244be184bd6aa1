package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// A Metric is a row of Table.
type Metric struct {
	Name    string
	Labels  []string
	Meaning string
}

// Table is every metric of the server's own. A metric that is not here cannot be made.
// Those of calls.go, the Go runtime and the process come on top.
var Table = []Metric{
	// Calls.
	{
		"noted_verdicts_total",
		[]string{"ledger", "channel", "event", "verdict", "evidence"},
		"Answers to NoteDonation, streamed ones among them.",
	},
	{
		"noted_shadow_verdicts_total",
		[]string{"ledger", "channel", "event", "verdict", "evidence"},
		"Answers to NoteDonation in ledgers in shadow, by the verdict that each would have had outside shadow. " +
			"noted_verdicts_total counts each of them as first.",
	},
	{
		"noted_differences_total",
		[]string{"ledger", "field"},
		"Answers of which the message disagreed with the note, by field. Times and, where channels do not share " +
			"them, transaction ids differ as a rule; amounts and currencies should not.",
	},
	{
		"noted_channel_pairs_total",
		[]string{"ledger", "outcome"},
		"Donations told of on two channels with a transaction id on each, by whether the ids agreed. " +
			"A donation that was paired by unequal ids counts as differed once the match window has passed and " +
			"neither id has turned up on the other channel.",
	},
	{
		"noted_transaction_ids_agree",
		[]string{"ledger", "event", "channels"},
		"1 where this server has learned that the transaction ids of two channels agree, 0 where it knew and does " +
			"not know any more. With -transaction-ids auto unequal ids then mean two donations.",
	},
	{
		"noted_refusals_total",
		[]string{"rpc", "code", "reason"},
		"Requests that got an error instead of an answer, streamed and unreadable ones among them; not those that " +
			"the transport refuses for their length.",
	},
	{
		"noted_last_message_timestamp_seconds",
		[]string{"ledger", "channel"},
		"When this server was last told of a donation on a channel, in seconds of Unix time, by the store's clock.",
	},
	{
		"noted_forgets_total",
		[]string{"ledger"},
		"Notes that an operator has undone. The audit has the operator, the note and the reason.",
	},
	{
		"noted_build_info",
		[]string{"version", "commit", "go"},
		"1, with the build of the program. Two versions side by side mean an upgrade under way.",
	},
	{"noted_panics_total", nil, "Calls that ended in a panic; the log has the stack. Each is a bug."},
	{
		"noted_log_lines_left_out_total", nil,
		"Lines that were not written since there were too many of their kind; the log has the count of each kind.",
	},

	// Callers.
	{
		"noted_reloads_total",
		[]string{"file", "outcome"},
		"New contents of the files of certificates and callers, by whether they were taken up. " +
			"Alert on refused: the server runs on the old ones.",
	},
	{
		"noted_tls_handshake_failures_total",
		[]string{"reason"},
		"Connections that ended in the TLS handshake. To the caller such a failure looks like a server that is away.",
	},
	{
		"noted_tls_cert_not_after_seconds", nil,
		"When the server's certificate ends, in seconds of Unix time. Alert 14 days before.",
	},

	// Limits.
	{
		"noted_calls_under_way", nil,
		"Calls, and batches of streams, that are being answered; -max-in-flight bounds them.",
	},
	{"noted_connections", nil, "Connections of callers, of all doors; -max-connections bounds them."},
	{
		"noted_connections_refused_total",
		[]string{"limit"},
		"Connections that were closed at once, by the limit that they would have broken.",
	},
	{
		"noted_accept_failures_total", nil,
		"How often a connection that waits could not be taken, since the process may open nothing more or the " +
			"like; the log says what to do.",
	},

	// The store.
	{"noted_store_up", nil, "1 while the store answers and is fit for use, as health says it."},
	{
		"noted_store_shut_out",
		[]string{"by"},
		"1 while the store is there and cannot be used: it refuses the password, refuses rights, no TLS " +
			"connection can be made, it is of another mode, or nothing can be noted (replicas, wait, min_replicas). " +
			"Only an operator can mend it; the log and /readyz say how.",
	},
	{
		"noted_store_went_back", nil,
		"1 from when the store was found to have lost notes until an operator acknowledges it.",
	},
	{
		"noted_store_went_back_total", nil,
		"How often the store was found to have lost notes: emptied, restarted without its data, or taken over by " +
			"a replica that lagged.",
	},
	{
		"noted_store_primaries_lost", nil,
		"Primaries of a cluster that cannot be used while the others answer: calls for their series are refused. " +
			"The log and /readyz name them.",
	},
	{
		"noted_store_replicas", nil,
		"Replicas that the store has, of a cluster's primaries the one with the fewest; NaN where it does not " +
			"tell. With fewer than -replicas nothing can be noted.",
	},
	{
		"noted_store_memory_bytes", nil,
		"Memory that the store uses, of a cluster's primaries the fullest; NaN where it does not tell.",
	},
	{
		"noted_store_memory_limit_bytes", nil,
		"Memory that the store may use (maxmemory); NaN for any, and where it does not tell. A full store notes " +
			"nothing new.",
	},
	{
		"noted_store_script_seconds",
		[]string{"script"},
		"How long a script took from this server to the store and back, the wait for replicas included.",
	},
	{"noted_store_clock_offset_seconds", nil, "How far the store's clock is ahead of this machine's."},
	{
		"noted_store_clock_jumps_total", nil,
		"How often the store's clock was found to have jumped against this machine's, by more than half a second.",
	},
	{"noted_store_breaker_open", nil, "1 while the store counts as dead and is asked only now and then."},
	{
		"noted_store_not_asked_total", nil,
		"Questions that were refused without asking the store, since it did not answer those before.",
	},
	{
		"noted_store_unknown_scripts_total", nil,
		"Scripts that Redis did not know, as after a restart or a failover, and that were sent again with their " +
			"source.",
	},
	{
		"noted_notes",
		[]string{"ledger", "state"},
		"Notes by state at the end of the last walk through all of them. A server walks through 100 series a second, " +
			"so the count is minutes old, or hours in a large store.",
	},
	{
		"noted_notes_oldest_open_timestamp_seconds",
		[]string{"ledger"},
		"When the oldest open donation was noted, in seconds of Unix time, at the end of the last walk. There is none " +
			"in a ledger without an open donation.",
	},
	{
		"noted_notes_on_one_channel",
		[]string{"ledger", "channel"},
		"Notes older than a day that only this channel told of, at the end of the last walk.",
	},
	{
		"noted_notes_walk_timestamp_seconds", nil,
		"When the last walk through all notes ended, in seconds of Unix time; 0 before the first has.",
	},
	{
		"noted_notes_walk_duration_seconds", nil,
		"How long the last walk through all notes took; the counts are as old as that.",
	},
	{"noted_store_pool_hits_total", nil, "Calls that found a free connection to the store."},
	{"noted_store_pool_misses_total", nil, "Calls that had to open or wait for a connection."},
	{"noted_store_pool_timeouts_total", nil, "Calls that waited for a connection in vain."},
	{"noted_store_pool_stale_total", nil, "Connections that were found broken and dropped."},
	{"noted_store_pool_connections", nil, "Connections to the store."},
	{"noted_store_pool_idle_connections", nil, "Connections to the store that no call uses."},
}

// row finds a metric of the table. It panics without one: that is a mistake of the code,
// and every start of the server finds it.
func row(name string) Metric {
	for _, m := range Table {
		if m.Name == name {
			return m
		}
	}
	panic(fmt.Sprintf("the metric %s is not in metrics.Table", name))
}

func desc(name string) *prometheus.Desc {
	m := row(name)
	return prometheus.NewDesc(m.Name, m.Meaning, m.Labels, nil)
}

func counterVec(name string) *prometheus.CounterVec {
	m := row(name)
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Meaning}, m.Labels)
}

// Counter makes and registers a counter of the table.
func (m *Metrics) Counter(name string) prometheus.Counter {
	return m.CounterVec(name).WithLabelValues()
}

// CounterVec makes and registers a counter of the table that has labels.
func (m *Metrics) CounterVec(name string) *prometheus.CounterVec {
	made := counterVec(name)
	m.Registry.MustRegister(made)
	return made
}

// Gauge makes and registers a gauge of the table.
func (m *Metrics) Gauge(name string) prometheus.Gauge {
	return m.GaugeVec(name).WithLabelValues()
}

// GaugeVec makes and registers a gauge of the table that has labels.
func (m *Metrics) GaugeVec(name string) *prometheus.GaugeVec {
	found := row(name)
	made := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: found.Name, Help: found.Meaning}, found.Labels)
	m.Registry.MustRegister(made)
	return made
}

// GaugeFunc registers a gauge of the table whose value is read when a client asks.
func (m *Metrics) GaugeFunc(name string, value func() float64) {
	found := row(name)
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: found.Name, Help: found.Meaning}, value))
}

// HistogramVec makes and registers a histogram of the table that has labels.
func (m *Metrics) HistogramVec(name string, buckets []float64) *prometheus.HistogramVec {
	found := row(name)
	made := prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Name: found.Name, Help: found.Meaning, Buckets: buckets}, found.Labels)
	m.Registry.MustRegister(made)
	return made
}
