package main

import (
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
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The acts of noted-gateway inbox.
const inboxManual = `noted-gateway inbox looks into the inbox of a gateway, and works on it.

  noted-gateway inbox list   [FILTER…] [ROW…]                   one line for each message
  noted-gateway inbox show   [FILTER…] [ROW…]                   all that the journal knows
  noted-gateway inbox export [FILTER…] [ROW…] [-bodies]         the same as JSON, one message a line
  noted-gateway inbox redo   [FILTER…] [ROW…] [-rate N]         process messages again, N a second
  noted-gateway inbox close  [FILTER…] [ROW…] -reason TEXT      what was booked by hand: settle it, and be done
  noted-gateway inbox unknown -since TIME                       what Noted knows and the inbox does not

After a database is restored from a backup, unknown names the donations that Noted has noted since the backup and
the restored journal lacks, so that you can compare them downstream. It needs a token with the verb list, too.
A ROW is the inbox's id of a message, the first column of list. redo and close want a filter or a row, and each act
is recorded with its reason and with the user who did it; show lists the acts. A redo of a settled donation hands
nothing on: forget its note first (notectl forget), and the downstream sees it under a new donation id.

Flags, most with their variable in the environment, as the gateway has it:

`

// inboxCommand is what the flags of noted-gateway inbox say.
type inboxCommand struct {
	*cli.Command
	box    *inbox.Inbox
	filter inbox.Filter
	out    io.Writer
}

// inboxActs are the acts by name.
var inboxActs = map[string]func(context.Context, *inboxCommand) error{
	"list": listInbox, "show": showInbox, "export": exportInbox, "redo": redoInbox, "close": closeInbox,
	"unknown": unknownInbox,
}

// inboxFlags are the gateway's flags that an act needs, and the act's own.
func inboxFlags(env func(string) (string, bool)) []cli.Flag {
	var all []cli.Flag
	for _, flag := range flags(env) {
		switch flag.Names()[0] {
		case "inbox", "inbox-key-file", "ledger", "noted", "noted-token", "noted-ca", "noted-plaintext":
			all = append(all, flag)
		}
	}
	text := func(name, placeholder, help string) {
		all = append(all, &cli.StringFlag{Name: name, Usage: "`" + placeholder + "`" + help})
	}
	states := make([]string, len(inbox.States))
	for i, state := range inbox.States {
		states[i] = string(state)
	}
	text("state", "LIST", "Filter: messages in these states, of "+strings.Join(states, ", ")+".")
	text("since", "TIME", "Filter: messages received at this time or later, as 2026-03-01 or 2026-03-01T10:00:00Z.")
	text("until", "TIME", "Filter: messages received before this time.")
	text("channel", "NAME", "Filter: ipn or webhook.")
	text("series", "ID", "Filter: messages that name this series of PayPal's.")
	text("transaction", "ID", "Filter: messages that name this transaction of PayPal's.")
	text("cause", "TEXT", "Filter: messages whose cause begins with this text, as list shows it.")
	text("reason", "TEXT", "Why: kept in the audit. close needs it and tells it to Noted.")
	all = append(
		all,
		&cli.FloatFlag{Name: "rate", Value: 10, Usage: "redo: how many messages a second become due."},
		&cli.BoolFlag{Name: "bodies", Usage: "show and export: the headers and bodies, too. They hold donors' data."},
		&cli.BoolFlag{Name: "dry-run", Usage: "redo and close: only say which messages it would be."},
	)
	return all
}

// runInbox is noted-gateway inbox ACT.
func runInbox(ctx context.Context, args []string, env func(string) (string, bool), stdout io.Writer) error {
	act := ""
	if len(args) > 1 && !strings.HasPrefix(args[1], "-") {
		act, args = args[1], args[1:]
	}
	command := &cli.Command{
		Name: "noted-gateway inbox", Flags: inboxFlags(env), HideVersion: true, HideHelpCommand: true,
		Writer: stdout, ErrWriter: io.Discard,
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		OnUsageError:   func(_ context.Context, _ *cli.Command, err error, _ bool) error { return usageError{err} },
		Action: func(ctx context.Context, c *cli.Command) error {
			run, ok := inboxActs[act]
			if !ok {
				return usage("%q is no act on the inbox; noted-gateway inbox -help lists them", act)
			}
			return onInbox(ctx, c, stdout, run)
		},
	}
	command.CustomRootCommandHelpTemplate = inboxManual + flagHelp(command.Flags)
	return command.Run(ctx, args)
}

// onInbox opens the inbox for an act.
func onInbox(
	ctx context.Context, c *cli.Command, out io.Writer, run func(context.Context, *inboxCommand) error,
) (err error) {
	i := &inboxCommand{Command: c, out: out}
	if i.filter, err = filterOf(c); err != nil {
		return err
	}
	config := inbox.Config{URL: c.String("inbox"), Account: c.String("ledger"), Existing: true}
	if config.URL == "" {
		return usage("-inbox (%s): say where the inbox is, as the gateway has it", envName("inbox"))
	}
	if name := c.String("inbox-key-file"); name != "" {
		content, err := os.ReadFile(name)
		if err == nil {
			config.Keys, err = inbox.ReadKeys(content)
		}
		if err != nil {
			return usage("-inbox-key-file (%s): %w", envName("inbox-key-file"), err)
		}
	}
	if i.box, err = inbox.Open(ctx, config); err != nil {
		return err
	}
	return errors.Join(run(ctx, i), i.box.Close())
}

func filterOf(c *cli.Command) (f inbox.Filter, err error) {
	f = inbox.Filter{
		Rows: c.Args().Slice(), Channel: c.String("channel"), Series: c.String("series"),
		Transaction: c.String("transaction"), Cause: c.String("cause"),
	}
	for _, name := range list(c.String("state")) {
		if !slices.Contains(inbox.States, inbox.State(name)) {
			return f, usage("-state: %q is no state; noted-gateway inbox -help lists them", name)
		}
		f.States = append(f.States, inbox.State(name))
	}
	for flag, at := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		text := c.String(flag)
		if text == "" {
			continue
		}
		if *at, err = time.Parse(time.DateOnly, text); err == nil {
			continue
		}
		if *at, err = time.Parse(time.RFC3339, text); err != nil {
			return f, usage("-%s: %q is no time; write one such as 2026-03-01 or 2026-03-01T10:00:00Z", flag, text)
		}
	}
	return f, nil
}

