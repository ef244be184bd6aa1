// Package health knows whether the store is there, whole, and the same as before: the
// watch and what it tells callers and operators, the breaker, losses, advice, and the
// admin listener.
package health

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
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/descriptors"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

const (
	watchEvery    = time.Second
	watchPatience = 900 * time.Millisecond // for one look; less than watchEvery, so that looks do not pile up
	firstPatience = 2 * time.Second        // for the look at the start
	failuresToTip = 2                      // one slow answer is not an outage
	maxClockOff   = 500 * time.Millisecond // beyond this the log warns of the clocks
	badClockOff   = time.Minute            // beyond this the service is not ready
)

// evicts says what to do about a Redis that forgets notes.
func evicts(r store.Report) error {
	return fmt.Errorf("%s evicts keys when its memory is full (maxmemory-policy %s), and an evicted donation is "+
		"processed twice: send it CONFIG SET maxmemory-policy noeviction (and write it into its configuration, "+
		"or set it with its provider), or start with -allow-eviction", r.Server, r.Policy)
}

// Config is what health needs.
type Config struct {
	Store    *store.Store
	Mode     string // as in server.Config.RedisMode
	Replicas int    // as in server.Config, like all that follow
	Epoch    string

	AllowEviction, RefuseAfterLoss, Trial bool

	Settings map[string]string // those that must be alike on all servers of a store
	Shadows  string            // the ledgers in shadow, for people; empty if there is none

	Logger  *slog.Logger
	Audit   metrics.Audit
	Metrics *metrics.Metrics
}

// Watch looks at the store once per second, and sets health: NOT_SERVING after two
// failures in a row, SERVING after the first success. It logs only changes.
type Watch struct {
	Config
	Server *grpchealth.Server // answers grpc.health.v1

	breaker *breaker
	losses  *losses

	failures int    // in a row
	seen     bool   // the store has answered once
	shutBy   string // why the store was shut to this server at the last failure, see store.ShutOut
	short    int    // looks in a row that found too few replicas
	advice   advice

	up            prometheus.Gauge
	shutOut       *prometheus.GaugeVec
	lostPrimaries prometheus.Gauge
	replicas      prometheus.Gauge
	memory        prometheus.Gauge
	memoryLimit   prometheus.Gauge

	mu     sync.Mutex
	drains bool   // the server is asked to stop, which detail says for good
	detail string // why the service is not ready; empty while it is
	lost   string // the primaries of a cluster that cannot be used, and why; empty if all can
	unsafe bool   // the store's certificate is not checked
	weak   string // the fault of a store that is ready for some calls; empty if there is none
	report store.Report
	given  []string // the advice that applies
}

// New makes a Watch that has not looked yet.
func New(config Config) *Watch {
	w := &Watch{
		Config:  config,
		Server:  grpchealth.NewServer(),
		breaker: newBreaker(config.Mode == "cluster", config.Metrics),
		advice:  newAdvice(config),
		losses:  newLosses(config),

		up:            config.Metrics.Gauge("noted_store_up"),
		shutOut:       config.Metrics.GaugeVec("noted_store_shut_out"),
		lostPrimaries: config.Metrics.Gauge("noted_store_primaries_lost"),
		replicas:      config.Metrics.Gauge("noted_store_replicas"),
		memory:        config.Metrics.Gauge("noted_store_memory_bytes"),
		memoryLimit:   config.Metrics.Gauge("noted_store_memory_limit_bytes"),
	}
	w.shut("")
	w.say("the store has not answered yet")
	return w
}

// First is the look at the start. It fails if the store evicts notes, but not if the
// store is down.
func (w *Watch) First(ctx context.Context) error {
	return w.look(ctx, firstPatience)
}

