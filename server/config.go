package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/limits"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// Off, as AdminListen or HTTPListen, means no such listener.
const Off = "off"

// Config has all settings of a server. A zero field means its default, so that
// Config{Redis: "redis://…"} is a whole configuration.
type Config struct {
	// Listen is the address for gRPC, host:port; port 0 takes a free port, which Addr
	// tells. Default 127.0.0.1:50051.
	Listen string
	// HTTPListen is the address for the same calls as JSON over HTTP (the Connect
	// protocol), gRPC-Web and gRPC; Off turns it off. Default Off.
	HTTPListen string
	// AdminListen is the address of /healthz, /readyz, /acknowledge, /metrics and
	// /debug/pprof, for operators only; Off turns it off. Default 127.0.0.1:9090.
	AdminListen string
	// Redis is the URL of the store, in the form that the parser of go-redis for the
	// mode reads. Required. It may hold a password and is never logged.
	Redis string
	// RedisMode is standalone, sentinel or cluster. Default standalone.
	RedisMode string

	// RedisCert and RedisKey are the PEM files of the certificate for a Redis that asks
	// Noted for one. RedisCA is that of the CAs of Redis's own certificate; empty means
	// those of the system. They apply to sentinels and every node of a cluster too. New
	// contents are taken up while the server runs.
	RedisCert, RedisKey, RedisCA string

	// TLSCert and TLSKey are the PEM files of the server's certificate and its key, for
	// all doors; empty means plaintext. TLSClientCA is that of the CAs of callers'
	// certificates: without Callers each caller needs such a certificate, with Callers
	// it may present a token instead. New contents are taken up while the server runs.
	TLSCert, TLSKey, TLSClientCA string
	// Callers is the file of callers and their ledgers and verbs; see `noted -help`.
	// Empty means that every client that can connect may call. New contents are taken up
	// while the server runs.
	Callers string
	// Insecure lets the doors listen on more than this machine although callers are not
	// identified or their calls can be read on the way.
	Insecure bool

	// Rate is how many calls per second each caller may make, by name, or by address if
	// it has no name. Burst is how many it may make at once; it needs a Rate. Default no
	// limit, and Burst as Rate. A caller whose calls are denied may try ten times a
	// second.
	Rate, Burst int
	// MaxInFlight is how many calls are answered at a time; one more is refused as
	// OVERLOADED. Default 2048: at 20,000 calls per second the last of them waits for a
	// tenth of a second, which every caller has, and they take less than 100 MB.
	MaxInFlight int
	// MaxConnections is how many connections all callers may have together,
	// MaxConnectionsPerAddress how many may come from one address (of IPv6, from one
	// /64). Default 4096 and 1024: an idle connection takes about 100 KB, and one
	// machine cannot have them all.
	MaxConnections, MaxConnectionsPerAddress int

	// Rules are the settings of every ledger that Ledgers does not name.
	Rules Rules
	// Ledgers are settings of single ledgers, by name. A field that is zero is as in
	// Rules.
	Ledgers map[string]LedgerRules // :: ledger → its settings
	// ShadowLedgers are the ledgers in shadow; "*" is every ledger. Noted notes and counts
	// their donations, and answers FIRST to each message, with the true verdict beside it
	// (shadow_verdict). Every double is processed, as without Noted. Default none.
	ShadowLedgers []string
	// SeriesLimit is how many notes one series may hold at a time; one more is refused,
	// since the series id looks like a constant. Default 512.
	SeriesLimit int

	// Reflection lets tools such as grpcurl ask for the contract.
	Reflection bool
	// LameDuck is how long the server goes on answering once it is asked to stop and says
	// that it is not ready, so that load balancers hear it before a door closes. Drain
	// begins after it. Default 0.
	LameDuck time.Duration
	// Drain is how long calls may take to finish once the doors are closed; calls that
	// still run then are cut off. Default 30s.
	Drain time.Duration
	// MaxDeadline is the longest that a call may take; a shorter deadline of the caller
	// counts. The store refuses to note after it. Default 5s.
	MaxDeadline time.Duration
	// AllowEviction lets the server run on a Redis that forgets donations when its memory
	// is full. They will be processed twice.
	AllowEviction bool
	// Replicas is how many replicas must have everything that an answer depends on
	// before the caller gets it. If too few have it in time, the caller gets
	// DURABILITY_NOT_REACHED, and a repeat with the same request id waits again. With as
	// many as there are, no failover loses an answer; with fewer, a failover to a
	// replica that lags may. Default 0: an answer is as durable as Redis is configured.
	Replicas int
	// ReplicasTimeout is how long an answer waits for them. Default 500ms.
	ReplicasTimeout time.Duration
	// Epoch is the id of the epoch that the store must be in, as the log told it. Any
	// other epoch means that the store lost notes while no server ran. Default any
	// epoch.
	Epoch string
	// RefuseAfterLoss refuses every call, as STORE_WENT_BACK, once the store has lost
	// notes, until an operator acknowledges the loss on the admin listener. Default
	// false: the loss is only reported, and the donations of the lost notes are FIRST
	// again.
	RefuseAfterLoss bool
	// Trial says that nothing in the store survives its process, so that health and log
	// say so too.
	Trial bool

	// Logger gets the lines for the operator. Default slog.Default().
	Logger *slog.Logger
	// Audit gets a line for each call that was denied, note that was forgotten and loss
	// that was acknowledged. Its level drops none of them. Default Logger.
	Audit *slog.Logger

	// TracerProvider gets a span for each call, for each question to the store, and for each
	// round trip to Redis. A call goes on with the trace of its traceparent. Default nil:
	// nothing is traced, and tracing costs nothing.
	TracerProvider trace.TracerProvider

	// age is how old a connection gets, and grace how long its calls may take after that.
	// Tests shorten them.
	age, grace time.Duration
	censusRest time.Duration // between two walks through all notes; 0 for its own
}

