package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/donation-dedupe/noted/client/terminal"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// printer writes answers, for a person or for a program.
type printer struct {
	terminal.Printer
	table table.Writer // the rows of list
}

func (a *app) printer(cmd *cli.Command) *printer {
	return &printer{Printer: terminal.NewPrinter(a.stdout, cmd.String("o") == "json", a.env)}
}

// answer writes the answer to note: a headline, then the facts.
func (p *printer) answer(response *client.NoteResponse) error {
	if p.JSON {
		return p.jsonLine(response)
	}
	switch response.GetVerdict() {
	case client.First:
		p.headline(response.GetVerdict(), "yours to process"+inShadow(response))
	case client.Held:
		p.headline(
			response.GetVerdict(),
			"somebody is processing it, come back in "+seconds(response.GetRetryAfter().AsDuration()),
		)
	case client.Duplicate:
		p.headline(response.GetVerdict(), "noted before, nothing to process")
	default:
		return unknownVerdict(response)
	}
	facts := noteFacts(response.GetNote())
	facts = append(facts, terminal.Fact{"evidence", terminal.Spoken(response.GetEvidence().String(), "EVIDENCE_")})
	if response.GetReceipt() != "" {
		facts = append(facts, terminal.Fact{"receipt", response.GetReceipt()})
	}
	if len(response.GetDifferences()) > 0 {
		facts = append(
			facts,
			terminal.Fact{"differs in", p.Paint(text.FgYellow, strings.Join(response.GetDifferences(), ", "))},
		)
	}
	return p.Facts(facts)
}

// inShadow is the true verdict of an answer in shadow; empty outside shadow.
func inShadow(response *client.NoteResponse) string {
	if response.GetShadowVerdict() == client.Undecided {
		return ""
	}
	return "  (the ledger is in shadow; the true verdict is " +
		strings.TrimPrefix(response.GetShadowVerdict().String(), "VERDICT_") + ")"
}

func (p *printer) existence(found *client.Existence) error {
	switch {
	case p.JSON:
		return p.jsonLine(found)
	case found.GetNote() == nil:
		fmt.Fprintln(p.Out, p.Paint(text.FgGreen, "NOT NOTED"))
		return p.Out.Flush()
	case found.GetExists():
		fmt.Fprintln(p.Out, p.Paint(text.FgYellow, "EXISTS"))
	default:
		fmt.Fprintln(p.Out, p.Paint(text.FgGreen, "OPEN")+"  noted, but given up: the next message is FIRST")
	}
	return p.Facts(
		append(
			noteFacts(found.GetNote()),
			terminal.Fact{"evidence", terminal.Spoken(found.GetEvidence().String(), "EVIDENCE_")},
		),
	)
}

func (p *printer) note(note *client.Note) error {
	if p.JSON {
		return p.jsonLine(note)
	}
	return p.Facts(noteFacts(note))
}

// forgotten writes the note as it was, and for a person the commands that note it again.
func (p *printer) forgotten(note *client.Note) error {
	if p.JSON {
		return p.jsonLine(note)
	}
	facts := noteFacts(note)
	for _, command := range commandsOf(note) {
		facts = append(facts, terminal.Fact{"note again", command})
	}
	return p.Facts(facts)
}

// token writes a new token, and on a second line its entry for the server's callers file.
func (p *printer) token(token string, made madeToken) error {
	line, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if p.JSON {
		fmt.Fprintf(p.Out, "{\"token\":%q,\"callers\":{%q:%s}}\n", token, made.name, line)
	} else {
		fmt.Fprintf(p.Out, "%s\n%q: %s\n", token, made.name, line)
	}
	return p.Out.Flush()
}

func (p *printer) skipped(identified paypal.Identified) error {
	if p.JSON {
		p.Out.Write(identified.AppendJSON(nil))
	} else {
		fmt.Fprintln(p.Out, p.Paint(text.FgYellow, "SKIPPED")+"  "+terminal.Printable(identified.Skipped))
	}
	return p.Out.Flush()
}

// row writes one of several answers on a line, in columns as wide as PayPal's ids.
func (p *printer) row(response *client.NoteResponse) error {
	if p.JSON {
		return p.jsonLine(response)
	}
	donation := response.GetNote().GetDonation()
	line := fmt.Sprintf(
		"%s  %-10s  %-16s  %12s  %-16s  %s",
		p.verdict(response.GetVerdict(), 9),
		terminal.EventName(terminal.EventOf(donation)),
		donation.GetSeriesId(),
		terminal.Amount(donation),
		terminal.Spoken(response.GetEvidence().String(), "EVIDENCE_"),
		response.GetNote().GetDonationId(),
	)
	if response.GetReceipt() != "" {
		line += "  receipt " + response.GetReceipt()
	}
	line += inShadow(response)
	if response.GetVerdict() == client.Held {
		line += "  come back in " + seconds(response.GetRetryAfter().AsDuration())
	}
	if len(response.GetDifferences()) > 0 {
		line += "  " + p.Paint(text.FgYellow, "differs in "+strings.Join(response.GetDifferences(), ", "))
	}
	fmt.Fprintln(p.Out, line)
	return p.Out.Flush()
}

// result writes one answer of note -f. For a program an error is a line too, so that the
// lines are in the order of the requests.
func (p *printer) result(a *app, result client.NoteResult, err error) error {
	switch {
	case err == nil:
		return p.row(result.Response)
	case p.JSON:
		s := status.Convert(err)
		return p.jsonLine(&notedv1.NoteDonationsResponse{Result: &notedv1.NoteDonationsResponse_Error_{
			Error: &notedv1.NoteDonationsResponse_Error{
				Code:    int32(s.Code()),
				Message: s.Message(),
				Reason:  client.Reason(err),
			},
		}})
	}
	a.warnf("%v", err)
	return nil
}

