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
	b.WriteString(`noted-desk is a web page for the person who is asked: where is my donation?

  noted-desk -dev

shows it on http://127.0.0.1:8082 with a week of made-up donations; it needs a Noted: go run ./server/cmd/noted -dev

  noted-desk passwd anna clerk >> /etc/noted/desk.users
  noted-desk -users /etc/noted/desk.users -ledger paypal-live -inbox sqlite:///var/lib/noted/inbox.db

A looker asks where a donation is, and compares PayPal's report. A clerk also sees what waits for a person, and acts on
it. An admin also sees who did what.

Flags, each with its variable in the environment; the flag wins:

`)
	for _, flag := range flags {
		placeholder, text, value := "", "", ""
		switch f := flag.(type) {
		case *cli.StringFlag:
			_, rest, _ := strings.Cut(f.Usage, "`")
			placeholder, text, _ = strings.Cut(rest, "`")
			value = f.Value
		case *cli.BoolFlag:
			text = f.Usage
		}
		name := flag.Names()[0]
		fmt.Fprintf(&b, "  %-34s%s\n", strings.TrimSpace("-"+name+" "+placeholder), envName(name))
		if value != "" {
			text += " Default " + value + "."
		}
		for _, line := range wrap(text, helpWidth-6) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
	}
	b.WriteString("\nExit codes: 0 asked to stop, 1 failed, 2 bad usage.\n")
	return b.String()
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
