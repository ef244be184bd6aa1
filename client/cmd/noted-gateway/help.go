package main

import (
	"strings"

	"github.com/donation-dedupe/noted/client/cmdline"
)

// help writes the manual; the list of flags comes from the flags themselves.
func help(flags cmdline.Settings) string {
	var b strings.Builder
	b.WriteString(
		`noted-gateway takes PayPal's IPNs and webhooks and sends each donation downstream once, whatever fails in between.

  noted-gateway -accounts donations@example.org -webhook-id 8PT597110X687430L \
      -forward-to http://127.0.0.1:8000/donations -forward-secret-file /etc/noted/forward.secret

Enter at PayPal https://YOUR-HOST/paypal/ipn as the notification URL, and https://YOUR-HOST/paypal/webhook as the
webhook. The gateway verifies every message, asks Noted about its donations, and sends those that are FIRST downstream.
It runs until SIGTERM or SIGINT, and finishes the messages under way. Several gateways side by side behave as one.

  noted-gateway inbox-key > inbox.key && chmod 600 inbox.key

makes the key of an inbox. With -inbox each message is on disk, sealed, before PayPal is answered;
noted-gateway inbox -help tells how to look into the inbox and work on it.

  noted-gateway check [FLAG…]

asks once about each part that these flags name, and says what is wrong and what to do about it. It takes no message,
notes nothing and delivers nothing. Exit code 1 means that a part is in trouble.

Flags, each with its variable in the environment; the flag wins. A variable that begins with GATEWAY_ and is none of
these is refused, since it is most often a name that is misspelled:

`,
	)
	b.WriteString(flags.Help())
	b.WriteString(`
Exit codes: 0 asked to stop, 1 failed, 2 bad usage.
`)
	return b.String()
}
