package server

import (
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// advice tells the operator what is not well about a store that serves all the same, and what to do about it: each thing once, and again when it comes back.
type advice struct {
	trial, evictionAllowed bool
	mode                   string
	replicas               int

	telemetry *telemetry
	logger    *slog.Logger
	said      map[string]bool // :: what → it is so, and has been said
	jumps     prometheus.Counter
	offset    time.Duration // of the clocks, when last looked at
	looked    bool
}

func newAdvice(config Config, t *telemetry, logger *slog.Logger) advice {
	a := advice{trial: config.Trial, evictionAllowed: config.AllowEviction, mode: config.RedisMode, replicas: config.Replicas, telemetry: t, logger: logger,
		said: map[string]bool{}, jumps: prometheus.NewCounter(prometheus.CounterOpts{Name: "noted_store_clock_jumps_total",
			Help: "How often the store's clock was found to have jumped against this machine's, by more than half a second."})}
	t.registry.MustRegister(a.jumps)
	return a
}

// give looks through a report.
func (a *advice) give(r store.Report) {
	a.telemetry.clockOff.Set(r.ClockOffset.Seconds())
	if a.trial {
		return
	}
	for _, c := range []struct {
		is    bool
		what  string
		about []any
	}{
		{r.Policy == "", "the store does not tell its maxmemory-policy; see to it that it is noeviction, or donations will be forgotten", nil},
		{r.Evicts && a.evictionAllowed, "the store evicts keys when its memory is full, and -allow-eviction accepts that", []any{"policy", r.Policy}},
		{r.Unverified, "the certificate of the store is not checked (skip_verify in -redis), so a machine in between can read and change every note; leave skip_verify out, " +
			"and name a CA of your own with -redis-ca", nil},
		{len(r.Lost) > 0, "a primary of the cluster cannot be used, so calls for its series are refused; the others are answered", []any{"lost", strings.Join(r.Lost, "; ")}},
		{r.Persistence == "none", "the store keeps nothing on disk, so a restart of it forgets every donation; set appendonly yes and appendfsync everysec in its redis.conf", nil},
		{r.Trouble != "", "the store's persistence does not work, so a restart would forget donations; look at its disk and its log", []any{"trouble", r.Trouble}},
		{a.mode == "sentinel" && r.Version != "" && !r.MinReplicas && a.replicas == 0, "a primary that is cut off from its sentinels goes on noting what will be lost; " +
			"set min-replicas-to-write 1 and min-replicas-max-lag 2 in every redis.conf, or start with -replicas", nil},
		{r.Version != "" && r.Replicas < a.replicas, "the store has fewer replicas than -replicas asks for, so no donation can be noted until they are back",
			[]any{"replicas", r.Replicas, "asked_for", a.replicas}},
		{a.replicas > 0 && a.replicas < r.Replicas, "the store has more replicas than -replicas waits for: where a failover takes another one while this primary goes on (a handover by hand, a partition), " +
			"answers are lost; wait for all of them", []any{"replicas", r.Replicas, "waited_for", a.replicas}},
		{r.ClockOffset.Abs() > maxClockOff, "the store's clock and this machine's disagree; set both by NTP", []any{"store_ahead", r.ClockOffset.String()}},
	} {
		if c.is && !a.said[c.what] {
			a.logger.Warn(c.what, c.about...)
		}
		a.said[c.what] = c.is
	}
	if jump := r.ClockOffset - a.offset; a.looked && jump.Abs() > maxClockOff {
		a.jumps.Inc()
		a.logger.Warn("the store's clock jumped against this machine's, or another Redis has taken over; forwards, holds and notes end early, backwards late", "by", jump.String())
	}
	a.offset, a.looked = r.ClockOffset, true
}
