package inbox

import (
	"context"
	"time"
)

// Sweep wipes the bodies and deletes the rows that have aged out, and seals bodies under
// the second key again with the first.
func (b *Inbox) Sweep(ctx context.Context) error {
	now := b.config.Now()
	// A copy may make a message wait again while this runs. PostgreSQL then checks the
	// conditions again, so they are in the statement itself and not in a subquery.
	const aged = ` WHERE account = ? AND state IN (?, ?, ?) AND finished_at <= ?`
	before := func(age time.Duration) []any {
		return []any{b.config.Account, string(Done), string(Refused), string(Discarded), millis(now.Add(-age))}
	}
	err := b.transact(ctx, func(t transaction) error {
		_, err := t.exec(
			`UPDATE inbox_messages SET body = NULL`+aged+` AND body IS NOT NULL`,
			before(b.config.BodiesFor)...)
		if err != nil {
			return err
		}
		deleted, err := t.texts(`DELETE FROM inbox_messages`+aged+` RETURNING row_id`, before(b.config.RowsFor)...)
		if err != nil {
			return err
		}
		for _, row := range deleted {
			for _, table := range []string{"inbox_donations", "inbox_acts"} {
				if _, err := t.exec(`DELETE FROM `+table+` WHERE row_id = ?`, row); err != nil {
					return err
				}
			}
		}
		_, err = t.exec(`DELETE FROM inbox_transactions WHERE used_at <= ?`, millis(now.Add(-b.config.RowsFor)))
		return err
	})
	if err != nil || len(b.config.Keys) < 2 {
		return b.wrap("sweeping the inbox", err)
	}
	return b.wrap("sealing bodies with the new key", b.reseal(ctx, `account = ?`, b.config.Account))
}

// reseal seals up to 500 bodies of messages with the first key. of is a condition in SQL.
func (b *Inbox) reseal(ctx context.Context, of string, args ...any) error {
	return b.transact(ctx, func(t transaction) error {
		rows, err := t.query(`SELECT row_id, body FROM inbox_messages
			WHERE `+of+` AND key_id = ? AND body IS NOT NULL LIMIT 500`+t.dialect.skip,
			append(args, b.config.Keys[1].ID)...)
		if err != nil {
			return err
		}
		old := make(map[string][]byte)
		for rows.Next() {
			var row string
			var sealed []byte
			if err := rows.Scan(&row, &sealed); err != nil {
				rows.Close()
				return err
			}
			old[row] = sealed
		}
		if err := rows.Err(); err != nil {
			return err
		}
		rows.Close()
		for row, sealed := range old {
			e, err := b.open(row, b.config.Keys[1].ID, sealed)
			if err != nil {
				return err
			}
			keyID, sealed, err := b.seal(row, e)
			if err != nil {
				return err
			}
			if _, err := t.exec(
				`UPDATE inbox_messages SET key_id = ?, body = ? WHERE row_id = ?`,
				keyID,
				sealed,
				row,
			); err != nil {
				return err
			}
		}
		return nil
	})
}

// Counts are for metrics.
type Counts struct {
	Messages     map[State]int64
	Unverified   int64
	Oldest       time.Duration // the waiting time of the oldest message; 0 in an empty inbox
	OldestPerson time.Duration // the waiting time of the oldest message for a person; 0 without one
	OldKeys      int64         // bodies that the first key does not open
}

// Count counts the messages.
func (b *Inbox) Count(ctx context.Context) (Counts, error) {
	counts := Counts{Messages: make(map[State]int64)}
	for _, state := range States {
		counts.Messages[state] = 0
	}
	err := b.transact(ctx, func(t transaction) error {
		rows, err := t.query(`SELECT state, COUNT(*), MIN(since) FROM inbox_messages WHERE account = ? GROUP BY state`,
			b.config.Account)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var state string
			var n, since int64
			if err := rows.Scan(&state, &n, &since); err != nil {
				return err
			}
			counts.Messages[State(state)] = n
			switch age := b.config.Now().Sub(timeOf(since)); State(state) {
			case Waiting, Working:
				counts.Oldest = max(counts.Oldest, age)
			case Person:
				counts.OldestPerson = max(0, age)
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		rows.Close()
		if counts.OldKeys, err = b.countOldKeys(t, `account = ?`, b.config.Account); err != nil {
			return err
		}
		return t.queryRow(`SELECT COUNT(*) FROM inbox_messages WHERE account = ? AND verified = ? AND state <> ?`,
			b.config.Account, false, string(Discarded)).Scan(&counts.Unverified)
	})
	return counts, b.wrap("counting messages", err)
}

// countOldKeys counts the bodies of messages that the first key does not open. of is a
// condition in SQL.
func (b *Inbox) countOldKeys(t transaction, of string, args ...any) (n int64, err error) {
	if len(b.config.Keys) == 0 {
		return 0, nil
	}
	err = t.queryRow(`SELECT COUNT(*) FROM inbox_messages WHERE `+of+` AND body IS NOT NULL AND key_id <> ?`,
		append(args, b.config.Keys[0].ID)...).Scan(&n)
	return n, err
}