// newTable makes a table without borders.
func newTable(header ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleDefault)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Box.PaddingLeft = ""
	t.Style().Box.PaddingRight = "  "
	if len(header) > 0 {
		t.AppendHeader(header)
	}
	return t
}

// listed adds a note to the table, or writes it for a program.
func (p *printer) listed(note *client.Note) error {
	if p.JSON {
		return p.jsonLine(note)
	}
	if p.table == nil {
		p.table = newTable()
		p.table.SetColumnConfigs(
			[]table.ColumnConfig{{Name: "AMOUNT", Align: text.AlignRight, AlignHeader: text.AlignLeft}},
		)
		p.table.AppendHeader(
			table.Row{
				"NOTED AT", "OCCURRED AT", "SERIES", "EVENT", "AMOUNT", "STATE", "SEEN ON", "ATTEMPT", "TRANSACTION",
				"DONATION ID",
			},
		)
	}
	donation := note.GetDonation()
	p.table.AppendRow(table.Row{
		terminal.Local(note.GetNotedAt()), terminal.Local(donation.GetOccurredAt()),
		donation.GetSeriesId(), terminal.EventName(terminal.EventOf(donation)), terminal.Amount(donation),
		p.state(note.GetState()), seenOn(note), note.GetAttempt(), transactions(note), note.GetDonationId(),
	})
	return nil
}

// count writes the number of notes.
func (p *printer) count(notes int) error {
	if p.JSON {
		fmt.Fprintf(p.Out, "{\"count\":%d}\n", notes)
	} else {
		fmt.Fprintln(p.Out, notes)
	}
	return p.Out.Flush()
}

// flush writes the table of list.
func (p *printer) flush() error {
	if p.table != nil {
		for line := range strings.Lines(p.table.Render() + "\n") {
			fmt.Fprintln(p.Out, strings.TrimRight(line, " \n"))
		}
	}
	return p.Out.Flush()
}

func (p *printer) jsonLine(message proto.Message) error {
	line, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	// protojson adds spaces at random, so that programs do not rely on them. Compact makes
	// equal answers equal lines.
	var compact bytes.Buffer
	if err := json.Compact(&compact, line); err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	compact.WriteByte('\n')
	p.Out.Write(compact.Bytes())
	return p.Out.Flush()
}

func (p *printer) headline(verdict client.Verdict, meaning string) {
	fmt.Fprintln(p.Out, p.verdict(verdict, 0)+"  "+meaning)
}

func noteFacts(note *client.Note) []terminal.Fact {
	donation := note.GetDonation()
	what := []string{terminal.EventName(terminal.EventOf(donation)), donation.GetSeriesId()}
	if donation.GetAmount() != "" {
		what = append(what, terminal.Amount(donation))
	}
	if donation.GetOccurredAt() != nil {
		what = append(what, "of "+terminal.Local(donation.GetOccurredAt()))
	}
	facts := []terminal.Fact{{"donation", strings.Join(what, "  ")}, {"id", note.GetDonationId()}}
	if donation.GetLedger() != "" {
		facts = append(facts, terminal.Fact{"ledger", donation.GetLedger()})
	}
	state := terminal.Spoken(note.GetState().String(), "STATE_")
	if held := note.GetHeldUntil(); held != nil {
		state += fmt.Sprintf(", hold until %s (%s)", terminal.Local(held), until(held.AsTime()))
	}
	if note.GetAttempt() > 1 {
		state += fmt.Sprintf(", attempt %d", note.GetAttempt())
	}
	facts = append(
		facts,
		terminal.Fact{"state", state},
		terminal.Fact{"noted at", terminal.Local(note.GetNotedAt())},
		terminal.Fact{"forget at", terminal.Local(note.GetForgetAt())},
	)
	for _, s := range note.GetSightings() {
		message := s.GetMessage()
		seen := strings.TrimSpace(terminal.Local(s.GetSeenAt()) + "  " + message.GetChannel() + " " + message.GetId())
		if received := message.GetReceivedAt(); received != nil {
			seen += "  received " + terminal.Local(received)
		}
		facts = append(facts, terminal.Fact{"seen", seen})
	}
	return facts
}

func (p *printer) verdict(verdict client.Verdict, width int) string {
	name := strings.TrimPrefix(verdict.String(), "VERDICT_")
	color := text.FgYellow
	switch verdict {
	case client.First:
		color = text.FgGreen
	case client.Held:
		color = text.FgCyan
	}
	return p.Paint(color, fmt.Sprintf("%-*s", width, name))
}

func (p *printer) state(state client.State) string {
	name := terminal.Spoken(state.String(), "STATE_")
	switch state {
	case client.StateOpen:
		return p.Paint(text.FgRed, name)
	case client.StateHeld:
		return p.Paint(text.FgCyan, name)
	}
	return name
}

func seenOn(note *client.Note) string {
	var channels []string
	for _, s := range note.GetSightings() {
		if c := s.GetMessage().GetChannel(); c != "" && !slices.Contains(channels, c) {
			channels = append(channels, c)
		}
	}
	return strings.Join(channels, " ")
}

// transactions returns the transaction ids of a donation's messages.
func transactions(note *client.Note) string {
	var ids []string
	for _, s := range note.GetSightings() {
		if id := s.GetTransactionId(); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return strings.Join(ids, " ")
}

// until shows the time until t, in whole seconds.
func until(t time.Time) string {
	d := t.Sub(now())
	if d < 0 {
		return seconds(-d) + " ago"
	}
	return "in " + seconds(d)
}

// seconds shows a duration without fractions, and without a final "0s" after minutes.
func seconds(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}
