package inbox

import (
	"context"
	"encoding/json"
	"strings"
	"time"
)

// A Filter selects messages. A zero field selects all messages.
type Filter struct {
	Rows                []string
	States              []State
	Since, Until        time.Time // of the receipt; Until is exclusive
	Channel             string
	Series, Transaction string // PayPal's ids, of the message or of a donation in it
	Cause               string // the beginning of it
}

// where writes the condition of a filter.
func (f Filter) where(b *Inbox) (condition string, args []any) {
	condition, args = b.ours("account")
	conditions := []string{condition}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	in := func(column string, n int) string { return column + " IN (?" + strings.Repeat(", ?", n-1) + ")" }
	if len(f.Rows) > 0 {
		add(in("row_id", len(f.Rows)), anys(f.Rows)...)
	}
	if len(f.States) > 0 {
		add(in("state", len(f.States)), anys(f.States)...)
	}
	if !f.Since.IsZero() {
		add("received_at >= ?", millis(f.Since))
	}
	if !f.Until.IsZero() {
		add("received_at < ?", millis(f.Until))
	}
	if f.Channel != "" {
		add("channel = ?", f.Channel)
	}
	if f.Series != "" {
		add("(series_id = ? OR row_id IN (SELECT row_id FROM inbox_donations WHERE series_id = ? OR asked_series = ?))",
			f.Series, f.Series, f.Series)
	}
	if f.Transaction != "" {
		add("(transaction_id = ? OR row_id IN (SELECT row_id FROM inbox_donations WHERE transaction_id = ?))",
			f.Transaction, f.Transaction)
	}
	if f.Cause != "" {
		add("SUBSTR(cause, 1, ?) = ?", int64(len([]rune(f.Cause))), f.Cause)
	}
	return strings.Join(conditions, " AND "), args
}

func anys[T ~string](values []T) []any {
	out := make([]any, len(values))
	for i, value := range values {
		out[i] = string(value)
	}
	return out
}

// page is the number of messages that List reads in one transaction.
const page = 200

// List calls yield with each selected message, in the order of receipt. If yield returns
// an error, List stops and returns it.
func (b *Inbox) List(ctx context.Context, f Filter, yield func(Message) error) error {
	var lastAt int64
	lastRow := ""
	for {
		var messages []Message
		err := b.transact(ctx, func(t transaction) error {
			condition, args := f.where(b)
			args = append(args, lastAt, lastAt, lastRow, int64(page))
			ids, err := t.texts(`SELECT row_id FROM inbox_messages WHERE `+condition+
				` AND (received_at > ? OR received_at = ? AND row_id > ?) ORDER BY received_at, row_id LIMIT ?`, args...)
			if err != nil {
				return err
			}
			messages, err = messagesOf(t, ids)
			return err
		})
		if err != nil {
			return b.wrap("listing messages", err)
		}
		for _, m := range messages {
			if err := yield(m); err != nil {
				return err
			}
			lastAt, lastRow = millis(m.ReceivedAt), m.Row
		}
		if len(messages) < page {
			return nil
		}
	}
}

// Contents opens the contents of a message.
func (b *Inbox) Contents(ctx context.Context, row string) (*Claim, error) {
	c := &Claim{}
	var sealed []byte
	err := b.transact(ctx, func(t transaction) (err error) {
		if c.Message, err = message(t, row); err != nil {
			return err
		}
		return t.queryRow(`SELECT body FROM inbox_messages WHERE row_id = ?`, row).Scan(&sealed)
	})
	if err != nil || sealed == nil {
		return c, b.wrap("reading a message", err)
	}
	e, err := b.open(row, c.keyID, sealed)
	c.Header, c.Body = e.Header, e.Body
	return c, err
}

