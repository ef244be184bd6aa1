package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/agreement"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// How many ledgers and channels get a label of their own. Callers choose both names, and each name costs a time series for as long as the process
// lives; later ones count as other.
const (
	maxLedgerLabels  = 64
	maxChannelLabels = 16
	otherLabel       = "other"
)

// telemetry is what an operator sees of the service: a registry of its own, so that two servers in one process do not share a count, and the
// interceptors that count and log every call.
type telemetry struct {
	logger   *slog.Logger
	registry *prometheus.Registry
	calls    *grpcprom.ServerMetrics
	floods   *floods

	verdicts *prometheus.CounterVec // ledger, channel, event, verdict, evidence
	pairs    *prometheus.CounterVec // ledger, outcome
	agree    *prometheus.GaugeVec   // ledger, event, channels
	differed *prometheus.CounterVec // ledger, field
	refusals *prometheus.CounterVec // rpc, code, reason
	panics   prometheus.Counter
	storeUp  prometheus.Gauge
	shutOut  *prometheus.GaugeVec // by
	clockOff prometheus.Gauge

	lostPrimaries prometheus.Gauge
	replicas      prometheus.Gauge

	ledgers, channels *labels
	learner           *agreement.Learner
}

// newTelemetry makes the metrics. The ledgers that the operator has named have their label from the start, so that nobody can use the labels
// up before them.
func newTelemetry(logger *slog.Logger, ledgers map[string]LedgerRules, stats func() store.Stats) *telemetry {
	t := &telemetry{
		logger:   logger,
		registry: prometheus.NewRegistry(),
		calls: grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram(grpcprom.WithHistogramBuckets(
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}))),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "noted_verdicts_total",
			Help: "Answers to NoteDonation, streamed ones among them."}, []string{"ledger", "channel", "event", "verdict", "evidence"}),
		pairs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "noted_channel_pairs_total",
			Help: "Donations told of on two channels with a transaction id on each, by whether the ids agreed. A donation that was paired by unequal ids counts as differed once the match window has passed and neither id has turned up on the other channel."},
			[]string{"ledger", "outcome"}),
		agree: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "noted_transaction_ids_agree",
			Help: "1 where this server has learned that the transaction ids of two channels agree, 0 where it knew and does not know any more. With -transaction-ids auto unequal ids then mean two donations."},
			[]string{"ledger", "event", "channels"}),
		differed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "noted_differences_total",
			Help: "Answers of which the message disagreed with the note, by field. Times and, where channels do not share them, transaction ids differ as a rule; amounts and currencies should not."},
			[]string{"ledger", "field"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "noted_refusals_total",
			Help: "Requests that got an error instead of an answer, streamed and unreadable ones among them; not those that the transport refuses for their length."}, []string{"rpc", "code", "reason"}),
		panics:  prometheus.NewCounter(prometheus.CounterOpts{Name: "noted_panics_total", Help: "Calls that ended in a panic; the log has the stack. Each is a bug."}),
		storeUp: prometheus.NewGauge(prometheus.GaugeOpts{Name: "noted_store_up", Help: "1 while the store answers and is fit for use, as health says it."}),
		shutOut: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "noted_store_shut_out",
			Help: "1 while the store is there and cannot be used: it refuses the password, refuses rights, no TLS connection comes about, it is of another mode, or it notes nothing " +
				"(replicas, wait, min_replicas). Only an operator can mend it; the log and /readyz say how."},
			[]string{"by"}),
		clockOff: prometheus.NewGauge(prometheus.GaugeOpts{Name: "noted_store_clock_offset_seconds", Help: "How far the store's clock is ahead of this machine's."}),
		lostPrimaries: prometheus.NewGauge(prometheus.GaugeOpts{Name: "noted_store_primaries_lost",
			Help: "Primaries of a cluster that cannot be used while the others answer: calls for their series are refused. The log and /readyz name them."}),
		replicas: prometheus.NewGauge(prometheus.GaugeOpts{Name: "noted_store_replicas",
			Help: "Replicas that the store has, of a cluster's primaries the one with the fewest; NaN where it does not tell. Below -replicas nothing can be noted."}),
		ledgers:  newLabels(maxLedgerLabels),
		channels: newLabels(maxChannelLabels),
	}
	t.floods = newFloods(logger, t.registry)
	t.ledgers.of("")
	for ledger := range ledgers {
		t.ledgers.of(ledger)
	}
	t.shut("")
	t.learner = agreement.New(agreement.Config{
		Changed:  t.learned,
		Agreed:   func(ledger string) { t.pairs.WithLabelValues(t.ledgers.of(ledger), "agreed").Inc() },
		Differed: func(ledger string) { t.pairs.WithLabelValues(t.ledgers.of(ledger), "differed").Inc() },
	})
	t.registry.MustRegister(t.calls, t.verdicts, ripened{t.pairs, t.learner}, t.agree, t.differed, t.refusals, t.panics, t.storeUp, t.shutOut, t.clockOff, t.lostPrimaries, t.replicas, storeCollector(stats),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return t
}

