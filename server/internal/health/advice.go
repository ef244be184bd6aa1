package health

import (
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// advice warns the operator of faults that do not stop the store from serving, and says
// what to do about them: once for each fault, and again if it comes back.
type advice struct {
	trial, evictionAllowed bool
	mode                   string
	replicas               int

	logger   *slog.Logger
	said     map[string]bool // :: advice → it applies, and has been given
	jumps    prometheus.Counter
	clockOff prometheus.Gauge
	offset   time.Duration // of the clocks, at the last look
	looked   bool
}

func newAdvice(config Config) advice {
	return advice{
		trial:           config.Trial,
		evictionAllowed: config.AllowEviction,
		mode:            config.Mode,
		replicas:        config.Replicas,
		logger:          config.Logger,
		said:            map[string]bool{},
		jumps:           config.Metrics.Counter("noted_store_clock_jumps_total"),
		clockOff:        config.Metrics.Gauge("noted_store_clock_offset_seconds"),
	}
}

// give warns of each fault in a report, and returns the advice that applies.
func (a *advice) give(r store.Report) (applies []string) {
	a.clockOff.Set(r.ClockOffset.Seconds())
	if a.trial {
		return nil
	}
	for _, c := range []struct {
		applies bool
		advice  string
		about   []any
	}{
		{r.Version == "", "the store refuses INFO, so noted cannot see whether it forgets; check with its provider " +
			"that it is Redis 6.2 or newer, with maxmemory-policy noeviction and its append-only file on", nil},
		{r.Version != "" && r.Policy == "", "the store does not tell its maxmemory-policy; make sure that it is " +
			"noeviction, or donations will be forgotten", nil},
		{r.Evicts && a.evictionAllowed, "the store evicts keys when its memory is full, and -allow-eviction accepts " +
			"that", []any{"policy", r.Policy}},
		{r.Unverified, "the certificate of the store is not checked (skip_verify in -redis), so a machine in between " +
			"can read and change every note; leave skip_verify out, " +
			"and name a CA of your own with -redis-ca", nil},
		{len(r.Lost) > 0, "a primary of the cluster cannot be used, so calls for its series are refused; the others " +
			"are answered", []any{"lost", strings.Join(r.Lost, "; ")}},
		{r.Persistence == "none", "the store keeps nothing on disk, so a restart of it forgets every donation; set " +
			"appendonly yes and appendfsync everysec in its redis.conf", nil},
		{r.Persistence == "rdb", "the store only takes snapshots, so a crash of it forgets every donation since the " +
			"last; set appendonly yes and appendfsync everysec in its redis.conf", nil},
		{r.Persistence == "hidden", "the store has no append-only file, and refuses CONFIG, so whether it takes " +
			"snapshots cannot be seen: a restart may forget donations; " +
			"turn its persistence on with its provider, as an append-only file", nil},
		{r.Trouble != "", "the store's persistence does not work, so a restart would forget donations; look at its " +
			"disk and its log", []any{"trouble", r.Trouble}},
		{a.mode == "sentinel" && r.Version != "" && !r.MinReplicas && a.replicas == 0, "a primary that is cut off " +
			"from its sentinels goes on noting donations that will be lost; " +
			"set min-replicas-to-write 1 and min-replicas-max-lag 2 in every redis.conf, or start with -replicas", nil},
		{
			r.Version != "" && r.Replicas < a.replicas, "the store has fewer replicas than -replicas asks for, so no " +
				"donation can be noted until they are back",
			[]any{"replicas", r.Replicas, "asked_for", a.replicas},
		},
		{a.replicas > 0 && a.replicas < r.Replicas, "the store has more replicas than -replicas waits for: where a " +
			"failover takes another one while this primary goes on (a handover by hand, a partition), " +
			"answers are lost; wait for all of them", []any{"replicas", r.Replicas, "waited_for", a.replicas}},
		{
			r.ClockOffset.Abs() > maxClockOff, "the store's clock and this machine's disagree; set both by NTP",
			[]any{"store_ahead_seconds", seconds(r.ClockOffset)},
		},
	} {
		if c.applies && !a.said[c.advice] {
			a.logger.Warn(c.advice, c.about...)
		}
		a.said[c.advice] = c.applies
		if c.applies {
			applies = append(applies, c.advice)
		}
	}
	if jump := r.ClockOffset - a.offset; a.looked && jump.Abs() > maxClockOff {
		a.jumps.Inc()
		a.logger.Warn(
			"the store's clock jumped against this machine's, or another Redis has taken over; forwards, holds and "+
				"notes end early, backwards late",
			"by_seconds", seconds(jump),
		)
	}
	a.offset, a.looked = r.ClockOffset, true
	return applies
}
