package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/server"
	"github.com/urfave/cli/v3"
)

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

func (a *app) replayCommand() *cli.Command {
	return &cli.Command{
		Name:  "replay",
		Usage: "say what Noted would have answered to the messages of the past",
		Description: `Reads messages that PayPal sent, and asks a Noted of its own about each at the time of its
arrival: the same service, checks and rules as the server's, on a store in this process.
No server is asked, nothing is noted anywhere, and the order of the messages in the files
does not matter.

    notectl replay bodies/                  a directory of bodies, a message each
    notectl replay export.jsonl             a line of JSON each
    notectl replay -sweep export.jsonl      is the match window well chosen?

A FILE holds one body: JSON is a webhook, all else an IPN, and it arrived when the file was
last modified (a copy keeps that with cp -p). Or it holds lines like this one, where
"body_base64" may stand for "body":

    {"at":"2026-01-02T03:04:05Z","channel":"ipn","body":"txn_type=subscr_payment&…"}

A directory stands for the files in it, - for standard input. All messages belong to one
ledger: keep PayPal's sandbox apart.

A line of the table is a donation, with when its first message came (FIRST), the channels
that told of it, and what its other messages were (DUPLICATE) by which evidence. Below it
stand the messages that told of no donation, or that Noted cannot decide (undecided). The
donations of an export's first and last days may be seen on one channel only because the
other message lies outside it.

OLD DESIGN says what the design that Noted replaces would have done with the same
messages: look whether the series id is known, process the message if it is not, and make
the id known for an hour, 2 s after the look. It knows the series id and nothing else, so
it takes a payment for its own signup, too. A donation is lost if none of its messages is
processed, and doubled by each beyond the first. What is one donation is not known from
elsewhere: it is what Noted itself takes for one.

With -sweep the match window is tried at 1m, 5m, 15m, 1h, 2h, 4h, 8h, 24h and at
-match-window. Where the answers change, each change is shown; where they stay the same
for long on both sides, the window is well chosen.

A donation whose receiver was slow, or crashed, is FIRST here all the same: only messages
are replayed. Each takes about a millisecond (more in a series of hundreds, and with -sweep
as often as there are windows) and 200 bytes of memory; bodies are read when they are
needed, those of standard input from a temporary file.`,
		UsageText: "notectl replay [options] FILE…",
		Flags: []cli.Flag{
			&cli.BoolFlag{
				Name:  "sweep",
				Usage: "try match windows from a minute to a day, and show where the answers change",
			},
			&cli.BoolFlag{Name: "summary", Usage: "only the sums, no line for each donation or change"},
			a.windowFlag(
				"match-window",
				server.DefaultMatchWindow,
				"`TIME` that may lie between the event times of two messages of one donation",
			),
			a.windowFlag(
				"arrival-window",
				server.DefaultArrivalWindow,
				"`TIME` that may lie between their arrivals, where either has no event time",
			),
			a.windowFlag("retention", server.DefaultRetention, "`TIME` that a note is kept after its donation"),
			&cli.StringFlag{
				Name:      "transaction-ids",
				Value:     string(server.Auto),
				Sources:   a.from("NOTED_TRANSACTION_IDS"),
				Validator: oneOf(string(server.Auto), string(server.PerChannel), string(server.Shared)),
				Usage:     "`HOW` unequal transaction ids on two channels are taken: as two donations (shared), as nothing (per-channel), or as what the past itself shows (auto)",
			},
		},
		Action: a.act(a.replay),
	}
}

// windowFlag is a setting of the server's under the server's name, in the environment
// too.
func (a *app) windowFlag(name string, value time.Duration, usage string) cli.Flag {
	env := "NOTED_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	return &cli.StringFlag{
		Name:      name,
		Value:     span(value),
		Sources:   a.from(env),
		Usage:     usage,
		Validator: func(s string) error { _, err := parseSpan(s); return err },
	}
}

func replayRules(cmd *cli.Command) (rules server.Rules, err error) {
	for _, window := range []struct {
		name string
		d    *time.Duration
	}{{"match-window", &rules.MatchWindow}, {"arrival-window", &rules.ArrivalWindow}, {"retention", &rules.Retention}} {
		if *window.d, err = parseSpan(cmd.String(window.name)); err != nil {
			return rules, usageError{inCommand{fmt.Errorf("-%s: %w", window.name, err), cmd.FullName()}}
		}
	}
	rules.TransactionIDs = server.TransactionIDs(cmd.String("transaction-ids"))
	return rules, nil
}

func (a *app) replay(ctx context.Context, cmd *cli.Command) (int, error) {
	if cmd.NArg() == 0 {
		return 0, usageError{inCommand{fmt.Errorf("say which files to replay"), cmd.FullName()}}
	}
	rules, err := replayRules(cmd)
	if err != nil {
		return 0, err
	}
	out := a.printer(cmd)
	past := &archive{stdin: a.stdin}
	defer past.close()
	if err := past.find(ctx, cmd.Args().Slice()); err != nil {
		return 0, err
	}
	bar := a.progress(max(past.size, 1), "reading")
	defer func() { bar.clear() }()
	r := &replay{past: past, rules: rules, windows: []time.Duration{rules.MatchWindow}}
	if cmd.Bool("sweep") {
		r.windows = sweepWindows(rules.MatchWindow)
	}
	if err := past.read(ctx, r.identify, bar.set); err != nil {
		return 0, err
	}
	bar.clear()
	r.sort()

	bar = a.progress(max(r.size(), 1), "replaying")
	if err := r.run(ctx, bar.set); err != nil {
		return 0, err
	}
	bar.clear()

	report := &replayReport{replay: r, out: out, rows: !cmd.Bool("summary")}
	if cmd.Bool("sweep") {
		err = report.sweep()
	} else {
		err = report.donations()
	}
	if err != nil {
		return 0, err
	}
	for _, bad := range past.bad {
		a.complain(bad)
	}
	if past.more > 0 {
		a.warnf("and %d more lines like these", past.more)
	}
	if len(past.arrivals) == 0 {
		a.warnf("no messages")
	}
	if len(past.bad) > 0 {
		return exitError, nil
	}
	return exitFirst, nil
}

// sweepWindows are the windows to try, the one that is set among them.
func sweepWindows(set time.Duration) []time.Duration {
	windows := slices.Clone(swept)
	if at, found := slices.BinarySearch(windows, set); !found {
		windows = slices.Insert(windows, at, set)
	}
	return windows
}

// parseSpan reads a duration as the server's settings are written: 30s, 2h or 45d.
func parseSpan(s string) (time.Duration, error) {
	whole, rest, hasDays := strings.Cut(s, "d")
	var d time.Duration
	var err error
	if hasDays {
		var n uint64
		n, err = strconv.ParseUint(whole, 10, 16)
		d, rest = time.Duration(n)*24*time.Hour, cmp.Or(rest, "0s")
	} else {
		rest = s
	}
	part, wrong := time.ParseDuration(rest)
	if d += part; err != nil || wrong != nil || part < 0 || d < time.Millisecond {
		return 0, fmt.Errorf("%q is no time: write 30s, 2h or 45d", s)
	}
	return d, nil
}

// span writes a duration as parseSpan reads it.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	if d > day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
