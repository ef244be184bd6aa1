package reconcile

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// A row is the kept part of a row of the report.
type row struct {
	line                              int
	date, transaction, kind, currency string
	status, impact                    string
	gross                             *big.Rat
	counts                            bool // money for or from a donation
}

// columns are the names of the columns to read, in lower case: English, German, French,
// Spanish, Italian and Dutch. The names in the last four languages come from public
// importers of PayPal's files. French: Odoo (Akretion's
// account_bank_statement_import_paypal), and the tests of importers for today's reports.
// Spanish: Tryton, and Nesto's ConvertidorPaypalNuevo. Italian: monjour's it_IT. Dutch:
// money-pane's paypal-csv. A name without a public source is not here.
var columns = map[string][]string{
	"date": {"date", "datum", "fecha", "data"},
	"transaction": {
		"transaction id", "transaktionscode", "numéro de transaction", "id. de transacción", "codice transazione",
		"transactiereferentie",
	},
	"kind": {
		"type", "description", "typ", "beschreibung", "tipo", "descripción", "descrizione", "omschrijving",
	},
	"status":   {"status", "état", "estado", "stato"},
	"currency": {"currency", "währung", "devise", "divisa", "valuta"},
	"gross":    {"gross", "brutto", "avant commission", "brut", "bruto", "lordo"},
	"impact":   {"balance impact", "auswirkung auf guthaben", "effect op saldo"},
}

// needed are the columns that a comparison requires.
var needed = []string{"date", "transaction", "currency", "gross"}

// notDone are the states of rows that PayPal has not completed.
var notDone = words(`pending, denied, canceled, cancelled, expired, declined, failed, voided, on hold, held,
	ausstehend, abgelehnt, storniert, abgebrochen, abgelaufen, fehlgeschlagen, einbehalten,
	pendiente, in sospeso, rimosso`)

func pending(status string) bool { return notDone[strings.ToLower(status)] }

// movements are the beginnings of types that bring money in but are not donations.
var movements = []string{
	"general currency conversion", "bank deposit to pp account", "general credit card deposit",
	"account hold", "hold on", "reversal of general account hold", "general hold release", "general authorization",
	"void of authorization", "user initiated withdrawal", "general withdrawal", "transfer to", "transfer from",
	"allgemeine währungsumrechnung", "bankgutschrift auf paypal-konto", "einbehaltung", "allgemeine abbuchung",
	"allgemeine autorisierung", "von nutzer eingeleitete abbuchung",
	"conversión de divisas", "retirada", // Spanish, as seen by Nesto
	// French, from an importer's filter
	"virement bancaire sur le compte paypal", "autorisation", "suspension temporaire", "suspension de compte",
	"annulation de suspension de compte",
	// Italian, from monjour and importers' tests
	"versamento generico con carta", "bonifico bancario sul conto paypal", "trasferimento avviato dall'utente",
	"conversione di valuta", "blocco conto", "blocco saldo", "annullamento blocco", "storno di blocco conto",
	"autorizzazione generica", "annullamento autorizzazione",
	// Dutch, from importers and their tests
	"valutaomrekening", "algemene valutaomrekening", "algemeen valutaomrekening", "bankstorting",
	"algemene kaartstorting", "algemene opname", "vastgehouden", "autorisatie",
}

// givenBack are words in the types of refunds and reversals. The French and the Dutch word have
// no public source: there Noted's own note of the refund decides.
var givenBack = []string{
	"refund",
	"reversal",
	"chargeback",
	"rückzahlung",
	"rückerstattung",
	"rückbuchung",
	"stornierung",
	"reembolso", // Spanish
	"rimborso",  // Italian
}

// concerns reports whether a row is money for or from a donation.
func (r row) concerns() bool {
	kind := strings.ToLower(r.kind)
	if impact := strings.ToLower(r.impact); impact == "memo" {
		return false
	}
	for _, beginning := range movements {
		if strings.HasPrefix(kind, beginning) {
			return false
		}
	}
	if r.gross.Sign() > 0 {
		return true
	}
	for _, word := range givenBack {
		if strings.Contains(kind, word) {
			return true
		}
	}
	return false
}

func words(text string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.SplitSeq(text, ",") {
		set[strings.TrimSpace(word)] = true
	}
	return set
}

// read yields the rows of a report.
func read(report io.Reader, yield func(row) error) error {
	text, err := decoded(report)
	if err != nil {
		return err
	}
	if startsJSON(text) {
		return readJSON(text, yield)
	}
	header, err := text.Peek(4096)
	if len(header) == 0 {
		if err == nil || errors.Is(err, io.EOF) {
			return errors.New("the report is empty")
		}
		return fmt.Errorf("reading the report: %w", err)
	}
	first, _, _ := strings.Cut(string(header), "\n")
	reader := csv.NewReader(text)
	reader.Comma, reader.LazyQuotes, reader.FieldsPerRecord, reader.ReuseRecord = separator(first), true, -1, true
	names, err := reader.Read()
	if err != nil {
		return fmt.Errorf("reading the report's first line: %w", err)
	}
	at, err := places(names)
	if err != nil {
		return err
	}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the report: %w", err)
		}
		line, _ := reader.FieldPos(0)
		r, ok, err := rowOf(record, at, line)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := yield(r); err != nil {
			return err
		}
	}
}

