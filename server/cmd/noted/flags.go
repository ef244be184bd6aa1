package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/server"
)

// errUsage marks an error that the person who started the program can mend.
var errUsage = errors.New("usage")

// usageError is an error whose text is a whole sentence.
type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// settings are the values of flags and environment.
type settings struct {
	config   server.Config
	dev      bool
	level    slog.Level
	auditLog string // the file; empty if the audit goes to the log
}

// devHTTPListen is where a trial answers JSON over HTTP.
const devHTTPListen = "127.0.0.1:8080"

// The values that some flags can take.
const (
	report = "report"
	refuse = "refuse"
)

var (
	redisModes     = []string{"standalone", "sentinel", "cluster"}
	transactionIDs = []string{string(server.Auto), string(server.PerChannel), string(server.Shared)}
	onLoss         = []string{report, refuse}
	logLevels      = []string{"debug", "info", "warn", "error"}
)

// flags are all settings, in the order of the help. Each can also be given in the
// environment; the flag wins. Every value is text here and is read in settingsOf, so that
// all mistakes are reported in the same way.
func flags(env func(string) (string, bool)) []cli.Flag {
	text := func(name, value, placeholder, help string) cli.Flag {
		return &cli.StringFlag{
			Name:    name,
			Value:   value,
			Usage:   "`" + placeholder + "`" + help,
			Sources: fromEnvironment(name, env),
		}
	}
	yes := func(name, help string) cli.Flag {
		return &cli.BoolFlag{Name: name, Usage: help, Sources: fromEnvironment(name, env)}
	}
	return []cli.Flag{
		yes("dev",
			"Try it: a store in this process that is lost with it, plaintext, reflection on. Needs nothing else."),
		text("redis", "", "URL",
			"The store. Required without -dev. redis://[user:password@]host:port[/db], rediss:// for TLS; "+
				"with sentinels or a cluster add further nodes as ?addr=host:port&addr=…, and with sentinels "+
				"&master_name=NAME. Give a password in the environment, where no list of processes shows it. "+
				"See -redis-ca for a CA of your own."),
		text("redis-mode", server.DefaultRedisMode, "MODE", "The kind of -redis: "+strings.Join(redisModes, ", ")+"."),
		text("redis-cert", "", "FILE",
			"The certificate and its chain, PEM, for a Redis that asks noted for one; with rediss:// only, and for "+
				"sentinels too. New contents of this file and the next two are taken up like those of -tls-cert."),
		text("redis-key", "", "FILE", "The key of -redis-cert, PEM."),
		text("redis-ca", "", "FILE",
			"The CAs of Redis's own certificate, PEM, in place of this machine's (which SSL_CERT_FILE in the "+
				"environment names)."),
		text("listen", server.DefaultListen, "ADDR", "The address for gRPC, host:port; port 0 takes a free port."),
		text("http-listen", "", "ADDR",
			"The address for the same calls as JSON over HTTP (curl is enough), gRPC-Web and gRPC; off for none. "+
				"Default off, with -dev "+devHTTPListen+"."),
		text("admin-listen", server.DefaultAdminListen, "ADDR",
			"The address of /healthz, /readyz, /metrics and /debug/pprof, for operators only; off for none."),
		text("tls-cert", "", "FILE",
			"The server's certificate and its chain, PEM, for gRPC and HTTP. New contents of this file and the next "+
				"two are taken up within moments, or at SIGHUP; the log tells if they cannot be read, and the old "+
				"ones stay in use."),
		text("tls-key", "", "FILE", "The key of -tls-cert, PEM."),
		text("tls-client-ca", "", "FILE",
			"The CAs of callers' certificates, PEM. Without -callers each caller needs such a certificate; with "+
				"-callers it may present a token instead."),
		text("callers", "", "FILE",
			"The callers and their rights, see below. Without it every client that can connect may call. New "+
				"contents are taken up like those of -tls-cert."),
		yes("insecure",
			"Listen on more than this machine without TLS, or without -callers and -tls-client-ca. Every client "+
				"that can connect can then read, forge and suppress donations."),
		text("rate", "0", "N",
			"How many calls per second each caller may make, by its name, or by its address if it has no name; 0 "+
				"for any number. A request on a stream is a call. "+
				"A caller whose calls are denied may try 10 times a second."),
		text("burst", "0", "N",
			"How many calls a caller that was silent may make at once; 0 for as many as -rate, which it needs."),
		text("max-in-flight", strconv.Itoa(server.DefaultMaxInFlight), "N",
			"How many calls are answered at a time. One more is refused at once instead of waiting for all of them."),
		text("max-connections", strconv.Itoa(server.DefaultConnections), "N",
			"How many connections all callers may have together. One more is closed at once."),
		text("max-connections-per-address", strconv.Itoa(server.DefaultPerAddress), "N",
			"How many connections may come from one address. Behind a proxy all come from the proxy's address: set "+
				"it to -max-connections."),
		text("match-window", days(server.DefaultMatchWindow), "TIME",
			"How far apart the event times of two messages of one donation may lie."),
		text("arrival-window", days(server.DefaultArrivalWindow), "TIME",
			"How far apart two messages of one donation may arrive, if either has no event time."),
		text("retention", days(server.DefaultRetention), "TIME",
			"How long a note is kept after its donation; at least as long as either window. A message with an event "+
				"time that comes later is refused, and never taken for a new donation."),
		text("transaction-ids", string(server.Auto), "HOW",
			"The meaning of unequal transaction ids on two channels: two donations (shared), nothing (per-channel), "+
				"or two donations once the series or the ledger has shown that the channels' ids agree (auto). "+
				"If they do not agree, shared doubles every donation. The metrics noted_transaction_ids_agree and "+
				"noted_channel_pairs_total show whether they do."),
		text("ledgers", "", "FILE", "Settings of single ledgers, see below."),
		text("series-limit", strconv.Itoa(server.DefaultSeriesLimit), "N",
			"How many notes one series may hold at a time. One more is refused, since the series id looks like a "+
				"constant."),
		yes("allow-eviction",
			"Run on a Redis that forgets donations when its memory is full (any maxmemory-policy but noeviction). "+
				"They will be processed twice."),
		text("replicas", "0", "N",
			"How many replicas must have an answer before the caller gets it (WAIT); 0 leaves durability to Redis. "+
				"Give the number that there are: with fewer, a failover to a replica that lags loses answers. If "+
				"too few have it in time, the caller gets DURABILITY_NOT_REACHED, and a repeat with the same "+
				"request id waits again."),
		text("replicas-timeout", days(server.DefaultReplicasTime), "TIME", "How long an answer waits for -replicas."),
		text("on-loss", report, "HOW",
			"What to do when the store has lost notes (was emptied, restarted without its data, or taken over by a "+
				"replica that lagged): "+report+", or "+refuse+" every call until an operator sends POST "+
				"/acknowledge to -admin-listen."),
		text("epoch", "", "ID",
			"The epoch that the store must be in, as the log tells it. With it the server notices a loss that "+
				"happened while no server ran."),
		yes("reflection", "Let tools such as grpcurl ask for the contract."),
		text("drain", days(server.DefaultDrain), "TIME",
			"How long calls may take to finish after SIGTERM or SIGINT; a second signal does not wait."),
		text("log-level", "info", "LEVEL",
			"The least level that goes to standard error: "+strings.Join(logLevels, ", ")+". Calls that went well are "+
				"logged at debug, and the audit at any level."),
		text("audit-log", "", "FILE",
			"The file for the audit, as lines of JSON: calls that were denied, notes that were forgotten, losses that "+
				"were acknowledged. Without it they go to the log. SIGHUP opens it again, for log rotation."),
	}
}