// messagesOf reads the messages of rows.
func messagesOf(t transaction, rows []string) (all []Message, err error) {
	for _, row := range rows {
		m, err := message(t, row)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// message reads a row with its donations.
func message(t transaction, row string) (m Message, err error) {
	var state string
	var received, since, next, finished int64
	err = t.queryRow(`SELECT row_id, account, ledger, channel, message_id, type, receiver, transaction_id, parent_id, series_id,
		case_id, test, verified, redo, state, cause, tries, copies, received_at, since, next_at, finished_at, key_id,
		body IS NOT NULL FROM inbox_messages WHERE row_id = ?`, row).Scan(
		&m.Row, &m.Account, &m.Ledger, &m.Channel, &m.ID, &m.Type, &m.Receiver, &m.IDs.Transaction, &m.IDs.Parent,
		&m.IDs.Series, &m.IDs.Case, &m.Test, &m.Verified, &m.Redo, &state, &m.Cause, &m.Tries, &m.Copies, &received, &since, &next,
		&finished, &m.keyID, &m.HasBody)
	if err != nil {
		return m, err
	}
	m.State, m.ReceivedAt, m.Since, m.FinishedAt = State(state), timeOf(received), timeOf(since), timeOf(finished)
	if m.State == Waiting || m.State == Working {
		m.NextAt = timeOf(next)
	}
	rows, err := t.query(`SELECT position, series_id, event, transaction_id, pair, asked_series, verdict, donation_id,
		outcome, reason, accepted_id, attempt, accepted_at, decided_at, accepted_answer
		FROM inbox_donations WHERE row_id = ? ORDER BY position`, row)
	if err != nil {
		return m, err
	}
	defer rows.Close()
	for rows.Next() {
		var d Donation
		var pair, outcome string
		var accepted, decided int64
		err := rows.Scan(&d.Position, &d.SeriesID, &d.Event, &d.TransactionID, &pair, &d.AskedSeries, &d.Verdict,
			&d.DonationID, &outcome, &d.Reason, &d.AcceptedID, &d.Attempt, &accepted, &decided,
			&d.AcceptedAnswer)
		if err != nil {
			return m, err
		}
		d.Pair = json.RawMessage(pair)
		d.Outcome, d.AcceptedAt, d.DecidedAt = Outcome(outcome), timeOf(accepted), timeOf(decided)
		m.Donations = append(m.Donations, d)
	}
	return m, rows.Err()
}

// Knows reports whether the journal has a donation id.
func (b *Inbox) Knows(ctx context.Context, donationID string) (known bool, err error) {
	err = b.transact(ctx, func(t transaction) error {
		rows, err := t.texts(`SELECT row_id FROM inbox_donations WHERE donation_id = ? LIMIT 1`, donationID)
		known = len(rows) > 0
		return err
	})
	return known, b.wrap("looking for a donation", err)
}

// An Act is a person's act on a message or, without a Row, on a thing without a message,
// such as the store.
type Act struct {
	At                       time.Time
	Actor, Name, Row, Reason string
}

// Acts returns the acts on a message, oldest first.
func (b *Inbox) Acts(ctx context.Context, row string) (acts []Act, err error) {
	err = b.transact(ctx, func(t transaction) error {
		rows, err := t.query(`SELECT at, actor, act, row_id, reason FROM inbox_acts WHERE row_id = ? ORDER BY at`, row)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var at int64
			var a Act
			if err := rows.Scan(&at, &a.Actor, &a.Name, &a.Row, &a.Reason); err != nil {
				return err
			}
			a.At = timeOf(at)
			acts = append(acts, a)
		}
		return rows.Err()
	})
	return acts, b.wrap("reading acts", err)
}

func (b *Inbox) record(t transaction, a Act) error {
	if a.Row == "" {
		a.Row = b.noRow()
	}
	_, err := t.exec(`INSERT INTO inbox_acts (at, actor, act, row_id, reason) VALUES (?, ?, ?, ?, ?)`,
		millis(b.config.Now()), a.Actor, a.Name, a.Row, a.Reason)
	return err
}

// noRow stands for the row of an act without a message. No row's id has a space. Nothing
// deletes these acts.
func (b *Inbox) noRow() string { return "account " + b.config.Account }
