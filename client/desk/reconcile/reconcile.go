// Package reconcile compares PayPal's activity report with Noted's notes.
//
//	result, err := reconcile.Compare(report, notes, reconcile.Options{})
//
// The report is the file that PayPal offers for download, with commas, semicolons or tabs
// between its columns, or the JSON of PayPal's Transaction Search API. It is read once,
// row by row. Only the columns named in columns.go and search.go are kept: no name and no
// address.
//
// # Design
//
// A report and a ledger meet by transaction ids alone. Times do not help: a report has
// the zone of the account and often an unclear order of day and month. So a clock cannot
// hide a donation, and the month of a sum is the report's own.
//
// The words of a row are in the account's language. A row with an unknown status or type
// counts as money that Noted must have. A person sees a surplus row in the list; a
// missing row stays unseen.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/big"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
)

// Options say how to read a report.
type Options struct {
	// DayFirst and MonthFirst give the meaning of 1/2/2026 if no row of the report shows
	// it.
	DayFirst, MonthFirst bool
	// Begin is the time to which Noted's notes reach back. Older rows are TooOld. Zero:
	// unknown.
	Begin time.Time
}

// Since lists the notes of a ledger from a time on, for Compare. It calls tell, which may
// be nil, with the number of notes so far.
func Since(
	ctx context.Context, noted *client.Client, ledger string, tell func(int),
) func(time.Time) iter.Seq2[*client.Note, error] {
	return func(since time.Time) iter.Seq2[*client.Note, error] {
		request := &client.ListRequest{Ledger: ledger, NotedAfter: timestamppb.New(since), PageSize: 1000}
		return func(yield func(*client.Note, error) bool) {
			n := 0
			for note, err := range noted.List(ctx, request) {
				if n++; tell != nil {
					tell(n)
				}
				if !yield(note, err) {
					return
				}
			}
		}
	}
}

// Begin returns the time to which a ledger's notes reach back; zero if it is unknown. A
// note's forget_at is the retention after occurred_at, or after noted_at if that is
// later.
func Begin(ctx context.Context, noted *client.Client, ledger string) (time.Time, error) {
	page, err := noted.Page(ctx, &client.ListRequest{Ledger: ledger, PageSize: 1})
	if err != nil || len(page.GetNotes()) == 0 {
		return time.Time{}, err
	}
	note := page.GetNotes()[0]
	from := note.GetNotedAt().AsTime()
	if occurred := note.GetDonation().GetOccurredAt(); occurred != nil && occurred.AsTime().After(from) {
		from = occurred.AsTime()
	}
	return time.Now().Add(-note.GetForgetAt().AsTime().Sub(from)), nil
}

// A Kind is a kind of finding.
type Kind string

// The kinds of findings, in the order of a Result.
const (
	Missing     Kind = "missing here"     // a row at PayPal without a note
	NotAtPayPal Kind = "not at PayPal"    // a settled note of the report's days without a row
	Open        Kind = "open"             // noted, but not settled
	Twice       Kind = "in two donations" // one transaction in two notes of one event
	Differs     Kind = "amounts differ"
	TooOld      Kind = "too old to know" // older than Noted's notes
)

// Kinds lists all kinds.
var Kinds = []Kind{Missing, Twice, Differs, Open, NotAtPayPal, TooOld}

// A Finding is one transaction that a person should check.
type Finding struct {
	Kind        Kind
	Transaction string
	Day         string // 2006-01-02
	Type        string // PayPal's words, or the note's event
	PayPal      string // PayPal's amount, with its currency
	Noted       string // Noted's amount
	DonationIDs []string
}

// A Sum is the money of a month in one currency. Out means refunds and reversals.
type Sum struct {
	Month, Currency               string
	PayPalIn, NotedIn             *big.Rat
	PayPalOut, NotedOut           *big.Rat
	PayPalPayments, NotedPayments int
}

// Agrees reports whether both sides are equal.
func (s *Sum) Agrees() bool {
	return s.PayPalIn.Cmp(s.NotedIn) == 0 && s.PayPalOut.Cmp(s.NotedOut) == 0
}

