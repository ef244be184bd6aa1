package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// inboxManual is the help without the flags.
const inboxManual = `noted-gateway inbox shows and changes the inbox of a gateway.

  noted-gateway inbox list   [FILTER…] [ROW…]                   one line for each message
  noted-gateway inbox show   [FILTER…] [ROW…]                   everything in the journal about each message
  noted-gateway inbox export [FILTER…] [ROW…] [-bodies]         the same as JSON, one message a line
  noted-gateway inbox redo   [FILTER…] [ROW…] [-rate N]         process messages again, N a second
  noted-gateway inbox close  [FILTER…] [ROW…] -reason TEXT      settle donations that were booked by hand
  noted-gateway inbox unknown -since TIME                       donations that Noted knows and the inbox does not

A ROW is the inbox's id of a message, the first column of list. redo and close need a filter or a row. Each redo and
close is recorded with its reason and with the user who ran it; show lists them. A settled donation is not sent
downstream again: forget its note first (notectl forget), and redo sends it under a new donation id.

After you restore a database from a backup, unknown lists the donations that Noted has noted since the backup and
that the restored journal lacks, so that you can compare them downstream. It also needs a token with the verb read.

Flags. Most have the gateway's variable in the environment:

`

// inboxCommand is an act, with its flags and its inbox.
type inboxCommand struct {
	settings
	box *inbox.Inbox
	out io.Writer

	filter         inbox.Filter
	states, reason string
	account        string
	rate           float64
	bodies, dryRun bool
}

// inboxActs are the acts by name.
var inboxActs = map[string]func(context.Context, *inboxCommand) error{
	"list": listInbox, "show": showInbox, "export": exportInbox, "redo": redoInbox, "close": closeInbox,
	"unknown": unknownInbox,
}

// flags are the gateway's flags that an act needs, and the flags of the acts.
func (i *inboxCommand) flags(env cmdline.Env) cmdline.Settings {
	shared := slices.DeleteFunc(i.settings.flags(env), func(flag cli.Flag) bool {
		return !slices.Contains(
			[]string{
				"inbox", "inbox-key-file", "accounts-file", "ledger",
				"noted", "noted-token", "noted-ca", "noted-cert", "noted-key", "noted-plaintext",
			},
			flag.Names()[0],
		)
	})
	states := make([]string, len(inbox.States))
	for at, state := range inbox.States {
		states[at] = string(state)
	}
	text := func(name string, to *string, usage string) cli.Flag {
		return &cli.StringFlag{Name: name, Destination: to, Usage: usage}
	}
	f := &i.filter
	return append(shared, variables.Settings(nil,
		text("account", &i.account, "`NAME`Filter: messages of this account. Without it the messages of -ledger, or "+
			"with -accounts-file the messages of every account in the inbox, including accounts without a gateway."),
		&cli.StringFlag{
			Name: "state", Destination: &i.states, Validator: knownStates,
			Usage: "`LIST`Filter: messages in these states, out of " + strings.Join(states, ", ") + ".",
		},
		&cli.TimestampFlag{
			Name: "since", Destination: &f.Since,
			Usage: "`TIME`Filter: messages received at this time or later, such as 2026-03-01 or 2026-03-01T10:00:00Z.",
		},
		&cli.TimestampFlag{
			Name: "until", Destination: &f.Until, Usage: "`TIME`Filter: messages received before this time.",
		},
		text("channel", &f.Channel, "`NAME`Filter: ipn or webhook."),
		text("series", &f.Series, "`ID`Filter: messages with this PayPal series id."),
		text("transaction", &f.Transaction, "`ID`Filter: messages with this PayPal transaction id."),
		text("cause", &f.Cause, "`TEXT`Filter: messages whose cause begins with this text, as list shows it."),
		text("reason", &i.reason, "`TEXT`The reason, for the audit. close needs it, for Noted's audit too."),
		&cli.FloatFlag{
			Name: "rate", Destination: &i.rate, Value: 10, Validator: positive,
			Usage: "`N`redo: the number of messages that become due each second.",
		},
		&cli.BoolFlag{
			Name: "bodies", Destination: &i.bodies,
			Usage: "show and export: with headers and bodies, which contain donors' data.",
		},
		&cli.BoolFlag{
			Name: "dry-run", Destination: &i.dryRun,
			Usage: "redo and close: only show the messages, and change nothing.",
		},
	)...)
}

