package inbox

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// An Arrival is a message to keep.
type Arrival struct {
	Ledger, Channel, ID, Type, Receiver string

	IDs        IDs
	Test       bool
	ReceivedAt time.Time
	State      State // Waiting, or a state of a message that is only journalled
	Cause      string
	Donations  []Donation

	Header http.Header
	Body   []byte
}

// Keep writes a verified message to disk. When it returns nil the message is safe.
//
// A copy of a known message is counted. It also makes a finished message wait again, with
// the copy's body if its own body is wiped. A refused message is then judged anew,
// because the gateway's settings may have changed.
func (b *Inbox) Keep(ctx context.Context, a Arrival) error {
	return b.wrap("keeping a message", b.transact(ctx, func(t transaction) error {
		_, err := b.keep(t, a)
		return err
	}))
}

// keep returns the row of the message.
func (b *Inbox) keep(t transaction, a Arrival) (row string, err error) {
	now := b.config.Now()
	m := Message{
		Row: newRow(now), Ledger: a.Ledger, Channel: a.Channel, ID: a.ID, Type: a.Type, IDs: a.IDs,
		Receiver: a.Receiver, Test: a.Test, Verified: true, ReceivedAt: a.ReceivedAt,
		State: a.State, Since: now, NextAt: now, Cause: a.Cause,
	}
	if m.State.finished() {
		m.FinishedAt = now
	}
	inserted, err := b.insert(t, m, envelope{a.Header, a.Body})
	if err != nil {
		return "", err
	}
	if !inserted {
		if m.Row, err = b.countCopy(t, m, envelope{a.Header, a.Body}); err != nil {
			return "", err
		}
	}
	for i, d := range a.Donations {
		if err := insertDonation(t, m.Row, i, d); err != nil {
			return "", err
		}
	}
	return m.Row, nil
}

// insert writes a row, unless its message exists.
func (b *Inbox) insert(t transaction, m Message, e envelope) (inserted bool, err error) {
	keyID, sealed, err := b.seal(m.Row, e)
	if err != nil {
		return false, err
	}
	n, err := t.exec(`INSERT INTO inbox_messages (row_id, account, channel, message_id, ledger, type, receiver,
		transaction_id, parent_id, series_id, case_id, test, verified, redo, state, cause, tries, copies,
		received_at, since, next_at, finished_at, lease, key_id, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, '', ?, ?)
		ON CONFLICT (account, channel, message_id) DO NOTHING`,
		m.Row, b.config.Account, m.Channel, m.ID, m.Ledger, m.Type, m.Receiver,
		m.IDs.Transaction, m.IDs.Parent, m.IDs.Series, m.IDs.Case, m.Test, m.Verified, false, string(m.State), m.Cause,
		millis(m.ReceivedAt), millis(m.Since), millis(m.NextAt), millis(m.FinishedAt), keyID, sealed)
	return n == 1, err
}

// countCopy counts a copy of a message, and returns the message's row.
func (b *Inbox) countCopy(t transaction, copied Message, e envelope) (row string, err error) {
	var state, ledger, keyID string
	var sealed []byte
	err = t.queryRow(`SELECT row_id, state, ledger, key_id, body FROM inbox_messages
		WHERE account = ? AND channel = ? AND message_id = ?`+t.dialect.lockRow,
		b.config.Account, copied.Channel, copied.ID).Scan(&row, &state, &ledger, &keyID, &sealed)
	if err != nil {
		return "", err
	}
	if !State(state).finished() || State(state) == Done && copied.State != Waiting {
		_, err = t.exec(`UPDATE inbox_messages SET copies = copies + 1 WHERE row_id = ?`, row)
		return row, err
	}
	if sealed == nil {
		if keyID, sealed, err = b.seal(row, e); err != nil {
			return "", err
		}
	}
	asked, err := t.texts(`SELECT row_id FROM inbox_donations WHERE row_id = ? AND verdict <> '' LIMIT 1`, row)
	if err != nil {
		return row, err
	}
	if len(asked) > 0 { // Noted knows its donations in the ledger of the row
		copied.Ledger = ledger
	}
	_, err = t.exec(`UPDATE inbox_messages SET copies = copies + 1, ledger = ?, test = ?, verified = ?, receiver = ?,
		state = ?, cause = ?, tries = 0, since = ?, next_at = ?, finished_at = ?, key_id = ?, body = ? WHERE row_id = ?`,
		copied.Ledger, copied.Test, true, copied.Receiver, string(copied.State), copied.Cause,
		millis(copied.Since), millis(copied.NextAt), millis(copied.FinishedAt), keyID, sealed, row)
	if err != nil || copied.State != Waiting {
		return row, err
	}
	// Ask Noted about each donation again. The downstream's acceptance stays known, and a
	// donation that was closed by hand stays closed.
	_, err = t.exec(`UPDATE inbox_donations SET outcome = '' WHERE row_id = ? AND outcome <> ?`, row, string(Closed))
	return row, err
}

