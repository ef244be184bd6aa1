// Package metrics counts and logs the gateway's work, for operators. No content of a
// message becomes a label, and no log line names a donor.
package metrics

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/paypal"
)

// Metrics are the gateway's metrics. Every label has a few fixed values.
type Metrics struct {
	registry   *prometheus.Registry
	messages   *prometheus.CounterVec   // channel, outcome
	seconds    *prometheus.HistogramVec // channel, answer
	donations  *prometheus.CounterVec   // channel, event, outcome
	verifying  *prometheus.HistogramVec // channel, outcome
	deliveries *prometheus.HistogramVec // kind, outcome

	transmissions prometheus.Gauge
	dropped       prometheus.Counter

	lastMessage *prometheus.GaugeVec // account, channel
	hearing     sync.Mutex
	heard       map[lane]time.Time

	inboxMessages     *prometheus.GaugeVec   // account, state
	inboxTries        *prometheus.CounterVec // account, channel, state
	inboxOldest       *prometheus.GaugeVec   // account
	inboxOldestPerson *prometheus.GaugeVec   // account
	inboxPending      *prometheus.GaugeVec   // account, kind
}

// A lane is a channel of an account.
type lane struct{ account, channel string }

// buckets reach as far as PayPal waits.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30}

// New makes the metrics of one gateway.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), heard: make(map[lane]time.Time)}
	m.messages = m.counter("noted_gateway_messages_total")
	m.seconds = m.histogram("noted_gateway_message_seconds")
	m.donations = m.counter("noted_gateway_donations_total")
	m.verifying = m.histogram("noted_gateway_verify_seconds")
	m.deliveries = m.histogram("noted_gateway_forward_seconds")
	m.lastMessage = m.gauge("noted_gateway_last_message_timestamp_seconds")
	m.transmissions = m.gauge("noted_gateway_transmissions").WithLabelValues()
	m.dropped = m.counter("noted_gateway_transmissions_dropped_total").WithLabelValues()
	m.inboxMessages = m.gauge("noted_gateway_inbox_messages")
	m.inboxOldest = m.gauge("noted_gateway_inbox_oldest_seconds")
	m.inboxOldestPerson = m.gauge("noted_gateway_inbox_oldest_person_seconds")
	m.inboxPending = m.gauge("noted_gateway_inbox_pending")
	m.inboxTries = m.counter("noted_gateway_inbox_tries_total")
	version, commit := build()
	m.gauge("noted_gateway_build_info").WithLabelValues(version, commit, runtime.Version()).Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics for an operator's Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Message counts an answer to PayPal.
func (m *Metrics) Message(channel, outcome string, refused *answer.Refusal, took time.Duration) {
	m.messages.WithLabelValues(channel, outcome).Inc()
	label := "ok"
	if refused != nil {
		label = "again"
		if refused.Final() {
			label = "refused"
		}
	}
	m.seconds.WithLabelValues(channel, label).Observe(took.Seconds())
}

// Donation counts the outcome of a donation in a message.
func (m *Metrics) Donation(channel string, event paypal.Event, outcome string) {
	m.donations.WithLabelValues(channel, strings.ToLower(strings.TrimPrefix(event.String(), "EVENT_")), outcome).Inc()
}

// Verified counts a verification: verified, invalid or unknown.
func (m *Metrics) Verified(channel, outcome string, took time.Duration) {
	m.verifying.WithLabelValues(channel, outcome).Observe(took.Seconds())
}

// Heard records the time of an account's last message on a channel. Calls may come in any
// order.
func (m *Metrics) Heard(account, channel string, at time.Time) {
	m.hearing.Lock()
	defer m.hearing.Unlock()
	if l := (lane{account, channel}); at.After(m.heard[l]) {
		m.heard[l] = at
		m.lastMessage.WithLabelValues(account, channel).Set(float64(at.UnixMilli()) / 1000)
	}
}

// Delivered counts a delivery to the downstream.
func (m *Metrics) Delivered(kind string, err error, took time.Duration) {
	outcome := "accepted"
	if err != nil {
		outcome = "refused"
	}
	m.deliveries.WithLabelValues(kind, outcome).Observe(took.Seconds())
}

// Transmissions sets the number of remembered webhook transmissions.
func (m *Metrics) Transmissions(remembered int) { m.transmissions.Set(float64(remembered)) }

// TransmissionDropped counts a transmission that is forgotten early.
func (m *Metrics) TransmissionDropped() { m.dropped.Inc() }

// InboxMessages sets the number of an account's messages in a state. The account is empty
// for messages of accounts that no gateway has.
func (m *Metrics) InboxMessages(account, state string, n int64) {
	m.inboxMessages.WithLabelValues(account, state).Set(float64(n))
}

// InboxOldest sets the waiting time of an account's oldest message.
func (m *Metrics) InboxOldest(account string, waits time.Duration) {
	m.inboxOldest.WithLabelValues(account).Set(waits.Seconds())
}

// InboxOldestPerson sets the waiting time of an account's oldest message for a person. The
// account is empty as in InboxMessages.
func (m *Metrics) InboxOldestPerson(account string, waits time.Duration) {
	m.inboxOldestPerson.WithLabelValues(account).Set(waits.Seconds())
}

// InboxPending sets the number of an account's unverified messages, or of its bodies under
// an old key. The account is empty as in InboxMessages.
func (m *Metrics) InboxPending(account, kind string, n int64) {
	m.inboxPending.WithLabelValues(account, kind).Set(float64(n))
}

// InboxTried counts a try by the state that followed.
func (m *Metrics) InboxTried(account, channel, state string) {
	m.inboxTries.WithLabelValues(account, channel, state).Inc()
}
