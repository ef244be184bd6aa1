package main

import (
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/server"
)

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
)

// variables are the flags' names in the environment.
const variables = cmdline.Prefix("NOTED_")

// flags are all settings, in the order of the help. Each can also be given in the
// environment; the flag wins.
func (s *settings) flags(env cmdline.Env) cmdline.Settings {
	return variables.Settings(env, slices.Concat(
		s.storeFlags(), s.listenFlags(), s.limitFlags(), s.ruleFlags(), s.lossFlags(), s.processFlags())...)
}

// storeFlags say where the notes are kept.
func (s *settings) storeFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cli.BoolFlag{
			Name:        "dev",
			Destination: &s.dev,
			Usage: "Try it, with nothing else needed: a store in this process, lost when it ends; plaintext; " +
				"reflection on.",
		},
		&cli.StringFlag{
			Name:        "redis",
			Destination: &c.Redis,
			Usage: "`URL`The store. Required without -dev. redis://[user:password@]host:port[/db], rediss:// for " +
				"TLS; with sentinels or a cluster add further nodes as ?addr=host:port&addr=…, and with sentinels " +
				"&master_name=NAME. Give a password in the environment, where no list of processes shows it. See " +
				"-redis-ca for a CA of your own.",
		},
		&cli.StringFlag{
			Name:        "redis-mode",
			Destination: &c.RedisMode,
			Value:       server.DefaultRedisMode,
			Validator:   cmdline.OneOf(redisModes...),
			Usage:       "`MODE`The kind of -redis: " + strings.Join(redisModes, ", ") + ".",
		},
		&cli.StringFlag{
			Name:        "redis-cert",
			Destination: &c.RedisCert,
			Usage: "`FILE`The certificate and its chain, PEM, for a Redis that asks noted for one; with rediss:// " +
				"only, and for sentinels too. New contents of this file and the next two are taken up like those of " +
				"-tls-cert.",
		},
		&cli.StringFlag{
			Name:        "redis-key",
			Destination: &c.RedisKey,
			Usage:       "`FILE`The key of -redis-cert, PEM.",
		},
		&cli.StringFlag{
			Name:        "redis-ca",
			Destination: &c.RedisCA,
			Usage: "`FILE`The CAs of Redis's own certificate, PEM, in place of this machine's (which SSL_CERT_FILE " +
				"in the environment names).",
		},
	}
}

// listenFlags say where the service listens, and who may call.
func (s *settings) listenFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cli.StringFlag{
			Name:        "listen",
			Destination: &c.Listen,
			Value:       server.DefaultListen,
			Usage:       "`ADDR`The address for gRPC, host:port; port 0 takes a free port.",
		},
		&cli.StringFlag{
			Name:        "http-listen",
			Destination: &c.HTTPListen,
			Usage: "`ADDR`The address for the same calls as JSON over HTTP (curl is enough), gRPC-Web and gRPC; off " +
				"for none. Default off, with -dev " + devHTTPListen + ".",
		},
		&cli.StringFlag{
			Name:        "admin-listen",
			Destination: &c.AdminListen,
			Value:       server.DefaultAdminListen,
			Usage: "`ADDR`The address of /healthz, /readyz, /metrics and /debug/pprof, for operators only; off for " +
				"none.",
		},
		&cli.StringFlag{
			Name:        "tls-cert",
			Destination: &c.TLSCert,
			Usage: "`FILE`The server's certificate and its chain, PEM, for gRPC and HTTP. The service takes up new " +
				"contents of this file and of the next two within moments, or at SIGHUP. If they cannot be read, the " +
				"log says so and the old ones stay in use.",
		},
		&cli.StringFlag{
			Name:        "tls-key",
			Destination: &c.TLSKey,
			Usage:       "`FILE`The key of -tls-cert, PEM.",
		},
		&cli.StringFlag{
			Name:        "tls-client-ca",
			Destination: &c.TLSClientCA,
			Usage: "`FILE`The CAs of callers' certificates, PEM. Without -callers each caller needs such a " +
				"certificate; with -callers it may present a token instead.",
		},
		&cli.StringFlag{
			Name:        "callers",
			Destination: &c.Callers,
			Usage: "`FILE`The callers and their rights, see below. Without it every client that can connect may " +
				"call. New contents are taken up like those of -tls-cert.",
		},
		&cli.BoolFlag{
			Name:        "insecure",
			Destination: &c.Insecure,
			Usage: "Listen on more than this machine without TLS, or without -callers and -tls-client-ca. Every " +
				"client that can connect can then read, forge and suppress donations.",
		},
	}
}