// Run looks until ctx is done. It fails if the store evicts at its first answer.
func (w *Watch) Run(ctx context.Context) error {
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

// look asks the store once. An error means that the server must not run.
func (w *Watch) look(ctx context.Context, patience time.Duration) error {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	report, err := w.Store.Check(asking)
	if ctx.Err() != nil || w.seen && errors.Is(err, store.ErrPoolExhausted) {
		// Asked to stop, or calls hold every connection. That says nothing about the
		// store: if it is dead, the calls that hold a connection will tell.
		return nil
	}
	w.breaker.part(len(report.Lost) > 0 || err != nil && report.Version != "")
	w.mu.Lock()
	w.report, w.lost, w.unsafe = report, strings.Join(report.Lost, "; "), report.Unverified
	w.mu.Unlock()
	w.lostPrimaries.Set(float64(len(report.Lost)))
	w.replicas.Set(replicasOf(report))
	w.memory.Set(told(report.Memory))
	w.memoryLimit.Set(told(report.MemoryLimit))
	if err != nil {
		w.failed(err)
		if w.failures >= failuresToTip {
			w.breaker.dead(err)
		}
		return nil
	}
	w.breaker.alive() // before health says so
	given := w.advice.give(report)
	w.mu.Lock()
	w.given = given
	w.mu.Unlock()
	if report.Evicts && !w.AllowEviction {
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
	if unreplicated, part := w.Store.Unreplicated(); unreplicated == nil {
		w.short = 0
	} else if part {
		weak = unreplicated.Error()
	} else if w.short++; w.short >= failuresToTip || !seen { // one slow replica is not an outage
		err = unreplicated
	}
	w.mu.Lock()
	w.weak = weak
	w.mu.Unlock()
	if store.ShutOut(err) != "" { // a beat writes like a note, so a note would be refused too
		w.failures = failuresToTip
		w.failed(err)
		return nil
	}
	w.shutBy = ""
	w.shut("")
	if refused != "" { // the log has it
		w.say(refused)
		return nil
	}
	if report.ClockOffset.Abs() > badClockOff && !w.Trial {
		if detail := fmt.Sprintf(
			"the store's clock and this machine's are %v apart, so windows and lives of notes cannot be relied on: "+
				"set both by NTP",
			report.ClockOffset.Abs().Round(time.Second),
		); w.say(
			detail,
		) {
			w.Logger.Error("the store is not fit for use; NOT_SERVING until it is", "error", detail)
		}
		return nil
	}
	if err := descriptors.Left(); err != nil {
		if w.say(err.Error()) {
			w.Logger.Error("no new client can connect; NOT_SERVING until one can", "error", err)
		}
		return nil
	}
	if w.say("") {
		fields := found(report)
		if !w.Trial { // whose clock is this machine's
			fields = append(fields, "clock_ahead_seconds", seconds(report.ClockOffset))
		}
		w.Logger.Info("the store answers", fields...)
	}
	return nil
}

// found are the facts about a store, as fields for the log. A trial's store, or a store
// that refuses INFO, tells fewer.
func found(r store.Report) (fields []any) {
	if r.Server != "" {
		fields = append(fields, "server", r.Server)
	}
	if r.Version != "" && r.Server != "Redis "+r.Version {
		fields = append(fields, "redis_version", r.Version)
	}
	if r.Policy != "" {
		fields = append(fields, "policy", r.Policy)
	}
	if r.Persistence != "" {
		fields = append(fields, "persistence", r.Persistence)
	}
	if r.Role != "" {
		fields = append(fields, "role", r.Role, "replicas", r.Replicas, "min_replicas_to_write", r.MinReplicas)
	}
	return fields
}

// seconds is a time as the log has it: to the millisecond, which is what clocks agree to.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

func (w *Watch) failed(err error) {
	err = descriptors.Explain(err)
	w.failures++
	by := store.ShutOut(err)
	other := by != w.shutBy // another fault needs another act of the operator
	w.shutBy = by
	w.shut(by)
	if w.failures < failuresToTip && w.seen {
		return
	}
	if changed := w.say(err.Error()); changed || other || !w.seen && w.failures == 1 {
		w.Logger.Error("the store is not fit for use; NOT_SERVING until it is", "error", err)
	}
}

// shut sets the metric of why the store is shut to this server; empty if it is not.
func (w *Watch) shut(by string) {
	for _, reason := range store.ShutOuts {
		is := 0.0
		if reason == by {
			is = 1
		}
		w.shutOut.WithLabelValues(reason).Set(is)
	}
}

// replicasOf is NaN if the store does not tell.
func replicasOf(r store.Report) float64 {
	if r.Version == "" {
		return math.NaN()
	}
	return float64(r.Replicas)
}

// told is NaN for a number that the store does not tell.
func told(n int64) float64 {
	if n == 0 {
		return math.NaN()
	}
	return float64(n)
}

// say sets what health says, and reports whether that is a change of readiness.
func (w *Watch) say(detail string) bool {
	w.mu.Lock()
	changed := !w.drains && (w.detail == "") != (detail == "")
	if !w.drains {
		w.detail = detail
	}
	w.mu.Unlock()
	status, up := healthpb.HealthCheckResponse_SERVING, 1.0
	if detail != "" {
		status, up = healthpb.HealthCheckResponse_NOT_SERVING, 0
	}
	w.Server.SetServingStatus("", status)
	w.Server.SetServingStatus(notedv1.DedupeService_ServiceDesc.ServiceName, status)
	w.up.Set(up)
	return changed
}

// Drain says NOT_SERVING for good; later looks do not change that.
func (w *Watch) Drain() {
	w.mu.Lock()
	w.drains, w.detail = true, "the server is stopping"
	w.mu.Unlock()
	w.Server.Shutdown()
}

// Ready is empty while the service is ready, and otherwise says why it is not.
func (w *Watch) Ready() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.detail
}
