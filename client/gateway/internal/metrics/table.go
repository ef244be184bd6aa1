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

// Table is every metric of the gateway's own. A metric that is not here cannot be made.
// The README has the same table. Those of the Go runtime and the process come on top.
var Table = []Metric{
	{
		"noted_gateway_messages_total",
		[]string{"channel", "outcome"},
		"Messages by outcome: kept, settled, duplicate, undecided, skipped and unknown are answered 200; " +
			"other outcomes are reasons of refusals.",
	},
	{
		"noted_gateway_message_seconds",
		[]string{"channel", "answer"},
		"How long PayPal waited for its answer.",
	},
	{
		"noted_gateway_donations_total",
		[]string{"channel", "event", "outcome"},
		"Donations in verified messages by outcome: settled, duplicate, undecided; " +
			"held, forward, noted and postponed come again.",
	},
	{
		"noted_gateway_verify_seconds",
		[]string{"channel", "outcome"},
		"Verifications of messages: verified, invalid, or unknown because PayPal did not answer.",
	},
	{
		"noted_gateway_forward_seconds",
		[]string{"kind", "outcome"},
		"Deliveries to the downstream by outcome: accepted or refused.",
	},
	{
		"noted_gateway_last_message_timestamp_seconds",
		[]string{"account", "channel"},
		"When the last message of an account came on a channel, in seconds of Unix time: of those that PayPal " +
			"has verified, without tests.",
	},
	{
		"noted_gateway_build_info",
		[]string{"version", "commit", "go"},
		"1, with the build of the program. Two versions side by side mean an upgrade under way.",
	},
	{
		"noted_gateway_transmissions", nil,
		"Webhook transmissions that are remembered, so that another body under their id is refused.",
	},
	{
		"noted_gateway_transmissions_dropped_total", nil,
		"Transmissions that were forgotten before -webhook-max-age because the memory was full: " +
			"a forged body under their id would be taken.",
	},

	// The inbox.
	{
		"noted_gateway_inbox_messages",
		[]string{"account", "state"},
		"Messages in the inbox by state: waiting, working, done, person, refused, discarded. Those of accounts " +
			"that no gateway has are counted without an account.",
	},
	{
		"noted_gateway_inbox_oldest_seconds",
		[]string{"account"},
		"How long the oldest message in the inbox has waited to be processed; 0 without one.",
	},
	{
		"noted_gateway_inbox_oldest_person_seconds",
		[]string{"account"},
		"How long the oldest message for a person has been in the inbox; 0 without one.",
	},
	{
		"noted_gateway_inbox_pending",
		[]string{"account", "kind"},
		"Messages that are not verified yet (unverified), and bodies under an old key (old_key), without an account " +
			"those of accounts that no gateway has. A webhook that is not verified counts for the first account.",
	},
	{
		"noted_gateway_inbox_tries_total",
		[]string{"account", "channel", "state"},
		"Tries to process a message of the inbox, by the state that followed.",
	},
}

// row finds a metric of the table. It panics without one: that is a mistake of the code,
// and every start of the gateway finds it.
func row(name string) Metric {
	for _, m := range Table {
		if m.Name == name {
			return m
		}
	}
	panic(fmt.Sprintf("the metric %s is not in metrics.Table", name))
}

// counter makes and registers a counter of the table.
func (m *Metrics) counter(name string) *prometheus.CounterVec {
	r := row(name)
	made := prometheus.NewCounterVec(prometheus.CounterOpts{Name: r.Name, Help: r.Meaning}, r.Labels)
	m.registry.MustRegister(made)
	return made
}

// gauge makes and registers a gauge of the table.
func (m *Metrics) gauge(name string) *prometheus.GaugeVec {
	r := row(name)
	made := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: r.Name, Help: r.Meaning}, r.Labels)
	m.registry.MustRegister(made)
	return made
}

// histogram makes and registers a histogram of the table.
func (m *Metrics) histogram(name string) *prometheus.HistogramVec {
	r := row(name)
	made := prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Name: r.Name, Help: r.Meaning, Buckets: buckets}, r.Labels)
	m.registry.MustRegister(made)
	return made
}
