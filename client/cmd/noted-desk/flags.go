package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
)

// errUsage marks an error that the person who starts the program can mend.
var errUsage = errors.New("usage")

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error      { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// settings hold the meaning of flags, environment and files.
type settings struct {
	config      desk.Config
	noted       string
	notedClient client.Config
	inbox       string
	listen      string
	level       slog.Level
}

// flags lists all settings in the order of the help.
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
			"127.0.0.1:8082",
			"ADDR",
			"Where to serve the page, as host:port; port 0 takes a free one. Plain "+
				"HTTP: a web server in front of it speaks TLS.",
		),
		text("noted", "127.0.0.1:50051", "ADDR", "The Noted server. TLS to another machine, plaintext to this one."),
		text(
			"noted-token",
			"",
			"FILE",
			"A file that holds the bearer token for Noted; it is read at each call. The desk "+
				"needs the verb read, for closing note, and for forgetting admin.",
		),
		text(
			"noted-ca",
			"",
			"FILE",
			"PEM certificates that Noted's was issued by, instead of the system's. Turns TLS on.",
		),
		yes("noted-plaintext", "No TLS to Noted, also to another machine: only in a network that you trust."),
		text("ledger", "", "NAME", "The book that the donations belong to, as the gateway has it."),
		text(
			"inbox",
			"",
			"URL",
			"The gateway's inbox: sqlite:///path/inbox.db or postgres://user:password@host/database. "+
				"Empty: the desk knows what is noted, and no messages. Give a password by the environment.",
		),
		text(
			"users",
			"",
			"FILE",
			"A file of users, one NAME:ROLE:HASH a line, as noted-desk passwd prints them. It is read "+
				"at each page.",
		),
		text(
			"proxy",
			"",
			"LIST",
			"The addresses of a proxy that logs people in, as 10.0.0.5 or 10.0.0.0/24, with commas "+
				"between. Needs -proxy-header.",
		),
		text(
			"proxy-header",
			"",
			"NAME",
			"The header in which that proxy names the person, such as X-Forwarded-User. From "+
				"any other address it counts for nothing.",
		),
		text("proxy-role", "", "ROLE", "The role of people whom the proxy names and -users does not: looker, clerk or "+
			"admin. Empty: they may do nothing."),
		text("session-key-file", "", "FILE", "A file of 32 bytes or more that sign sessions. Empty: a restart logs "+
			"everybody out, and two desks do not know each other's sessions."),
		text("time-zone", "Local", "NAME", "The time zone of the people at the desk, such as Europe/Berlin."),
		yes(
			"dev",
			"A trial: a week of made-up donations in the ledger "+week.Ledger+" of -noted, no logins, and on this "+
				"machine only.",
		),
		text(
			"log-level",
			"info",
			"LEVEL",
			"What to log to standard error: debug, info, warn, error. The audit is at info.",
		),
	}
}

// envName is the environment's name of a flag.
func envName(flag string) string {
	return "DESK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
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
		Name: "noted-desk", Flags: flags(env), HideVersion: true, HideHelpCommand: true,
		Writer: stdout, ErrWriter: io.Discard, // run prints what went wrong, once
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		OnUsageError:   func(_ context.Context, _ *cli.Command, err error, _ bool) error { return err },
		Action: func(_ context.Context, c *cli.Command) (err error) {
			found, err = settingsOf(c)
			return err
		},
	}
	command.CustomRootCommandHelpTemplate = help(command.Flags)
	err := command.Run(ctx, args)
	if err != nil && !errors.Is(err, errUsage) {
		err = usage("%s; noted-desk -help lists the flags",
			strings.Replace(err.Error(), "flag provided but not defined: ", "there is no flag ", 1))
	}
	return found, err
}

func settingsOf(c *cli.Command) (*settings, error) {
	if c.Args().Present() {
		return nil, usage("%q is no flag; noted-desk -help lists the flags and commands", c.Args().First())
	}
	var wrong []error
	bad := func(flag, format string, args ...any) {
		wrong = append(wrong, usage("-%s (%s): %w", flag, envName(flag), fmt.Errorf(format, args...)))
	}
	file := func(flag string) []byte {
		name := c.String(flag)
		if name == "" {
			return nil
		}
		content, err := os.ReadFile(name)
		if err == nil && len(content) == 0 {
			err = fmt.Errorf("the file %s is empty", name)
		}
		if err != nil {
			bad(flag, "%w", err)
		}
		return content
	}
	s := &settings{
		noted: c.String("noted"), inbox: c.String("inbox"), listen: c.String("listen"),
		config: desk.Config{
			Ledger: c.String("ledger"), Open: c.Bool("dev"), UsersFile: c.String("users"),
			ProxyHeader: c.String("proxy-header"), SessionKey: file("session-key-file"),
		},
		notedClient: client.Config{CA: file("noted-ca"), Plaintext: c.Bool("noted-plaintext")},
	}
	if ca := s.notedClient.CA; ca != nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		bad("noted-ca", "the file holds no PEM certificate")
	}
	if token := c.String("noted-token"); token != "" {
		file("noted-token") // report a wrong name now, not at the first page
		s.notedClient.Token = func(context.Context) (string, error) {
			content, err := os.ReadFile(token)
			return strings.TrimSpace(string(content)), err
		}
	}
	if key := s.config.SessionKey; key != nil && len(key) < 32 {
		bad("session-key-file", "it holds %d bytes; make one with: head -c 64 /dev/urandom", len(key))
	}
	for each := range strings.FieldsFuncSeq(c.String("proxy"), func(r rune) bool { return r == ',' || r == ' ' }) {
		network, err := network(each)
		if err != nil {
			bad("proxy", "%q is neither an address nor a network such as 10.0.0.0/24", each)
		}
		s.config.Proxies = append(s.config.Proxies, network)
	}
	if (c.String("proxy") == "") != (c.String("proxy-header") == "") {
		bad("proxy", "it comes together with -proxy-header (%s)", envName("proxy-header"))
	}
	if name := c.String("proxy-role"); name != "" {
		role, err := desk.ParseRole(name)
		if err != nil {
			bad("proxy-role", "%w", err)
		}
		s.config.ProxyRole = role
	}
	zone, err := time.LoadLocation(c.String("time-zone"))
	if err != nil {
		bad("time-zone", "%q is no time zone; write one such as Europe/Berlin", c.String("time-zone"))
	}
	s.config.Zone = zone
	if err := s.level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		bad("log-level", "%q must be one of debug, info, warn, error", c.String("log-level"))
	}
	switch {
	case s.config.Open:
		s.config.Ledger = week.Ledger
		for _, flag := range []string{"users", "proxy", "inbox", "ledger"} {
			if c.String(flag) != "" {
				bad("dev", "a trial needs no -%s; leave one of the two out", flag)
			}
		}
		if !isLocal(s.listen) {
			bad("dev", "a trial has no logins, so -listen must be on this machine, such as 127.0.0.1:8082")
		}
	case s.config.UsersFile == "" && c.String("proxy") == "":
		wrong = append(
			wrong,
			usage("say who may come in: -users (%s), or -proxy (%s) with -proxy-header; -dev for a trial",
				envName("users"), envName("proxy")),
		)
	}
	return s, errors.Join(wrong...)
}

func network(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.Prefix(address.BitLen())
	}
	return netip.ParsePrefix(text)
}

// isLocal says whether an address is surely on this machine.
func isLocal(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip, parseErr := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || parseErr == nil && ip.IsLoopback())
}
