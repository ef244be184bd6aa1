package desk

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/reconcile"
)

// The limits of a comparison.
const (
	mostReport   = 256 << 20 // bytes
	compareFor   = 5 * time.Minute
	comparisons  = 2   // at once; each holds the ids of a report
	mostFindings = 500 // on the page; the CSV file has all
)

// An agreeView is the page of a comparison.
type agreeView struct {
	Problem string
	Result  *reconcile.Result
	Kinds   []kindView
	Remarks []string
}

// A kindView is one kind of findings.
type kindView struct {
	Kind     reconcile.Kind
	Title    string
	Meaning  string
	Count    int
	Findings []reconcile.Finding
	More     int
}

// kindTexts say what each kind means and what to do.
var kindTexts = map[reconcile.Kind][2]string{
	reconcile.Missing: {
		"At PayPal, and missing here",
		"Look up each transaction: the page says whether a message came, and how to have it sent again.",
	},
	reconcile.Twice: {
		"One transaction in two donations",
		"It may be booked twice. Compare both donation ids in the books.",
	},
	reconcile.Differs: {"Amounts differ", "PayPal's message and its report have different amounts."},
	reconcile.Open:    {"Here, but not booked yet", "They wait for a person, or for the next try."},
	reconcile.NotAtPayPal: {
		"Here, but not in the report",
		"Is the report for this account, and for all kinds of transactions? If so, the message may be forged.",
	},
	reconcile.TooOld: {
		"Too old to know",
		"Noted's notes do not reach back so far. Compare these with the books.",
	},
}

func (d *Desk) agreePage(w http.ResponseWriter, r *http.Request) {
	d.show(w, r, http.StatusOK, "agree", "Does PayPal agree?", agreeView{})
}

// compare takes a report. It reads the form as a stream, so that a donor's name stays in
// memory no longer than its row and reaches no file.
func (d *Desk) compare(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, problem string) {
		d.show(w, r, status, "agree", "The report could not be compared", agreeView{Problem: problem})
	}
	select {
	case d.comparing <- struct{}{}:
		defer func() { <-d.comparing }()
	default:
		fail(http.StatusTooManyRequests, "Other people are comparing right now. Try again in a minute.")
		return
	}
	control := http.NewResponseController(w)
	deadline := time.Now().Add(compareFor)
	_ = control.SetReadDeadline(deadline) // if it cannot be set, the server's own deadline holds
	_ = control.SetWriteDeadline(deadline)
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, mostReport)
	fields, report, err := upload(r)
	if err != nil {
		fail(http.StatusBadRequest, "The form could not be read. Choose the file again.")
		return
	}
	if !d.access.genuineToken(r, sessionOf(r), fields["token"]) {
		d.fail(w, r, http.StatusForbidden, "This form is no longer valid.", "Load the page again and repeat it.")
		return
	}
	begin, err := reconcile.Begin(ctx, d.noted, d.config.Ledger)
	if err != nil {
		fail(http.StatusBadGateway, "Noted could not be asked ("+reasonOf(err)+"). Try again in a minute.")
		return
	}
	options := reconcile.Options{
		DayFirst: fields["order"] == "day", MonthFirst: fields["order"] == "month", Begin: begin,
	}
	result, err := reconcile.Compare(report, reconcile.Since(ctx, d.noted, d.config.Ledger, nil), options)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		fail(
			http.StatusRequestEntityTooLarge,
			fmt.Sprintf("The report is larger than %d MiB. Compare fewer days.", large.Limit>>20),
		)
		return
	}
	if err != nil {
		if errors.Is(err, client.ErrUnavailable) || ctx.Err() != nil {
			fail(
				http.StatusBadGateway,
				"Noted's ledger could not be listed to its end, so there is no comparison. "+
					"Try again, or compare fewer days.",
			)
			return
		}
		fail(http.StatusUnprocessableEntity, sentenceCase(err.Error())+".")
		return
	}
	d.log.Info(
		"a report was compared",
		"actor",
		personOf(r).Name,
		"rows",
		result.Rows,
		"findings",
		len(result.Findings),
	)
	if fields["as"] == "csv" {
		writeCSV(w, result)
		return
	}
	d.show(w, r, http.StatusOK, "agree", agreeTitle(result), d.agreeViewOf(result, begin))
}

// upload reads the fields of a form up to its file, and returns the file as a stream.
func upload(r *http.Request) (fields map[string]string, report io.Reader, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, nil, err
	}
	fields = map[string]string{}
	for range 10 {
		var part *multipart.Part
		if part, err = parts.NextPart(); err != nil {
			return nil, nil, err
		}
		if part.FormName() == "report" {
			return fields, part, nil
		}
		value, err := io.ReadAll(io.LimitReader(part, 1024))
		if err != nil {
			return nil, nil, err
		}
		fields[part.FormName()] = string(value)
	}
	return nil, nil, errors.New("the form has no file")
}

func agreeTitle(result *reconcile.Result) string {
	if len(result.Findings) == 0 {
		return "Yes: PayPal and Noted agree"
	}
	return fmt.Sprintf("No: %d to look at", len(result.Findings))
}

func (d *Desk) agreeViewOf(result *reconcile.Result, begin time.Time) agreeView {
	view := agreeView{Result: result}
	for _, kind := range reconcile.Kinds {
		k := kindView{Kind: kind, Title: kindTexts[kind][0], Meaning: kindTexts[kind][1], Count: result.Count(kind)}
		for _, f := range result.Findings {
			if f.Kind == kind && len(k.Findings) < mostFindings {
				k.Findings = append(k.Findings, f)
			}
		}
		if k.More = k.Count - len(k.Findings); k.Count > 0 {
			view.Kinds = append(view.Kinds, k)
		}
	}
	if !begin.IsZero() {
		view.Remarks = append(view.Remarks, fmt.Sprintf("Noted's notes reach back to %s.",
			begin.In(d.config.Zone).Format("2 January 2006")))
	}
	view.Remarks = append(
		view.Remarks,
		"A donation that is here and missing from the report is shown only between the first and the last day: "+
			"a part of those two days belongs to other reports.",
	)
	return view
}

// writeCSV writes all findings as CSV.
func writeCSV(w http.ResponseWriter, result *reconcile.Result) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="noted-and-paypal.csv"`)
	table := csv.NewWriter(w)
	_ = table.Write([]string{"finding", "transaction", "day", "type", "paypal", "noted", "donation ids"})
	for _, f := range result.Findings {
		_ = table.Write([]string{
			string(
				f.Kind,
			),
			harmless(f.Transaction),
			f.Day,
			harmless(f.Type),
			harmless(f.PayPal),
			f.Noted,
			strings.Join(f.DonationIDs, " "),
		})
	}
	table.Flush() // an error means the visitor has left
}

// harmless keeps a spreadsheet from running a cell of the report.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
