package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"
)

// helpWidth is the width of the help.
const helpWidth = 100

// help writes the manual; the list of flags comes from the flags themselves.
func help(flags []cli.Flag) string {
	var b strings.Builder
	b.WriteString(
		`noted-gateway takes PayPal's IPNs and webhooks and hands each donation on once, whatever fails in between.

  noted-gateway -accounts donations@example.org -webhook-id 8PT597110X687430L \
      -forward-to http://127.0.0.1:8000/donations -forward-secret-file /etc/noted/forward.secret

Enter at PayPal https://YOUR-HOST/paypal/ipn as the notification URL, and https://YOUR-HOST/paypal/webhook as the
webhook. Every message is verified first; then Noted is asked, and what is first is handed on. It runs until SIGTERM
or SIGINT, and finishes what it has begun. Several gateways side by side behave as one.

  noted-gateway inbox-key > inbox.key && chmod 600 inbox.key

makes the key of an inbox: with -inbox each message is on disk, sealed, before PayPal is answered. Then
noted-gateway inbox -help tells how to look into the inbox and work on it.

Flags, each with its variable in the environment; the flag wins:

`,
	)
	b.WriteString(flagHelp(flags))
	b.WriteString(`
Exit codes: 0 asked to stop, 1 failed, 2 bad usage.
`)
	return b.String()
}

// flagHelp writes the part of a manual about flags.
func flagHelp(flags []cli.Flag) string {
	var b strings.Builder
	for _, flag := range flags {
		placeholder, usage, value := "", "", ""
		switch f := flag.(type) {
		case *cli.StringFlag:
			_, rest, _ := strings.Cut(f.Usage, "`")
			placeholder, usage, _ = strings.Cut(rest, "`")
			value = f.Value
		case *cli.BoolFlag:
			usage = f.Usage
		case *cli.FloatFlag:
			placeholder, usage, value = "N", f.Usage, fmt.Sprint(f.Value)
		}
		name := flag.Names()[0]
		variable := ""
		if hasVariable(flag) {
			variable = envName(name)
		}
		line := fmt.Sprintf("  %-34s%s", strings.TrimSpace("-"+name+" "+placeholder), variable)
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
		if value != "" {
			usage += " Default " + value + "."
		}
		for _, line := range wrap(usage, helpWidth-6) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
	}
	return b.String()
}

// hasVariable says whether the environment can give a flag.
func hasVariable(flag cli.Flag) bool {
	switch f := flag.(type) {
	case *cli.StringFlag:
		return len(f.Sources.Chain) > 0
	case *cli.BoolFlag:
		return len(f.Sources.Chain) > 0
	}
	return false
}

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line+" "+word)) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
