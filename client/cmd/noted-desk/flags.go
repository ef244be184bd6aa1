package main

import (
	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
)

// variables are the flags' names in the environment.
const variables = cmdline.Prefix("DESK_")

// flags are all settings, in the order of the help.
func (s *settings) flags(env cmdline.Env) cmdline.Settings {
	c := &s.config
	return variables.Settings(env, append([]cli.Flag{
		&cli.StringFlag{
			Name:        "listen",
			Destination: &s.listen,
			Value:       "127.0.0.1:8082",
			Usage: "`ADDR`The address of the page, host:port; port 0 takes a free port. It serves plain HTTP: put a " +
				"web server with TLS in front of it.",
		},
		&cli.StringFlag{
			Name: "noted", Destination: &s.noted, Value: "127.0.0.1:50051",
			Usage: "`ADDR`The Noted server. TLS to another machine, plaintext to this one.",
		},
		&cli.StringFlag{
			Name:        "noted-token",
			Destination: &s.files.token,
			Usage: "`FILE`The bearer token for Noted. The desk reads the file at each call, so you can " +
				"renew the token. The desk needs the verb read, the verb note to close, and the verb admin to forget.",
		},
		&cli.StringFlag{
			Name: "noted-ca", Destination: &s.files.ca,
			Usage: "`FILE`The CAs of Noted's certificate, PEM, instead of the system's. Turns TLS on.",
		},
		&cli.BoolFlag{
			Name: "noted-plaintext", Destination: &s.notedClient.Plaintext,
			Usage: "No TLS to Noted, also to another machine: only in a network that you trust.",
		},
		&cli.StringFlag{
			Name:        "noted-admin",
			Destination: &s.admins,
			Usage: "`URLS`The admin listeners of Noted's servers, such as http://127.0.0.1:9090, separated by " +
				"commas. They report a loss of notes, and take its acknowledgement. Empty: the desk does not know of " +
				"a loss.",
		},
		&cli.StringFlag{
			Name: "ledger", Destination: &c.Ledger,
			Usage: "`NAME`The ledger of the donations, the same as the gateway's.",
		},
		&cli.StringFlag{
			Name:        "inbox",
			Destination: &s.inbox,
			Usage: "`URL`The gateway's inbox: sqlite:///path/inbox.db or postgres://user:password@host/database. " +
				"Empty: the desk knows notes but no messages. Give a password in the environment.",
		},
		&cli.StringFlag{
			Name:        "users",
			Destination: &c.UsersFile,
			Usage: "`FILE`A file of users, a line NAME:ROLE:HASH for each, as printed by noted-desk passwd. The desk " +
				"reads it at each page.",
		},
		&cli.StringFlag{
			Name:        "proxy",
			Destination: &s.proxies,
			Usage: "`LIST`The addresses of a proxy that logs people in, such as 10.0.0.5 or 10.0.0.0/24, separated " +
				"by commas. Needs -proxy-header.",
		},
		&cli.StringFlag{
			Name: "proxy-header", Destination: &c.ProxyHeader,
			Usage: "`NAME`The header in which that proxy names the person, such as X-Forwarded-User. The desk " +
				"ignores it from any other address.",
		},
		&cli.StringFlag{
			Name:        "proxy-role",
			Destination: &s.proxyRole,
			Validator:   cmdline.OneOf("looker", "clerk", "admin"),
			Usage: "`ROLE`The role of people whom the proxy names and -users does not: looker, clerk or admin. " +
				"Empty: no role.",
		},
		&cli.StringFlag{
			Name:        "session-key-file",
			Destination: &s.files.sessionKey,
			Usage: "`FILE`32 bytes or more that sign sessions. Empty: a restart logs all people out, and two desks " +
				"do not know each other's sessions.",
		},
		&cli.StringFlag{
			Name: "time-zone", Destination: &s.zone, Value: "Local",
			Usage: "`NAME`The time zone of the people at the desk, such as Europe/Berlin.",
		},
		&cmdline.SpanFlag{
			Name: "silent-after", Destination: &c.SilentAfter, Value: desk.DefaultSilentAfter,
			Usage: "`SPAN`A channel counts as silent when it has had no message for so long, and for twice its " +
				"longest pause of the 30 days before, or while other channels had messages.",
		},
		&cli.StringFlag{
			Name:        "notify",
			Destination: &s.notify,
			Usage: "`URL`Where to send alerts when a person has not acted for more than a day, a channel is silent, " +
				"or the store has lost notes: smtps://USER@HOST?from=ADDRESS&to=ADDRESS,ADDRESS, smtp://… with " +
				"STARTTLS, or a webhook, https://…. Needs -inbox and -public-url.",
		},
		&cli.StringFlag{
			Name:        "notify-secret-file",
			Destination: &s.files.notifySecret,
			Usage: "`FILE`The password for -notify's mail server, or the signing secret of its webhook: " +
				"whsec_ and base64.",
		},
		&cli.StringFlag{
			Name: "public-url", Destination: &s.publicURL,
			Usage: "`URL`The address under which people reach the desk, for the links of -notify.",
		},
		&cli.BoolFlag{
			Name:        "dev",
			Destination: &c.Open,
			Usage: "A trial: a week of made-up donations in the ledger " + week.Ledger + " of -noted, no logins, " +
				"and on this machine only.",
		},
	}, s.log.Flags("The audit is at info.")...)...)
}

// help is the manual. The list of flags comes from the flags themselves.
func help(flags cmdline.Settings) string {
	return `noted-desk serves a web page for the person who must answer: where is my donation?

  noted-desk -dev

serves it on http://127.0.0.1:8082 with a week of made-up donations. It needs a server: go run ./server/cmd/noted -dev

  noted-desk passwd anna clerk >> /etc/noted/desk.users
  noted-desk -users /etc/noted/desk.users -ledger paypal-live -inbox sqlite:///var/lib/noted/inbox.db

A looker looks donations up, compares PayPal's report, and sees whether both channels are alive. A clerk also sees the
messages that wait for a person, and acts on them. An admin also sees the acts of every user, and acknowledges a loss of
notes.

Flags, each with its variable in the environment; the flag wins:

` + flags.Help() + `
noted-desk -version prints the version, its commit and its time.

Exit codes: 0 asked to stop, 1 failed, 2 bad usage.
`
}
