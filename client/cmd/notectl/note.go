package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

func (a *app) noteCommand() *cli.Command {
	flags := append(
		donationFlags(),
		holdFlag(),
		receivedAtFlag(),
		requestIDFlag(),
		&cli.StringFlag{
			Name:  "f",
			Local: true,
			Usage: "note every line of `FILE`, each a request in JSON; - is standard input",
		},
	)
	command := &cli.Command{
		Name:  "note",
		Usage: "note a donation, and say whether it is yours to process",
		Description: `Decides whether the donation has been noted already, and notes it, in one step. Only -series
is required. Each further flag makes the decision more certain.

    notectl note -series I-ABC -amount 25.00 -currency EUR -channel ipn -message 42
    notectl note ipn < body         the donations of a PayPal IPN
    notectl note webhook < body     the donations of a PayPal webhook
    notectl note -f FILE            many donations, one a line, as "notectl identify" prints them

Without -hold a note is final at once, and a donation that is not processed afterwards is lost.
With -hold 60s the answer FIRST has a receipt. Process the donation, then run "notectl settle
RECEIPT". If processing fails, run "notectl release RECEIPT": the next message of the donation
is FIRST again.

A message with several donations is noted as a whole or not at all. If one of them is held, or
its call fails, the others are released again. The exit code is the worst of the answers: error,
then HELD, then FIRST, then DUPLICATE. So 0 means "process every line with FIRST", and any other
code means "process nothing". If one donation is already final when another fails, the exit
code is 0, and a FIRST that is not final has its receipt on its line. A message without a
donation exits with 10.

If it is unknown whether a donation was noted, the last line on standard error has the
-request-id for a repeat. The repeat gets the answer of the first request.

With -f (- is standard input) each line is noted by itself and has its own answer, in the same
order. A failed line does not stop the others; an unreachable server does. The exit code is
the worst of all lines. A line is {"donation":{"series_id":"I-ABC"}}, and may also have "message",
"hold" and "request_id". -ledger and -hold are for the lines without their own. Give each line
a request_id if you may have to note the file again. Give the messages of earlier days their
"received_at", or -received-at with a single message. If PayPal gives no time, only that
distinguishes two donations from one.

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
			Name:      channel.name,
			Usage:     "note the donations of a PayPal message on standard input: " + channel.what,
			UsageText: "notectl note " + channel.name + " [options] < body",
			Description: `Does the work of "notectl identify ` + channel.name + `" and "notectl note" in one step. It prints a
line for each donation, which begins with the verdict. "notectl note -help" explains the exit
code. It does not verify that the message is from PayPal.`,
			Action: a.act(func(ctx context.Context, cmd *cli.Command) (int, error) {
				if err := noneOf(cmd, donationFlags(), "the message says this itself"); err != nil {
					return 0, err
				}
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
	request := &client.NoteRequest{Donation: donation, Message: message, Hold: holdOf(cmd), RequestId: requestID(cmd)}
	response, err := note(ctx, noted, request)
	if err == nil {
		err = a.printer(cmd).answer(response)
	}
	if err != nil {
		return 0, asked{err, request.RequestId}
	}
	return gravest(response), nil
}

// note asks Noted, and refuses an unknown verdict.
func note(ctx context.Context, noted *client.Client, request *client.NoteRequest) (*client.NoteResponse, error) {
	response, err := noted.Note(ctx, request)
	if err != nil {
		return nil, err
	}
	return response, unknownVerdict(response)
}

// unknownVerdict is an error for a verdict of a later server. Treated as a DUPLICATE, it
// would lose the donation.
func unknownVerdict(response *client.NoteResponse) error {
	switch response.GetVerdict() {
	case client.First, client.Duplicate, client.Held:
		return nil
	}
	return fmt.Errorf(
		"noting %s: the server's verdict %s is unknown to this notectl; update it",
		response.GetNote().GetDonation().GetSeriesId(),
		response.GetVerdict(),
	)
}

// requestID is the request's id. It is made here so that an error can show it.
func requestID(cmd *cli.Command) string {
	return cmp.Or(cmd.String("request-id"), client.NewRequestID())
}

// noteMessage notes the donations of one PayPal message, all or none, because PayPal
// repeats the whole message.
func (a *app) noteMessage(
	ctx context.Context,
	cmd *cli.Command,
	identify func([]byte) (paypal.Identified, error),
) (int, error) {
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
	id := requestID(cmd)
	answers, code, err := a.noteWhole(ctx, noted, cmd, identified.Pairs, id)
	for _, answer := range answers {
		if err := out.row(answer); err != nil {
			return 0, asked{err, id}
		}
	}
	if err != nil {
		return 0, asked{err, id}
	}
	return code, nil
}

// noteWhole notes all pairs, or releases those that were first. It returns the answers
// that remain valid.
func (a *app) noteWhole(
	ctx context.Context,
	noted *client.Client,
	cmd *cli.Command,
	pairs []paypal.Pair,
	id string,
) ([]*client.NoteResponse, int, error) {
	received, err := receivedAt(cmd)
	if err != nil {
		return nil, 0, err
	}
	hold := holdOf(cmd)
	final := hold == nil
	if final && len(pairs) > 1 {
		hold = durationpb.New(client.DefaultHold) // so that a FIRST can be released
	}
	var answers []*client.NoteResponse
	for i, pair := range pairs {
		donation, message := client.FromPayPal(pair, cmd.String("ledger"))
		message.ReceivedAt = received
		request := &client.NoteRequest{Donation: donation, Message: message, Hold: hold, RequestId: id}
		if i > 0 {
			request.RequestId = fmt.Sprintf(
				"%s-%d",
				id,
				i+1,
			) // the same in every repeat: a message is read the same each time
		}
		answer, err := note(ctx, noted, request)
		if err != nil {
			return giveUp(ctx, noted, answers), 0, err
		}
		answers = append(answers, answer)
	}
	code := gravest(answers...)
	if code == exitHeld {
		return giveUp(ctx, noted, answers), code, nil
	}
	if final {
		return a.settleWhole(ctx, noted, answers, code)
	}
	return answers, code, nil
}

// settleWhole makes every FIRST final, or releases all. Once one is final, releasing is too
// late: the caller must learn of it, because no later message of it will be FIRST.
func (a *app) settleWhole(
	ctx context.Context,
	noted *client.Client,
	answers []*client.NoteResponse,
	code int,
) ([]*client.NoteResponse, int, error) {
	ctx = context.WithoutCancel(ctx) // an interrupt must not stop it halfway
	settled := false
	for _, answer := range answers {
		if answer.GetReceipt() == "" {
			continue
		}
		note, err := noted.Settle(ctx, answer.GetReceipt(), "")
		if err == nil && note.GetDonationId() != answer.GetNote().GetDonationId() {
			err = fmt.Errorf("settling: %w: donation %s", client.ErrWrongAnswer, note.GetDonationId())
		}
		if err != nil && !settled {
			// The call may have settled it and lost only the answer. Then a release
			// fails.
			if _, notReleased := noted.Release(
				ctx,
				answer.GetReceipt(),
				notWhole,
			); !errors.Is(
				notReleased,
				client.ErrAlreadySettled,
			) {
				return giveUp(ctx, noted, answers), 0, err
			}
			err = client.ErrAlreadySettled
		}
		switch {
		case err == nil:
			answer.Note = note
		case errors.Is(err, client.ErrAlreadySettled):
			answer.Note.State, answer.Note.HeldUntil = client.StateSettled, nil
		case errors.Is(err, client.ErrSettledByAnother):
			answer.Verdict = client.Duplicate
		case errors.Is(err, client.ErrHoldLost):
			answer.Verdict = client.Held
		default:
			a.warnf("%v", err)
			a.warnf("hint: it is FIRST all the same: process it, then say: notectl settle %s", answer.GetReceipt())
			continue
		}
		settled = true
		answer.Receipt = ""
	}
	return answers, code, nil
}

const notWhole = "another donation of the same message could not be noted"

// giveUp releases every FIRST among the answers, and returns the other answers.
func giveUp(ctx context.Context, noted *client.Client, answers []*client.NoteResponse) []*client.NoteResponse {
	ctx = context.WithoutCancel(ctx)
	var rest []*client.NoteResponse
	for _, answer := range answers {
		if answer.GetVerdict() != client.First {
			rest = append(rest, answer)
		} else if answer.GetReceipt() != "" {
			// If it fails, the hold runs out by itself.
			_, _ = noted.Release(ctx, answer.GetReceipt(), notWhole)
		}
	}
	return rest
}

// gravest returns the worst exit code of several answers.
func gravest(answers ...*client.NoteResponse) int {
	var count tally
	for _, answer := range answers {
		count.add(answer.GetVerdict(), nil)
	}
	return count.code()
}

func holdOf(cmd *cli.Command) *durationpb.Duration {
	if hold := cmd.Duration("hold"); hold != 0 {
		return durationpb.New(hold)
	}
	return nil
}

// existsCommand has the exit codes of note, so that a script can use either command.
func (a *app) existsCommand() *cli.Command {
	return &cli.Command{
		Name:  "exists",
		Usage: "tell what note would answer, without noting anything",
		Description: `For looking, not for deciding: another caller may note the donation in between.

The exit code is the same as that of note: 10 if the donation exists, 11 if it exists and is
held, and 0 if it does not exist or was released, so that its next message is FIRST.`,
		UsageText: "notectl exists -series ID [options]",
		Flags:     append(donationFlags(), receivedAtFlag()),
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