// envName is the name of a flag in the environment.
func envName(flag string) string {
	return "NOTED_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment reads a flag from the environment of run. An empty variable counts as
// not set.
func fromEnvironment(flag string, env func(string) (string, bool)) cli.ValueSourceChain {
	return cli.NewValueSourceChain(variable{name: envName(flag), env: env})
}

type variable struct {
	name string
	env  func(string) (string, bool)
}

// Lookup is of cli.ValueSource, as are the other two.
func (v variable) Lookup() (string, bool) {
	value, ok := v.env(v.name)
	return value, ok && value != ""
}

func (v variable) String() string   { return v.name }
func (v variable) GoString() string { return v.name }

// parse reads arguments and environment; it gives no settings where it has printed the
// help.
func parse(ctx context.Context, args []string, env func(string) (string, bool), stdout io.Writer) (*settings, error) {
	var found *settings
	command := &cli.Command{
		Name:            "noted",
		Flags:           flags(env),
		HideVersion:     true,
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       io.Discard, // main prints what went wrong, once
		ExitErrHandler:  func(context.Context, *cli.Command, error) {},
		OnUsageError:    func(_ context.Context, _ *cli.Command, err error, _ bool) error { return err },
		Action: func(_ context.Context, c *cli.Command) (err error) {
			found, err = settingsOf(c)
			return err
		},
	}
	command.CustomRootCommandHelpTemplate = help(command.Flags)
	err := command.Run(ctx, args)
	if err != nil && !errors.Is(err, errUsage) {
		err = usage(
			"%s; noted -help lists the flags",
			strings.Replace(err.Error(), "flag provided but not defined: ", "there is no flag ", 1),
		)
	}
	return found, err
}

func settingsOf(c *cli.Command) (*settings, error) {
	if c.Args().Present() {
		return nil, usage(
			"%q is no flag, and noted takes nothing else; write -flag=value where a value looks like one",
			c.Args().First(),
		)
	}
	var wrong []error
	oneOf := func(flag string, values []string) string {
		value := c.String(flag)
		if !slices.Contains(values, value) {
			wrong = append(
				wrong,
				usage("%s is %q; it must be one of %s", both(flag), value, strings.Join(values, ", ")),
			)
		}
		return value
	}
	duration := func(flag string, least time.Duration) time.Duration {
		d, err := parseDuration(c.String(flag))
		if err == nil && d < least {
			err = fmt.Errorf("%q is too short", c.String(flag))
		}
		if err != nil {
			wrong = append(wrong, usage("%s: %w; write a time such as 30s, 2h or 45d", both(flag), err))
		}
		return d
	}
	number := func(flag string, least int) int {
		n, err := strconv.Atoi(c.String(flag))
		if err != nil || n < least {
			wrong = append(
				wrong,
				usage("%s is %q; it must be a number of at least %d", both(flag), c.String(flag), least),
			)
		}
		return n
	}
	s := &settings{dev: c.Bool("dev"), auditLog: c.String("audit-log"), config: server.Config{
		Listen:      c.String("listen"),
		HTTPListen:  c.String("http-listen"),
		AdminListen: c.String("admin-listen"),
		Redis:       c.String("redis"),
		RedisMode:   oneOf("redis-mode", redisModes),
		Rules: server.Rules{
			MatchWindow:    duration("match-window", time.Millisecond),
			ArrivalWindow:  duration("arrival-window", time.Millisecond),
			Retention:      duration("retention", time.Millisecond),
			TransactionIDs: server.TransactionIDs(oneOf("transaction-ids", transactionIDs)),
		},
		Reflection:    c.Bool("reflection") || c.Bool("dev") && !c.IsSet("reflection"),
		Drain:         max(1, duration("drain", 0)), // 0 means no time at all here, and the default in server.Config
		SeriesLimit:   number("series-limit", 1),
		AllowEviction: c.Bool("allow-eviction"),

		Replicas:        number("replicas", 0),
		ReplicasTimeout: duration("replicas-timeout", time.Millisecond),
		RefuseAfterLoss: oneOf("on-loss", onLoss) == refuse,
		Epoch:           c.String("epoch"),

		RedisCert: c.String("redis-cert"),
		RedisKey:  c.String("redis-key"),
		RedisCA:   c.String("redis-ca"),

		TLSCert:     c.String("tls-cert"),
		TLSKey:      c.String("tls-key"),
		TLSClientCA: c.String("tls-client-ca"),
		Callers:     c.String("callers"),
		Insecure:    c.Bool("insecure"),

		Rate:                     number("rate", 0),
		Burst:                    number("burst", 0),
		MaxInFlight:              number("max-in-flight", 1),
		MaxConnections:           number("max-connections", 1),
		MaxConnectionsPerAddress: number("max-connections-per-address", 1),
	}}
	if s.dev && !c.IsSet("http-listen") {
		s.config.HTTPListen = devHTTPListen
	}
	s.level.UnmarshalText([]byte(oneOf("log-level", logLevels)))
	if file := c.String("ledgers"); file != "" {
		var err error
		if s.config.Ledgers, err = readLedgers(file); err != nil {
			wrong = append(wrong, usage("%s: %w", both("ledgers"), err))
		}
	}
	if s.dev && s.config.TLSCert != "" {
		wrong = append(
			wrong,
			usage(
				"%s is plaintext, and for this machine only; leave out %s, or say where Redis is with -redis",
				both("dev"),
				both("tls-cert"),
			),
		)
	}
	if s.dev && s.config.RedisCert+s.config.RedisKey+s.config.RedisCA != "" {
		wrong = append(wrong, usage("-redis-cert, -redis-key and -redis-ca are for a Redis, and %s brings a store of "+
			"its own; leave them out, or say where Redis is with -redis", both("dev")))
	}
	for flag, asked := range map[string]bool{"epoch": s.config.Epoch != "", "on-loss": s.config.RefuseAfterLoss} {
		if s.dev && asked {
			wrong = append(
				wrong,
				usage(
					"%s is for a service that is relied on, and what %s notes is lost with its process; leave one "+
						"out, or say where Redis is with -redis",
					both(flag),
					both("dev"),
				),
			)
		}
	}
	switch {
	case s.dev && s.config.Redis != "":
		wrong = append(
			wrong,
			usage(
				"%s and %s are both given; -dev brings a store of its own, so leave one out",
				both("dev"),
				both("redis"),
			),
		)
	case s.dev && s.config.Replicas > 0:
		wrong = append(
			wrong,
			usage("%s asks for replicas, and %s has none; leave one out", both("replicas"), both("dev")),
		)
	case !s.dev && s.config.Redis == "":
		wrong = append(
			wrong,
			usage(
				"there is no store: say where Redis is with -redis redis://host:6379 (or %s), or try Noted without "+
					"one with -dev",
				envName("redis"),
			),
		)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return s, nil
}

// both names a flag by both its names, since the mistake may be in either place.
func both(flag string) string { return fmt.Sprintf("-%s (%s)", flag, envName(flag)) }

// parseDuration reads what time.ParseDuration reads, and days before it: operators think
// of a retention in days.
func parseDuration(s string) (time.Duration, error) {
	whole, rest, isDays := strings.Cut(s, "d")
	if !isDays {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("%q is no time", s)
		}
		return d, nil
	}
	n, err := strconv.ParseUint(whole, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no time", s)
	}
	d := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return d, nil
	}
	part, err := time.ParseDuration(rest)
	if err != nil || part < 0 {
		return 0, fmt.Errorf("%q is no time", s)
	}
	return d + part, nil
}

// days writes a duration as an operator would.
func days(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}
