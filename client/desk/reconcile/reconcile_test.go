package reconcile_test

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/reconcile"
)

// note is a note of a transaction.
func note(id, transaction, amount, currency string, event client.Event, state client.State, day string) *client.Note {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return &client.Note{
		DonationId: id, State: state,
		Donation: &client.Donation{
			SeriesId: "I-" + id, TransactionId: transaction, Amount: amount, CurrencyCode: currency, Event: event,
			OccurredAt: timestamppb.New(at.Add(12 * time.Hour)),
		},
		Sightings: []*client.Sighting{{Message: &client.Message{Channel: "ipn"}, TransactionId: transaction}},
	}
}

func list(notes ...*client.Note) func(time.Time) iter.Seq2[*client.Note, error] {
	return func(time.Time) iter.Seq2[*client.Note, error] {
		return func(yield func(*client.Note, error) bool) {
			for _, n := range notes {
				if !yield(n, nil) {
					return
				}
			}
		}
	}
}

// english is a report as PayPal writes it, with made-up donors.
//
//go:embed testdata/english.csv
var english string

func notes() []*client.Note {
	return []*client.Note{
		note("n1", "T1", "25.0", "EUR", client.EventPayment, client.StateSettled, "2026-10-28"),
		note("n2", "T2", "1250.50", "EUR", client.EventPayment, client.StateSettled, "2026-10-29"),
		note("n2b", "T2", "1250.50", "EUR", client.EventPayment, client.StateSettled, "2026-10-29"),
		note("n4", "T4", "6.00", "EUR", client.EventPayment, client.StateSettled, "2026-10-31"),
		note("n5", "T5", "8.00", "EUR", client.EventPayment, client.StateOpen, "2026-11-01"),
		note("r1", "R1", "25.00", "EUR", client.EventRefund, client.StateSettled, "2026-11-02"),
		note("n8", "T8", "13.00", "EUR", client.EventPayment, client.StateSettled, "2026-11-02"),
		note("s1", "T9", "", "", client.EventCancellation, client.StateSettled, "2026-11-02"),   // no money
		note("n0", "T0", "1.00", "EUR", client.EventPayment, client.StateSettled, "2026-10-27"), // before the report
		note("n7", "T7", "11.00", "EUR", client.EventPayment, client.StateSettled, "2026-11-05"),
	}
}

// said is a result as lines.
func said(r *reconcile.Result) (lines []string) {
	for _, f := range r.Findings {
		lines = append(lines, strings.Join([]string{
			string(f.Kind), f.Transaction, f.Day, f.PayPal, f.Noted, strings.Join(f.DonationIDs, "+"),
		}, "|"))
	}
	for _, s := range r.Sums {
		lines = append(lines, fmt.Sprintf("%s %s: in %s, %s; out %s, %s; agrees %v", s.Month, s.Currency,
			reconcile.Decimal(s.PayPalIn), reconcile.Decimal(s.NotedIn), reconcile.Decimal(s.PayPalOut),
			reconcile.Decimal(s.NotedOut), s.Agrees()))
	}
	return lines
}

var want = []string{
	"missing here|T3|2026-10-30|5.00 USD||",
	"in two donations|T2|2026-10-29|1250.50 EUR|1250.50 EUR|n2+n2b",
	"amounts differ|T4|2026-10-31|7.00 EUR|6.00 EUR|n4",
	"open|T5|2026-11-01|8.00 EUR|8.00 EUR|n5",
	"not at PayPal|T8|2026-11-02||13.00 EUR|n8",
	"2026-10 EUR: in 1282.50, 2532.00; out 0.00, 0.00; agrees false",
	"2026-10 USD: in 5.00, 0.00; out 0.00, 0.00; agrees false",
	"2026-11 EUR: in 19.00, 11.00; out 25.00, 25.00; agrees false",
}

