package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/terminal"
	"github.com/urfave/cli/v3"
	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (a *app) forgetCommand() *cli.Command {
	return &cli.Command{
		Name: "forget", UsageText: "notectl forget -series ID -reason TEXT DONATION_ID",
		Usage: "undo a note in any state: the next message of the donation is FIRST",
		Description: `For mistakes, such as a donation that was noted and never processed. DONATION_ID is Noted's
id, as "notectl list" shows it. The server logs the caller and the reason.

On a terminal it shows the note and asks for confirmation, which needs the verb read; -yes
does not ask. The answer is the note as it was, followed by the commands that note it again,
under a new donation id and, if it was not settled, with a hold.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "series", Required: true, Usage: "`ID` of the donation's series"},
			&cli.StringFlag{
				Name:     "reason",
				Required: true,
				Usage:    "`TEXT` for the server's log, without personal data",
			},
			&cli.BoolFlag{Name: "yes", Usage: "forget without asking"},
		},
		Action: a.act(a.forget),
	}
}

func (a *app) forget(ctx context.Context, cmd *cli.Command) (int, error) {
	id, err := one(cmd, "the donation's id")
	if err != nil {
		return 0, err
	}
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	if stdin, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(stdin.Fd())) && !cmd.Bool("yes") {
		note, err := find(ctx, noted, cmd, id)
		if err != nil {
			return 0, err
		}
		if err := a.confirm(ctx, note); err != nil {
			return 0, err
		}
	}
	note, err := noted.Forget(
		ctx,
		&client.ForgetRequest{
			Ledger:     cmd.String("ledger"),
			SeriesId:   cmd.String("series"),
			DonationId: id,
			Reason:     cmd.String("reason"),
		},
	)
	if err != nil {
		return 0, err
	}
	return exitFirst, a.printer(cmd).forgotten(note)
}

// confirm shows a note, and returns nil if the person agrees to forget it.
func (a *app) confirm(ctx context.Context, note *client.Note) error {
	if err := terminal.NewPrinter(a.stderr, false, a.env).Facts(noteFacts(note)); err != nil {
		return err
	}
	fmt.Fprint(a.stderr, "notectl: forget it? its next message is FIRST then [y/N] ")
	said := make(chan string, 1)
	go func() { // a goroutine, because an interrupt does not end the reading
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		said <- strings.ToLower(strings.TrimSpace(line))
	}()
	answer := ""
	select {
	case answer = <-said:
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
	}
	if answer == "y" || answer == "yes" {
		return nil
	}
	return advised{errors.New("nothing was forgotten"), "answer y or yes, or give -yes"}
}

// commandsOf returns the commands that note the sightings of a note again, oldest first.
func commandsOf(note *client.Note) []string {
	donation := note.GetDonation()
	var commands []string
	for _, s := range note.GetSightings() {
		received := s.GetMessage().GetReceivedAt()
		if received == nil {
			received = s.GetSeenAt()
		}
		command := "notectl note"
		for _, flag := range [][2]string{
			{"ledger", donation.GetLedger()},
			{"series", donation.GetSeriesId()},
			{"event", terminal.EventName(terminal.EventOf(donation))},
			{"occurred-at", written(donation.GetOccurredAt())},
			{"amount", donation.GetAmount()},
			{"currency", donation.GetCurrencyCode()},
			{"transaction", s.GetTransactionId()},
			{"channel", s.GetMessage().GetChannel()},
			{"message", s.GetMessage().GetId()},
			{"received-at", written(received)},
		} {
			if flag[1] != "" {
				command += " -" + flag[0] + "=" + quoted(flag[1])
			}
		}
		if note.GetState() != client.StateSettled {
			command += " -hold=" + seconds(client.DefaultHold)
		}
		commands = append(commands, command)
	}
	return commands
}

// written is a time in the form of the flags, to the millisecond.
func written(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339Nano)
}

// quoted is a word, quoted for a shell if necessary.
func quoted(word string) string {
	for _, r := range word {
		if !strings.ContainsRune("-+._:@%/,=", r) &&
			(r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return word
}
