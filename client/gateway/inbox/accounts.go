package inbox

import (
	"context"
	"time"
)

// Deserted is the time for which an account may have messages and no gateway before its
// messages wait for a person.
const Deserted = time.Hour

// CauseDeserted is the cause of a message whose account no gateway serves any more.
const CauseDeserted = "no gateway has its account"

// Serve records that a gateway processes the messages of this account, for Desert and for
// the gateways beside it. Messages that Desert has left to a person wait for a worker
// again.
func (b *Inbox) Serve(ctx context.Context) error {
	return b.wrap("recording an account", b.transact(ctx, func(t transaction) error {
		now := millis(b.config.Now())
		_, err := t.exec(`INSERT INTO inbox_accounts (account, served_at) VALUES (?, ?)
			ON CONFLICT (account) DO UPDATE SET served_at = excluded.served_at`, b.config.Account, now)
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE inbox_messages SET state = ?, cause = '', since = ?, next_at = ?
			WHERE account = ? AND state = ? AND cause = ?`,
			string(Waiting), now, now, b.config.Account, string(Person), CauseDeserted)
		return err
	}))
}

// Served returns the time when a gateway last recorded that it has an account, to the
// minute; zero if no gateway ever did.
func (b *Inbox) Served(ctx context.Context, account string) (at time.Time, err error) {
	err = b.transact(ctx, func(t transaction) error {
		var served int64
		err := t.queryRow(`SELECT COALESCE(MAX(served_at), 0) FROM inbox_accounts WHERE account = ?`, account).Scan(&served)
		at = timeOf(served)
		return err
	})
	return at, b.wrap("looking for an account", err)
}

// unserved selects the accounts that no gateway has served since a time.
const unserved = `(SELECT account FROM inbox_accounts WHERE served_at <= ?)`

// knowAccounts records each account in an inbox from an earlier program, so that the time
// of Deserted begins now.
func knowAccounts(t transaction, now time.Time) error {
	_, err := t.exec(`INSERT INTO inbox_accounts (account, served_at)
		SELECT DISTINCT account, CAST(? AS BIGINT) FROM inbox_messages
		WHERE NOT EXISTS (SELECT 1 FROM inbox_accounts) ON CONFLICT (account) DO NOTHING`, millis(now))
	return err
}

// Waiting counts the due messages of accounts outside except, by account.
func (b *Inbox) Waiting(ctx context.Context, except map[string]bool) (waiting map[string]int64, err error) {
	waiting = make(map[string]int64)
	err = b.transact(ctx, func(t transaction) error {
		rows, err := t.query(`SELECT account, COUNT(*) FROM inbox_messages
			WHERE account IN (SELECT account FROM inbox_accounts) AND state IN (?, ?) AND next_at <= ?
			GROUP BY account`, string(Waiting), string(Working), millis(b.config.Now()))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var account string
			var n int64
			if err := rows.Scan(&account, &n); err != nil {
				return err
			}
			if !except[account] {
				waiting[account] = n
			}
		}
		return rows.Err()
	})
	return waiting, b.wrap("counting messages", err)
}

// Desert leaves messages to a person if no gateway has served their account for the time
// of Deserted, because no worker would ever take them. It returns them in their earlier
// state. It also seals the bodies of these accounts with the first key, as Sweep does for
// its own account: the operator removes the old key when none is left under it.
func (b *Inbox) Desert(ctx context.Context) (deserted []Message, err error) {
	now := b.config.Now()
	err = b.transact(ctx, func(t transaction) error {
		rows, err := t.texts(`SELECT row_id FROM inbox_messages WHERE account IN `+unserved+`
			AND state IN (?, ?) AND next_at <= ? LIMIT 500`+t.dialect.skip,
			millis(now.Add(-Deserted)), string(Waiting), string(Working), millis(now))
		if err != nil {
			return err
		}
		for _, row := range rows {
			m, err := message(t, row)
			if err != nil {
				return err
			}
			deserted = append(deserted, m)
			_, err = t.exec(`UPDATE inbox_messages SET state = ?, cause = ?, lease = '' WHERE row_id = ?`,
				string(Person), CauseDeserted, row)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(b.config.Keys) > 1 {
		err = b.reseal(ctx, `account IN `+unserved, millis(now.Add(-Deserted)))
	}
	return deserted, b.wrap("looking for messages that no gateway takes", err)
}

// CountDeserted counts the messages for a person of accounts that no gateway has served
// for the time of Deserted, and their bodies under an old key. Count counts only its own
// account.
func (b *Inbox) CountDeserted(ctx context.Context) (Counts, error) {
	now := b.config.Now()
	var counts Counts
	err := b.transact(ctx, func(t transaction) error {
		var n, since int64
		err := t.queryRow(`SELECT COUNT(*), COALESCE(MIN(since), 0) FROM inbox_messages
			WHERE account IN `+unserved+` AND state = ?`, millis(now.Add(-Deserted)), string(Person)).Scan(&n, &since)
		if err != nil {
			return err
		}
		counts = Counts{Messages: map[State]int64{Person: n}}
		if n > 0 {
			counts.OldestPerson = max(0, now.Sub(timeOf(since)))
		}
		counts.OldKeys, err = b.countOldKeys(t, `account IN `+unserved, millis(now.Add(-Deserted)))
		return err
	})
	return counts, b.wrap("counting messages that no gateway takes", err)
}

// Move gives a claimed message to another account, for a worker of that account, and
// gives up the claim. If the message came again for that account already, its row there
// stays and this row is done.
func (b *Inbox) Move(ctx context.Context, c *Claim, to string) error {
	return b.wrap("moving a message", b.transact(ctx, func(t transaction) error {
		now := millis(b.config.Now())
		known, err := t.texts(`SELECT row_id FROM inbox_messages WHERE account = ? AND channel = ? AND message_id = ?`,
			to, c.Channel, c.ID)
		if err != nil {
			return err
		}
		if len(known) > 0 {
			return owned(t.exec(`UPDATE inbox_messages SET state = ?, cause = ?, finished_at = ?, lease = ''
				WHERE row_id = ? AND lease = ?`, string(Done), "came again as "+known[0], now, c.Row, c.lease))
		}
		return owned(t.exec(`UPDATE inbox_messages SET account = ?, receiver = '', state = ?, next_at = ?, lease = ''
			WHERE row_id = ? AND lease = ?`, to, string(Waiting), now, c.Row, c.lease))
	}))
}