// insertDonation writes a donation of a message, unless it exists. The pair of an
// existing donation has its ledger, which stays the ledger of the first request to Noted.
func insertDonation(t transaction, row string, position int, d Donation) error {
	_, err := t.exec(`INSERT INTO inbox_donations (row_id, position, series_id, event, transaction_id, pair,
		asked_series, verdict, donation_id, outcome, reason, accepted_id, attempt, accepted_at, decided_at)
		VALUES (?, ?, ?, ?, ?, ?, '', '', '', '', '', '', 0, 0, 0)
		ON CONFLICT (row_id, position) DO UPDATE SET pair = excluded.pair WHERE inbox_donations.verdict = ''
			AND inbox_donations.series_id = excluded.series_id AND inbox_donations.event = excluded.event
			AND inbox_donations.transaction_id = excluded.transaction_id`,
		row, position, d.SeriesID, d.Event, d.TransactionID, string(d.Pair))
	return err
}

// KeepUnverified writes a message to disk that PayPal did not verify because it did not
// answer. A forger could post any number of messages, so at most `most` of them are kept,
// and at most mostBytes of their bodies. Further messages get ErrNoRoom.
//
// Only an identical message counts as a copy, because a forger may use a genuine
// message's id. A copy makes a discarded message wait again: PayPal gets 200, and has called
// genuine messages invalid.
func (b *Inbox) KeepUnverified(ctx context.Context, a Arrival, most int, mostBytes int64) error {
	return b.wrap("keeping an unverified message", b.transact(ctx, func(t transaction) error {
		var count, bytes int64
		err := t.queryRow(`SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0) FROM inbox_messages
			WHERE account = ? AND verified = ? AND state IN (?, ?, ?)`,
			b.config.Account, false, string(Waiting), string(Working), string(Person)).Scan(&count, &bytes)
		if err != nil {
			return err
		}
		if count >= int64(most) || bytes+int64(len(a.Body)) > mostBytes {
			return ErrNoRoom
		}
		now := b.config.Now()
		m := Message{
			Row: newRow(now), Ledger: a.Ledger, Channel: a.Channel, ID: unverifiedID(a), Verified: false,
			ReceivedAt: a.ReceivedAt, State: Waiting, Since: now, NextAt: now, Cause: a.Cause,
		}
		inserted, err := b.insert(t, m, envelope{a.Header, a.Body})
		if err != nil || inserted {
			return err
		}
		return b.countUnverifiedCopy(t, m, envelope{a.Header, a.Body})
	}))
}

func (b *Inbox) countUnverifiedCopy(t transaction, copied Message, e envelope) error {
	var row string
	err := t.queryRow(`UPDATE inbox_messages SET copies = copies + 1
		WHERE account = ? AND channel = ? AND message_id = ? RETURNING row_id`,
		b.config.Account, copied.Channel, copied.ID).Scan(&row)
	if err != nil {
		return err
	}
	keyID, sealed, err := b.seal(row, e)
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE inbox_messages SET state = ?, cause = ?, tries = 0, since = ?, next_at = ?, finished_at = 0,
		key_id = ?, body = ? WHERE row_id = ? AND state = ?`, string(Waiting), copied.Cause, millis(copied.Since),
		millis(copied.NextAt), keyID, sealed, row, string(Discarded))
	return err
}

// unverifiedID names an unverified message by all its contents.
func unverifiedID(a Arrival) string {
	hash := sha256.New()
	_ = a.Header.Write(hash) // a hash never fails
	hash.Write(a.Body)
	return "unverified-" + hex.EncodeToString(hash.Sum(nil)[:16])
}

// Confirm replaces an unverified message with its verified form, which takes over its acts. If
// that message has also come by itself, it counts as a copy.
func (b *Inbox) Confirm(ctx context.Context, c *Claim, a Arrival) error {
	return b.wrap("confirming a message", b.transact(ctx, func(t transaction) error {
		n, err := t.exec(`DELETE FROM inbox_messages WHERE row_id = ? AND lease = ?`, c.Row, c.lease)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrLeaseLost
		}
		row, err := b.keep(t, a)
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE inbox_acts SET row_id = ? WHERE row_id = ?`, row, c.Row)
		return err
	}))
}

// wrap names the act in an error, and keeps the package's own errors recognisable.
func (b *Inbox) wrap(act string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%s: %w", act, ErrNotFound)
	}
	return fmt.Errorf("%s: %w", act, err)
}
