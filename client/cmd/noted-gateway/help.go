package main

import (
	"strings"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/telemetry"
)

// help is the manual. The list of flags comes from the flags themselves.
func help(flags cmdline.Settings) string {
	var b strings.Builder
	b.WriteString(
		`noted-gateway takes PayPal's IPNs and webhooks and sends each donation downstream once, despite failures in between.

  noted-gateway -accounts donations@example.org -webhook-id 8PT597110X687430L \
      -forward-to http://127.0.0.1:8000/donations -forward-secret-file /etc/noted/forward.secret

At PayPal, set https://YOUR-HOST/paypal/ipn as the notification URL, and https://YOUR-HOST/paypal/webhook as the
webhook. The gateway verifies every message, asks Noted about its donations, and sends those that are FIRST downstream.
It runs until SIGTERM or SIGINT, and finishes the messages under way. Several gateways side by side behave like one.

  noted-gateway inbox-key > inbox.key && chmod 600 inbox.key

makes the key of an inbox. With -inbox each message is on disk, sealed, before PayPal gets its answer.
noted-gateway inbox -help has the commands that show and change the inbox.

  noted-gateway check [FLAG…]

checks each part of these settings once: Noted, the inbox, PayPal and the downstream. It prints each problem with its
remedy. It takes no message and notes nothing. It delivers only a signed ping: an event of type noted.ping, not a
donation. Exit code 1 means that there is a problem.

Flags, each with its variable in the environment; the flag wins. Any other variable that begins with GATEWAY_ is
refused, because it is usually a misspelled name:

`,
	)
	b.WriteString(flags.Help())
	b.WriteString("\n" + telemetry.Help)
	b.WriteString(`
noted-gateway -version prints the version, its commit and its time.

Exit codes: 0 asked to stop, 1 failed, 2 bad usage.
`)
	return b.String()
}
