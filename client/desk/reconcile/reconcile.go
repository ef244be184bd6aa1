// Package reconcile compares PayPal's activity report with what Noted knows.
//
//	result, err := reconcile.Compare(report, notes, reconcile.Options{})
//
// The report is the file that PayPal offers for download, with commas, semicolons or tabs
// between its columns, or the JSON of PayPal's Transaction Search API. It is read once, row
// by row, and of each row only what columns.go and search.go name is kept: no name and no
// address.
//
// # Design
//
// A report and a ledger meet by transaction ids alone. Times are no help: a report has the
// zone of the account and often an unclear order of day and month. So no donation is
// missed because of a clock, and the month of a sum is the report's own.
//
// What a row means is in words of the account's language. A status or a type that is not
// known here is taken for money that must be known to Noted: a row too many in the list is
// seen by a person, and a row too few by nobody.
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
	// DayFirst and MonthFirst say how 1/2/2026 is meant, where no row of the report shows it.
	DayFirst, MonthFirst bool
	// Begin, unless zero, is how far Noted's notes reach back: of older rows it cannot say
	// anything.
	Begin time.Time
}

// Since lists the notes of a ledger from a time on, for Compare. tell, which may be nil, is
// told how many there were so far.
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

// Begin is how far the notes of a ledger reach back; the zero time where that is not known.
// A note says when it is forgotten: the retention after it occurred, or after it was noted
// if that is later.
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

// A Kind says what is wrong with a transaction.
type Kind string

// The kinds of findings, in the order of a Result.
const (
	Missing     Kind = "missing here"     // PayPal has it, and Noted has no note
	NotAtPayPal Kind = "not at PayPal"    // a settled note of the report's days, and no row
	Open        Kind = "open"             // noted, but not settled
	Twice       Kind = "in two donations" // one transaction in two notes of one event
	Differs     Kind = "amounts differ"
	TooOld      Kind = "too old to know" // from before Noted's notes reach back
)

// Kinds lists all kinds.
var Kinds = []Kind{Missing, Twice, Differs, Open, NotAtPayPal, TooOld}

// A Finding is one transaction that a person should look at.
type Finding struct {
	Kind        Kind
	Transaction string
	Day         string // 2006-01-02
	Type        string // PayPal's words, or the event of a note
	PayPal      string // the amount there, with its currency
	Noted       string // the amount here
	DonationIDs []string
}

// A Sum is what a month has in one currency. Out are refunds and reversals.
type Sum struct {
	Month, Currency               string
	PayPalIn, NotedIn             *big.Rat
	PayPalOut, NotedOut           *big.Rat
	PayPalPayments, NotedPayments int
}

// Agrees says whether both sides have the same.
func (s *Sum) Agrees() bool {
	return s.PayPalIn.Cmp(s.NotedIn) == 0 && s.PayPalOut.Cmp(s.NotedOut) == 0
}

// A Result is what a comparison has found.
type Result struct {
	Rows     int // of the report
	Compared int // rows that tell of money for or from a donation
	Pending  int // rows that PayPal has not completed
	Others   int // rows of other movements, such as withdrawals
	Notes    int
	From, To string // the report's days
	Findings []Finding
	Sums     []*Sum
}

// Count returns how many findings of a kind there are.
func (r *Result) Count(kind Kind) (n int) {
	for _, f := range r.Findings {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// money are the events that a report has rows of, and whether money comes in.
var money = map[client.Event]bool{
	client.EventPayment: true, client.EventReversalCanceled: true,
	client.EventRefund: false, client.EventReversal: false, client.EventAdjustment: false,
}

// entry is a transaction of the report, and what Noted has of it.
type entry struct {
	row
	day   time.Time
	notes []noted
}

// noted is what is kept of a note.
type noted struct {
	id, amount, currency string
	event                client.Event
	state                client.State
}

// Compare compares a report with notes. The notes are read after the report. The caller
// lists them from a day before the report's first day on: since answers that day.
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
			// Parts of one transaction: the part that concerns a donation counts.
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

// notes puts each note to the rows of its transactions. A settled note of the report's
// inner days that has no row is a finding; of the first and the last day a part is in
// another report, depending on the zone.
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

// judge finds what is wrong with one transaction.
func (r *Result) judge(e *entry, begin time.Time) {
	// A disputed payment's id is also that of a reversal: only the same direction counts.
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

// decimals is how many decimals an amount is shown with.
func decimals(amount *big.Rat) int {
	if amount.IsInt() {
		return 2
	}
	n, _ := amount.FloatPrec()
	return max(n, 2)
}

// Decimal writes a sum.
func Decimal(amount *big.Rat) string { return amount.FloatString(decimals(amount)) }