// limitFlags bound how much callers may do.
func (s *settings) limitFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cli.IntFlag{
			Name:        "rate",
			Destination: &c.Rate,
			Validator:   cmdline.AtLeast(0),
			Usage: "`N`How many calls per second each caller may make, by its name, or by its address if it has no " +
				"name; 0 for any number. A request on a stream is a call. " +
				"A caller whose calls are denied may try 10 times a second.",
		},
		&cli.IntFlag{
			Name:        "burst",
			Destination: &c.Burst,
			Validator:   cmdline.AtLeast(0),
			Usage:       "`N`How many calls a silent caller may make at once; 0 for as many as -rate. Needs -rate.",
		},
		&cli.IntFlag{
			Name:        "max-in-flight",
			Destination: &c.MaxInFlight,
			Value:       server.DefaultMaxInFlight,
			Validator:   cmdline.AtLeast(1),
			Usage:       "`N`How many calls are answered at a time; a further call is refused at once.",
		},
		&cli.IntFlag{
			Name:        "max-connections",
			Destination: &c.MaxConnections,
			Value:       server.DefaultConnections,
			Validator:   cmdline.AtLeast(1),
			Usage:       "`N`How many connections all callers may have together; a further one is closed at once.",
		},
		&cli.IntFlag{
			Name:        "max-connections-per-address",
			Destination: &c.MaxConnectionsPerAddress,
			Value:       server.DefaultPerAddress,
			Validator:   cmdline.AtLeast(1),
			Usage: "`N`How many connections may come from one address. Behind a proxy all come from the proxy's " +
				"address: set it to -max-connections.",
		},
	}
}

// ruleFlags decide which messages are of the same donation.
func (s *settings) ruleFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cmdline.SpanFlag{
			Name:        "match-window",
			Destination: &c.Rules.MatchWindow,
			Value:       server.DefaultMatchWindow,
			Validator:   cmdline.Lasting(time.Millisecond),
			Usage:       "`TIME`How far apart the event times of two messages of one donation may lie.",
		},
		&cmdline.SpanFlag{
			Name:        "arrival-window",
			Destination: &c.Rules.ArrivalWindow,
			Value:       server.DefaultArrivalWindow,
			Validator:   cmdline.Lasting(time.Millisecond),
			Usage:       "`TIME`How far apart two messages of one donation may arrive, if either has no event time.",
		},
		&cmdline.SpanFlag{
			Name:        "retention",
			Destination: &c.Rules.Retention,
			Value:       server.DefaultRetention,
			Validator:   cmdline.Lasting(time.Millisecond),
			Usage: "`TIME`How long a note is kept after its donation; at least as long as either window. A message " +
				"whose event time is older is refused, and never taken for a new donation.",
		},
		&cli.StringFlag{
			Name:        "transaction-ids",
			Destination: (*string)(&c.Rules.TransactionIDs),
			Value:       string(server.Auto),
			Validator:   cmdline.OneOf(transactionIDs...),
			Usage: "`HOW`The meaning of unequal transaction ids on two channels: two donations (shared), nothing " +
				"(per-channel), or two donations once the series or the ledger has shown that the channels' ids " +
				"agree (auto). If they do not agree, shared doubles every donation. The metrics " +
				"noted_transaction_ids_agree and noted_channel_pairs_total show whether they do.",
		},
		&cli.StringFlag{
			Name:        "ledgers",
			Destination: &s.ledgers,
			Usage:       "`FILE`Settings of single ledgers, see below.",
		},
		&cli.StringFlag{
			Name:        "shadow-ledgers",
			Destination: &s.shadows,
			Usage: "`LEDGERS`Ledgers in shadow, parted by commas, or * for every ledger: to try Noted beside what " +
				"there is. Noted notes and counts their donations as ever, and answers FIRST to every message, with " +
				"the true verdict beside it (shadow_verdict). Their doubles are processed, as without Noted.",
		},
		&cli.IntFlag{
			Name:        "series-limit",
			Destination: &c.SeriesLimit,
			Value:       server.DefaultSeriesLimit,
			Validator:   cmdline.AtLeast(1),
			Usage: "`N`How many notes one series may hold at a time. A further note is refused, since the series id " +
				"looks like a constant.",
		},
	}
}