// Rules are the settings that a decision depends on. A zero duration means its default.
type Rules struct {
	// MatchWindow is how far apart the event times of two messages of one donation may
	// lie. Default 2h: the channels' times should agree within seconds, an hour's error
	// from a wrong daylight-saving label still pairs, and it is far below a day.
	MatchWindow time.Duration
	// ArrivalWindow is how far apart two messages may arrive if either has no event
	// time. Default 96h: PayPal redelivers for about 4 days.
	ArrivalWindow time.Duration
	// Retention is how long a note is kept after its donation. Default 45 days: webhooks
	// can be resent by hand for 30. It must not be shorter than a window: a message
	// between the two would find its note forgotten, and its donation would be FIRST
	// again.
	Retention time.Duration
	// SkewAhead is how far ahead of the store's clock an event time may lie. Default 24h:
	// a wrong time zone must not lose a donation.
	SkewAhead time.Duration
	// TransactionIDs is the meaning of unequal transaction ids on two channels. Default
	// Auto.
	TransactionIDs TransactionIDs
}

// TransactionIDs is the meaning of unequal transaction ids on two channels. On one
// channel they always mean two donations.
type TransactionIDs string

// The settings of transaction ids.
const (
	// Auto learns from the series and the ledger whether two channels give a donation the
	// same id. If they do, unequal ids mean two donations; otherwise they mean nothing.
	Auto TransactionIDs = "auto"
	// PerChannel means that an id of one channel means nothing on another.
	PerChannel TransactionIDs = "per-channel"
	// Shared means that a donation has one id on all channels: unequal ids mean two
	// donations.
	Shared TransactionIDs = "shared"
)

// AllTransactionIDs are the settings of transaction ids, the default first.
var AllTransactionIDs = []TransactionIDs{Auto, PerChannel, Shared}

// LedgerRules are the settings of one ledger. A zero field is as in Config.Rules.
type LedgerRules struct {
	MatchWindow    time.Duration
	ArrivalWindow  time.Duration
	Retention      time.Duration
	TransactionIDs TransactionIDs
}

