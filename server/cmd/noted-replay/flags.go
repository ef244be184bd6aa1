package main

import (
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/server"
)

// manual is the middle of the help.
const manual = `Reads messages that PayPal sent, and asks a service in this process about each message at
the time of its arrival. The service has the checks and rules of noted, and its own store.
The replay calls no other server, and notes nothing elsewhere. The order of the messages in
the files does not matter.

    noted-replay bodies/                    a directory of bodies, a message each
    noted-replay export.jsonl               a line of JSON each
    noted-replay -sweep export.jsonl        is the match window well chosen?
    noted-replay -inbox-key-file inbox.key sqlite:///var/lib/noted/inbox.db
                                            the inbox of a gateway

A FILE has one body: a JSON object is a webhook, any other content is an IPN. The message
arrived when the file was last modified (cp -p keeps that time). Or a FILE has lines of this
form, in which "body_base64" may replace "body":

    {"at":"2026-01-02T03:04:05Z","channel":"ipn","body":"txn_type=subscr_payment&…"}

A directory means all its files, and - means standard input. The messages of files belong
to one ledger, so replay the messages of PayPal's sandbox separately.

An INBOX is the URL of a gateway's -inbox, sqlite:///PATH or postgres://…. The replay only
reads the inbox, in its state at the start, and the gateway may go on. Put a password into
PGPASSWORD. Each message arrived when the gateway received it, and belongs to the ledger
that the gateway chose. Standard error has the number of messages left out. A message is
left out if its body is wiped (see the gateway's -inbox-keep), or if the gateway does not
ask Noted about it because it is not verified, not PayPal's, or for another account. The
inbox counts PayPal's copies of a message but not their times, so copies are left out too.
For one transaction with a series in one message and without it in another, a gateway joins
the two; a replay shows two donations.

A line of the table is a donation. It shows the time of its first message (FIRST AT), its
channels (SEEN ON), and the evidence of its other messages (DUPLICATES). Messages without a
donation, and messages that Noted cannot decide (undecided), follow below the table.
Donations of an export's first and last days may have one channel only because their other
message is outside the export.

OLD DESIGN is the result of the replaced design for the same messages. That design looks up
the series id, processes the message if the id is unknown, and remembers the id for an hour,
from 2 s after the look. It knows only the series id, so it takes a payment for its own
signup too. A donation is lost if none of its messages is processed, and doubled by each
processed message beyond the first. Noted's own answers decide which messages belong to one
donation.

-sweep tries the match window at 1m, 5m, 15m, 1h, 2h, 4h, 8h, 24h and at -match-window, and
shows each answer that changes. The window is well chosen if the answers stay the same over
a wide range on both sides of it.

Only messages are replayed: a donation whose receiver was slow, or crashed, is still FIRST
here. A message takes about a millisecond (more in a series of hundreds, and with -sweep
for each window) and 200 bytes of memory. The replay reads bodies when it needs them, and
those of standard input from a temporary file.

noted-replay -version prints the version, its commit and its time.

Exit codes: 0 done; 1 failed, a line without a message, or an inbox body that could not be
opened; 2 bad usage.`

// swept are the match windows of -sweep.
var swept = []time.Duration{
	time.Minute,
	5 * time.Minute,
	15 * time.Minute,
	time.Hour,
	2 * time.Hour,
	4 * time.Hour,
	8 * time.Hour,
	24 * time.Hour,
}

// variables are the service's, so that a replay without flags answers like the service on
// this machine.
const variables = cmdline.Prefix("NOTED_")

// flags are all settings, in the order of the help.
func (p *program) flags() cmdline.Settings {
	own := variables.Settings(nil,
		&cli.StringFlag{
			Name:        "o",
			Value:       "text",
			Destination: &p.format,
			Usage:       "`FORMAT` of the answers: text for people, json for programs",
			Validator:   cmdline.OneOf("text", "json"),
		},
		&cli.StringFlag{
			Name:        "inbox-key-file",
			Destination: &p.keyFile,
			Usage:       "`FILE` with the key that opens the bodies of an inbox: the gateway's own",
		},
		&cli.BoolFlag{
			Name:        "sweep",
			Destination: &p.sweep,
			Usage:       "try match windows from a minute to a day, and show where the answers change",
		},
		&cli.BoolFlag{
			Name:        "summary",
			Destination: &p.summary,
			Usage:       "show only the sums, without a line for each donation or change",
		},
	)
	return append(own, variables.Settings(p.env,
		window("match-window", &p.rules.MatchWindow, server.DefaultMatchWindow,
			"`TIME` the longest time between the event times of two messages of one donation"),
		window("arrival-window", &p.rules.ArrivalWindow, server.DefaultArrivalWindow,
			"`TIME` the longest time between their arrivals, if either has no event time"),
		window("retention", &p.rules.Retention, server.DefaultRetention,
			"`TIME` the time from a donation to the end of its note"),
		&cli.StringFlag{
			Name:        "transaction-ids",
			Value:       string(server.Auto),
			Destination: (*string)(&p.rules.TransactionIDs),
			Validator:   cmdline.OneOf(string(server.Auto), string(server.PerChannel), string(server.Shared)),
			Usage: "`HOW` unequal transaction ids on two channels count: as two donations (shared), as " +
				"nothing (per-channel), or as what the past itself shows (auto)",
		},
	)...)
}

// window is a time of the service's rules.
func window(name string, to *time.Duration, value time.Duration, usage string) cli.Flag {
	return &cmdline.SpanFlag{
		Name:        name,
		Value:       value,
		DefaultText: strconv.Quote(cmdline.FormatSpan(value)),
		Destination: to,
		Usage:       usage,
		Validator:   cmdline.Lasting(time.Millisecond),
	}
}

// sweepWindows are the windows to try, including the configured window.
func sweepWindows(set time.Duration) []time.Duration {
	windows := slices.Clone(swept)
	if at, found := slices.BinarySearch(windows, set); !found {
		windows = slices.Insert(windows, at, set)
	}
	return windows
}
