package inbox

import "context"

// Series returns the series for the request to Noted about a donation, so that one
// transaction under two series is one donation.
//
// PayPal's messages about one payment may name its series or leave it out; client/paypal
// then uses the transaction id as the series. Noted never compares two series. So the
// inbox remembers, for each ledger, event and transaction, the series of the first
// request:
//
//	first message    later message        is asked under
//	names S          names no series      S
//	names no series  first to name S      the transaction, as the first message was
//	names S          names another, R     R: a constant passed as the series must not
//	                                      merge donors
//
// The record is written before the request to Noted. If the gateway dies in between, the
// next message uses the same series.
func (b *Inbox) Series(ctx context.Context, ledger string, d Donation) (string, error) {
	if d.TransactionID == "" {
		return d.SeriesID, nil
	}
	series := d.SeriesID
	err := b.transact(ctx, func(t transaction) error {
		named := d.SeriesID
		if named == d.TransactionID {
			named = "" // the message names no series
		}
		now := millis(b.config.Now())
		n, err := t.exec(`INSERT INTO inbox_transactions
			(ledger, event, transaction_id, asked_series, named_series, used_at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (ledger, event, transaction_id) DO NOTHING`,
			ledger, d.Event, d.TransactionID, d.SeriesID, named, now)
		if err != nil || n == 1 {
			return err
		}
		var asked, before string
		err = t.queryRow(`SELECT asked_series, named_series FROM inbox_transactions
			WHERE ledger = ? AND event = ? AND transaction_id = ?`+t.dialect.lockRow,
			ledger, d.Event, d.TransactionID).Scan(&asked, &before)
		if err != nil {
			return err
		}
		if named != "" && before != "" && named != before {
			return nil
		}
		if series = asked; before == "" {
			before = named
		}
		_, err = t.exec(`UPDATE inbox_transactions SET named_series = ?, used_at = ?
			WHERE ledger = ? AND event = ? AND transaction_id = ?`, before, now, ledger, d.Event, d.TransactionID)
		return err
	})
	return series, b.wrap("looking for the series of a transaction", err)
}