func knownStates(states string) error {
	for _, name := range list(states) {
		if !slices.Contains(inbox.States, inbox.State(name)) {
			return fmt.Errorf("%q is not a state; noted-gateway inbox -help lists them", name)
		}
	}
	return nil
}

func positive(rate float64) error {
	if rate <= 0 {
		return fmt.Errorf("%v must be positive", rate)
	}
	return nil
}

// runInbox is noted-gateway inbox ACT.
func runInbox(ctx context.Context, args []string, env cmdline.Env, stdout io.Writer) error {
	act := ""
	if len(args) > 1 && !strings.HasPrefix(args[1], "-") {
		act, args = args[1], args[1:]
	}
	i := &inboxCommand{out: stdout}
	flags := i.flags(env)
	return cmdline.Run(ctx, "noted-gateway inbox", inboxManual+flags.Help(), flags, args, stdout,
		func(ctx context.Context, c *cli.Command) error {
			run, ok := inboxActs[act]
			if !ok {
				return cmdline.Usagef("%q is not an act on the inbox; noted-gateway inbox -help lists them", act)
			}
			if err := errors.Join(append(flags.Mistakes(), i.finish()...)...); err != nil {
				return err
			}
			i.filter.Rows = c.Args().Slice()
			return i.onInbox(ctx, run)
		})
}

// finish reads the files, and reports missing settings.
func (i *inboxCommand) finish() (wrong []error) {
	if i.config.InboxURL == "" {
		wrong = append(
			wrong,
			cmdline.Usagef("%s: set it to the inbox of the gateway", variables.Both("inbox")),
		)
	}
	if err := i.readInboxKeys(); err != nil {
		wrong = append(wrong, err)
	}
	for _, name := range list(i.states) {
		i.filter.States = append(i.filter.States, inbox.State(name))
	}
	return wrong
}

// onInbox opens the inbox for an act.
func (i *inboxCommand) onInbox(ctx context.Context, run func(context.Context, *inboxCommand) error) (err error) {
	config := inbox.Config{
		URL:         i.config.InboxURL,
		Account:     cmp.Or(i.account, i.config.Ledger),
		AllAccounts: i.all(),
		Keys:        i.config.InboxKeys,
		Existing:    true,
	}
	if i.box, err = inbox.Open(ctx, config); err != nil {
		return err
	}
	return errors.Join(run(ctx, i), i.box.Close())
}

// all reports whether an act is about the messages of every account.
func (i *inboxCommand) all() bool { return i.files.accounts != "" && i.account == "" }

// selected returns the messages for a changing act. They must be named.
func (i *inboxCommand) selected(ctx context.Context) (all []inbox.Message, err error) {
	f := i.filter
	if len(f.Rows) == 0 && len(f.States) == 0 && f.Since.IsZero() && f.Until.IsZero() && f.Channel == "" &&
		f.Series == "" && f.Transaction == "" && f.Cause == "" {
		return nil, cmdline.Usagef("choose the messages: name rows, or give a filter such as -state person")
	}
	err = i.box.List(ctx, f, func(m inbox.Message) error { all = append(all, m); return nil })
	if err == nil && len(f.Rows) > len(all) {
		err = fmt.Errorf("%d of %d rows are not in the inbox, or another filter excludes them",
			len(f.Rows)-len(all), len(f.Rows))
	}
	return all, err
}

func listInbox(ctx context.Context, i *inboxCommand) error {
	table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	account := func(name string) string { // a column where there are several
		if i.all() {
			return name + "\t"
		}
		return ""
	}
	fmt.Fprintln(
		table,
		account("ACCOUNT")+"ROW\tRECEIVED\tCHANNEL\tTYPE\tSTATE\tTRIES\tCOPIES\tTRANSACTION\tSERIES\tCAUSE",
	)
	err := i.box.List(ctx, i.filter, func(m inbox.Message) error {
		_, err := fmt.Fprintf(
			table,
			"%s%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n",
			account(m.Account),
			m.Row,
			m.ReceivedAt.Format(time.RFC3339),
			m.Channel,
			m.Type,
			m.State,
			m.Tries,
			m.Copies,
			m.IDs.Transaction,
			m.IDs.Series,
			m.Cause,
		)
		return err
	})
	return errors.Join(err, table.Flush())
}

// exported is a message with its acts and, on request, its contents.
type exported struct {
	inbox.Message
	Acts   []inbox.Act         `json:"acts,omitempty"`
	Header map[string][]string `json:"header,omitempty"`
	Body   []byte              `json:"body_base64,omitempty"`
}

