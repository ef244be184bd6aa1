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
const manual = `Reads messages that PayPal sent, and asks a service of its own about each message at the
time of its arrival. The service has the checks and rules of noted, and a store in this
process. No other server is asked, and nothing is noted anywhere. The order of the
messages in the files does not matter.

    noted-replay bodies/                    a directory of bodies, a message each
    noted-replay export.jsonl               a line of JSON each
    noted-replay -sweep export.jsonl        is the match window well chosen?
    noted-replay -inbox-key-file inbox.key sqlite:///var/lib/noted/inbox.db
                                            the inbox of a gateway

A FILE holds one body: a JSON object is a webhook, anything else is an IPN. The message
arrived when the file was last modified (cp -p keeps that time). Or a FILE holds lines like
this one, in which "body_base64" may replace "body":

    {"at":"2026-01-02T03:04:05Z","channel":"ipn","body":"txn_type=subscr_payment&…"}

A directory stands for the files in it, - for standard input. The messages of files belong
to one ledger, so replay the messages of PayPal's sandbox separately.

An INBOX is the URL of a gateway's -inbox, sqlite:///PATH or postgres://…. The inbox is only
read, as it is at that moment, and the gateway may go on. Give a password by PGPASSWORD. Each
message arrived when the gateway received it, and belongs to the ledger that the gateway
chose. Standard error says how many messages are left out: those whose bodies are wiped (see
the gateway's -inbox-keep), and those that the gateway does not ask Noted about, since they
are not verified, not PayPal's, or of another account. The inbox counts PayPal's copies of a
message and keeps no time of theirs, so they are left out too. A gateway joins one
transaction that is told with a series and without; a replay shows two donations there.

A line of the table is a donation. It shows when its first message came (FIRST AT), the
channels that told of it (SEEN ON), and the evidence of its other messages (DUPLICATES).
Messages that told of no donation, or that Noted cannot decide (undecided), follow below
the table. Donations of an export's first and last days may be seen on one channel only
because their other message lies outside the export.

OLD DESIGN says what the design that Noted replaces would have done with the same
messages. It looks whether the series id is known, processes the message if it is not, and
makes the id known for an hour, 2 s after the look. It knows only the series id, so it
takes a payment for its own signup, too. A donation is lost if no message of it is
processed, and doubled by each processed message beyond the first. Noted's own answers
decide which messages belong to one donation.

With -sweep the match window is tried at 1m, 5m, 15m, 1h, 2h, 4h, 8h, 24h and at
-match-window, and each answer that changes is shown. The window is well chosen if the
answers stay the same for long on both sides of it.

Only messages are replayed: a donation whose receiver was slow, or crashed, is still FIRST
here. A message takes about a millisecond (more in a series of hundreds, and with -sweep
for each window) and 200 bytes of memory. Bodies are read when they are needed, and those
of standard input from a temporary file.

noted-replay -version prints the version, its commit and its time.

Exit codes: 0 done; 1 failed, a line held no message, or a body of an inbox could not be
opened; 2 bad usage.`

// swept are the match windows that -sweep tries.
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

// variables are those of the service: a replay without flags answers as the service here
// would.
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
			Usage:       "only the sums, without a line for each donation or change",
		},
	)
	return append(own, variables.Settings(p.env,
		window("match-window", &p.rules.MatchWindow, server.DefaultMatchWindow,
			"`TIME` that may lie between the event times of two messages of one donation"),
		window("arrival-window", &p.rules.ArrivalWindow, server.DefaultArrivalWindow,
			"`TIME` that may lie between their arrivals, where either has no event time"),
		window("retention", &p.rules.Retention, server.DefaultRetention,
			"`TIME` that a note is kept after its donation"),
		&cli.StringFlag{
			Name:        "transaction-ids",
			Value:       string(server.Auto),
			Destination: (*string)(&p.rules.TransactionIDs),
			Validator:   cmdline.OneOf(string(server.Auto), string(server.PerChannel), string(server.Shared)),
			Usage: "`HOW` unequal transaction ids on two channels are taken: as two donations (shared), as " +
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

// sweepWindows are the windows to try, the one that is set among them.
func sweepWindows(set time.Duration) []time.Duration {
	windows := slices.Clone(swept)
	if at, found := slices.BinarySearch(windows, set); !found {
		windows = slices.Insert(windows, at, set)
	}
	return windows
}