// decoded reads UTF-8, with or without a byte order mark, and the UTF-16 that
// spreadsheets write.
func decoded(report io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(report, 64<<10)
	mark, _ := b.Peek(3)
	switch {
	case string(mark) == "\ufeff":
		_, _ = b.Discard(3) // Peek has read them
	case len(mark) >= 2 && (string(mark[:2]) == "\xff\xfe" || string(mark[:2]) == "\xfe\xff"):
		return bufio.NewReaderSize(&wide{b: b, big: mark[0] == 0xfe}, 64<<10), nil
	}
	return b, nil
}

// wide reads UTF-16 as UTF-8.
type wide struct {
	b    *bufio.Reader
	big  bool
	rest []byte
}

func (w *wide) Read(p []byte) (int, error) {
	for len(w.rest) == 0 {
		r, err := w.unit()
		if err != nil {
			return 0, err
		}
		if utf16.IsSurrogate(r) {
			low, err := w.unit()
			if err != nil {
				return 0, err
			}
			r = utf16.DecodeRune(r, low)
		}
		if r != '\ufeff' {
			w.rest = []byte(string(r))
		}
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

func (w *wide) unit() (rune, error) {
	one, err := w.b.ReadByte()
	if err != nil {
		return 0, err
	}
	two, err := w.b.ReadByte()
	if err != nil {
		return 0, err
	}
	if w.big {
		return rune(one)<<8 | rune(two), nil
	}
	return rune(two)<<8 | rune(one), nil
}

// separator returns the character between the columns.
func separator(header string) rune {
	best := ','
	for _, each := range []rune{'\t', ';'} {
		if strings.Count(header, string(each)) > strings.Count(header, string(best)) {
			best = each
		}
	}
	return best
}

// places finds the columns by their names.
func places(names []string) (map[string]int, error) {
	at := map[string]int{}
	for i, name := range names {
		name = strings.ToLower(strings.Trim(strings.TrimSpace(name), `"`))
		for column, known := range columns {
			if _, taken := at[column]; taken {
				continue
			}
			for _, each := range known {
				if name == each {
					at[column] = i
				}
			}
		}
	}
	var missing []string
	for _, column := range needed {
		if _, ok := at[column]; !ok {
			missing = append(
				missing,
				strconv.Quote(columns[column][0])+" ("+strings.Join(columns[column][1:], ", ")+")",
			)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the report has no column %s; download PayPal's activity report in English, German, "+
			"French, Spanish, Italian or Dutch, with its standard columns", strings.Join(missing, " and no column "))
	}
	return at, nil
}

// rowOf returns the needed fields of a record. A record without a transaction, such as a
// balance or an empty line, is not a row.
func rowOf(record []string, at map[string]int, line int) (r row, ok bool, err error) {
	field := func(column string) string {
		i, there := at[column]
		if !there || i >= len(record) {
			return ""
		}
		return strings.Clone(strings.TrimSpace(record[i])) // a substring would keep the names beside it in memory
	}
	r = row{
		line: line, date: field("date"), transaction: field("transaction"), kind: field("kind"),
		status: field("status"), currency: field("currency"), impact: field("impact"),
	}
	gross := field("gross")
	if r.transaction == "" || gross == "" {
		return r, false, nil
	}
	if r.gross, ok = parseAmount(gross); !ok {
		return r, false, fmt.Errorf("line %d of the report: %q is not an amount", line, gross)
	}
	r.counts = r.concerns()
	return r, true, nil
}

var (
	blanks     = strings.NewReplacer(" ", "", "\u00a0", "", "\u202f", "", "'", "", "\u2212", "-")
	separators = strings.NewReplacer(".", "", ",", "")
)

// parseAmount reads an amount in either notation: 1,234.56 and 1.234,56. A separator
// before the last one or two digits is the decimal point. A separator before three digits
// groups thousands.
func parseAmount(text string) (*big.Rat, bool) {
	text = blanks.Replace(text)
	if at := strings.LastIndexAny(text, ".,"); at >= 0 {
		whole, cents := separators.Replace(text[:at]), text[at+1:]
		if len(cents) == 3 {
			text = whole + cents
		} else {
			text = whole + "." + cents
		}
	}
	if strings.ContainsAny(text, "eE/_xX") {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

var errOrder = errors.New("no row of the report shows whether 1/2/2026 is the first of February or the second of " +
	"January; say which comes first, the day or the month")

// days reads the dates of all rows, and returns the first and the last day.
func days(all []*entry, o Options) (first, last time.Time, err error) {
	order := ""
	switch {
	case o.DayFirst:
		order = "2/1/2006"
	case o.MonthFirst:
		order = "1/2/2006"
	}
	for _, e := range all {
		a, rest, _ := strings.Cut(e.date, "/")
		b, _, _ := strings.Cut(rest, "/")
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		switch {
		case order != "" || errX != nil || errY != nil:
		case x > 12:
			order = "2/1/2006"
		case y > 12:
			order = "1/2/2006"
		}
	}
	for _, e := range all {
		day, ok := time.Time{}, false
		for _, layout := range []string{order, "2.1.2006", time.DateOnly, "2-1-2006"} {
			if layout == "" {
				continue
			}
			if day, err = time.Parse(layout, e.date); err == nil {
				ok = true
				break
			}
		}
		switch {
		case !ok && order == "" && strings.Contains(e.date, "/"):
			return first, last, errOrder
		case !ok:
			return first, last, fmt.Errorf("line %d of the report: %q is not a day", e.line, e.date)
		}
		e.day = day
		if first.IsZero() || day.Before(first) {
			first = day
		}
		if day.After(last) {
			last = day
		}
	}
	return first, last, nil
}
