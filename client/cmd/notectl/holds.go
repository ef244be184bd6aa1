package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/closing"
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
		Usage:     "give up a held donation: its next message is FIRST again",
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

func (a *app) closeCommand() *cli.Command {
	return &cli.Command{
		Name: "close", UsageText: "notectl close -series ID -reason TEXT DONATION_ID",
		Usage: "settle an open donation that was booked by hand: later messages of it are DUPLICATE",
		Description: `For an open donation that a person has booked by hand. DONATION_ID is Noted's id, as
"notectl list -state open" shows it. The server's audit keeps the caller and the reason. The
caller needs the verbs read and note.

Only an open donation can be closed. Otherwise nothing changes, an error says why, and the exit
code is

    10   it is already settled: make sure that it is not booked twice
    11   it is held: a receiver is processing it; the last line says when to try again
     1   there is no such note, or it cannot be closed`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "series", Required: true, Usage: "`ID` of the donation's series"},
			&cli.StringFlag{
				Name:     "reason",
				Required: true,
				Usage:    "`TEXT` for the server's audit, such as the place of the booking, without personal data",
			},
		},
		Action: a.act(a.close),
	}
}

func (a *app) close(ctx context.Context, cmd *cli.Command) (int, error) {
	id, err := one(cmd, "the donation's id")
	if err != nil {
		return 0, err
	}
	reason := cmd.String("reason")
	if strings.TrimSpace(reason) == "" {
		return 0, usageError{
			inCommand{errors.New("-reason is empty: say where the donation is booked"), cmd.FullName()},
		}
	}
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	note, err := find(ctx, noted, cmd, id)
	if err != nil {
		return 0, err
	}
	if note.GetState() != client.StateOpen {
		return a.refuseToClose(note, note.GetHeldUntil().AsTime().Sub(now()))
	}
	request, err := closing.Request(ctx, noted, note)
	if errors.Is(err, closing.ErrNoWay) {
		return 0, advised{
			fmt.Errorf("closing %s: %w", id, err),
			"another donation of the series looks the same: close or settle the other one first, then this",
		}
	}
	if err != nil {
		return 0, err
	}
	done, err := closing.Settle(ctx, noted, request, id, reason)
	if held, ok := errors.AsType[*closing.HeldError](err); ok {
		return a.refuseToClose(held.Note, held.After)
	}
	if unknown, ok := errors.AsType[*closing.UnknownVerdictError](err); ok {
		return 0, unknownVerdict(unknown.Answer)
	}
	if other, ok := errors.AsType[*closing.OtherError](err); ok {
		return 0, errors.Join(goneMeanwhile(id, other.Found), other.Release)
	}
	switch {
	case err != nil:
		return 0, err
	case done.Verdict == client.Duplicate:
		return a.refuseToClose(done.Note, 0)
	}
	return exitFirst, a.printer(cmd).note(done.Note)
}

// refuseToClose says why a closed or held note stays unchanged.
func (a *app) refuseToClose(note *client.Note, wait time.Duration) (int, error) {
	id := note.GetDonationId()
	if note.GetState() == client.StateHeld {
		a.warnf("closing %s: a receiver is processing it; nothing was changed", id)
		a.warnf("hint: if it is still open then, close it in %s", seconds(max(wait, time.Second)))
		return exitHeld, nil
	}
	a.warnf("closing %s: it is already settled; nothing was changed", id)
	a.warnf("hint: unless you closed it before, a receiver has processed it: make sure that it is not booked twice")
	return exitDuplicate, nil
}

// find returns the note that a command names by its series and id.
func find(ctx context.Context, noted *client.Client, cmd *cli.Command, id string) (*client.Note, error) {
	request := &client.ListRequest{Ledger: cmd.String("ledger"), SeriesId: cmd.String("series"), PageSize: 500}
	for note, err := range noted.List(ctx, request) {
		if err != nil {
			return nil, err
		}
		if note.GetDonationId() == id {
			return note, nil
		}
	}
	return nil, advised{
		fmt.Errorf("there is no donation %q in series %q of ledger %q", id, request.SeriesId, request.Ledger),
		"are -series and -ledger right? notectl list -series SERIES shows its ids; notes are forgotten after their retention",
	}
}

// goneMeanwhile says that the note call matched another note, or made a new note.
func goneMeanwhile(id, other string) error {
	return advised{
		fmt.Errorf(
			"closing %s: it was forgotten meanwhile; its message now belongs to %s, which is left open",
			id,
			other,
		),
		"if that is the donation that you booked, close it under this id: notectl list -series SERIES",
	}
}
