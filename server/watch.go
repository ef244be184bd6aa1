package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/descriptors"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

const (
	watchEvery    = time.Second
	watchPatience = 900 * time.Millisecond // for one look; below watchEvery, so that looks do not pile up
	firstPatience = 2 * time.Second        // for the look at start
	failuresToTip = 2                      // one slow answer is no outage
	maxClockOff   = 500 * time.Millisecond // beyond this the clocks are worth a line in the log
	badClockOff   = time.Minute            // and beyond this nobody should rely on them
)

// evicts says what to do about a Redis that forgets.
func evicts(r store.Report) error {
	return fmt.Errorf("%s evicts keys when its memory is full (maxmemory-policy %s), and a donation that is "+
		"forgotten so is processed twice: "+
		"say CONFIG SET maxmemory-policy noeviction to it (and write it into its configuration, or set it with its provider), or start with "+
		"-allow-eviction", r.Server, r.Policy)
}

// watch looks at the store once a second and lets health follow: after two failures in a row the service is NOT_SERVING, after the first success
// SERVING. It logs on a change only.
type watch struct {
	allowEviction, trial bool

	store   *store.Store
	breaker *breaker
	losses  *losses
	health  *health.Server
	logger  *slog.Logger

	failures int    // in a row
	seen     bool   // the store has answered once
	shutBy   string // by what the store was shut to us when it failed last, as store.ShutOut tells
	short    int    // so many looks in a row have found too few replicas
	advice   advice

	up            prometheus.Gauge
	shutOut       *prometheus.GaugeVec
	lostPrimaries prometheus.Gauge
	replicas      prometheus.Gauge

	mu     sync.Mutex
	detail string // why not ready; empty while ready
	lost   string // the primaries of a cluster that cannot be used, and why; empty where all can
	unsafe bool   // the store's certificate is not checked
	weak   string // what is wrong with a store that is ready for some calls; empty where nothing is
}

func newWatch(config Config, s *store.Store, b *breaker, h *health.Server, m *metrics.Metrics, logger *slog.Logger) *watch {
	w := &watch{
		allowEviction: config.AllowEviction,
		trial:         config.Trial,
		store:         s,
		breaker:       b,
		health:        h,
		logger:        logger,
		advice:        newAdvice(config, m, logger),
		losses:        newLosses(config, s, m, logger),

		up:            m.Gauge("noted_store_up"),
		shutOut:       m.GaugeVec("noted_store_shut_out"),
		lostPrimaries: m.Gauge("noted_store_primaries_lost"),
		replicas:      m.Gauge("noted_store_replicas"),
	}
	w.shut("")
	w.say("the store has not answered yet")
	return w
}

// first is the look at start. A store that is down is waited for; one that evicts is an error.
func (w *watch) first(ctx context.Context) error {
	return w.look(ctx, firstPatience)
}

// run looks until ctx is done. It ends with an error when the store, at the first sight of it, evicts.
func (w *watch) run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := w.look(ctx, watchPatience); err != nil {
				return err
			}
		}
	}
}

