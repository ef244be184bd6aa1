// Package shadow counts the errors of a receiver without Noted: the payments in a ledger
// that it books twice, and the payments that it never hears of. It is for a ledger in
// shadow, where the answer to every message is FIRST and the notes have the true verdict.
//
// It reads notes and nothing else. A note has the messages of one payment, each once,
// with channel and transaction id. Three facts are missing, and a reader must know that:
// PayPal's repeats of one message, payments whose messages never reached Noted, and the
// receiver's own checks.
package shadow

import (
	"cmp"
	"iter"
	"math/big"
	"slices"
	"time"

	"github.com/donation-dedupe/noted/client"
)

// MostSightings is the number of messages that a full note keeps. Its payment may have
// had more.
const MostSightings = 16

// A Row counts the payments of one month and currency.
type Row struct {
	Month    string // such as 2026-11, by the payment's time; without a time, by the note's
	Currency string // empty for payments without an amount
	Payments int
	Doubles  int // messages over the chosen channels beyond the first of each payment
	SameID   int // doubles with the transaction id of an earlier message
	Unheard  int // payments whose messages all came over other channels
	Open     int // payments that a receiver got and did not settle

	DoubleSum, UnheardSum *big.Rat // never nil
}

// A Result is the whole count.
type Result struct {
	Rows     []Row // by month, then currency
	Total    Row   // without sums, which may be in different currencies
	Channels []string
	Others   int       // notes of other events, not counted as payments
	Full     int       // payments whose note has no room for a further message
	Since    time.Time // the earliest note of a payment; zero without one
}

// Count counts the payments among the notes. hears tells whether the receiver hears a
// channel. zone decides the month of a payment. A note that is listed twice counts once.
func Count(
	notes iter.Seq2[*client.Note, error],
	hears func(channel string) bool,
	zone *time.Location,
) (*Result, error) {
	result := &Result{Total: newRow("", "")}
	rows := map[[2]string]*Row{}
	counted := map[string]bool{}
	for note, err := range notes {
		if err != nil {
			return nil, err
		}
		if counted[note.GetDonationId()] {
			continue
		}
		counted[note.GetDonationId()] = true
		about := note.GetDonation()
		if about.GetEvent() != client.EventPayment {
			result.Others++
			continue
		}
		if at := note.GetNotedAt().AsTime(); result.Since.IsZero() || at.Before(result.Since) {
			result.Since = at
		}
		when := note.GetNotedAt()
		if about.GetOccurredAt() != nil {
			when = about.GetOccurredAt()
		}
		key := [2]string{when.AsTime().In(zone).Format("2006-01"), about.GetCurrencyCode()}
		row := rows[key]
		if row == nil {
			made := newRow(key[0], key[1])
			row, rows[key] = &made, &made
		}
		result.add(row, note, hears)
	}
	for _, row := range rows {
		result.Rows = append(result.Rows, *row)
	}
	slices.SortFunc(result.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Currency, b.Currency))
	})
	slices.Sort(result.Channels)
	return result, nil
}

func newRow(month, currency string) Row {
	return Row{Month: month, Currency: currency, DoubleSum: new(big.Rat), UnheardSum: new(big.Rat)}
}

// add counts a payment in its row and in the total.
func (r *Result) add(row *Row, note *client.Note, hears func(string) bool) {
	heard, doubles, sameID := 0, 0, 0
	var ids []string
	for _, seen := range note.GetSightings() {
		channel := seen.GetMessage().GetChannel()
		if !slices.Contains(r.Channels, channel) {
			r.Channels = append(r.Channels, channel)
		}
		if !hears(channel) {
			continue
		}
		heard++
		if id := seen.GetTransactionId(); id != "" && slices.Contains(ids, id) {
			sameID++
		} else if id != "" {
			ids = append(ids, id)
		}
	}
	if len(note.GetSightings()) >= MostSightings {
		r.Full++
	}
	amount, known := new(big.Rat).SetString(note.GetDonation().GetAmount())
	if !known {
		amount = new(big.Rat)
	}
	if heard > 1 {
		doubles = heard - 1
		row.DoubleSum.Add(row.DoubleSum, new(big.Rat).Mul(amount, big.NewRat(int64(doubles), 1)))
	}
	if heard == 0 {
		row.UnheardSum.Add(row.UnheardSum, amount)
	}
	for _, each := range []*Row{row, &r.Total} {
		each.Payments++
		each.Doubles += doubles
		each.SameID += sameID
		if heard == 0 {
			each.Unheard++
		}
		if note.GetState() == client.StateOpen {
			each.Open++
		}
	}
}