func (i *inboxCommand) each(ctx context.Context, write func(exported) error) error {
	return i.box.List(ctx, i.filter, func(m inbox.Message) (err error) {
		e := exported{Message: m}
		if e.Acts, err = i.box.Acts(ctx, m.Row); err != nil {
			return err
		}
		if i.bodies && m.HasBody {
			contents, err := i.box.Contents(ctx, m.Row)
			if err != nil {
				return fmt.Errorf("%s: %w", m.Row, err)
			}
			e.Header, e.Body = contents.Header, contents.Body
		}
		return write(e)
	})
}

func showInbox(ctx context.Context, i *inboxCommand) error {
	encoder := json.NewEncoder(i.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return i.each(ctx, func(e exported) error { return encoder.Encode(e) })
}

func exportInbox(ctx context.Context, i *inboxCommand) error {
	encoder := json.NewEncoder(i.out)
	encoder.SetEscapeHTML(false)
	return i.each(ctx, func(e exported) error { return encoder.Encode(e) })
}

func redoInbox(ctx context.Context, i *inboxCommand) error {
	all, err := i.selected(ctx)
	if err != nil {
		return err
	}
	var failed []error
	due, pause := time.Now(), time.Duration(float64(time.Second)/i.rate)
	told := make(map[string]bool) // accounts
	for _, m := range all {
		if i.dryRun && !m.HasBody {
			failed = append(failed, fmt.Errorf("%s: %w", m.Row, inbox.ErrNoBody))
			continue
		}
		if !i.dryRun {
			if err := i.box.Redo(ctx, m.Row, due, actor(), i.reason); err != nil {
				failed = append(failed, err)
				continue
			}
			due = due.Add(pause)
		}
		fmt.Fprintf(i.out, "%s: %s again, was %s\n", m.Row, i.would("process"), m.State)
		if !told[m.Account] {
			told[m.Account] = true
			if err := i.remarkOn(ctx, m.Account); err != nil {
				failed = append(failed, err)
			}
		}
		for _, d := range m.Donations {
			if d.Outcome == inbox.Settled {
				fmt.Fprintf(
					i.out,
					"  settled at %s under donation id %s: nothing is sent downstream unless its note is forgotten first\n",
					d.DecidedAt.Format(time.RFC3339),
					d.DonationID,
				)
			}
		}
	}
	return errors.Join(failed...)
}

// remarkOn says if no gateway has an account any more.
func (i *inboxCommand) remarkOn(ctx context.Context, account string) error {
	at, err := i.box.Served(ctx, account)
	if err == nil && !at.IsZero() && time.Since(at) > inbox.Deserted {
		fmt.Fprintf(i.out, "  no gateway has had its account %q since %s: no gateway processes it until a gateway "+
			"has the account again\n", account, at.Format(time.RFC3339))
	}
	return err
}

// unknownInbox lists the donations that Noted has noted since a time and that the journal
// lacks. After a restore these are the donations of messages that PayPal got 200 for
// since the backup, as far as they reached Noted.
func unknownInbox(ctx context.Context, i *inboxCommand) error {
	if i.filter.Since.IsZero() {
		return cmdline.Usagef("-since: give the time of the backup")
	}
	if i.all() && i.config.Ledger == "" {
		return cmdline.Usagef("%s: name the ledger; the accounts have several", variables.Both("ledger"))
	}
	noted, err := i.noted()
	if err != nil {
		return err
	}
	defer noted.Close()
	table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DONATION ID\tNOTED\tSTATE\tEVENT\tSERIES\tTRANSACTION")
	request := &client.ListRequest{Ledger: i.config.Ledger, NotedAfter: timestamppb.New(i.filter.Since)}
	for note, err := range noted.List(ctx, request) {
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		known, err := i.box.Knows(ctx, note.GetDonationId())
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		if !known {
			d := note.GetDonation()
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", note.GetDonationId(),
				note.GetNotedAt().AsTime().Format(time.RFC3339), strings.TrimPrefix(note.GetState().String(), "STATE_"),
				strings.TrimPrefix(d.GetEvent().String(), "EVENT_"), d.GetSeriesId(), d.GetTransactionId())
		}
	}
	return table.Flush()
}

// would names an act that is done, or would be done.
func (i *inboxCommand) would(act string) string {
	if i.dryRun {
		return "would " + act
	}
	return act
}

// actor names the user who acts, for the audit.
func actor() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
