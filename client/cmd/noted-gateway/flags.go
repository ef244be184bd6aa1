package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// errUsage marks an error that the person who starts the program can mend.
var errUsage = errors.New("usage")

// usageError says what is wrong in a sentence of its own.
type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error      { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// settings hold the meaning of flags, environment and files.
type settings struct {
	config      gateway.Config
	listen      string
	adminListen string
	level       slog.Level
}

// off, as -admin-listen, means no such listener.
const off = "off"

var (
	ways      = []string{gateway.VerifyBySignature, gateway.VerifyByAPI}
	logLevels = []string{"debug", "info", "warn", "error"}
)

// flags lists all settings in the order of the help. Each has a variable in the
// environment; the flag wins. Every value is text here and is read in settingsOf, so that
// all mistakes are told in the same way. A secret is in a file, or in a URL that the
// environment can give.
func flags(env func(string) (string, bool)) []cli.Flag {
	text := func(name, value, placeholder, help string) cli.Flag {
		return &cli.StringFlag{
			Name:    name,
			Value:   value,
			Usage:   "`" + placeholder + "`" + help,
			Sources: fromEnv(name, env),
		}
	}
	yes := func(name, help string) cli.Flag {
		return &cli.BoolFlag{Name: name, Usage: help, Sources: fromEnv(name, env)}
	}
	return []cli.Flag{
		text(
			"listen",
			"127.0.0.1:8081",
			"ADDR",
			"Where to take PayPal's messages, as host:port; port 0 takes a free one. Plain HTTP: a web server "+
				"in front of it speaks TLS to PayPal.",
		),
		text(
			"admin-listen",
			"127.0.0.1:9091",
			"ADDR",
			"Where /metrics, /healthz and /readyz are, for operators only; off for nowhere.",
		),

		text("noted", "127.0.0.1:50051", "ADDR", "The Noted server. TLS to another machine, plaintext to this one."),
		text("noted-token", "", "FILE", "A file that holds the bearer token for Noted; it is read at each call, so "+
			"that it can be renewed. notectl token makes one. A gateway needs the verb note in each of its ledgers."),
		text(
			"noted-ca",
			"",
			"FILE",
			"PEM certificates that Noted's was issued by, instead of the system's. Turns TLS on.",
		),
		yes("noted-plaintext", "No TLS to Noted, also to another machine: only in a network that you trust."),

		text(
			"ledger",
			"",
			"NAME",
			"The book that the donations belong to, such as paypal-live; empty is a ledger too.",
		),
		text(
			"ledger-sandbox",
			"",
			"NAME",
			"The book that PayPal's tests belong to (IPNs with test_ipn, webhooks that the sandbox signed). "+
				"Empty refuses them.",
		),

		text(
			"accounts",
			"",
			"LIST",
			"The receiver ids and e-mail addresses that are ours, with commas between. An IPN to another is "+
				"refused. Empty: no IPNs are taken.",
		),
		text(
			"ipn-verify-url",
			"",
			"URL",
			"Where IPNs are posted back to. PayPal's if it is "+
				"empty: "+gateway.DefaultIPNVerifyURL+", and the sandbox's for IPNs with test_ipn.",
		),

		text("webhook-id", "", "ID", "The webhook's id as PayPal's dashboard shows it. Empty: no webhooks are taken."),
		text(
			"webhook-verify",
			gateway.VerifyBySignature,
			"HOW",
			"How webhooks are verified: "+strings.Join(
				ways,
				", by PayPal's certificate, or ",
			)+", by asking PayPal each time.",
		),
		text("webhook-max-age", hours(gateway.DefaultWebhookMaxAge), "TIME", "How old a transmission may be. PayPal "+
			"sends one again for three days. For so long its id is remembered, and another body under it is refused."),
		text(
			"webhook-cert-host",
			strings.Join(gateway.DefaultCertHosts, ","),
			"LIST",
			"The hosts that PayPal's certificate may be fetched from, with commas between.",
		),
		text(
			"webhook-cert-roots",
			"",
			"FILE",
			"PEM certificates that PayPal's must have been issued by, instead of the system's. Name the "+
				"issuer between here if PayPal's host leaves it out.",
		),
		text(
			"paypal-api",
			gateway.DefaultPayPalAPI,
			"URL",
			"Where -webhook-verify=api asks; https://api-m.sandbox.paypal.com for the sandbox.",
		),
		text(
			"paypal-client-id",
			"",
			"ID",
			"The client id of the REST app that the webhook belongs to, for -webhook-verify=api.",
		),
		text("paypal-client-secret-file", "", "FILE", "A file that holds its secret."),

		text(
			"forward-to",
			"",
			"URL",
			"Where each donation is handed on: an http(s) URL that gets a signed POST, or "+
				"redis://host:port/0?stream=NAME (rediss:// for TLS). Required. "+
				"Give a password by the environment, where no list of processes shows it.",
		),
		text(
			"forward-secret-file",
			"",
			"FILE",
			"A file that holds the secret of the POST's signature: a line whsec_…, or two while one replaces "+
				"the other. "+
				"Make it with: echo whsec_$(openssl rand -base64 32). Required for an http(s) URL.",
		),
		text(
			"forward-timeout",
			gateway.DefaultForwardTimeout.String(),
			"TIME",
			"How long the downstream may take to accept a donation. Less than -hold.",
		),
		yes(
			"forward-unknown",
			"Hand on messages of unknown types too, as noted.unknown. They are counted and logged in any case.",
		),
		text(
			"hold",
			fmt.Sprintf("%gs", gateway.DefaultHold.Seconds()),
			"TIME",
			"How long a donation is held at a time: if this program dies, it waits for so long. Up to 15m.",
		),

		text(
			"inbox", "", "URL",
			"Where messages are kept before PayPal is answered: sqlite:///path/inbox.db for one machine, or "+
				"postgres://user:password@host/database for several gateways. Empty for no inbox: a message that "+
				"cannot be processed is answered 503, and PayPal comes again. Give a password by the environment.",
		),
		text(
			"inbox-key-file", "", "FILE",
			"A file that holds the key that seals the messages in the inbox: a line that noted-gateway inbox-key "+
				"prints, or two while the first replaces the second. Required with -inbox.",
		),
		text(
			"inbox-keep", hours(gateway.DefaultInboxKeep), "TIME",
			"How long the body of a message is kept after the message is done.",
		),
		text(
			"inbox-journal", hours(gateway.DefaultInboxJournal), "TIME",
			"How long the row of a message, without its body, is kept after the message is done.",
		),
		text(
			"inbox-patience", hours(gateway.DefaultInboxPatience), "TIME",
			"How long a message is tried, with growing pauses, before it is left to a person.",
		),
		text(
			"inbox-unverified", strconv.Itoa(gateway.DefaultInboxUnverified), "NUMBER",
			"How many messages are kept unverified while PayPal cannot be asked about them, with 16 KiB each on "+
				"average. They are verified later, and nothing is noted before. 0 for none: they are answered 503.",
		),

		text(
			"max-body",
			strconv.Itoa(gateway.DefaultMaxBody>>10)+"KiB",
			"SIZE",
			"How large a message may be, in bytes, or with KiB or MiB behind.",
		),
		text(
			"log-level",
			"info",
			"LEVEL",
			"What to log to standard error: "+strings.Join(logLevels, ", ")+". Never what a message holds.",
		),
	}
}

// envName is the environment's name of a flag.
func envName(flag string) string {
	return "GATEWAY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnv reads a flag from the environment that run was given. An empty variable counts
// as unset.
func fromEnv(flag string, env func(string) (string, bool)) cli.ValueSourceChain {
	return cli.NewValueSourceChain(variable{name: envName(flag), env: env})
}

type variable struct {
	name string
	env  func(string) (string, bool)
}

// Lookup, String and GoString make it a cli.ValueSource.
func (v variable) Lookup() (string, bool) {
	value, ok := v.env(v.name)
	return value, ok && value != ""
}

func (v variable) String() string   { return v.name }
func (v variable) GoString() string { return v.name }

// parse reads arguments and environment; it returns no settings after printing the help.
func parse(ctx context.Context, args []string, env func(string) (string, bool), stdout io.Writer) (*settings, error) {
	var found *settings
	command := &cli.Command{
		Name:            "noted-gateway",
		Flags:           flags(env),
		HideVersion:     true,
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       io.Discard, // run prints what went wrong, once
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
			"%s; noted-gateway -help lists the flags",
			strings.Replace(err.Error(), "flag provided but not defined: ", "there is no flag ", 1),
		)
	}
	return found, err
}

func settingsOf(c *cli.Command) (*settings, error) {
	if c.Args().Present() {
		return nil, usage(
			"%q is no flag, and noted-gateway takes nothing else; write -flag=value where a value looks like one",
			c.Args().First(),
		)
	}
	var wrong []error
	bad := func(flag, format string, args ...any) {
		wrong = append(wrong, usage("-%s (%s): %w", flag, envName(flag), fmt.Errorf(format, args...)))
	}
	oneOf := func(flag string, values []string) string {
		value := c.String(flag)
		if !slices.Contains(values, value) {
			bad(flag, "%q must be one of %s", value, strings.Join(values, ", "))
		}
		return value
	}
	duration := func(flag string) time.Duration {
		d, err := time.ParseDuration(c.String(flag))
		if err != nil || d <= 0 {
			bad(flag, "%q is no time; write one such as 20s, 5m or 73h", c.String(flag))
		}
		return d
	}
	file := func(flag string) []byte {
		name := c.String(flag)
		if name == "" {
			return nil
		}
		content, err := os.ReadFile(name)
		switch {
		case err != nil:
			bad(flag, "%w", err)
		case len(strings.TrimSpace(string(content))) == 0:
			bad(flag, "the file %s is empty", name)
		}
		return content
	}
	s := &settings{listen: c.String("listen"), adminListen: c.String("admin-listen"), config: gateway.Config{
		Noted:              c.String("noted"),
		Ledger:             c.String("ledger"),
		SandboxLedger:      c.String("ledger-sandbox"),
		Accounts:           list(c.String("accounts")),
		IPNVerifyURL:       c.String("ipn-verify-url"),
		WebhookID:          c.String("webhook-id"),
		WebhookVerify:      oneOf("webhook-verify", ways),
		WebhookMaxAge:      duration("webhook-max-age"),
		CertHosts:          list(c.String("webhook-cert-host")),
		CertRoots:          file("webhook-cert-roots"),
		PayPalAPI:          c.String("paypal-api"),
		PayPalClientID:     c.String("paypal-client-id"),
		PayPalClientSecret: strings.TrimSpace(string(file("paypal-client-secret-file"))),
		ForwardTo:          c.String("forward-to"),
		ForwardSecrets:     strings.Fields(string(file("forward-secret-file"))),
		ForwardTimeout:     duration("forward-timeout"),
		ForwardUnknown:     c.Bool("forward-unknown"),
		InboxURL:           c.String("inbox"),
		InboxKeep:          duration("inbox-keep"),
		InboxJournal:       duration("inbox-journal"),
		InboxPatience:      duration("inbox-patience"),
		Hold:               duration("hold"),
	}}
	s.config.NotedClient.CA = file("noted-ca")
	s.config.NotedClient.Plaintext = c.Bool("noted-plaintext")
	if ca := s.config.NotedClient.CA; ca != nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		bad("noted-ca", "the file holds no PEM certificate")
	} else if ca != nil && s.config.NotedClient.Plaintext {
		bad("noted-plaintext", "-noted-ca turns TLS on and this turns it off; choose one")
	}
	if token := c.String("noted-token"); token != "" {
		file("noted-token") // report a wrong name now, not at the first donation
		s.config.NotedClient.Token = func(context.Context) (string, error) {
			content, err := os.ReadFile(token)
			return strings.TrimSpace(string(content)), err
		}
	}
	if url := c.String("inbox"); url != "" && c.String("inbox-key-file") != "" {
		if keys, err := inbox.ReadKeys(file("inbox-key-file")); err != nil {
			bad("inbox-key-file", "%w", err)
		} else {
			s.config.InboxKeys = keys
		}
	}
	switch n, err := strconv.Atoi(c.String("inbox-unverified")); {
	case err != nil || n < 0:
		bad("inbox-unverified", "%q is no number; write one such as 1000, or 0", c.String("inbox-unverified"))
	case n == 0:
		s.config.InboxUnverified = -1
	default:
		s.config.InboxUnverified = n
	}
	size, err := parseSize(c.String("max-body"))
	if err != nil {
		bad("max-body", "%w", err)
	}
	s.config.MaxBody = size
	s.level.UnmarshalText([]byte(oneOf("log-level", logLevels)))
	if s.config.ForwardTo == "" {
		bad("forward-to", "say where donations are to be handed on: an http(s) URL, or redis://host:port/0?stream=NAME")
	}
	if len(s.config.Accounts) == 0 && s.config.WebhookID == "" {
		wrong = append(
			wrong,
			usage(
				"there is nothing to take: give -accounts (%s) for IPNs, -webhook-id (%s) for webhooks, or both",
				envName("accounts"),
				envName("webhook-id"),
			),
		)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return s, nil
}

// fieldFlags maps fields of gateway.Config to their flags.
var fieldFlags = map[string]string{
	"Noted":              "noted",
	"SandboxLedger":      "ledger-sandbox",
	"Accounts":           "accounts",
	"IPNVerifyURL":       "ipn-verify-url",
	"WebhookVerify":      "webhook-verify",
	"WebhookMaxAge":      "webhook-max-age",
	"CertRoots":          "webhook-cert-roots",
	"PayPalAPI":          "paypal-api",
	"PayPalClientID":     "paypal-client-id",
	"PayPalClientSecret": "paypal-client-secret-file",
	"ForwardTo":          "forward-to",
	"ForwardSecrets":     "forward-secret-file",
	"ForwardTimeout":     "forward-timeout",
	"Hold":               "hold",
	"MaxBody":            "max-body",
	"InboxURL":           "inbox",
	"InboxKeys":          "inbox-key-file",
	"InboxKeep":          "inbox-keep",
	"InboxJournal":       "inbox-journal",
	"InboxPatience":      "inbox-patience",
}

// inFlags puts an error of gateway.New in the words of the command line, whose user knows
// no Config.
func inFlags(err error) error {
	switch e := err.(type) { //nolint:errorlint // it walks the tree of wrapped errors itself
	case *gateway.ConfigError:
		flag, ok := fieldFlags[e.Field]
		if !ok {
			return usageError{e}
		}
		return usage("-%s (%s) %s", flag, envName(flag), e.Problem)
	case interface{ Unwrap() []error }:
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, inFlags(one))
		}
		return errors.Join(all...)
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inFlags(inner)
	}
	return usageError{err}
}

// list splits at commas and spaces.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// parseSize reads a number of bytes.
func parseSize(text string) (int64, error) {
	number, unit := text, int64(1)
	for suffix, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if cut, ok := strings.CutSuffix(text, suffix); ok {
			number, unit = strings.TrimSpace(cut), size
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no size; write one such as 262144 or 256KiB", text)
	}
	return n * unit, nil
}

// hours writes a duration as a person would.
func hours(d time.Duration) string { return fmt.Sprintf("%gh", d.Hours()) }
