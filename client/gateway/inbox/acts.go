package inbox

import (
	"context"
	"fmt"
	"time"
)

// A Busy error means that a worker owns the message right now.
type Busy struct{ Until time.Time }

func (e *Busy) Error() string {
	return fmt.Sprintf("a worker is processing the message; try again after %s", e.Until.Format(time.RFC3339))
}

// ErrNoBody means that the body of a message is wiped, so that the message cannot be
// processed.
var ErrNoBody = fmt.Errorf("the body is wiped; ask PayPal to send the message again")

// Redo makes a message in any state wait again, and records the act. The message is tried
// at the given time. Noted is asked about each of its donations again, except those that
// were closed by hand.
func (b *Inbox) Redo(ctx context.Context, row string, at time.Time, actor, reason string) error {
	return b.wrap("redoing "+row, b.transact(ctx, func(t transaction) error {
		if err := b.idle(t, row, true); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE inbox_messages SET state = ?, cause = '', tries = 0, redo = ?, since = ?, next_at = ?,
			finished_at = 0, lease = '' WHERE row_id = ?`, string(Waiting), true, millis(b.config.Now()), millis(at), row)
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE inbox_donations SET outcome = '', reason = '' WHERE row_id = ? AND outcome <> ?`,
			row, string(Closed))
		if err != nil {
			return err
		}
		return b.record(t, Act{Actor: actor, Name: "redo", Row: row, Reason: reason})
	}))
}

// Hold leaves a message to a person, so that no worker takes it during the close.
func (b *Inbox) Hold(ctx context.Context, row string) (m Message, err error) {
	err = b.transact(ctx, func(t transaction) error {
		if err := b.idle(t, row, false); err != nil {
			return err
		}
		_, err := t.exec(
			`UPDATE inbox_messages SET state = ?, lease = '', finished_at = 0 WHERE row_id = ? AND state IN (?, ?)`,
			string(Person),
			row,
			string(Waiting),
			string(Working),
		) // a worker that died
		if err != nil {
			return err
		}
		m, err = message(t, row)
		return err
	})
	return m, b.wrap("holding "+row, err)
}

// CloseMessage ends a message that a person has handled, and records the act with its
// reason. Donations without an outcome are closed. The caller has already settled the
// donations that Noted had.
func (b *Inbox) CloseMessage(ctx context.Context, row string, donations []Donation, actor, reason string) error {
	return b.wrap("closing "+row, b.transact(ctx, func(t transaction) error {
		if err := b.idle(t, row, false); err != nil {
			return err
		}
		now := b.config.Now()
		for i := range donations {
			if err := decided(t, now, row, &donations[i]); err != nil {
				return err
			}
		}
		_, err := t.exec(`UPDATE inbox_messages SET state = ?, cause = ?, finished_at = ?, lease = '' WHERE row_id = ?`,
			string(Done), "closed by hand", millis(now), row)
		if err != nil {
			return err
		}
		return b.record(t, Act{Actor: actor, Name: "close", Row: row, Reason: reason})
	}))
}

// idle refuses a message that a worker owns, or whose body is needed but wiped.
func (b *Inbox) idle(t transaction, row string, needsBody bool) error {
	var state string
	var next int64
	var hasBody bool
	condition, args := b.ours("account")
	err := t.queryRow(`SELECT state, next_at, body IS NOT NULL FROM inbox_messages WHERE `+condition+
		` AND row_id = ?`+t.dialect.lockRow, append(args, row)...).Scan(&state, &next, &hasBody)
	switch {
	case err != nil:
		return err
	case State(state) == Working && timeOf(next).After(b.config.Now()):
		return &Busy{timeOf(next)}
	case needsBody && !hasBody:
		return ErrNoBody
	}
	return nil
}