// look asks the store once. The error means that the server must not run.
func (w *watch) look(ctx context.Context, patience time.Duration) error {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	report, err := w.store.Check(asking)
	if ctx.Err() != nil || w.seen && errors.Is(err, store.ErrPoolExhausted) {
		return nil // asked to stop, or calls have every connection: that says nothing about the store, and were it dead they would tell
	}
	w.breaker.part(len(report.Lost) > 0 || err != nil && report.Version != "")
	w.mu.Lock()
	w.lost, w.unsafe = strings.Join(report.Lost, "; "), report.Unverified
	w.mu.Unlock()
	w.lostPrimaries.Set(float64(len(report.Lost)))
	w.replicas.Set(replicasOf(report))
	if err != nil {
		w.failed(err)
		if w.failures >= failuresToTip {
			w.breaker.dead(err)
		}
		return nil
	}
	w.breaker.alive() // before health says so
	w.advice.give(report)
	if report.Evicts && !w.allowEviction {
		if !w.seen {
			return evicts(report)
		}
		w.failures = failuresToTip // no second look is needed
		w.failed(evicts(report))
		return nil
	}
	seen := w.seen
	w.seen, w.failures = true, 0
	refused, err := w.losses.look(asking)
	weak := report.Trouble
	if unreplicated, part := w.store.Unreplicated(); unreplicated == nil {
		w.short = 0
	} else if part {
		weak = unreplicated.Error()
	} else if w.short++; w.short >= failuresToTip || !seen { // one slow replica is no outage
		err = unreplicated
	}
	w.mu.Lock()
	w.weak = weak
	w.mu.Unlock()
	if store.ShutOut(err) != "" { // a beat writes as a note does, and would be refused as one
		w.failures = failuresToTip
		w.failed(err)
		return nil
	}
	w.shutBy = ""
	w.shut("")
	if refused != "" { // which the log has
		w.say(refused)
		return nil
	}
	if report.ClockOffset.Abs() > badClockOff && !w.trial {
		if detail := fmt.Sprintf("the store's clock and this machine's are %v apart, so windows and lives of notes cannot be relied on: set both by NTP", report.ClockOffset.Abs().Round(time.Second)); w.say(detail) {
			w.logger.Error("the store is not fit for use; NOT_SERVING until it is", "error", detail)
		}
		return nil
	}
	if err := descriptors.Left(); err != nil {
		if w.say(err.Error()) {
			w.logger.Error("nobody new can connect; NOT_SERVING until somebody can", "error", err)
		}
		return nil
	}
	if w.say("") {
		w.logger.Info("the store answers", "server", report.Server, "redis_version", report.Version, "policy", report.Policy, "persistence", report.Persistence, "role", report.Role,
			"replicas", report.Replicas, "min_replicas_to_write", report.MinReplicas, "clock_ahead", report.ClockOffset.String())
	}
	return nil
}

func (w *watch) failed(err error) {
	err = descriptors.Explain(err)
	w.failures++
	by := store.ShutOut(err)
	other := by != w.shutBy // what was wrong before is not what is to be done now
	w.shutBy = by
	w.shut(by)
	if w.failures < failuresToTip && w.seen {
		return
	}
	if changed := w.say(err.Error()); changed || other || !w.seen && w.failures == 1 {
		w.logger.Error("the store is not fit for use; NOT_SERVING until it is", "error", err)
	}
}

// shut sets the metric of why the store is shut to this server; empty if it is not.
func (w *watch) shut(by string) {
	for _, reason := range store.ShutOuts {
		is := 0.0
		if reason == by {
			is = 1
		}
		w.shutOut.WithLabelValues(reason).Set(is)
	}
}

// replicasOf is no number where the store does not tell.
func replicasOf(r store.Report) float64 {
	if r.Version == "" {
		return math.NaN()
	}
	return float64(r.Replicas)
}

// say sets what health says, and reports whether that is a change.
func (w *watch) say(detail string) bool {
	w.mu.Lock()
	changed := (w.detail == "") != (detail == "")
	w.detail = detail
	w.mu.Unlock()
	status, up := healthpb.HealthCheckResponse_SERVING, 1.0
	if detail != "" {
		status, up = healthpb.HealthCheckResponse_NOT_SERVING, 0
	}
	w.health.SetServingStatus("", status)
	w.health.SetServingStatus(notedv1.DedupeService_ServiceDesc.ServiceName, status)
	w.up.Set(up)
	return changed
}

// drain says NOT_SERVING for good.
func (w *watch) drain() {
	w.mu.Lock()
	w.detail = "the server is stopping"
	w.mu.Unlock()
	w.health.Shutdown()
}

// ready is empty while the service is ready, and else says why not.
func (w *watch) ready() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.detail
}
