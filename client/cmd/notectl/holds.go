package main

import (
	"context"

	"github.com/donation-dedupe/noted/client"
	"github.com/urfave/cli/v3"
)

func (a *app) settleCommand() *cli.Command {
	return &cli.Command{
		Name:      "settle",
		UsageText: "notectl settle [options] RECEIPT",
		Usage:     "make the note of a held donation final, after you have processed it",
		Description: `RECEIPT is from the answer FIRST of "notectl note -hold". A repeat is safe.

SETTLED_BY_ANOTHER means that the donation has been processed twice: after the hold had run
out, another attempt took over and settled.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` for the server's audit, without personal data"},
		},
		Action: a.withReceipt(
			func(ctx context.Context, cmd *cli.Command, noted *client.Client, receipt string) (*client.Note, error) {
				return noted.Settle(ctx, receipt, cmd.String("reason"))
			},
		),
	}
}

func (a *app) releaseCommand() *cli.Command {
	return &cli.Command{
		Name:      "release",
		UsageText: "notectl release [options] RECEIPT",
		Usage:     "give a held donation up: its next message is FIRST again",
		Description: `RECEIPT is from the answer FIRST of "notectl note -hold". PayPal's next message, or the next
try by hand, may then process the donation.`,
		Flags: []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "`TEXT` for the server's log, without personal data"}},
		Action: a.withReceipt(
			func(ctx context.Context, cmd *cli.Command, noted *client.Client, receipt string) (*client.Note, error) {
				return noted.Release(ctx, receipt, cmd.String("reason"))
			},
		),
	}
}

func (a *app) extendCommand() *cli.Command {
	return &cli.Command{
		Name:      "extend",
		UsageText: "notectl extend [options] RECEIPT",
		Usage:     "hold a donation longer: for -hold from now",
		Description: `RECEIPT is from the answer FIRST of "notectl note -hold". A hold that has run out can be
extended too, until another attempt takes over.`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "hold", Value: client.DefaultHold, Usage: "`DURATION` from now, up to 15m"},
		},
		Action: a.withReceipt(
			func(ctx context.Context, cmd *cli.Command, noted *client.Client, receipt string) (*client.Note, error) {
				return noted.Extend(ctx, receipt, cmd.Duration("hold"))
			},
		),
	}
}

// withReceipt is the action of a command with one argument, the receipt, and the note as
// its answer.
func (a *app) withReceipt(
	do func(context.Context, *cli.Command, *client.Client, string) (*client.Note, error),
) cli.ActionFunc {
	return a.act(func(ctx context.Context, cmd *cli.Command) (int, error) {
		receipt, err := one(cmd, "the receipt")
		if err != nil {
			return 0, err
		}
		noted, err := a.dial(cmd)
		if err != nil {
			return 0, err
		}
		defer noted.Close()
		note, err := do(ctx, cmd, noted, receipt)
		if err != nil {
			return 0, err
		}
		return exitFirst, a.printer(cmd).note(note)
	})
}