// A Result is the result of a comparison.
type Result struct {
	Rows     int // in the report
	Compared int // rows about money for or from a donation
	Pending  int // rows that PayPal has not completed
	Others   int // rows about other movements, such as withdrawals
	Notes    int
	From, To string // the report's days
	Findings []Finding
	Sums     []*Sum
}

// Count returns the number of findings of a kind.
func (r *Result) Count(kind Kind) (n int) {
	for _, f := range r.Findings {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// money are the events with rows in a report, and whether their money comes in.
var money = map[client.Event]bool{
	client.EventPayment: true, client.EventReversalCanceled: true,
	client.EventRefund: false, client.EventReversal: false, client.EventAdjustment: false,
}

// entry is a transaction of the report with Noted's notes of it.
type entry struct {
	row
	day   time.Time
	notes []noted
}

// isRefund reports whether a row of an unknown type is a refund: Noted has a refund under its
// id.
func (e *entry) isRefund() bool {
	return e.gross.Sign() < 0 && slices.ContainsFunc(e.notes, func(n noted) bool { return !money[n.event] })
}

// noted is the kept part of a note.
type noted struct {
	id, amount, currency string
	event                client.Event
	state                client.State
}

// Compare compares a report with notes. It reads the report first, then calls since with
// the day before the report's first day, to list the notes from that day on.
func Compare(report io.Reader, since func(time.Time) iter.Seq2[*client.Note, error], o Options) (*Result, error) {
	result := &Result{}
	var all []*entry
	byID := map[string]*entry{}
	err := read(report, func(r row) error {
		result.Rows++
		switch {
		case pending(r.status):
			result.Pending++
			return nil
		case !r.counts:
			result.Others++
		default:
			result.Compared++
		}
		if known := byID[r.transaction]; known != nil {
			// Of several parts of one transaction, the part about a donation counts.
			if !known.counts && r.counts {
				known.row = r
			}
			return nil
		}
		e := &entry{row: r}
		byID[r.transaction] = e
		all = append(all, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("the report has no row with a transaction; download it for the days in question")
	}
	first, last, err := days(all, o)
	if err != nil {
		return nil, err
	}
	result.From, result.To = first.Format(time.DateOnly), last.Format(time.DateOnly)
	if err := result.notes(byID, since(first.AddDate(0, 0, -1)), first, last); err != nil {
		return nil, err
	}
	for _, e := range all {
		if !e.counts && e.isRefund() {
			e.counts = true
			result.Compared, result.Others = result.Compared+1, result.Others-1
		}
		if e.counts {
			result.judge(e, o.Begin)
		}
	}
	result.sum(all)
	slices.SortStableFunc(result.Findings, func(a, b Finding) int {
		if by := slices.Index(Kinds, a.Kind) - slices.Index(Kinds, b.Kind); by != 0 {
			return by
		}
		return strings.Compare(a.Day, b.Day)
	})
	return result, nil
}

// notes assigns each note to the rows of its transactions. A settled note of the report's
// inner days without a row is a finding. Depending on the zone, part of the first and the
// last day is in another report.
func (r *Result) notes(byID map[string]*entry, notes iter.Seq2[*client.Note, error], first, last time.Time) error {
	for note, err := range notes {
		if err != nil {
			return fmt.Errorf("listing notes: %w", err)
		}
		about := note.GetDonation()
		if _, ok := money[about.GetEvent()]; !ok {
			continue
		}
		r.Notes++
		ids := []string{about.GetTransactionId()}
		for _, s := range note.GetSightings() {
			if id := s.GetTransactionId(); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		n := noted{note.GetDonationId(), about.GetAmount(), about.GetCurrencyCode(), about.GetEvent(), note.GetState()}
		found := false
		for _, id := range ids {
			if e := byID[id]; id != "" && e != nil {
				e.notes = append(e.notes, n)
				found = true
			}
		}
		at := about.GetOccurredAt().AsTime()
		inside := about.GetOccurredAt() != nil && at.After(first.AddDate(0, 0, 1)) && at.Before(last)
		if !found && inside && n.state == client.StateSettled {
			r.Findings = append(r.Findings, Finding{
				Kind: NotAtPayPal, Transaction: about.GetTransactionId(), Day: at.UTC().Format(time.DateOnly),
				Type:  strings.ToLower(strings.TrimPrefix(n.event.String(), "EVENT_")),
				Noted: strings.TrimSpace(n.amount + " " + n.currency), DonationIDs: []string{n.id},
			})
		}
	}
	return nil
}

// judge makes the findings about one transaction.
func (r *Result) judge(e *entry, begin time.Time) {
	// A reversal has the id of its payment: only the same direction counts.
	same := slices.DeleteFunc(
		slices.Clone(e.notes),
		func(n noted) bool { return money[n.event] != (e.gross.Sign() > 0) },
	)
	add := func(kind Kind) {
		f := Finding{
			Kind: kind, Transaction: e.transaction, Day: e.day.Format(time.DateOnly), Type: e.kind,
			PayPal: Decimal(e.gross) + " " + e.currency,
		}
		for _, n := range same {
			f.DonationIDs = append(f.DonationIDs, n.id)
		}
		if len(same) > 0 {
			f.Noted = strings.TrimSpace(same[0].amount + " " + same[0].currency)
		}
		r.Findings = append(r.Findings, f)
	}
	if len(same) == 0 {
		if !begin.IsZero() && e.day.Before(begin) {
			add(TooOld)
		} else {
			add(Missing)
		}
		return
	}
	n := same[0]
	if slices.ContainsFunc(same[1:], func(other noted) bool { return other.event == n.event }) {
		add(Twice)
	}
	if amount, ok := new(big.Rat).SetString(n.amount); ok {
		if amount.Cmp(new(big.Rat).Abs(e.gross)) != 0 || n.currency != e.currency {
			add(Differs)
		}
	}
	if !slices.ContainsFunc(same, func(n noted) bool { return n.state == client.StateSettled }) {
		add(Open)
	}
}

// sum adds up each month and currency. The report's month counts for both sides.
func (r *Result) sum(all []*entry) {
	type key struct{ month, currency string }
	sums := map[key]*Sum{}
	of := func(month, currency string) *Sum {
		s := sums[key{month, currency}]
		if s == nil {
			s = &Sum{
				Month: month, Currency: currency,
				PayPalIn: new(big.Rat), NotedIn: new(big.Rat), PayPalOut: new(big.Rat), NotedOut: new(big.Rat),
			}
			sums[key{month, currency}] = s
			r.Sums = append(r.Sums, s)
		}
		return s
	}
	for _, e := range all {
		if !e.counts {
			continue
		}
		month := e.day.Format("2006-01")
		in := e.gross.Sign() > 0
		paypal := of(month, e.currency)
		if in {
			paypal.PayPalIn.Add(paypal.PayPalIn, e.gross)
			paypal.PayPalPayments++
		} else {
			paypal.PayPalOut.Sub(paypal.PayPalOut, e.gross)
		}
		for _, n := range e.notes {
			amount, ok := new(big.Rat).SetString(n.amount)
			if !ok || n.state != client.StateSettled || money[n.event] != in {
				continue
			}
			s := of(month, n.currency)
			if in {
				s.NotedIn.Add(s.NotedIn, amount)
				s.NotedPayments++
			} else {
				s.NotedOut.Add(s.NotedOut, amount)
			}
		}
	}
	slices.SortFunc(r.Sums, func(a, b *Sum) int { return strings.Compare(a.Month+a.Currency, b.Month+b.Currency) })
}

// decimals returns the number of decimals to show.
func decimals(amount *big.Rat) int {
	if amount.IsInt() {
		return 2
	}
	n, _ := amount.FloatPrec()
	return max(n, 2)
}

// Decimal writes a sum.
func Decimal(amount *big.Rat) string { return amount.FloatString(decimals(amount)) }
