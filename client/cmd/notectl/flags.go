package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/terminal"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// donationFlags describe a donation and its message. They are local: the subcommands of
// note read a body instead.
func donationFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name:  "series",
			Local: true,
			Usage: "`ID` of the series, such as I-ABC; for a one-time donation its transaction id (required)",
		},
		&cli.StringFlag{
			Name:      "event",
			Local:     true,
			Value:     "payment",
			Usage:     "`EVENT` that happened; \"notectl note -help\" lists the events",
			Validator: func(s string) error { _, err := parseEvent(s); return err },
		},
		&cli.StringFlag{
			Name:  "occurred-at",
			Local: true,
			Usage: "`TIME` of the donation by PayPal, not of the message: 2026-03-01T14:05:00+01:00, " +
				"or \"2026-03-01 14:05\" local time",
			Validator: func(s string) error { _, err := parseTime(s); return err },
		},
		&cli.StringFlag{Name: "amount", Local: true, Usage: "`AMOUNT`, such as 25.00; needs -currency"},
		&cli.StringFlag{
			Name:  "currency",
			Local: true,
			Usage: "`CODE` of the currency, such as EUR; needs -amount",
		},
		&cli.StringFlag{Name: "transaction", Local: true, Usage: "`ID` of the transaction"},
		&cli.StringFlag{
			Name:  "channel",
			Local: true,
			Usage: "`CHANNEL` of the message, such as ipn or webhook",
		},
		&cli.StringFlag{
			Name:  "message",
			Local: true,
			Usage: "`ID` of the message on that channel; needs -channel",
		},
	}
}

// holdFlag is for note and its subcommands.
func holdFlag() cli.Flag {
	return &cli.DurationFlag{
		Name:        "hold",
		HideDefault: true,
		Usage: "`DURATION`, up to 15m, in which to process and settle the donation; " +
			"without it the note is final at once",
	}
}

// receivedAtFlag is for note and its subcommands: no body has the time of its arrival.
func receivedAtFlag() cli.Flag {
	return &cli.StringFlag{
		Name:      "received-at",
		Usage:     "`TIME` of the message's first arrival, if it has waited since; in the form of -occurred-at",
		Validator: func(s string) error { _, err := parseTime(s); return err },
	}
}

// requestIDFlag is for note and its subcommands.
func requestIDFlag() cli.Flag {
	return &cli.StringFlag{
		Name:  "request-id",
		Usage: "`ID` of this request: the same in every repeat of it, and in no other request; random by default",
	}
}

func (a *app) donation(cmd *cli.Command) (*client.Donation, *client.Message, error) {
	if cmd.String("series") == "" {
		return nil, nil, usageError{inCommand{fmt.Errorf("-series is missing"), cmd.FullName()}}
	}
	donation := &client.Donation{
		Ledger:        cmd.String("ledger"),
		SeriesId:      cmd.String("series"),
		Amount:        cmd.String("amount"),
		CurrencyCode:  cmd.String("currency"),
		TransactionId: cmd.String("transaction"),
	}
	var err error
	if donation.Event, err = parseEvent(cmd.String("event")); err != nil {
		return nil, nil, err
	}
	if at := cmd.String("occurred-at"); at != "" {
		t, err := parseTime(at)
		if err != nil {
			return nil, nil, err
		}
		donation.OccurredAt = timestamppb.New(t)
	}
	received, err := receivedAt(cmd)
	if err != nil {
		return nil, nil, err
	}
	message := &client.Message{Channel: cmd.String("channel"), Id: cmd.String("message"), ReceivedAt: received}
	return donation, message, nil
}

// receivedAt returns the time of -received-at, or nil without the flag.
func receivedAt(cmd *cli.Command) (*timestamppb.Timestamp, error) {
	at := cmd.String("received-at")
	if at == "" {
		return nil, nil
	}
	t, err := parseTime(at)
	if err != nil {
		return nil, err
	}
	return timestamppb.New(t), nil
}

// one returns a command's only argument.
func one(cmd *cli.Command, what string) (string, error) {
	if cmd.NArg() != 1 {
		return "", usageError{
			inCommand{fmt.Errorf("needs one argument, %s, and got %d", what, cmd.NArg()), cmd.FullName()},
		}
	}
	return cmd.Args().First(), nil
}

// noneOf refuses flags that would have no effect, because the message or the file decides.
func noneOf(cmd *cli.Command, flags []cli.Flag, otherwise string) error {
	var given []string
	for _, flag := range flags {
		if name := flag.Names()[0]; cmd.IsSet(name) {
			given = append(given, "-"+name)
		}
	}
	if len(given) > 0 {
		return usageError{inCommand{fmt.Errorf("%s: %s", strings.Join(given, ", "), otherwise), cmd.FullName()}}
	}
	return nil
}

// none refuses arguments, which are usually flags without their dash.
func none(cmd *cli.Command) error {
	if cmd.NArg() > 0 {
		return usageError{inCommand{fmt.Errorf("unexpected argument %q", cmd.Args().First()), cmd.FullName()}}
	}
	return nil
}

func eventNames() []string {
	names := make([]string, len(notedv1.Event_name)-1)
	for number := range names {
		names[number] = terminal.EventName(client.Event(number + 1))
	}
	return names
}

// listOf breaks a long list into lines of the help text.
func listOf(names []string) string {
	var b strings.Builder
	column := len("Events: ")
	for i, name := range names {
		if column += len(name) + 2; column > 88 {
			b.WriteString("\n")
			column = len(name) + 2
		} else if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(name)
		if i < len(names)-1 {
			b.WriteString(",")
		}
	}
	return b.String()
}

func parseEvent(s string) (client.Event, error) {
	name := strings.ToUpper(strings.ReplaceAll(s, "-", "_"))
	number, ok := notedv1.Event_value["EVENT_"+strings.TrimPrefix(name, "EVENT_")]
	if !ok || number == 0 {
		return 0, usagef("%q is not an event: use one of %s", s, strings.Join(eventNames(), ", "))
	}
	return client.Event(number), nil
}

// parseTime reads a time of the command line.
func parseTime(s string) (time.Time, error) {
	t, err := terminal.ParseTime(s)
	if err != nil {
		return time.Time{}, usageError{err}
	}
	return t, nil
}

// parseMoment takes a time, or a duration that counts back from now.
func parseMoment(s string) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	if ago, err := cmdline.ParseSpan(s); err == nil {
		return timestamppb.New(now().Add(-ago)), nil
	}
	t, err := parseTime(s)
	if err != nil {
		return nil, err
	}
	return timestamppb.New(t), nil
}
