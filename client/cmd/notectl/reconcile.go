package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/desk/reconcile"
	"github.com/donation-dedupe/noted/client/terminal"
)

func (a *app) reconcileCommand() *cli.Command {
	return &cli.Command{
		Name: "reconcile", UsageText: "notectl reconcile [options] FILE",
		Usage: "compare PayPal's activity report with the notes",
		Description: `FILE is the activity report as PayPal offers it for download, CSV or tab-separated, in
English, German, French, Spanish, Italian or Dutch, or the JSON of PayPal's Transaction
Search API with all its pages. "-" reads standard input. The report is read once; names
and addresses in it are neither kept nor shown. The desk's page "Does PayPal agree?" does
the same.

The exit code is 0 if PayPal and Noted agree, and otherwise

    12   they do not agree: check the findings`,
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "order", Validator: cmdline.OneOf("day", "month"),
				Usage: "`FIRST` part of 1/2/2026: day or month; by default the report's rows show it",
			},
		},
		Action: a.act(a.reconcile),
	}
}

func (a *app) reconcile(ctx context.Context, cmd *cli.Command) (int, error) {
	name, err := one(cmd, "the file with PayPal's report")
	if err != nil {
		return 0, err
	}
	report, size, err := a.openReport(name)
	if err != nil {
		return 0, err
	}
	defer report.Close()
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	ledger := cmd.String("ledger")
	begin, err := reconcile.Begin(ctx, noted, ledger)
	if err != nil {
		return 0, err
	}
	bar := terminal.NewProgress(a.stdout, a.stderr, size, "reading")
	var notes *terminal.Progress
	list := reconcile.Since(ctx, noted, ledger, func(n int) {
		if n == 1 {
			bar.Clear()
			notes = terminal.NewProgress(a.stdout, a.stderr, -1, "listing")
		}
		notes.Set(int64(n))
	})
	result, err := reconcile.Compare(&progressReader{from: report, bar: bar}, list, reconcile.Options{
		DayFirst: cmd.String("order") == "day", MonthFirst: cmd.String("order") == "month", Begin: begin,
	})
	bar.Clear()
	notes.Clear()
	if err != nil {
		return 0, err
	}
	code := exitFirst
	if len(result.Findings) > 0 {
		code = exitDisagree
	}
	return code, a.printer(cmd).reconciled(result)
}

// openReport opens a file, or standard input with the unknown size -1.
func (a *app) openReport(name string) (report io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(a.stdin), -1, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the report: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("reading the report: %w", err), file.Close())
	}
	return file, info.Size(), nil
}

// progressReader moves a bar with each read.
type progressReader struct {
	from io.Reader
	bar  *terminal.Progress
	read int64
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.read += int64(n)
	r.bar.Set(r.read)
	return n, err
}

// A reconciledJSON is a result for programs.
type reconciledJSON struct {
	Agree    bool          `json:"agree"`
	From     string        `json:"from"`
	To       string        `json:"to"`
	Rows     int           `json:"rows"`
	Compared int           `json:"compared"`
	Pending  int           `json:"pending"`
	Others   int           `json:"others"`
	Notes    int           `json:"notes"`
	Findings []findingJSON `json:"findings"`
	Sums     []sumJSON     `json:"sums"`
}

type findingJSON struct {
	Kind        reconcile.Kind `json:"kind"`
	Transaction string         `json:"transaction_id,omitempty"`
	Day         string         `json:"day"`
	Type        string         `json:"type,omitempty"`
	PayPal      string         `json:"paypal,omitempty"`
	Noted       string         `json:"noted,omitempty"`
	DonationIDs []string       `json:"donation_ids,omitempty"`
}

type sumJSON struct {
	Month     string `json:"month"`
	Currency  string `json:"currency_code"`
	PayPalIn  string `json:"paypal_in"`
	NotedIn   string `json:"noted_in"`
	PayPalOut string `json:"paypal_out"`
	NotedOut  string `json:"noted_out"`
	Agree     bool   `json:"agree"`
}

// reconciled writes the result of a comparison.
func (p *printer) reconciled(r *reconcile.Result) error {
	if p.JSON {
		return p.reconciledLine(r)
	}
	span := fmt.Sprintf("%d payments and refunds from %s to %s", r.Compared, r.From, r.To)
	if len(r.Findings) == 0 {
		fmt.Fprintln(p.Out, p.Paint(text.FgGreen, "AGREE")+"  all "+span+" are noted once, with PayPal's amounts")
	} else {
		fmt.Fprintf(p.Out, "%s  %d to check, of %s\n", p.Paint(text.FgYellow, "DISAGREE"), len(r.Findings), span)
	}
	fmt.Fprintf(p.Out, "  %d rows: %d compared, %d not completed by PayPal, %d other movements; %d notes\n\n",
		r.Rows, r.Compared, r.Pending, r.Others, r.Notes)
	sums := newTable("MONTH", "CURRENCY", "IN PAYPAL", "IN NOTED", "OUT PAYPAL", "OUT NOTED", "AGREES")
	for _, s := range r.Sums {
		agrees := "yes"
		if !s.Agrees() {
			agrees = "no"
		}
		sums.AppendRow(table.Row{
			s.Month, terminal.Printable(s.Currency), reconcile.Decimal(s.PayPalIn), reconcile.Decimal(s.NotedIn),
			reconcile.Decimal(s.PayPalOut), reconcile.Decimal(s.NotedOut), agrees,
		})
	}
	fmt.Fprintln(p.Out, sums.Render())
	if len(r.Findings) > 0 {
		found := newTable("FINDING", "DAY", "TRANSACTION", "TYPE", "PAYPAL", "NOTED", "DONATION ID")
		for _, f := range r.Findings {
			found.AppendRow(table.Row{
				f.Kind, f.Day, terminal.Printable(f.Transaction), terminal.Printable(f.Type),
				terminal.Printable(f.PayPal), f.Noted, strings.Join(f.DonationIDs, " "),
			})
		}
		fmt.Fprintln(p.Out)
		fmt.Fprintln(p.Out, found.Render())
	}
	return p.Out.Flush()
}

func (p *printer) reconciledLine(r *reconcile.Result) error {
	out := reconciledJSON{
		len(r.Findings) == 0, r.From, r.To, r.Rows, r.Compared, r.Pending, r.Others, r.Notes,
		[]findingJSON{},
		[]sumJSON{},
	}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, findingJSON(f))
	}
	for _, s := range r.Sums {
		out.Sums = append(out.Sums, sumJSON{
			s.Month, s.Currency, reconcile.Decimal(s.PayPalIn), reconcile.Decimal(s.NotedIn),
			reconcile.Decimal(s.PayPalOut), reconcile.Decimal(s.NotedOut), s.Agrees(),
		})
	}
	line, err := json.Marshal(out)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Out, "%s\n", line)
	return p.Out.Flush()
}
