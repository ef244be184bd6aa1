// Package metrics counts and logs the gateway's work, for operators. No content of a
// message becomes a label, and no log line names a donor.
package metrics

import (
	"net/http"
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
	inboxTries        *prometheus.CounterVec // channel, state
	inboxOldest       *prometheus.GaugeVec   // account
	inboxOldestPerson *prometheus.GaugeVec   // account
	inboxPending      *prometheus.GaugeVec   // kind
}

// A lane is a channel of an account.
type lane struct{ account, channel string }

// buckets reach as far as PayPal waits.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30}

// New makes the metrics of one gateway.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		heard:    make(map[lane]time.Time),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "noted_gateway_messages_total",
			Help: "Messages by outcome: kept, settled, duplicate, undecided, skipped and unknown are answered 200; " +
				"other outcomes are reasons of refusals.",
		}, []string{"channel", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "noted_gateway_message_seconds",
			Help: "How long PayPal waited for its answer.", Buckets: buckets,
		}, []string{"channel", "answer"}),
		donations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "noted_gateway_donations_total",
			Help: "Donations in verified messages by outcome: settled, duplicate, undecided; " +
				"held, forward, noted and postponed come again.",
		}, []string{"channel", "event", "outcome"}),
		verifying: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "noted_gateway_verify_seconds",
			Help:    "Verifications of messages: verified, invalid, or unknown because PayPal did not answer.",
			Buckets: buckets,
		}, []string{"channel", "outcome"}),
		deliveries: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "noted_gateway_forward_seconds",
			Help: "Deliveries to the downstream by outcome: accepted or refused.", Buckets: buckets,
		}, []string{"kind", "outcome"}),
		transmissions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "noted_gateway_transmissions",
			Help: "Webhook transmissions that are remembered, so that another body under their id is refused.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "noted_gateway_transmissions_dropped_total",
			Help: "Transmissions that were forgotten before -webhook-max-age because the memory was full: " +
				"a forged body under their id would be taken.",
		}),
	}
	m.inboxMessages = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "noted_gateway_inbox_messages",
		Help: "Messages in the inbox by state: waiting, working, done, person, refused, discarded. Those of accounts " +
			"that no gateway has are counted without an account.",
	}, []string{"account", "state"})
	m.inboxTries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "noted_gateway_inbox_tries_total",
		Help: "Tries to process a message of the inbox, by the state that followed.",
	}, []string{"channel", "state"})
	m.inboxOldest = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "noted_gateway_inbox_oldest_seconds",
		Help: "How long the oldest message in the inbox has waited to be processed; 0 without one.",
	}, []string{"account"})
	m.inboxPending = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "noted_gateway_inbox_pending",
		Help: "Messages that are not verified yet (unverified), and bodies under an old key (old_key).",
	}, []string{"kind"})
	m.lastMessage = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "noted_gateway_last_message_timestamp_seconds",
		Help: "When the last message of an account came on a channel, in seconds of Unix time: of those that PayPal " +
			"has verified, without tests.",
	}, []string{"account", "channel"})
	m.registry.MustRegister(m.lastMessage, buildInfo())
	m.inboxOldestPerson = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "noted_gateway_inbox_oldest_person_seconds",
		Help: "How long the oldest message for a person has been in the inbox; 0 without one.",
	}, []string{"account"})
	m.registry.MustRegister(m.inboxOldestPerson)
	m.registry.MustRegister(m.inboxMessages, m.inboxTries, m.inboxOldest, m.inboxPending)
	m.registry.MustRegister(m.messages, m.seconds, m.donations, m.verifying, m.deliveries, m.transmissions, m.dropped,
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

// InboxPending sets the number of unverified messages, or of bodies under an old key.
func (m *Metrics) InboxPending(kind string, n int64) {
	m.inboxPending.WithLabelValues(kind).Set(float64(n))
}

// InboxTried counts a try by the state that followed.
func (m *Metrics) InboxTried(channel, state string) {
	m.inboxTries.WithLabelValues(channel, state).Inc()
}
