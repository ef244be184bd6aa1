package main

import (
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/server"
)

// settings are the values of flags and environment.
type settings struct {
	config   server.Config
	dev      bool
	log      cmdline.Log
	auditLog string // the file; empty if the audit goes to the log
	changed  string // the settings that differ from their defaults; without secrets

	// These are read into the others.
	onLoss, ledgers, shadows string
}

// parse reads arguments and environment; it gives no settings if it has printed the help.
func parse(
	ctx context.Context, args []string, environ cmdline.Environ, stdout io.Writer,
) (found *settings, err error) {
	s := &settings{}
	flags := s.flags(environ.Lookup)
	err = cmdline.Run(ctx, "noted", help(flags), flags, args, stdout, func(_ context.Context, c *cli.Command) error {
		if err := cmdline.NoArguments(c); err != nil {
			return err
		}
		found = s
		s.changed = strings.Join(flags.Changed(toldElsewhere...), " ")
		return errors.Join(slices.Concat(variables.Unknown(environ, flags), flags.Mistakes(), s.finish(c))...)
	})
	return found, err
}

// toldElsewhere are the flags that the log has elsewhere. The URL of the store may hold a
// password.
var toldElsewhere = []string{"dev", "redis", "listen", "http-listen", "admin-listen"}

// finish derives what follows from the flags, and tells which of them do not go together.
func (s *settings) finish(c *cli.Command) (wrong []error) {
	s.config.Reflection = s.config.Reflection || s.dev && !c.IsSet("reflection")
	s.config.Drain = max(1, s.config.Drain) // the flag's 0 means no time; that of server.Config, the default
	s.config.RefuseAfterLoss = s.onLoss == refuse
	if s.dev && !c.IsSet("http-listen") {
		s.config.HTTPListen = devHTTPListen
	}
	if s.dev && !c.IsSet("log-format") {
		s.log.Format = cmdline.TextLog
	}
	if s.ledgers != "" {
		var err error
		if s.config.Ledgers, err = readLedgers(s.ledgers); err != nil {
			wrong = append(wrong, cmdline.Usagef("%s: %w", variables.Both("ledgers"), err))
		}
	}
	if s.shadows != "" {
		s.config.ShadowLedgers = strings.Split(s.shadows, ",")
		if slices.Contains(s.config.ShadowLedgers, "") {
			wrong = append(wrong, cmdline.Usagef("%s has a name that is empty; leave the extra comma out "+
				"(the ledger without a name is in shadow with * only)", variables.Both("shadow-ledgers")))
		}
	}
	if s.dev {
		return append(wrong, s.notForTrial()...)
	}
	if s.config.Redis == "" {
		wrong = append(wrong, cmdline.Usagef("there is no store: say where Redis is with -redis redis://host:6379 "+
			"(or %s), or try Noted without one with -dev", variables.Variable("redis")))
	}
	return wrong
}

// notForTrial tells which settings need a store that lasts.
func (s *settings) notForTrial() (wrong []error) {
	const instead = "or say where Redis is with -redis"
	dev := variables.Both("dev")
	add := func(format string, args ...any) { wrong = append(wrong, cmdline.Usagef(format, args...)) }
	if s.config.TLSCert != "" {
		add("%s is plaintext, and for this machine only; leave out %s, "+instead, dev, variables.Both("tls-cert"))
	}
	if s.config.RedisCert+s.config.RedisKey+s.config.RedisCA != "" {
		add("-redis-cert, -redis-key and -redis-ca are for a Redis, and %s brings a store of its own; leave them out, "+
			instead, dev)
	}
	for _, given := range []struct {
		flag string
		is   bool
	}{{"epoch", s.config.Epoch != ""}, {"on-loss", s.config.RefuseAfterLoss}} {
		if given.is {
			add("%s is for a service that is relied on, and the notes of %s are lost with its process; leave one out, "+
				instead, variables.Both(given.flag), dev)
		}
	}
	if s.config.Redis != "" {
		add("%s and %s are both given; -dev brings a store of its own, so leave one out", dev, variables.Both("redis"))
	}
	if s.config.Replicas > 0 {
		add("%s asks for replicas, and %s has none; leave one out", variables.Both("replicas"), dev)
	}
	return wrong
}

// started tells the log what the operator asked for.
func (s *settings) started() []any {
	store := storeIn(s.config.Redis)
	if s.dev {
		store = "in this process"
	}
	fields := []any{}
	for _, field := range [][2]string{{"store", store}, {"settings", s.changed}} {
		if field[1] != "" {
			fields = append(fields, field[0], field[1])
		}
	}
	return fields
}

// storeIn returns the address of the store in a URL, without user and password. It is
// empty if the password cannot be told from the address: a password with a /, ? or # ends
// the host early, and leaves the @ behind.
func storeIn(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.Contains(u.RawPath+u.Path+u.RawQuery+u.Fragment, "@") {
		return ""
	}
	return u.Scheme + "://" + u.Host + u.Path
}
