package main

import (
	"context"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

func (a *app) noteCommand() *cli.Command {
	flags := append(donationFlags(), holdFlag(),
		&cli.StringFlag{Name: "request-id", Local: true, Usage: "`ID` of this question, the same in every repeat of it and in no other; made up where it is missing"},
		&cli.StringFlag{Name: "f", Local: true, Usage: "note every line of `FILE`, or of standard input for -, each a request in JSON"})
	command := &cli.Command{
		Name:  "note",
		Usage: "note a donation, and say whether it is yours to process",
		Description: `Decides whether the donation has been noted already, and notes it, in one step. The more
is given, the surer the decision; only -series is required.

    notectl note -series I-ABC -amount 25.00 -currency EUR -channel ipn -message 42
    notectl note ipn < body         what a PayPal IPN tells of
    notectl note webhook < body     what a PayPal webhook tells of
    notectl note -f FILE            many: a line of JSON each, as "notectl identify" prints

Without -hold a note is final at once: if the donation is then not processed, it is lost.
With -hold 60s the answer FIRST brings a receipt. Process the donation, then say "notectl
settle RECEIPT"; if that fails, "notectl release RECEIPT", and the next message of the
donation is FIRST again.

A message that tells of several donations is noted whole or not at all: when one of them
is held or cannot be asked for, the others are given up again. The exit code is that of
the gravest: error, then HELD, then FIRST, then DUPLICATE. So 0 means "process every line
that says FIRST", and anything else "process nothing". A message that tells of no donation
exits with 10.

With -f (- reads standard input) each line is noted by itself and gets its own answer, in
the same order; a line that fails does not stop the others (a server that is away does),
and the exit code is that of the gravest. A line is {"donation":{"series_id":"I-ABC"}}, and may also have "message",
"hold" and "request_id"; -ledger and -hold fill in what it leaves out. Give each line a
request_id if you may have to note the same file again.

Events: ` + listOf(eventNames()) + `.`,
		UsageText: "notectl note -series ID [options]\nnotectl note ipn|webhook [options] < body\nnotectl note -f FILE [options]",
		Flags:     flags,
		Action: a.act(func(ctx context.Context, cmd *cli.Command) (int, error) {
			if err := none(cmd); err != nil {
				return 0, err
			}
			if cmd.IsSet("f") {
				return a.noteFile(ctx, cmd)
			}
			return a.noteOne(ctx, cmd)
		}),
	}
	for _, channel := range channels {
		command.Commands = append(command.Commands, &cli.Command{
			Name: channel.name, Usage: "note what a PayPal message on standard input tells of: " + channel.what,
			UsageText: "notectl note " + channel.name + " [options] < body",
			Description: `Says in one step what "notectl identify ` + channel.name + `" and "notectl note" would say one after the
other: a line for each donation, the verdict first. "notectl note -help" explains the exit
code. It does not verify that the message is PayPal's.`,
			Action: a.act(func(ctx context.Context, cmd *cli.Command) (int, error) {
				return a.noteMessage(ctx, cmd, channel.identify)
			}),
		})
	}
	return command
}

func (a *app) noteOne(ctx context.Context, cmd *cli.Command) (int, error) {
	donation, message, err := a.donation(cmd)
	if err != nil {
		return 0, err
	}
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	request := &client.NoteRequest{Donation: donation, Message: message, Hold: holdOf(cmd), RequestId: cmd.String("request-id")}
	response, err := noted.Note(ctx, request)
	if err != nil {
		return 0, err
	}
	return exitCode(response.GetVerdict()), a.printer(cmd).answer(response)
}

// noteMessage notes the donations of one PayPal message, whole or not at all, since its sender will send the whole of it again, or nothing.
func (a *app) noteMessage(ctx context.Context, cmd *cli.Command, identify func([]byte) (paypal.Identified, error)) (int, error) {
	identified, err := a.identify(cmd, identify)
	if err != nil {
		return 0, err
	}
	out := a.printer(cmd)
	if identified.Skipped != "" {
		return exitDuplicate, out.skipped(identified)
	}
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	answers, code, err := noteWhole(ctx, noted, cmd, identified.Pairs)
	for _, answer := range answers {
		if err := out.row(answer); err != nil {
			return 0, err
		}
	}
	return code, err
}

// noteWhole notes all pairs, or gives up those that were first. It returns the answers that stand.
func noteWhole(ctx context.Context, noted *client.Client, cmd *cli.Command, pairs []paypal.Pair) ([]*client.NoteResponse, int, error) {
	hold := holdOf(cmd)
	final := hold == nil
	if final && len(pairs) > 1 {
		hold = durationpb.New(client.DefaultHold) // so that a first can be given up
	}
	var answers []*client.NoteResponse
	var err error
	for _, pair := range pairs {
		donation, message := client.FromPayPal(pair, cmd.String("ledger"))
		var answer *client.NoteResponse
		answer, err = noted.Note(ctx, &client.NoteRequest{Donation: donation, Message: message, Hold: hold})
		if err != nil {
			break
		}
		answers = append(answers, answer)
	}
	code := gravest(answers)
	if err != nil || code == exitHeld {
		return giveUp(context.WithoutCancel(ctx), noted, answers), code, err
	}
	for _, answer := range answers {
		if final && answer.GetReceipt() != "" {
			if answer.Note, err = noted.Settle(ctx, answer.GetReceipt()); err != nil {
				return nil, 0, err
			}
			answer.Receipt = ""
		}
	}
	return answers, code, nil
}

// giveUp releases every first among the answers, and returns the others.
func giveUp(ctx context.Context, noted *client.Client, answers []*client.NoteResponse) []*client.NoteResponse {
	var rest []*client.NoteResponse
	for _, answer := range answers {
		if answer.GetVerdict() != client.First {
			rest = append(rest, answer)
		} else if answer.GetReceipt() != "" {
			// If it fails, the hold runs out by itself.
			_, _ = noted.Release(ctx, answer.GetReceipt(), "another donation of the same message could not be noted")
		}
	}
	return rest
}

// gravest is the exit code of several answers: HELD over FIRST over DUPLICATE.
func gravest(answers []*client.NoteResponse) int {
	code := exitDuplicate
	for _, answer := range answers {
		switch answer.GetVerdict() {
		case client.Held:
			return exitHeld
		case client.First:
			code = exitFirst
		}
	}
	return code
}

func exitCode(verdict client.Verdict) int {
	return gravest([]*client.NoteResponse{{Verdict: verdict}})
}

func holdOf(cmd *cli.Command) *durationpb.Duration {
	if hold := cmd.Duration("hold"); hold != 0 {
		return durationpb.New(hold)
	}
	return nil
}

// existsCommand looks with the exit codes that note would have, so that a script can ask either.
func (a *app) existsCommand() *cli.Command {
	return &cli.Command{
		Name:  "exists",
		Usage: "say what note would say, without noting anything",
		Description: `For looking, not for deciding: between a look and a note another caller may come.

The exit code is the one that note would have: 10 when the donation exists, 11 when it
exists and is held, 0 when it does not exist, or was given up, so that its next message is
FIRST.`,
		UsageText: "notectl exists -series ID [options]",
		Flags:     donationFlags(),
		Action: a.act(func(ctx context.Context, cmd *cli.Command) (int, error) {
			if err := none(cmd); err != nil {
				return 0, err
			}
			donation, message, err := a.donation(cmd)
			if err != nil {
				return 0, err
			}
			noted, err := a.dial(cmd)
			if err != nil {
				return 0, err
			}
			defer noted.Close()
			found, err := noted.Exists(ctx, donation, message)
			if err != nil {
				return 0, err
			}
			code := exitFirst
			if found.GetExists() {
				code = exitDuplicate
				if found.GetNote().GetState() == client.StateHeld {
					code = exitHeld
				}
			}
			return code, a.printer(cmd).existence(found)
		}),
	}
}
