// Package metrics shows a server to its operator: every metric, in one table; the lines
// of the log, limited where callers cause them; and the audit.
package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/agreement"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// Config is what Metrics need.
type Config struct {
	Logger  *slog.Logger
	Audited bool     // the audit writes to this log
	Ledgers []string // the ledgers that the operator has named
	Stats   func() store.Stats
}

// Metrics are the metrics and log of one server. The registry is its own, so that two
// servers in one process do not share a count.
type Metrics struct {
	Registry *prometheus.Registry
	Calls    *Calls
	Floods   *Floods
	Learner  *agreement.Learner // learns from every answer to NoteDonation

	logger            *slog.Logger
	audited           bool
	writeLine         grpc.UnaryServerInterceptor // writes the line of a call
	writeStreamLine   grpc.StreamServerInterceptor
	verdicts          verdicts
	shadowVerdicts    verdicts
	pairs             *prometheus.CounterVec
	agree             *prometheus.GaugeVec
	differences       *prometheus.CounterVec
	refusals          *prometheus.CounterVec
	forgets           *prometheus.CounterVec
	notes             notes
	panics            prometheus.Counter
	ledgers, channels *labels
}

// New makes the metrics. Ledgers that the operator has named have their label from the
// start, so that callers cannot use the labels up before them.
func New(config Config) *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		Calls:    newCalls(),
		logger:   config.Logger,
		audited:  config.Audited,
		pairs:    counterVec("noted_channel_pairs_total"),
		ledgers:  newLabels(maxLedgerLabels),
		channels: newLabels(maxChannelLabels),
	}
	last := m.GaugeVec("noted_last_message_timestamp_seconds")
	m.verdicts = newVerdicts(m.CounterVec("noted_verdicts_total"), last)
	m.shadowVerdicts = newVerdicts(m.CounterVec("noted_shadow_verdicts_total"), last)
	m.forgets = m.CounterVec("noted_forgets_total")
	m.notes = newNotes(m)
	m.writeLine = logging.UnaryServerInterceptor(m.callLogger(), logOptions...)
	m.writeStreamLine = logging.StreamServerInterceptor(m.callLogger(), logOptions...)
	m.agree = m.GaugeVec("noted_transaction_ids_agree")
	m.differences = m.CounterVec("noted_differences_total")
	m.refusals = m.CounterVec("noted_refusals_total")
	m.panics = m.Counter("noted_panics_total")
	m.Floods = newFloods(config.Logger, m.Counter("noted_log_lines_left_out_total"))
	version, commit, goVersion := Built()
	m.GaugeVec("noted_build_info").WithLabelValues(version, commit, goVersion).Set(1)
	m.ledgers.of("")
	for _, ledger := range config.Ledgers {
		m.ledgers.of(ledger)
	}
	m.Learner = agreement.New(agreement.Config{
		Changed:  m.learned,
		Agreed:   func(ledger string) { m.pairs.WithLabelValues(m.ledgers.of(ledger), "agreed").Inc() },
		Differed: func(ledger string) { m.pairs.WithLabelValues(m.ledgers.of(ledger), "differed").Inc() },
	})
	m.Registry.MustRegister(m.Calls.vecs()...)
	m.Registry.MustRegister(ripened{m.pairs, m.Learner}, storeStats(config.Stats),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Verdict counts an answer and the fields in which its message and its note differ.
func (m *Metrics) Verdict(request store.NoteRequest, reply store.NoteReply, differences []string) {
	ledger := m.ledgers.of(request.Donation.Ledger)
	labels := verdictLabels{
		ledger: ledger, channel: m.channels.of(request.Message.Channel),
		event: request.Donation.Event, verdict: reply.Verdict, evidence: reply.Evidence,
	}
	if request.Rules.Shadow {
		m.shadowVerdicts.of(labels).answers.Inc()
		labels.verdict = store.First
	}
	counted := m.verdicts.of(labels)
	counted.answers.Inc()
	counted.last.Set(float64(reply.Now.Unix()))
	for _, field := range differences {
		m.differences.WithLabelValues(ledger, field).Inc()
	}
}

// Forgot counts a note that an operator has undone.
func (m *Metrics) Forgot(ledger string) { m.forgets.WithLabelValues(m.ledgers.of(ledger)).Inc() }

// learned logs what the server has learned of the transaction ids of two channels, once
// for each change.
func (m *Metrics) learned(pair agreement.Pair, agree bool, agreements, contradictions int) {
	event, value := label(notedv1.Event_name, int(pair.Event), "EVENT_"), 0.0
	level := slog.LevelWarn
	message := "the transaction ids of two channels are not known to agree any more; unequal ids mean nothing again"
	if agree {
		value, level = 1, slog.LevelInfo
		message = "the transaction ids of two channels agree; unequal ids mean two donations from now on"
	}
	channels := m.channels.of(pair.A) + " " + m.channels.of(pair.B)
	m.agree.WithLabelValues(m.ledgers.of(pair.Ledger), event, channels).Set(value)
	m.logger.Log(context.Background(), level, message, "ledger", pair.Ledger, "event", event,
		"channels", pair.A+" "+pair.B, "agreements", agreements, "contradictions", contradictions)
}

// ripened counts the pairs that have become certain before a client reads the counter.
type ripened struct {
	*prometheus.CounterVec
	learner *agreement.Learner
}

// Collect is of prometheus.Collector.
func (r ripened) Collect(metrics chan<- prometheus.Metric) {
	r.learner.Ripen()
	r.CounterVec.Collect(metrics)
}

// Refused counts an error that a caller gets.
func (m *Metrics) Refused(fullMethod string, err error) {
	_, rpc, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	m.refusals.WithLabelValues(rpc, codeOf(err).String(), contract.ReasonOf(err)).Inc()
}

// Unreadable counts and logs a request that cannot be read. Such a request never becomes
// a call, so no interceptor sees it. Its caller is broken, and the people who run the
// caller may not see the error that it gets.
func (m *Metrics) Unreadable(message any, code codes.Code) {
	rpc := strings.TrimSuffix(string(message.(proto.Message).ProtoReflect().Descriptor().Name()), "Request")
	m.refusals.WithLabelValues(rpc, code.String(), "UNREADABLE").Inc()
	m.Floods.Log(
		context.Background(),
		"requests that cannot be read",
		slog.LevelWarn,
		"a request could not be read, so its donation was not looked at; mend the caller, which was told why",
		"rpc", rpc,
	)
}

// Panicked counts a panic and gives the caller's error for it. The log gets the whole
// panic; the caller learns nothing of it.
func (m *Metrics) Panicked(ctx context.Context, p any) error {
	m.panics.Inc()
	m.Floods.Log(ctx, "panicked", slog.LevelError, "panicked; this is a bug in noted",
		"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return contract.Refuse(fmt.Errorf("recovered: %T", p))
}

// Recovered runs f in a goroutine of the server's own, where a panic would end the
// process.
func (m *Metrics) Recovered(ctx context.Context, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = m.Panicked(ctx, p)
		}
	}()
	return f()
}

// Stream gives the first interceptors of streams, outermost first: metrics and log, and
// the recovery of a panic inside them. Requests on NoteDonations are counted where each is
// answered.
func (m *Metrics) Stream() []grpc.StreamServerInterceptor {
	return []grpc.StreamServerInterceptor{
		m.stream,
		recovery.StreamServerInterceptor(recovery.WithRecoveryHandlerContext(m.Panicked)),
	}
}
