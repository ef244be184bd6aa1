package inbox

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// A Lane is a channel of a ledger.
type Lane struct{ Ledger, Channel string }

// A Pulse is the time of a lane's last message that PayPal has verified.
type Pulse struct {
	Lane
	Last time.Time
}

// Pulses returns the time of the last verified message of each of the account's lanes.
// Forged messages, and genuine messages of a foreign receiver, do not make a channel look
// alive.
//
// The functions here only read, outside a transaction: a transaction of SQLite takes the
// lock for writing, which the gateway needs.
func (b *Inbox) Pulses(ctx context.Context) (all []Pulse, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	lane := Lane{}
	for {
		// The next lane, by the index. A GROUP BY would read a row for each message.
		err := b.readRow(ctx, `SELECT ledger, channel FROM inbox_messages WHERE account = ?
			AND (ledger > ? OR ledger = ? AND channel > ?) ORDER BY ledger, channel LIMIT 1`,
			b.config.Account, lane.Ledger, lane.Ledger, lane.Channel).Scan(&lane.Ledger, &lane.Channel)
		if errors.Is(err, sql.ErrNoRows) {
			return all, nil
		}
		if err != nil {
			return nil, b.wrap("looking for the last messages", err)
		}
		var at int64
		err = b.readRow(ctx, `SELECT received_at FROM inbox_messages
			WHERE account = ? AND ledger = ? AND channel = ? AND verified = ? AND receiver = ''
			ORDER BY received_at DESC LIMIT 1`,
			b.config.Account, lane.Ledger, lane.Channel, true).Scan(&at)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return nil, b.wrap("looking for the last messages", err)
		default:
			all = append(all, Pulse{lane, timeOf(at)})
		}
	}
}

// mostPauses is the number of messages that LongestPause reads.
const mostPauses = 20_000

// LongestPause returns the longest time between two verified messages of a lane received
// since from. of is the number of messages that it read: the newest twenty thousand at
// most.
func (b *Inbox) LongestPause(ctx context.Context, l Lane, from time.Time) (pause time.Duration, of int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var ms int64
	err = b.readRow(ctx, `SELECT COALESCE(MAX(pause), 0), COUNT(*) FROM (
		SELECT received_at - LAG(received_at) OVER (ORDER BY received_at) AS pause FROM (
			SELECT received_at FROM inbox_messages WHERE account = ? AND ledger = ? AND channel = ? AND verified = ?
			AND receiver = '' AND received_at >= ? ORDER BY received_at DESC LIMIT ?) AS newest) AS pauses`,
		b.config.Account, l.Ledger, l.Channel, true, millis(from), int64(mostPauses)).Scan(&ms, &of)
	return time.Duration(ms) * time.Millisecond, of, b.wrap("looking for the longest pause", err)
}

// Payments counts the verified messages of a lane about a payment, received after from,
// up to limit. Both channels tell of payments; only one channel tells of many other
// events.
func (b *Inbox) Payments(ctx context.Context, l Lane, from time.Time, limit int) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = b.readRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM inbox_messages WHERE account = ? AND ledger = ?
		AND channel = ? AND verified = ? AND receiver = '' AND received_at > ? AND EXISTS (SELECT 1 FROM inbox_donations d
			WHERE d.row_id = inbox_messages.row_id AND d.event = 'EVENT_PAYMENT') LIMIT ?) AS counted`,
		b.config.Account, l.Ledger, l.Channel, true, millis(from), int64(limit)).Scan(&n)
	return n, b.wrap("counting messages", err)
}

// A Decision is Noted's last verdict on a donation of a message. Verdict is empty if
// Noted was not asked yet, or could not decide.
type Decision struct {
	Lane
	ReceivedAt          time.Time
	DonationID, Verdict string
}

// Decisions calls yield with each donation of the verified messages that were received
// from from until to, exclusive. It holds a connection meanwhile, so ask for a few hours.
func (b *Inbox) Decisions(ctx context.Context, from, to time.Time, yield func(Decision)) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, err := b.db.QueryContext(ctx, b.dialect.rebind(`SELECT m.ledger, m.channel, m.received_at, d.donation_id,
		d.verdict FROM inbox_messages m JOIN inbox_donations d ON d.row_id = m.row_id
		WHERE m.account = ? AND m.received_at >= ? AND m.received_at < ? AND m.verified = ?`),
		b.config.Account, millis(from), millis(to), true)
	if err != nil {
		return b.wrap("reading verdicts", err)
	}
	defer rows.Close()
	for rows.Next() {
		var d Decision
		var at int64
		if err := rows.Scan(&d.Ledger, &d.Channel, &at, &d.DonationID, &d.Verdict); err != nil {
			return b.wrap("reading verdicts", err)
		}
		d.ReceivedAt = timeOf(at)
		yield(d)
	}
	return b.wrap("reading verdicts", rows.Err())
}

// Overdue counts the messages that have been in one of the states since before a time,
// and returns the time from which the oldest has.
func (b *Inbox) Overdue(ctx context.Context, before time.Time, states ...State) (n int, since time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	condition, args := Filter{States: states}.where(b)
	var oldest int64
	err = b.readRow(ctx, `SELECT COUNT(*), COALESCE(MIN(since), 0) FROM inbox_messages WHERE `+condition+
		` AND since <= ?`, append(args, millis(before))...).Scan(&n, &oldest)
	return n, timeOf(oldest), b.wrap("counting messages", err)
}

// Unverified counts the messages that PayPal was not asked about successfully yet, of those
// received from a time on. The journal does not know what they tell of.
func (b *Inbox) Unverified(ctx context.Context, from time.Time) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	condition, args := Filter{States: []State{Waiting, Working, Person}, Since: from}.where(b)
	err = b.readRow(ctx, `SELECT COUNT(*) FROM inbox_messages WHERE `+condition+` AND verified = ?`,
		append(args, false)...).Scan(&n)
	return n, b.wrap("counting unverified messages", err)
}

// readRow reads a row outside a transaction.
func (b *Inbox) readRow(ctx context.Context, query string, args ...any) *sql.Row {
	return b.db.QueryRowContext(ctx, b.dialect.rebind(query), args...)
}
