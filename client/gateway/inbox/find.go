package inbox

import (
	"context"
	"time"
)

// find selects the rows of messages with an id. Each column has its own index. The
// partial indexes are used only if the query repeats their condition.
const find = `SELECT row_id FROM inbox_messages WHERE row_id = ?
	UNION SELECT row_id FROM inbox_messages WHERE message_id = ?
	UNION SELECT row_id FROM inbox_messages WHERE transaction_id = ? AND transaction_id <> ''
	UNION SELECT row_id FROM inbox_messages WHERE parent_id = ? AND parent_id <> ''
	UNION SELECT row_id FROM inbox_messages WHERE series_id = ? AND series_id <> ''
	UNION SELECT row_id FROM inbox_messages WHERE case_id = ? AND case_id <> ''
	UNION SELECT row_id FROM inbox_donations WHERE series_id = ?
	UNION SELECT row_id FROM inbox_donations WHERE transaction_id = ?
	UNION SELECT row_id FROM inbox_donations WHERE donation_id = ?
	UNION SELECT row_id FROM inbox_donations WHERE accepted_id = ?`

// Find returns the messages with an id, the newest first and at most limit. The id is a
// row's, one of PayPal's (message, transaction, parent, series or case), or a donation
// id.
func (b *Inbox) Find(ctx context.Context, id string, limit int) (found []Message, err error) {
	if id == "" {
		return nil, nil
	}
	err = b.transact(ctx, func(t transaction) error {
		condition, args := b.ours("account")
		args = append(args, id, id, id, id, id, id, id, id, id, id, int64(limit))
		rows, err := t.texts(`SELECT row_id FROM inbox_messages WHERE `+condition+` AND row_id IN (`+find+`)
			ORDER BY received_at DESC, row_id DESC LIMIT ?`, args...)
		if err != nil {
			return err
		}
		found, err = messagesOf(t, rows)
		return err
	})
	return found, b.wrap("looking for messages", err)
}

// Oldest returns the time of receipt of the journal's oldest message; zero without
// messages.
func (b *Inbox) Oldest(ctx context.Context) (at time.Time, err error) {
	err = b.transact(ctx, func(t transaction) error {
		var received int64
		condition, args := b.ours("account")
		err := t.queryRow(`SELECT COALESCE(MIN(received_at), 0) FROM inbox_messages WHERE `+condition,
			args...).Scan(&received)
		at = timeOf(received)
		return err
	})
	return at, b.wrap("looking for the oldest message", err)
}

// Record records an act on a thing outside the inbox. Redo and CloseMessage record
// themselves.
func (b *Inbox) Record(ctx context.Context, a Act) error {
	return b.wrap("recording an act", b.transact(ctx, func(t transaction) error { return b.record(t, a) }))
}

// AllActs returns the acts on the messages of this account and the acts without a
// message, the newest first and at most limit.
func (b *Inbox) AllActs(ctx context.Context, limit int) (acts []Act, err error) {
	err = b.transact(ctx, func(t transaction) error {
		condition, args := b.ours("m.account")
		rows, err := t.query(`SELECT a.at, a.actor, a.act, a.row_id, a.reason FROM inbox_acts a
			LEFT JOIN inbox_messages m ON m.row_id = a.row_id WHERE (`+condition+`) OR a.row_id = ?
			ORDER BY a.at DESC, a.row_id DESC LIMIT ?`, append(args, b.noRow(), int64(limit))...)
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
			if a.At = timeOf(at); a.Row == b.noRow() {
				a.Row = ""
			}
			acts = append(acts, a)
		}
		return rows.Err()
	})
	return acts, b.wrap("reading acts", err)
}