// The comparison finds each kind of finding, the most important first, and reports no
// other movement.
func TestCompare(t *testing.T) {
	result, err := reconcile.Compare(strings.NewReader(english), list(notes()...), reconcile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := said(result); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if result.Rows != 10 || result.Compared != 7 || result.Others != 2 || result.Pending != 1 || result.Notes != 9 {
		t.Errorf("the counts are %+v", result)
	}
	if result.From != "2026-10-28" || result.To != "2026-11-05" {
		t.Errorf("the days are %s to %s", result.From, result.To)
	}
	if text := fmt.Sprintf("%+v", result.Findings); strings.Contains(text, "Donor") || strings.Contains(text, "@") {
		t.Errorf("a donor is in the result: %s", text)
	}
}

// german is the same report as PayPal writes it in German.
func german() string {
	replace := strings.NewReplacer(
		`"Date"`,
		`"Datum"`,
		`"Time"`,
		`"Uhrzeit"`,
		`"Type"`,
		`"Typ"`,
		`"Currency"`,
		`"Währung"`,
		`"Gross"`,
		`"Brutto"`,
		`"Transaction ID"`,
		`"Transaktionscode"`,
		`"Balance Impact"`,
		`"Auswirkung auf Guthaben"`,
		"Payment Refund",
		"Rückzahlung",
		"General Withdrawal - Bank Account",
		"Allgemeine Abbuchung",
		"General Currency Conversion",
		"Allgemeine Währungsumrechnung",
		"Completed",
		"Abgeschlossen",
		"Pending",
		"Ausstehend",
	)
	var b strings.Builder
	for line := range strings.Lines(replace.Replace(english)) {
		fields := strings.Split(strings.TrimSpace(line), `","`)
		if date, err := time.Parse("01/02/2006", strings.Trim(fields[0], `"`)); err == nil {
			fields[0] = `"` + date.Format("02.01.2006")
			for i := 7; i < 10; i++ {
				fields[i] = strings.NewReplacer(",", ".", ".", ",").Replace(fields[i])
			}
		}
		b.WriteString(strings.Join(fields, `","`) + "\r\n")
	}
	return "\ufeff" + b.String()
}

// A report means the same in both languages, with each separator, and in a spreadsheet's
// form.
func TestFormats(t *testing.T) {
	tabs := strings.ReplaceAll(english, `","`, "\"\t\"")
	var wide []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + tabs)) {
		wide = binary.LittleEndian.AppendUint16(wide, unit)
	}
	for name, report := range map[string]string{
		"german":     german(),
		"semicolons": strings.ReplaceAll(english, `","`, `";"`),
		"tabs":       tabs, "utf-16": string(wide),
	} {
		result, err := reconcile.Compare(strings.NewReader(report), list(notes()...), reconcile.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := said(result); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// An unreadable report gets an error with the remedy.
func TestRefusals(t *testing.T) {
	head := "Date,Type,Status,Currency,Gross,Transaction ID\n"
	for report, want := range map[string]string{
		"": "the report is empty",
		"Name,Price\nA,1\n": `no column "date" (datum, fecha, data) and no column "transaction id" (transaktionscode, ` +
			`numéro de transaction, id. de transacción, codice transazione, transactiereferentie)`,
		head:                                       "no row with a transaction",
		head + "1/2/2026,P,Completed,EUR,1,T\n":    "say which comes first",
		head + "soon,P,Completed,EUR,1,T\n":        `line 2 of the report: "soon" is not a day`,
		head + "1/13/2026,P,Completed,EUR,abc,T\n": `line 2 of the report: "abc" is not an amount`,
		head + "1/13/2026,P,Completed,EUR,1e9,T\n": `line 2 of the report: "1e9" is not an amount`,
	} {
		_, err := reconcile.Compare(strings.NewReader(report), list(), reconcile.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", report, err, want)
		}
	}
	both := head + "1/2/2026,P,Completed,EUR,1,T\n"
	for options, day := range map[reconcile.Options]string{
		{DayFirst: true}: "2026-02-01", {MonthFirst: true}: "2026-01-02",
	} {
		result, err := reconcile.Compare(strings.NewReader(both), list(), options)
		if err != nil || result.From != day {
			t.Errorf("%+v: %v, %v, want %s", options, result, err, day)
		}
	}
}

// A row older than the notes is never reported as missing.
func TestTooOld(t *testing.T) {
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	result, err := reconcile.Compare(strings.NewReader(english), list(), reconcile.Options{Begin: begin})
	if err != nil {
		t.Fatal(err)
	}
	if old, missing := result.Count(reconcile.TooOld), result.Count(reconcile.Missing); old != 4 || missing != 3 {
		t.Errorf("%d are too old and %d missing: %v", old, missing, said(result))
	}
}

// An unknown status or type counts: a person sees a surplus row, but cannot see a missing
// row.
func TestUnknownWords(t *testing.T) {
	report := "Date,Type,Status,Currency,Gross,Transaction ID\n2026-11-01,Paiement,Effectué,EUR,\"1 234,50\",T1\n"
	result, err := reconcile.Compare(strings.NewReader(report), list(), reconcile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := said(result)[0]; got != "missing here|T1|2026-11-01|1234.50 EUR||" {
		t.Errorf("got %s", got)
	}
}

// A listing that breaks off gives no comparison.
func TestListingFails(t *testing.T) {
	broken := func(time.Time) iter.Seq2[*client.Note, error] {
		return func(yield func(*client.Note, error) bool) { yield(nil, client.ErrUnavailable) }
	}
	if _, err := reconcile.Compare(strings.NewReader(english), broken, reconcile.Options{}); err == nil {
		t.Error("a comparison without notes is a result")
	}
}

// BenchmarkCompare compares 100,000 rows with as many notes.
func BenchmarkCompare(b *testing.B) {
	const rows = 100_000
	var report strings.Builder
	report.WriteString("Date,Name,Type,Status,Currency,Gross,From Email Address,Transaction ID\n")
	all := make([]*client.Note, rows)
	for i := range rows {
		day := time.Date(2026, 1, 1+i%300, 0, 0, 0, 0, time.UTC)
		id := fmt.Sprintf("T%016d", i)
		fmt.Fprintf(
			&report,
			"%s,A Donor,Donation Payment,Completed,EUR,25.00,donor%d@example.org,%s\n",
			day.Format("1/2/2006"),
			i,
			id,
		)
		all[i] = note(id, id, "25.00", "EUR", client.EventPayment, client.StateSettled, day.Format(time.DateOnly))
	}
	b.SetBytes(int64(report.Len()))
	for b.Loop() {
		result, err := reconcile.Compare(strings.NewReader(report.String()), list(all...), reconcile.Options{})
		if err != nil || len(result.Findings) != 0 || result.Compared != rows {
			b.Fatalf("%+v, %v", result, err)
		}
	}
}
