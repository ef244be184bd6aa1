package server

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// advice tells the operator what is not well about a store that serves all the same, and what to do about it: each thing once, and again when it comes back.
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

func newAdvice(config Config, m *metrics.Metrics, logger *slog.Logger) advice {
	return advice{
		trial:           config.Trial,
		evictionAllowed: config.AllowEviction,
		mode:            config.RedisMode,
		replicas:        config.Replicas,
		logger:          logger,
		said:            map[string]bool{},
		jumps:           m.Counter("noted_store_clock_jumps_total"),
		clockOff:        m.Gauge("noted_store_clock_offset_seconds"),
	}
}

// The windows from which on the payments of a series that is as frequent can be taken for each other.
const (
	longMatch   = 24 * time.Hour
	longArrival = 7 * 24 * time.Hour
)

// adviseOnRules warns of windows that join what should stay apart. They can be meant, so they
// are not refused: where all series are monthly they cost nothing.
func adviseOnRules(config Config, logger *slog.Logger) {
	advise := func(fields []any, r store.Rules) {
		if r.MatchWindow >= longMatch {
			logger.Warn("the match window is a day or longer, so of a daily series today's payment can be taken for yesterday's, and is lost; "+
				"the times that the channels tell agree within seconds, so set -match-window to hours", append(fields, "match_window", r.MatchWindow.String())...)
		}
		if r.ArrivalWindow >= longArrival {
			logger.Warn("the arrival window is a week or longer, so of a weekly series a payment that bears no time can be taken for last week's, and is lost; "+
				"PayPal repeats itself for four days, so set -arrival-window to days", append(fields, "arrival_window", r.ArrivalWindow.String())...)
		}
	}
	advise(nil, config.usual())
	rulesOf := config.rulesByLedger()
	for _, ledger := range slices.Sorted(maps.Keys(config.Ledgers)) {
		if different := config.Ledgers[ledger]; different.MatchWindow != 0 || different.ArrivalWindow != 0 {
			advise([]any{"ledger", ledger}, rulesOf(ledger))
		}
	}
}

// give looks through a report.
func (a *advice) give(r store.Report) {
	a.clockOff.Set(r.ClockOffset.Seconds())
	if a.trial {
		return
	}
	for _, c := range []struct {
		is    bool
		what  string
		about []any
	}{
		{r.Version == "", "the store refuses INFO, so nobody here sees whether it forgets; look with its provider that it is Redis 6.2 or newer, with maxmemory-policy noeviction and its append-only file on", nil},
		{r.Version != "" && r.Policy == "", "the store does not tell its maxmemory-policy; see to it that it is noeviction, or donations will be forgotten", nil},
		{r.Evicts && a.evictionAllowed, "the store evicts keys when its memory is full, and -allow-eviction accepts that", []any{"policy", r.Policy}},
		{r.Unverified, "the certificate of the store is not checked (skip_verify in -redis), so a machine in between " +
			"can read and change every note; leave skip_verify out, " +
			"and name a CA of your own with -redis-ca", nil},
		{len(r.Lost) > 0, "a primary of the cluster cannot be used, so calls for its series are refused; the others are answered", []any{"lost", strings.Join(r.Lost, "; ")}},
		{r.Persistence == "none", "the store keeps nothing on disk, so a restart of it forgets every donation; set appendonly yes and appendfsync everysec in its redis.conf", nil},
		{r.Persistence == "rdb", "the store only takes snapshots, so a crash of it forgets every donation since the last; set appendonly yes and appendfsync everysec in its redis.conf", nil},
		{r.Persistence == "hidden", "the store has no append-only file, and refuses CONFIG, so whether it takes snapshots cannot be seen: a restart may forget donations; " +
			"turn its persistence on with its provider, as an append-only file", nil},
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
