package main

import (
	"strings"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/telemetry"
)

// help is the manual. The flags in it come from the flags themselves.
func help(flags cmdline.Settings) string {
	var b strings.Builder
	b.WriteString(`noted tells receivers of payment notifications whether a donation has been noted already.

  noted -dev                              try it; then call it on 127.0.0.1:50051 with grpcurl or notectl, or with curl:
      curl -d '{"donation":{"series_id":"I-1"}}' -H 'content-type: application/json' \
          http://127.0.0.1:8080/noted.v1.DedupeService/NoteDonation
  noted -redis redis://127.0.0.1:6379     run it; the Redis must not evict, and should be persistent
  noted export FILE, noted import FILE    back the notes up, and bring them back; noted export -help says how

It answers until SIGTERM or SIGINT. Health (grpc.health.v1 on -listen, /readyz on -admin-listen) follows the
store. Times are written as 30s, 2h or 45d.

Flags, each with its variable in the environment; the flag wins. A variable that begins with NOTED_ and that no
program of the project reads is refused, since it is most often a name that is misspelled:

`)
	b.WriteString(flags.Help())
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

` + telemetry.Help + `
noted -version prints the version, its commit and its time.

Exit codes: 0 asked to stop, 1 failed, 2 bad usage.
`)
	return b.String()
}