// verdict counts an answer, the fields in which its message and its note differ, and what it teaches about transaction ids.
func (t *telemetry) verdict(request store.NoteRequest, reply store.NoteReply, differences []string) {
	ledger := t.ledgers.of(request.Donation.Ledger)
	t.verdicts.WithLabelValues(ledger, t.channels.of(request.Message.Channel),
		label(notedv1.Event_name, int(request.Donation.Event), "EVENT_"),
		label(notedv1.Verdict_name, int(reply.Verdict), "VERDICT_"),
		label(notedv1.Evidence_name, int(reply.Evidence), "EVIDENCE_")).Inc()
	for _, field := range differences {
		t.differed.WithLabelValues(ledger, field).Inc()
	}
}

// learned tells what the server has learned of the transaction ids of two channels, once each time it changes.
func (t *telemetry) learned(pair agreement.Pair, agree bool, agreements, contradictions int) {
	event, value := label(notedv1.Event_name, int(pair.Event), "EVENT_"), 0.0
	level, message := slog.LevelWarn, "the transaction ids of two channels are not known to agree any more; unequal ids mean nothing again"
	if agree {
		value, level = 1, slog.LevelInfo
		message = "the transaction ids of two channels agree; unequal ids mean two donations from now on"
	}
	t.agree.WithLabelValues(t.ledgers.of(pair.Ledger), event, t.channels.of(pair.A)+" "+t.channels.of(pair.B)).Set(value)
	t.logger.Log(context.Background(), level, message, "ledger", pair.Ledger, "event", event, "channels", pair.A+" "+pair.B,
		"agreements", agreements, "contradictions", contradictions)
}

// ripened counts what has become certain before somebody reads.
type ripened struct {
	*prometheus.CounterVec
	learner *agreement.Learner
}

// Collect is of prometheus.Collector.
func (r ripened) Collect(metrics chan<- prometheus.Metric) {
	r.learner.Ripen()
	r.CounterVec.Collect(metrics)
}

// shut says by what the store is shut to us; empty where it is not.
func (t *telemetry) shut(by string) {
	for _, reason := range store.ShutOuts {
		is := 0.0
		if reason == by {
			is = 1
		}
		t.shutOut.WithLabelValues(reason).Set(is)
	}
}

// refused counts an error.
func (t *telemetry) refused(fullMethod string, err error) {
	_, rpc, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	t.refusals.WithLabelValues(rpc, grpcprom.FromError(err).Code().String(), reasonOf(err)).Inc()
}

// panicked is all that becomes of a panic: the log gets it whole, the caller nothing.
func (t *telemetry) panicked(ctx context.Context, p any) error {
	t.panics.Inc()
	t.floods.log(ctx, "panicked", slog.LevelError, "panicked; this is a bug in noted", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return refuse(fmt.Errorf("recovered: %T", p))
}

// guarded runs f in a goroutine of our own, where a panic would end the process.
func (t *telemetry) guarded(ctx context.Context, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = t.panicked(ctx, p)
		}
	}()
	return f()
}

// unary is the begin of the chain of every unary call, outermost first: what counts and logs sees how the call ended, and a panic of all that follows ends at the last.
func (t *telemetry) unary() (outer []grpc.UnaryServerInterceptor, recovered grpc.UnaryServerInterceptor) {
	return []grpc.UnaryServerInterceptor{
		t.calls.UnaryServerInterceptor(),
		selector.UnaryServerInterceptor(t.logged(), selector.MatchFunc(isLogged)),
		func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			response, err := handler(ctx, request)
			if err != nil {
				t.refused(info.FullMethod, err)
			}
			return response, err
		},
	}, recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(t.panicked))
}

// stream is the same for streams. Requests on NoteDonations are counted one by one where they are answered.
func (t *telemetry) stream() (outer []grpc.StreamServerInterceptor, recovered grpc.StreamServerInterceptor) {
	return []grpc.StreamServerInterceptor{
		t.calls.StreamServerInterceptor(),
		selector.StreamServerInterceptor(logging.StreamServerInterceptor(t.callLogger(), logOptions...), selector.MatchFunc(isLogged)),
	}, recovery.StreamServerInterceptor(recovery.WithRecoveryHandlerContext(t.panicked))
}

// logged writes the line of a unary call. The middleware gathers its fields before it knows whether anybody wants them, which would cost a
// tenth of the whole call; so the call is made first, and the middleware sees only what will be written.
func (t *telemetry) logged() grpc.UnaryServerInterceptor {
	write := logging.UnaryServerInterceptor(t.callLogger(), logOptions...)
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		began := time.Now()
		response, err := handler(ctx, request)
		if err == nil && !t.logger.Enabled(ctx, slog.LevelDebug) {
			return response, nil
		}
		return write(context.WithValue(ctx, beganKey{}, began), request, info, func(context.Context, any) (any, error) { return response, err })
	}
}

