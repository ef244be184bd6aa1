package cmdline

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// Environ is a whole environment, an entry for each variable, as NAME=value.
type Environ []string

// Lookup is an Env. Of a variable that is there twice it finds the first, as the standard
// library does.
func (e Environ) Lookup(name string) (string, bool) {
	for _, entry := range e {
		if found, value, _ := strings.Cut(entry, "="); found == name {
			return value, true
		}
	}
	return "", false
}

// ofOthers are variables that begin like a program's own and that others read: the
// project's programs and libraries, and its tests. They may stand in one environment file,
// or in the shell that starts a server.
var ofOthers = map[Prefix][]string{
	"NOTED_": {
		// notectl
		"ADDR", "CA", "CERT", "KEY", "LEDGER", "PLAINTEXT", "TIMEOUT", "TOKEN_FILE",
		// the receiver of client/php
		"ACCOUNTS", "CA_FILE", "CERT_FOLDER", "CERT_HOSTS", "CERT_ROOTS", "HANDLER", "IPN_VERIFY_URL", "PAYPAL_API",
		"PAYPAL_CLIENT_ID", "PAYPAL_SECRET_FILE", "SANDBOX_LEDGER", "URL", "WEBHOOK_ID", "WEBHOOK_MAX_AGE",
		"WEBHOOK_VERIFY",
		// server/ops/compose.yaml
		"VERSION",
		// tests
		"GATEWAY_FAILPOINT", "MUTANT", "PROGRAM", "SEED",
	},
}

// ofTests begins further names that tests read.
const ofTests = "TEST_"

// Kubernetes gives each process variables about each service: of a service called noted,
// NOTED_SERVICE_HOST, NOTED_SERVICE_PORT_GRPC=50051, and NOTED_PORT=tcp://10.0.0.1:50051.
// The last is told from a mistake of the operator's by its value.
var (
	serviceName  = regexp.MustCompile(`(^|_)(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	servicePort  = regexp.MustCompile(`(^|_)PORT$`)
	serviceValue = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// Strangers are the variables that begin with the prefix and are not known: most often a
// name that is misspelled, whose setting would silently be the default. Known are those of
// the settings, those that others of the project read, and those that Kubernetes gives. An
// empty variable counts as not set.
func (p Prefix) Strangers(environ Environ, settings Settings) (wrong []error) {
	known := slices.Clone(ofOthers[p])
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
		nearest := strings.TrimLeft(cli.SuggestFlag(settings, like, true), "-")
		if nearest == "" {
			wrong = append(wrong, Usagef("there is no variable %s; leave it out", variable))
			continue
		}
		wrong = append(wrong, Usagef("there is no variable %s; the nearest is %s", variable, p.Variable(nearest)))
	}
	return wrong
}