// selected returns the messages that a changing act is about, and wants them to be named.
func (i *inboxCommand) selected(ctx context.Context) (all []inbox.Message, err error) {
	f := i.filter
	if len(f.Rows) == 0 && len(f.States) == 0 && f.Since.IsZero() && f.Until.IsZero() && f.Channel == "" &&
		f.Series == "" && f.Transaction == "" && f.Cause == "" {
		return nil, usage("say which messages: name rows, or give a filter such as -state person")
	}
	err = i.box.List(ctx, f, func(m inbox.Message) error { all = append(all, m); return nil })
	if err == nil && len(f.Rows) > len(all) {
		err = fmt.Errorf("%d of %d rows are not in the inbox, or another filter leaves them out",
			len(f.Rows)-len(all), len(f.Rows))
	}
	return all, err
}

func listInbox(ctx context.Context, i *inboxCommand) error {
	table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROW\tRECEIVED\tCHANNEL\tTYPE\tSTATE\tTRIES\tCOPIES\tTRANSACTION\tSERIES\tCAUSE")
	err := i.box.List(ctx, i.filter, func(m inbox.Message) error {
		_, err := fmt.Fprintf(
			table,
			"%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n",
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

// exported is a message with its acts and, where asked for, its contents.
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
		if i.Bool("bodies") && m.HasBody {
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
	rate := i.Float("rate")
	if rate <= 0 {
		return usage("-rate: %v must be positive", rate)
	}
	all, err := i.selected(ctx)
	if err != nil {
		return err
	}
	var failed []error
	due, pause := time.Now(), time.Duration(float64(time.Second)/rate)
	for _, m := range all {
		if !i.Bool("dry-run") {
			if err := i.box.Redo(ctx, m.Row, due, actor(), i.String("reason")); err != nil {
				failed = append(failed, err)
				continue
			}
			due = due.Add(pause)
		}
		fmt.Fprintf(i.out, "%s: %s again, was %s\n", m.Row, i.would("process"), m.State)
		for _, d := range m.Donations {
			if d.Outcome == inbox.Settled {
				fmt.Fprintf(
					i.out,
					"  settled at %s under donation id %s: nothing is handed on unless its note is forgotten first\n",
					d.DecidedAt.Format(time.RFC3339),
					d.DonationID,
				)
			}
		}
	}
	return errors.Join(failed...)
}

// unknownInbox lists the donations that Noted has noted since a time and that the journal
// lacks. After a restore these are the messages that PayPal heard 200 for since the
// backup, as far as they reached Noted.
func unknownInbox(ctx context.Context, i *inboxCommand) error {
	if i.filter.Since.IsZero() {
		return usage("-since: say when the backup was made")
	}
	noted, err := i.noted()
	if err != nil {
		return err
	}
	defer noted.Close()
	table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DONATION ID\tNOTED\tSTATE\tEVENT\tSERIES\tTRANSACTION")
	request := &client.ListRequest{Ledger: i.String("ledger"), NotedAfter: timestamppb.New(i.filter.Since)}
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

// would says what an act does, or would do.
func (i *inboxCommand) would(act string) string {
	if i.Bool("dry-run") {
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