// lossFlags say how notes are kept from loss.
func (s *settings) lossFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cli.BoolFlag{
			Name:        "allow-eviction",
			Destination: &c.AllowEviction,
			Usage: "Run on a Redis that forgets donations when its memory is full (any maxmemory-policy but " +
				"noeviction). They will be processed twice.",
		},
		&cli.IntFlag{
			Name:        "replicas",
			Destination: &c.Replicas,
			Validator:   cmdline.AtLeast(0),
			Usage: "`N`How many replicas must have an answer before the caller gets it (WAIT); 0 leaves durability " +
				"to Redis. Give the number of all replicas: with fewer, a failover to a replica that lags loses " +
				"answers. If too few replicas have the answer in time, the caller gets DURABILITY_NOT_REACHED, and a " +
				"repeat with the same request id waits again.",
		},
		&cmdline.SpanFlag{
			Name:        "replicas-timeout",
			Destination: &c.ReplicasTimeout,
			Value:       server.DefaultReplicasTime,
			Validator:   cmdline.Lasting(time.Millisecond),
			Usage:       "`TIME`How long an answer waits for -replicas.",
		},
		&cli.StringFlag{
			Name:        "on-loss",
			Destination: &s.onLoss,
			Value:       report,
			Validator:   cmdline.OneOf(report, refuse),
			Usage: "`HOW`What to do when the store has lost notes (was emptied, restarted without its data, or taken " +
				"over by a replica that lagged): " + report + ", or " + refuse + " every call until an operator " +
				"sends POST /acknowledge to -admin-listen.",
		},
		&cli.StringFlag{
			Name:        "epoch",
			Destination: &c.Epoch,
			Usage: "`ID`The epoch that the store must be in, as the log tells it. With it the server notices a loss " +
				"that happened while no server ran.",
		},
	}
}

// processFlags are about the process.
func (s *settings) processFlags() []cli.Flag {
	c := &s.config
	flags := []cli.Flag{
		&cli.BoolFlag{
			Name:        "reflection",
			Destination: &c.Reflection,
			Usage:       "Let tools such as grpcurl ask for the contract.",
		},
		&cmdline.SpanFlag{
			Name:        "lame-duck",
			Destination: &c.LameDuck,
			Usage: "`TIME`How long noted still takes new calls after SIGTERM or SIGINT, while health and /readyz " +
				"already say that it stops. Give load balancers time to hear it: no call then meets a closed door. " +
				"-drain begins after it.",
		},
		&cmdline.SpanFlag{
			Name:        "drain",
			Destination: &c.Drain,
			Value:       server.DefaultDrain,
			Usage: "`TIME`How long calls may take to finish after SIGTERM or SIGINT and -lame-duck. A second signal " +
				"ends noted at once.",
		},
	}
	flags = append(flags, s.log.Flags(
		"Calls that went well are logged at debug, and the audit at any level. With -dev the format is text by default.")...)
	return append(flags, &cli.StringFlag{
		Name:        "audit-log",
		Destination: &s.auditLog,
		Usage: "`FILE`The file for the audit, as lines of JSON: calls that were denied, notes that were " +
			"forgotten, losses that were acknowledged. Without it they go to the log. SIGHUP opens it again, for " +
			"log rotation.",
	})
}
