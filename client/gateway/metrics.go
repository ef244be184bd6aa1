package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/paypal"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are for operators. Every label has a few fixed values: nothing from a message
// becomes a label.
type metrics struct {
	registry  *prometheus.Registry
	messages  *prometheus.CounterVec   // channel, outcome
	seconds   *prometheus.HistogramVec // channel, answer
	donations *prometheus.CounterVec   // channel, event, outcome
	verifying *prometheus.HistogramVec // channel, outcome
	forwards  *prometheus.HistogramVec // kind, outcome

	transmissions prometheus.Gauge
	dropped       prometheus.Counter

	inboxMessages *prometheus.GaugeVec   // state
	inboxTries    *prometheus.CounterVec // channel, state
	inboxOldest   prometheus.Gauge
	inboxOther    *prometheus.GaugeVec // kind
}

// buckets reach as far as PayPal waits.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
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
			Help:    "Verifications of messages: verified, invalid, or unknown because PayPal could not be asked.",
			Buckets: buckets,
		}, []string{"channel", "outcome"}),
		forwards: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "noted_gateway_forward_seconds",
			Help: "Deliveries to the downstream: accepted or refused.", Buckets: buckets,
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
		Help: "Messages in the inbox by state: waiting, working, done, person, refused, discarded.",
	}, []string{"state"})
	m.inboxTries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "noted_gateway_inbox_tries_total",
		Help: "Tries to process a message of the inbox, by the state that followed.",
	}, []string{"channel", "state"})
	m.inboxOldest = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "noted_gateway_inbox_oldest_seconds",
		Help: "How long the oldest message in the inbox waits to be processed; 0 where none waits.",
	})
	m.inboxOther = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "noted_gateway_inbox_pending",
		Help: "Messages that are not verified yet (unverified), and bodies under an old key (old_key).",
	}, []string{"kind"})
	m.registry.MustRegister(m.inboxMessages, m.inboxTries, m.inboxOldest, m.inboxOther)
	m.registry.MustRegister(m.messages, m.seconds, m.donations, m.verifying, m.forwards, m.transmissions, m.dropped,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Metrics serves the metrics for an operator's Prometheus. Keep it from the public.
func (g *Gateway) Metrics() http.Handler {
	return promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{})
}

func (m *metrics) message(channel, outcome string, refused *refusal, took time.Duration) {
	m.messages.WithLabelValues(channel, outcome).Inc()
	answer := "ok"
	if refused != nil {
		answer = "refused"
		if refused.status == http.StatusServiceUnavailable {
			answer = "again"
		}
	}
	m.seconds.WithLabelValues(channel, answer).Observe(took.Seconds())
}

func (m *metrics) donation(channel string, event paypal.Event, outcome string) {
	m.donations.WithLabelValues(channel, strings.ToLower(strings.TrimPrefix(event.String(), "EVENT_")), outcome).Inc()
}

func (m *metrics) inbox(counts inbox.Counts) {
	for state, n := range counts.Messages {
		m.inboxMessages.WithLabelValues(string(state)).Set(float64(n))
	}
	m.inboxOldest.Set(counts.Oldest.Seconds())
	m.inboxOther.WithLabelValues("unverified").Set(float64(counts.Unverified))
	m.inboxOther.WithLabelValues("old_key").Set(float64(counts.OldKeys))
}

func (m *metrics) tried(channel string, state inbox.State) {
	m.inboxTries.WithLabelValues(channel, string(state)).Inc()
}

func (m *metrics) verified(channel, outcome string, took time.Duration) {
	m.verifying.WithLabelValues(channel, outcome).Observe(took.Seconds())
}

func (m *metrics) forwarded(kind string, err error, took time.Duration) {
	outcome := "accepted"
	if err != nil {
		outcome = "refused"
	}
	m.forwards.WithLabelValues(kind, outcome).Observe(took.Seconds())
}
