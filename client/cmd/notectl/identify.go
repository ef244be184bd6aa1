package main

import (
	"context"
	"fmt"
	"io"

	"github.com/donation-dedupe/noted/client/paypal"
	"github.com/urfave/cli/v3"
)

// maxBody is far more than PayPal sends.
const maxBody = 4 << 20

// channels are PayPal's two kinds of messages, with their readers.
var channels = []struct {
	name, what string
	identify   func([]byte) (paypal.Identified, error)
}{
	{"ipn", "an IPN, name=value&…", paypal.IdentifyIPN},
	{"webhook", "a webhook, a JSON object", paypal.IdentifyWebhook},
}

func (a *app) identifyCommand() *cli.Command {
	command := &cli.Command{
		Name:  "identify",
		Usage: "show the donations of a PayPal message, without asking a server",
		Description: `Reads one message from standard input and prints a line of JSON for each donation in it.
"notectl note -f -" reads these lines:

    notectl identify ipn < body
    {"donation":{"series_id":"I-ABC","event":"EVENT_PAYMENT"},"message":{"channel":"ipn", …}}

A message without a donation prints {"skipped":"why"}. Standard error has the fields that were
left out, and a warning if the type of the message is unknown: check it, because it may be a
donation. A malformed message prints nothing and exits with 1.

It does not verify that the message is from PayPal. Anyone can write such a message.`,
		UsageText: "notectl identify ipn|webhook < body",
		Action:    subcommandMissing("ipn", "webhook"),
	}
	for _, channel := range channels {
		command.Commands = append(command.Commands, &cli.Command{
			Name:      channel.name,
			Usage:     "read the body of " + channel.what,
			UsageText: "notectl identify " + channel.name + " < body",
			Action: a.act(func(_ context.Context, cmd *cli.Command) (int, error) {
				identified, err := a.identify(cmd, channel.identify)
				if err != nil {
					return 0, err
				}
				_, err = a.stdout.Write(identified.AppendJSON(nil))
				return exitFirst, err
			}),
		})
	}
	return command
}

// identify reads a message from stdin, and warns of every problem that a person should
// check.
func (a *app) identify(cmd *cli.Command, identify func([]byte) (paypal.Identified, error)) (paypal.Identified, error) {
	if err := none(cmd); err != nil {
		return paypal.Identified{}, err
	}
	body, err := io.ReadAll(io.LimitReader(a.stdin, maxBody+1))
	if err != nil {
		return paypal.Identified{}, fmt.Errorf("reading the message: %w", err)
	}
	if len(body) > maxBody {
		return paypal.Identified{}, fmt.Errorf("reading the message: it is longer than %d bytes", maxBody)
	}
	identified, err := identify(body)
	if err != nil {
		return paypal.Identified{}, fmt.Errorf("identifying the message: %w", err)
	}
	for _, warning := range identified.Warnings {
		a.warnf("warning: %s", warning)
	}
	if identified.Unknown {
		a.warnf("warning: %s; it may have been a donation: look at it", identified.Skipped)
	}
	return identified, nil
}

// subcommandMissing is the action of a command that does nothing by itself.
func subcommandMissing(names ...string) cli.ActionFunc {
	return func(_ context.Context, cmd *cli.Command) error {
		return usageError{
			inCommand{
				fmt.Errorf(
					"name the kind of message: %s %s, or %s %s",
					cmd.FullName(),
					names[0],
					cmd.FullName(),
					names[1],
				),
				cmd.FullName(),
			},
		}
	}
}
