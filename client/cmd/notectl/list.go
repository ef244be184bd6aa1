package main

import (
	"context"
	"errors"
	"strings"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/terminal"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/urfave/cli/v3"
)

func (a *app) listCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "show notes: one series' history, or what is held, open, or told of on one channel only",
		Description: `All conditions must hold:

    notectl list -series I-ABC                      the history of one series, oldest first
    notectl list -state open                        released or run out: nobody has processed these
    notectl list -seen-only-on ipn -before 24h      no webhook came in a day: is the webhook set up?
    notectl list -transaction 8XB31234              in which series has this transaction been told of?

Without -series it walks through all notes of the ledger, in no particular order; a note
that is made or forgotten meanwhile may be shown twice or not at all. A listing that breaks
off says so, and exits with 1.`,
		UsageText: "notectl list [options]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "series", Usage: "`ID` of the only series to show"},
			&cli.StringFlag{
				Name:      "state",
				Usage:     "`STATE` that a note must be in: held, open or settled",
				Validator: cmdline.OneOf("held", "open", "settled"),
			},
			&cli.StringFlag{
				Name:  "seen-only-on",
				Usage: "`CHANNEL` that all messages of a note came over, such as ipn or webhook",
			},
			&cli.StringFlag{Name: "transaction", Usage: "`ID` of a transaction that any message of a note told of"},
			&cli.StringFlag{
				Name:  "after",
				Usage: "`TIME` of the earliest note to show: 2026-03-01T14:05:00+01:00, \"2026-03-01 14:05\", or 24h for a day ago",
			},
			&cli.StringFlag{Name: "before", Usage: "`TIME` that notes must be older than, written as for -after"},
			&cli.IntFlag{Name: "limit", Usage: "`NUMBER` of notes to show at most; 0 shows all"},
		},
		Action: a.act(a.list),
	}
}

func (a *app) list(ctx context.Context, cmd *cli.Command) (int, error) {
	request, err := listRequest(cmd)
	if err != nil {
		return 0, err
	}
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	out := a.printer(cmd)
	bar := terminal.NewProgress(a.stdout, a.stderr, -1, "listing")
	defer bar.Clear()
	shown, limit := 0, cmd.Int("limit")
	for note, err := range noted.List(ctx, request) {
		if err != nil {
			bar.Clear()
			err = errors.Join(err, out.flush()) // what there is, is shown all the same
			if shown > 0 {
				a.warnf("the listing broke off: there may be more notes than these")
			}
			return 0, err
		}
		if err := out.listed(note); err != nil {
			return 0, err
		}
		shown++
		bar.Set(int64(shown))
		if shown == limit {
			break
		}
	}
	bar.Clear()
	if shown == 0 {
		a.warnf("no such notes")
	}
	return exitFirst, out.flush()
}

func listRequest(cmd *cli.Command) (*client.ListRequest, error) {
	if err := none(cmd); err != nil {
		return nil, err
	}
	request := &client.ListRequest{
		Ledger:        cmd.String("ledger"),
		SeriesId:      cmd.String("series"),
		SeenOnlyOn:    cmd.String("seen-only-on"),
		TransactionId: cmd.String("transaction"),
		PageSize:      500,
	}
	if state := cmd.String("state"); state != "" {
		request.State = client.State(notedv1.State_value["STATE_"+strings.ToUpper(state)])
	}
	if limit := cmd.Int("limit"); limit > 0 && limit < 500 {
		request.PageSize = int32(limit)
	}
	var err error
	if request.NotedAfter, err = parseMoment(cmd.String("after")); err != nil {
		return nil, err
	}
	request.NotedBefore, err = parseMoment(cmd.String("before"))
	return request, err
}
