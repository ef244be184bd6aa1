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
			Usage: "note every line of `FILE`, or of standard input for -, each a request in JSON",
		},
	)
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
that says FIRST", and anything else "process nothing". Should one be final already when
there is trouble with another, the exit code is 0, and a FIRST that is not final has its
receipt beside it. A message that tells of no donation exits with 10.

When it is not known whether a donation was noted, the last line on standard error says
with which -request-id to ask again: whatever became of it, the answer is the same then.

With -f (- reads standard input) each line is noted by itself and gets its own answer, in
the same order; a line that fails does not stop the others (a server that is away does),
and the exit code is that of the gravest. A line is {"donation":{"series_id":"I-ABC"}}, and may also have "message",
"hold" and "request_id"; -ledger and -hold fill in what it leaves out. Give each line a
request_id if you may have to note the same file again. For messages of former days give
each "message" its "received_at", and one message by hand its -received-at: where PayPal
gives no time, that is what tells two donations from one.

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
			Usage:     "note what a PayPal message on standard input tells of: " + channel.what,
			UsageText: "notectl note " + channel.name + " [options] < body",
			Description: `Says in one step what "notectl identify ` + channel.name + `" and "notectl note" would say one after the
other: a line for each donation, the verdict first. "notectl note -help" explains the exit
code. It does not verify that the message is PayPal's.`,
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

// note asks Noted, and takes no answer but one that it understands.
func note(ctx context.Context, noted *client.Client, request *client.NoteRequest) (*client.NoteResponse, error) {
	response, err := noted.Note(ctx, request)
	if err != nil {
		return nil, err
	}
	return response, unknownVerdict(response)
}

// unknownVerdict is an error for a verdict that this program does not know: taken for a
// DUPLICATE, it would lose the donation.
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

// requestID is the id to ask under. It is made here, so that a complaint can say it.
func requestID(cmd *cli.Command) string {
	return cmp.Or(cmd.String("request-id"), client.NewRequestID())
}

// noteMessage notes the donations of one PayPal message, whole or not at all, since its
// sender will send the whole of it again, or nothing.
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

// noteWhole notes all pairs, or gives up those that were first. It returns the answers
// that stand.
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
		hold = durationpb.New(client.DefaultHold) // so that a first can be given up
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

// settleWhole makes every first final, or gives all up. Once one is final that is too
// late: what was first must be told then, since no other message of it ever will be.
func (a *app) settleWhole(
	ctx context.Context,
	noted *client.Client,
	answers []*client.NoteResponse,
	code int,
) ([]*client.NoteResponse, int, error) {
	ctx = context.WithoutCancel(ctx) // an interrupt would come in between
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
			// It may have been settled, and only its answer lost: then it cannot be
			// released.
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

// giveUp releases every first among the answers, and returns the others.
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

// gravest is the exit code of answers.
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

// existsCommand looks with the exit codes that note would have, so that a script can ask
// either.
func (a *app) existsCommand() *cli.Command {
	return &cli.Command{
		Name:  "exists",
		Usage: "say what note would say, without noting anything",
		Description: `For looking, not for deciding: between a look and a note another caller may come.

The exit code is the one that note would have: 10 when the donation exists, 11 when it
exists and is held, 0 when it does not exist, or was given up, so that its next message is
FIRST.`,
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