// The defaults.
const (
	DefaultListen        = "127.0.0.1:50051"
	DefaultAdminListen   = "127.0.0.1:9090"
	DefaultRedisMode     = "standalone"
	DefaultMatchWindow   = 2 * time.Hour
	DefaultArrivalWindow = 96 * time.Hour
	DefaultRetention     = 45 * 24 * time.Hour
	DefaultSkewAhead     = 24 * time.Hour
	DefaultSeriesLimit   = 512
	DefaultDrain         = 30 * time.Second
	DefaultMaxInFlight   = 2048
	DefaultConnections   = 4096
	DefaultPerAddress    = 1024
	DefaultMaxDeadline   = 5 * time.Second
	DefaultReplicasTime  = 500 * time.Millisecond
)

// withDefaults fills in the fields that are zero.
func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, DefaultListen)
	c.HTTPListen = cmp.Or(c.HTTPListen, Off)
	c.AdminListen = cmp.Or(c.AdminListen, DefaultAdminListen)
	c.RedisMode = cmp.Or(c.RedisMode, DefaultRedisMode)
	c.Rules.MatchWindow = cmp.Or(c.Rules.MatchWindow, DefaultMatchWindow)
	c.Rules.ArrivalWindow = cmp.Or(c.Rules.ArrivalWindow, DefaultArrivalWindow)
	c.Rules.Retention = cmp.Or(c.Rules.Retention, DefaultRetention)
	c.Rules.SkewAhead = cmp.Or(c.Rules.SkewAhead, DefaultSkewAhead)
	c.Rules.TransactionIDs = cmp.Or(c.Rules.TransactionIDs, Auto)
	c.SeriesLimit = cmp.Or(c.SeriesLimit, DefaultSeriesLimit)
	c.Drain = cmp.Or(c.Drain, DefaultDrain)
	c.age = cmp.Or(c.age, limits.ConnectionAge)
	c.grace = cmp.Or(c.grace, limits.AgeGrace)
	c.Burst = cmp.Or(c.Burst, c.Rate)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, DefaultMaxInFlight)
	c.MaxConnections = cmp.Or(c.MaxConnections, DefaultConnections)
	c.MaxConnectionsPerAddress = cmp.Or(c.MaxConnectionsPerAddress, DefaultPerAddress)
	c.MaxDeadline = cmp.Or(c.MaxDeadline, DefaultMaxDeadline)
	c.ReplicasTimeout = cmp.Or(c.ReplicasTimeout, DefaultReplicasTime)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.Audit = cmp.Or(c.Audit, c.Logger)
	return c
}

