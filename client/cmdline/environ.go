package cmdline

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// Environ is a whole environment, an entry for each variable, as NAME=value.
type Environ []string

// Lookup is an Env. For a repeated variable it finds the first, like the standard
// library.
func (e Environ) Lookup(name string) (string, bool) {
	for _, entry := range e {
		if found, value, _ := strings.Cut(entry, "="); found == name {
			return value, true
		}
	}
	return "", false
}

// ofOthers are the variables with a program's prefix that other programs, libraries and
// tests of the project read. They may be in the same environment file, or in the shell that
// starts a server.
var ofOthers = map[Prefix][]string{
	"NOTED_": {
		// notectl
		"ADDR", "CA", "CERT", "KEY", "LEDGER", "PLAINTEXT", "TIMEOUT", "TOKEN_FILE",
		// the receiver of client/php
		"ACCOUNTS", "CA_FILE", "CERT_FOLDER", "CERT_HOSTS", "CERT_ROOTS", "HANDLER", "IPN_VERIFY_URL", "PAYPAL_API",
		"PAYPAL_CLIENT_ID", "PAYPAL_SECRET_FILE", "SANDBOX_LEDGER", "URL", "WEBHOOK_ID", "WEBHOOK_MAX_AGE",
		"WEBHOOK_VERIFY",
		// its plugin for WordPress
		"TOKEN",
		// server/ops/compose.yaml
		"VERSION",
		// tests
		"GATEWAY_FAILPOINT", "MUTANT", "PROGRAM", "SEED",
	},
}

// ServerVariables are the variables of the server's flags, without the prefix. notectl may
// run in the server's environment.
var ServerVariables = []string{
	"ADMIN_LISTEN", "ALLOW_EVICTION", "ARRIVAL_WINDOW", "AUDIT_LOG", "BURST", "CALLERS", "DEV", "DRAIN",
	"EPOCH", "HTTP_LISTEN", "INSECURE", "LAME_DUCK", "LEDGERS", "LISTEN", "LOG_FORMAT", "LOG_LEVEL",
	"MATCH_WINDOW", "MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS", "MAX_IN_FLIGHT", "ON_LOSS", "RATE",
	"REDIS", "REDIS_CA", "REDIS_CERT", "REDIS_KEY", "REDIS_MODE", "REFLECTION", "REPLICAS",
	"REPLICAS_TIMEOUT", "RETENTION", "SERIES_LIMIT", "SHADOW_LEDGERS", "TLS_CERT", "TLS_CLIENT_CA",
	"TLS_KEY", "TRANSACTION_IDS",
}

// ofTests is the prefix of further variables of tests.
const ofTests = "TEST_"

// Kubernetes sets variables about each service: for a service called noted
// NOTED_SERVICE_HOST, NOTED_SERVICE_PORT_GRPC=50051, and NOTED_PORT=tcp://10.0.0.1:50051.
// Only the value distinguishes the last variable from an operator's mistake.
var (
	serviceName = regexp.MustCompile(
		`(^|_)(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`,
	)
	servicePort  = regexp.MustCompile(`(^|_)PORT$`)
	serviceValue = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// nearest is the flag name most like the given name; empty without flags.
func nearest(flags []cli.Flag, like string) string {
	return strings.TrimLeft(cli.SuggestFlag(flags, like, true), "-")
}

// Nearest is the name among names that is most like a misspelled name.
func Nearest(name string, names []string) string {
	flags := make([]cli.Flag, len(names))
	for i, name := range names {
		flags[i] = &cli.StringFlag{Name: name}
	}
	return nearest(flags, name)
}

// Unknown returns errors for unknown variables with the prefix. They are usually
// misspelled names, whose settings would silently keep their defaults. The known
// variables are those of the settings, of more (without the prefix), of the project's
// other programs, and of Kubernetes. An empty variable counts as not set.
func (p Prefix) Unknown(environ Environ, settings Settings, more ...string) (wrong []error) {
	known := slices.Concat(ofOthers[p], more)
	for _, flag := range settings {
		known = append(known, strings.TrimPrefix(p.Variable(flag.Names()[0]), string(p)))
	}
	var seen []string
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		name, begins := strings.CutPrefix(variable, string(p))
		if !begins || value == "" || slices.Contains(known, name) || slices.Contains(seen, name) ||
			strings.HasPrefix(name, ofTests) || serviceName.MatchString(name) ||
			servicePort.MatchString(name) && serviceValue.MatchString(value) {
			continue
		}
		seen = append(seen, name)
		like := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		nearest := nearest(settings, like)
		if nearest == "" {
			wrong = append(wrong, Usagef("there is no variable %s; leave it out", variable))
			continue
		}
		wrong = append(wrong, Usagef("there is no variable %s; the nearest is %s", variable, p.Variable(nearest)))
	}
	return wrong
}
