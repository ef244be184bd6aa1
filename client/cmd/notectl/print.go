package main

import (
	"bufio"
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
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// printer writes answers, for a person or for a program.
type printer struct {
	out   *bufio.Writer
	json  bool
	color bool
	table table.Writer // what list has gathered
}

func (a *app) printer(cmd *cli.Command) *printer {
	noColor, _ := a.env("NO_COLOR")
	terminal, _ := a.env("TERM")
	return &printer{
		out:   bufio.NewWriter(a.stdout),
		json:  cmd.String("o") == "json",
		color: isTerminal(a.stdout) && noColor == "" && terminal != "dumb",
	}
}

// answer writes the answer to note: a line for the eye, then the facts.
func (p *printer) answer(response *client.NoteResponse) error {
	if p.json {
		return p.jsonLine(response)
	}
	switch response.GetVerdict() {
	case client.First:
		p.headline(response.GetVerdict(), "yours to process")
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
	facts = append(facts, fact{"evidence", spoken(response.GetEvidence().String(), "EVIDENCE_")})
	if response.GetReceipt() != "" {
		facts = append(facts, fact{"receipt", response.GetReceipt()})
	}
	if len(response.GetDifferences()) > 0 {
		facts = append(facts, fact{"differs in", p.paint(text.FgYellow, strings.Join(response.GetDifferences(), ", "))})
	}
	return p.facts(facts)
}

func (p *printer) existence(found *client.Existence) error {
	switch {
	case p.json:
		return p.jsonLine(found)
	case found.GetNote() == nil:
		fmt.Fprintln(p.out, p.paint(text.FgGreen, "NOT NOTED"))
		return p.out.Flush()
	case found.GetExists():
		fmt.Fprintln(p.out, p.paint(text.FgYellow, "EXISTS"))
	default:
		fmt.Fprintln(p.out, p.paint(text.FgGreen, "OPEN")+"  noted, but given up: the next message is FIRST")
	}
	return p.facts(
		append(noteFacts(found.GetNote()), fact{"evidence", spoken(found.GetEvidence().String(), "EVIDENCE_")}),
	)
}

func (p *printer) note(note *client.Note) error {
	if p.json {
		return p.jsonLine(note)
	}
	return p.facts(noteFacts(note))
}

// token writes a token that was just made, and the line that makes it count: two lines,
// so that a script can tell them apart.
func (p *printer) token(token string, made madeToken) error {
	line, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if p.json {
		fmt.Fprintf(p.out, "{\"token\":%q,\"callers\":{%q:%s}}\n", token, made.name, line)
	} else {
		fmt.Fprintf(p.out, "%s\n%q: %s\n", token, made.name, line)
	}
	return p.out.Flush()
}

func (p *printer) skipped(identified paypal.Identified) error {
	if p.json {
		p.out.Write(identified.AppendJSON(nil))
	} else {
		fmt.Fprintln(p.out, p.paint(text.FgYellow, "SKIPPED")+"  "+printable(identified.Skipped))
	}
	return p.out.Flush()
}

// row writes an answer as one of several, on one line, in columns that fit PayPal's ids.
func (p *printer) row(response *client.NoteResponse) error {
	if p.json {
		return p.jsonLine(response)
	}
	donation := response.GetNote().GetDonation()
	line := fmt.Sprintf(
		"%s  %-10s  %-16s  %12s  %-16s  %s",
		p.verdict(response.GetVerdict(), 9),
		eventName(event(donation)),
		donation.GetSeriesId(),
		amount(donation),
		spoken(response.GetEvidence().String(), "EVIDENCE_"),
		response.GetNote().GetDonationId(),
	)
	if response.GetReceipt() != "" {
		line += "  receipt " + response.GetReceipt()
	}
	if response.GetVerdict() == client.Held {
		line += "  come back in " + seconds(response.GetRetryAfter().AsDuration())
	}
	if len(response.GetDifferences()) > 0 {
		line += "  " + p.paint(text.FgYellow, "differs in "+strings.Join(response.GetDifferences(), ", "))
	}
	fmt.Fprintln(p.out, line)
	return p.out.Flush()
}

// result writes one answer of note -f. For a program an error is a line too, so that
// answers stand in the order of the requests.
func (p *printer) result(a *app, result client.NoteResult, err error) error {
	switch {
	case err == nil:
		return p.row(result.Response)
	case p.json:
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

// listed adds a note to the table, or writes it for a program.
func (p *printer) listed(note *client.Note) error {
	if p.json {
		return p.jsonLine(note)
	}
	if p.table == nil {
		p.table = table.NewWriter()
		p.table.SetStyle(table.StyleDefault)
		p.table.Style().Options = table.OptionsNoBordersAndSeparators
		p.table.Style().Box.PaddingLeft = ""
		p.table.Style().Box.PaddingRight = "  "
		p.table.SetColumnConfigs(
			[]table.ColumnConfig{{Name: "AMOUNT", Align: text.AlignRight, AlignHeader: text.AlignLeft}},
		)
		p.table.AppendHeader(
			table.Row{"NOTED AT", "SERIES", "EVENT", "AMOUNT", "STATE", "SEEN ON", "ATTEMPT", "DONATION ID"},
		)
	}
	donation := note.GetDonation()
	p.table.AppendRow(table.Row{
		local(note.GetNotedAt()), donation.GetSeriesId(), eventName(event(donation)), amount(donation),
		p.state(note.GetState()), seenOn(note), note.GetAttempt(), note.GetDonationId(),
	})
	return nil
}

// flush writes what was kept back.
func (p *printer) flush() error {
	if p.table != nil {
		for line := range strings.Lines(p.table.Render() + "\n") {
			fmt.Fprintln(p.out, strings.TrimRight(line, " \n"))
		}
	}
	return p.out.Flush()
}

func (p *printer) jsonLine(message proto.Message) error {
	line, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	// protojson puts spaces where it likes, lest anybody rely on them; a line should be
	// the same every time.
	var compact bytes.Buffer
	if err := json.Compact(&compact, line); err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	compact.WriteByte('\n')
	p.out.Write(compact.Bytes())
	return p.out.Flush()
}

func (p *printer) headline(verdict client.Verdict, meaning string) {
	fmt.Fprintln(p.out, p.verdict(verdict, 0)+"  "+meaning)
}

// fact is a line of an answer.
type fact struct{ name, value string }

func (p *printer) facts(facts []fact) error {
	for _, f := range facts {
		fmt.Fprintf(p.out, "  %-11s %s\n", f.name, f.value)
	}
	return p.out.Flush()
}

func noteFacts(note *client.Note) []fact {
	donation := note.GetDonation()
	what := []string{eventName(event(donation)), donation.GetSeriesId()}
	if donation.GetAmount() != "" {
		what = append(what, amount(donation))
	}
	if donation.GetOccurredAt() != nil {
		what = append(what, "of "+local(donation.GetOccurredAt()))
	}
	facts := []fact{{"donation", strings.Join(what, "  ")}, {"id", note.GetDonationId()}}
	if donation.GetLedger() != "" {
		facts = append(facts, fact{"ledger", donation.GetLedger()})
	}
	state := spoken(note.GetState().String(), "STATE_")
	if held := note.GetHeldUntil(); held != nil {
		state += fmt.Sprintf(", hold until %s (%s)", local(held), until(held.AsTime()))
	}
	if note.GetAttempt() > 1 {
		state += fmt.Sprintf(", attempt %d", note.GetAttempt())
	}
	facts = append(
		facts,
		fact{"state", state},
		fact{"noted at", local(note.GetNotedAt())},
		fact{"forget at", local(note.GetForgetAt())},
	)
	for _, s := range note.GetSightings() {
		message := s.GetMessage()
		seen := strings.TrimSpace(local(s.GetSeenAt()) + "  " + message.GetChannel() + " " + message.GetId())
		if received := message.GetReceivedAt(); received != nil {
			seen += "  received " + local(received)
		}
		facts = append(facts, fact{"seen", seen})
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
	return p.paint(color, fmt.Sprintf("%-*s", width, name))
}

func (p *printer) state(state client.State) string {
	name := spoken(state.String(), "STATE_")
	switch state {
	case client.StateOpen:
		return p.paint(text.FgRed, name)
	case client.StateHeld:
		return p.paint(text.FgCyan, name)
	}
	return name
}

func (p *printer) paint(color text.Color, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + fmt.Sprint(int(color)) + "m" + s + "\x1b[0m"
}

func event(donation *client.Donation) client.Event {
	if donation.GetEvent() == 0 {
		return client.EventPayment
	}
	return donation.GetEvent()
}

func amount(donation *client.Donation) string {
	return strings.TrimSpace(donation.GetAmount() + " " + donation.GetCurrencyCode())
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

// local shows a time as a person's clock would.
func local(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05 MST")
}

// until shows how long something will last, in whole seconds.
func until(t time.Time) string {
	d := t.Sub(now())
	if d < 0 {
		return seconds(-d) + " ago"
	}
	return "in " + seconds(d)
}

// seconds shows a duration without fractions, and without a "0s" behind minutes.
func seconds(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}