// check finds all settings that make no sense.
func (c Config) check() error {
	var wrong []error
	atLeast := func(name string, d, least time.Duration) {
		if d < least {
			wrong = append(wrong, fmt.Errorf("%s is %v; it must be at least %v", name, d, least))
		}
	}
	if c.Redis == "" {
		wrong = append(wrong, errors.New("the URL of the store, Redis, is missing"))
	}
	few := func(name string, n, least int) {
		if n < least {
			wrong = append(wrong, fmt.Errorf("%s is %d; it must be at least %d", name, n, least))
		}
	}
	few("SeriesLimit", c.SeriesLimit, 1)
	few("Replicas", c.Replicas, 0)
	few("Rate", c.Rate, 0)
	few("Burst", c.Burst, 0)
	if c.Burst > 0 && c.Rate == 0 {
		wrong = append(wrong, errors.New("-burst needs -rate: without one nothing is limited"))
	}
	few("MaxInFlight", c.MaxInFlight, 1)
	few("MaxConnections", c.MaxConnections, 1)
	few("MaxConnectionsPerAddress", c.MaxConnectionsPerAddress, 1)
	if (c.RedisCert == "") != (c.RedisKey == "") {
		wrong = append(wrong, errors.New("-redis-cert and -redis-key belong together, and one is missing"))
	}
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		wrong = append(wrong, errors.New("-tls-cert and -tls-key belong together, and one is missing"))
	case c.TLSClientCA != "" && c.TLSCert == "":
		wrong = append(
			wrong,
			errors.New("-tls-client-ca needs -tls-cert and -tls-key: without TLS callers have no certificates"),
		)
	}
	if c.Replicas > 0 && c.Trial {
		wrong = append(wrong, errors.New("-replicas asks for replicas, and a trial's store has none"))
	}
	if strings.Trim(c.Epoch, "abcdefghijklmnopqrstuvwxyz0123456789+") != "" {
		wrong = append(wrong, fmt.Errorf("the Epoch %q is not an epoch: take it from the log of the server", c.Epoch))
	}
	if c.RefuseAfterLoss && c.AdminListen == Off {
		wrong = append(wrong, errors.New("-on-loss refuse needs -admin-listen, where a loss is acknowledged"))
	}
	atLeast("ReplicasTimeout", c.ReplicasTimeout, time.Millisecond)
	atLeast("LameDuck", c.LameDuck, 0)
	atLeast("Drain", c.Drain, 0)
	atLeast("MaxDeadline", c.MaxDeadline, time.Millisecond)
	atLeast("MatchWindow", c.Rules.MatchWindow, time.Millisecond)
	atLeast("ArrivalWindow", c.Rules.ArrivalWindow, time.Millisecond)
	atLeast("Retention", c.Rules.Retention, time.Millisecond)
	atLeast("SkewAhead", c.Rules.SkewAhead, time.Millisecond)
	remembers := func(whose string, r store.Rules) {
		if longest := max(r.MatchWindow, r.ArrivalWindow); r.Retention > 0 && r.Retention < longest {
			wrong = append(
				wrong,
				fmt.Errorf(
					"%sthe retention is %v, and a window %v: a message that comes between the two finds its note "+
						"forgotten, and its donation is processed twice; "+
						"set a -retention of at least %[3]v, or a shorter -arrival-window or -match-window",
					whose,
					r.Retention,
					longest,
				),
			)
		}
	}
	for _, ledger := range c.ShadowLedgers {
		if err := contract.Word(ledger, contract.MaxLedger); err != nil {
			wrong = append(wrong, fmt.Errorf("-shadow-ledgers: ledger %q: its name %w", ledger, err))
		}
	}
	rulesOf := c.rulesByLedger()
	remembers("", c.commonRules())
	for ledger, rules := range c.Ledgers {
		if rules.Retention != 0 || rules.ArrivalWindow != 0 || rules.MatchWindow != 0 {
			remembers(fmt.Sprintf("ledger %q of -ledgers: ", ledger), rulesOf(ledger))
		}
		if err := contract.Word(ledger, contract.MaxLedger); err != nil {
			wrong = append(wrong, fmt.Errorf("ledger %q: its name %w", ledger, err))
		}
		atLeast(fmt.Sprintf("ledger %q: MatchWindow", ledger), rules.MatchWindow, 0)
		atLeast(fmt.Sprintf("ledger %q: ArrivalWindow", ledger), rules.ArrivalWindow, 0)
		atLeast(fmt.Sprintf("ledger %q: Retention", ledger), rules.Retention, 0)
		if _, ok := transactionIDs[cmp.Or(rules.TransactionIDs, Auto)]; !ok {
			wrong = append(wrong, fmt.Errorf("ledger %q: TransactionIDs is %q; it must be one of %v",
				ledger, rules.TransactionIDs, AllTransactionIDs))
		}
	}
	if _, ok := transactionIDs[c.Rules.TransactionIDs]; !ok {
		wrong = append(
			wrong,
			fmt.Errorf("TransactionIDs is %q; it must be one of %v", c.Rules.TransactionIDs, AllTransactionIDs),
		)
	}
	return errors.Join(wrong...)
}
