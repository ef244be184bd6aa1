package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"
)

// helpWidth is the column at which help wraps.
const helpWidth = 100

// help is the manual. The flags in it come from the flags themselves.
func help(flags []cli.Flag) string {
	var b strings.Builder
	b.WriteString(`noted tells receivers of payment notifications whether a donation has been noted already.

  noted -dev                              try it; then call it on 127.0.0.1:50051 with grpcurl or notectl, or with curl:
      curl -d '{"donation":{"series_id":"I-1"}}' -H 'content-type: application/json' \
          http://127.0.0.1:8080/noted.v1.DedupeService/NoteDonation
  noted -redis redis://127.0.0.1:6379     run it; the Redis must not evict, and should be persistent

It answers until SIGTERM or SIGINT. Health (grpc.health.v1 on -listen, /readyz on -admin-listen) follows the
store. Times are written as 30s, 2h or 45d.

Flags, each with its variable in the environment; the flag wins:

`)
	for _, flag := range flags {
		name := flag.Names()[0]
		placeholder, usage, value := "", "", ""
		switch f := flag.(type) {
		case *cli.StringFlag:
			_, rest, _ := strings.Cut(f.Usage, "`")
			placeholder, usage, _ = strings.Cut(rest, "`")
			value = f.Value
		case *cli.BoolFlag:
			usage = f.Usage
		}
		head := strings.TrimSpace("-" + name + " " + placeholder)
		fmt.Fprintf(&b, "  %-34s%s\n", head, envName(name))
		if value != "" {
			usage += " Default " + value + "."
		}
		for _, line := range wrap(usage, helpWidth-6) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
	}
	b.WriteString(`
The file of -ledgers is JSON. Settings that it leaves out are as in the flags:

  {
    "paypal-live":    {"retention": "60d", "transaction_ids": "shared"},
    "paypal-sandbox": {"match_window": "2h", "arrival_window": "4d", "retention": "7d", "transaction_ids": "per-channel"}
  }

The file of -callers is JSON too; notectl token NAME makes a token and the line for it. A caller has one token, and
a second while the first is being replaced; a certificate is known by its SPIFFE id or DNS name. "*" grants every
ledger. The verb read grants lookups and lists; note grants note, settle, release and extend; admin grants forget.
A gateway needs the verb note in each of its ledgers, and so does every receiver.

  {
    "gateway":  {"token_sha256": ["9f86d0…"], "ledgers": ["paypal-live"], "verbs": ["note"]},
    "operator": {"certificate": "spiffe://example.org/operator", "ledgers": ["*"], "verbs": ["read", "admin"]}
  }

Without TLS and callers noted listens on this machine only. Health needs no caller.

Exit codes: 0 asked to stop, 1 failed, 2 bad usage.
`)
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