// beganKey keeps when a call began, for who writes its line later.
type beganKey struct{}

// callTimes are the fields of when a call began and how long it took, where the middleware cannot know.
func callTimes(ctx context.Context) logging.Fields {
	began, ok := ctx.Value(beganKey{}).(time.Time)
	if !ok {
		return nil
	}
	return logging.Fields{"grpc.start_time", began.Format(time.RFC3339), "grpc.time_ms", fmt.Sprintf("%.3f", float64(time.Since(began))/float64(time.Millisecond))}
}

// callLogger writes one line a call, when it has ended, with neither request nor response. Of calls that end alike it writes the first.
func (t *telemetry) callLogger() logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, message string, fields ...any) {
		if level < logging.LevelInfo { // who looks closely wants all
			t.logger.Log(ctx, slog.Level(level), message, fields...)
			return
		}
		t.floods.log(ctx, message+kindOf(fields), slog.Level(level), message, fields...)
	})
}

// kindOf is what two calls have in common that end alike.
func kindOf(fields []any) (kind string) {
	for i := 0; i+1 < len(fields); i += 2 {
		switch fields[i] {
		case "grpc.method", "grpc.code", "reason":
			kind += fmt.Sprint(" ", fields[i+1])
		}
	}
	return kind
}

var logOptions = []logging.Option{
	logging.WithLogOnEvents(logging.FinishCall),
	logging.WithLevels(levelOf),
	logging.WithFieldsFromContext(callTimes),
	logging.WithErrorFields(func(err error) logging.Fields { return logging.Fields{"reason", reasonOf(err)} }),
}

// levelOf: what went well is for those who look closely, what a caller did wrong is worth a line, what we could not do is a warning.
func levelOf(code codes.Code) logging.Level {
	switch code {
	case codes.OK:
		return logging.LevelDebug
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.FailedPrecondition, codes.PermissionDenied:
		return logging.LevelWarn
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return logging.LevelError
	}
	return logging.LevelInfo
}

// isLogged leaves out the health checks, which come every few seconds from everywhere.
func isLogged(_ context.Context, call interceptors.CallMeta) bool {
	return call.Service != healthpb.Health_ServiceDesc.ServiceName
}

func peerOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}

// label is the contract's name of an enum's value, as a metric says it: EVENT_PAYMENT is "payment".
func label(names map[int32]string, value int, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(names[int32(value)], prefix))
}

// labels holds the names that have a label of their own.
type labels struct {
	limit int
	mu    sync.RWMutex
	names map[string]bool
}

func newLabels(limit int) *labels { return &labels{limit: limit, names: map[string]bool{}} }

// of is the label of a name: itself for the first that come, other for the rest.
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

// storeCollector tells of the store's connections. The Redis client keeps these counts itself, so they are read when somebody asks.
type storeCollector func() store.Stats

var storeMetrics = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(store.Stats) uint32
}{
	{storeDesc("noted_store_pool_hits_total", "Calls that found a free connection to the store."), prometheus.CounterValue, func(p store.Stats) uint32 { return p.Hits }},
	{storeDesc("noted_store_pool_misses_total", "Calls that had to open or wait for a connection."), prometheus.CounterValue, func(p store.Stats) uint32 { return p.Misses }},
	{storeDesc("noted_store_pool_timeouts_total", "Calls that waited for a connection in vain."), prometheus.CounterValue, func(p store.Stats) uint32 { return p.Timeouts }},
	{storeDesc("noted_store_pool_stale_total", "Connections that were found broken and dropped."), prometheus.CounterValue, func(p store.Stats) uint32 { return p.StaleConns }},
	{storeDesc("noted_store_unknown_scripts_total", "Scripts that Redis did not know, as after a restart or a failover, and that were sent again with their source."), prometheus.CounterValue, func(p store.Stats) uint32 { return p.UnknownScripts }},
	{storeDesc("noted_store_pool_connections", "Connections to the store."), prometheus.GaugeValue, func(p store.Stats) uint32 { return p.TotalConns }},
	{storeDesc("noted_store_pool_idle_connections", "Connections to the store that nobody uses."), prometheus.GaugeValue, func(p store.Stats) uint32 { return p.IdleConns }},
}

func storeDesc(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

// Describe is of prometheus.Collector.
func (c storeCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range storeMetrics {
		descs <- m.desc
	}
}

// Collect is of prometheus.Collector.
func (c storeCollector) Collect(metrics chan<- prometheus.Metric) {
	stats := c()
	for _, m := range storeMetrics {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(stats)))
	}
}
