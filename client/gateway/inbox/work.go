package inbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"net/http"
	"time"
)

// A Claim is a message that a worker owns, with its contents.
type Claim struct {
	Message
	Header http.Header
	Body   []byte

	lease string
}

// Claim gives the caller the message that has waited longest, or nil if no message is
// due. The caller owns it for Config.Lease and renews the lease while it works. After a
// worker's death its message is due when the lease runs out.
//
// If the body cannot be opened, Claim returns an error beside the claim, and the caller
// finishes the claim as usual.
func (b *Inbox) Claim(ctx context.Context) (*Claim, error) {
	var c *Claim
	var sealed []byte
	err := b.transact(ctx, func(t transaction) error {
		now := b.config.Now()
		var row string
		err := t.queryRow(`SELECT row_id FROM inbox_messages WHERE account = ? AND state IN (?, ?) AND next_at <= ?
			ORDER BY next_at LIMIT 1`+t.dialect.skip,
			b.config.Account, string(Waiting), string(Working), millis(now)).Scan(&row)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		var token [8]byte
		_, _ = rand.Read(token[:]) // never fails
		lease := hex.EncodeToString(token[:])
		_, err = t.exec(`UPDATE inbox_messages SET state = ?, lease = ?, next_at = ? WHERE row_id = ?`,
			string(Working), lease, millis(now.Add(b.config.Lease)), row)
		if err != nil {
			return err
		}
		m, err := message(t, row)
		if err != nil {
			return err
		}
		c = &Claim{Message: m, lease: lease}
		return t.queryRow(`SELECT body FROM inbox_messages WHERE row_id = ?`, row).Scan(&sealed)
	})
	if err != nil || c == nil {
		return nil, b.wrap("claiming a message", err)
	}
	if sealed == nil {
		return c, errors.New("opening: the body is wiped")
	}
	e, err := b.open(c.Row, c.keyID, sealed)
	c.Header, c.Body = e.Header, e.Body
	return c, err
}

// Renew extends the caller's ownership by another Config.Lease. After ErrLeaseLost the
// caller stops its work.
func (b *Inbox) Renew(ctx context.Context, c *Claim) error {
	return b.wrap("renewing a lease", b.transact(ctx, func(t transaction) error {
		return owned(t.exec(`UPDATE inbox_messages SET next_at = ? WHERE row_id = ? AND lease = ? AND state = ?`,
			millis(b.config.Now().Add(b.config.Lease)), c.Row, c.lease, string(Working)))
	}))
}

func owned(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrLeaseLost
	}
	return err
}

// A Result is the end of one try.
type Result struct {
	State State         // Waiting to try again
	After time.Duration // the pause before the next try of a waiting message
	Cause string
	// Receiver is recorded if set.
	Receiver string
}

// Finish ends a try: it sets the message's next state and gives up the claim.
func (b *Inbox) Finish(ctx context.Context, c *Claim, r Result) error {
	return b.wrap("finishing a try", b.transact(ctx, func(t transaction) error {
		now, finished := b.config.Now(), time.Time{}
		if r.State.finished() {
			finished = now
		}
		return owned(t.exec(`UPDATE inbox_messages SET state = ?, cause = ?, tries = tries + 1, next_at = ?,
			finished_at = ?, lease = '', redo = ?, receiver = ? WHERE row_id = ? AND lease = ? AND state = ?`,
			string(r.State), r.Cause, millis(now.Add(r.After)), millis(finished), c.Redo && r.State == Waiting,
			cmp.Or(r.Receiver, c.Receiver), c.Row, c.lease, string(Working)))
	}))
}

// Donate records the donations of a message, and the ledger of the requests to Noted.
// Existing donations keep their record.
func (b *Inbox) Donate(ctx context.Context, c *Claim, ledger string, donations []Donation) error {
	return b.wrap("recording donations", b.transact(ctx, func(t transaction) error {
		if _, err := t.exec(`UPDATE inbox_messages SET ledger = ? WHERE row_id = ?`, ledger, c.Row); err != nil {
			return err
		}
		for i, d := range donations {
			if err := insertDonation(t, c.Row, i, d); err != nil {
				return err
			}
		}
		m, err := message(t, c.Row)
		c.Donations = m.Donations
		return err
	}))
}

// Accepted records that the downstream has accepted donations, all or none of them,
// before Noted settles them. It needs no lease: acceptance is a fact, even if another
// worker now owns the message.
func (b *Inbox) Accepted(ctx context.Context, c *Claim, donations ...*Donation) error {
	now := b.config.Now()
	return b.wrap("recording an acceptance", b.transact(ctx, func(t transaction) error {
		for _, d := range donations {
			d.AcceptedAt = now
			if err := accepted(t, c.Row, d); err != nil {
				return err
			}
		}
		return nil
	}))
}

func accepted(t transaction, row string, d *Donation) error {
	_, err := t.exec(`UPDATE inbox_donations SET accepted_id = ?, accepted_at = ?, accepted_answer = ?, attempt = ?,
		donation_id = ?, verdict = ?, asked_series = ? WHERE row_id = ? AND position = ?`,
		d.AcceptedID, millis(d.AcceptedAt), d.AcceptedAnswer, int64(d.Attempt),
		d.DonationID, d.Verdict, d.AskedSeries, row, d.Position)
	return err
}

// WasAccepted reports whether the downstream has accepted a donation id, from any
// message.
func (b *Inbox) WasAccepted(ctx context.Context, donationID string) (accepted bool, err error) {
	err = b.transact(ctx, func(t transaction) error {
		rows, err := t.texts(`SELECT row_id FROM inbox_donations WHERE accepted_id = ? LIMIT 1`, donationID)
		accepted = len(rows) > 0
		return err
	})
	return accepted, b.wrap("looking for an acceptance", err)
}

// Decided records the verdict on a donation, and its outcome if it has one.
func (b *Inbox) Decided(ctx context.Context, row string, d *Donation) error {
	return b.wrap("recording a verdict", b.transact(ctx, func(t transaction) error {
		return decided(t, b.config.Now(), row, d)
	}))
}

func decided(t transaction, now time.Time, row string, d *Donation) error {
	if d.Outcome != "" && d.DecidedAt.IsZero() {
		d.DecidedAt = now
	}
	_, err := t.exec(
		`UPDATE inbox_donations SET outcome = ?, verdict = ?, donation_id = ?, asked_series = ?, reason = ?,
		decided_at = ? WHERE row_id = ? AND position = ?`,
		string(d.Outcome),
		d.Verdict,
		d.DonationID,
		d.AskedSeries,
		d.Reason,
		millis(d.DecidedAt),
		row,
		d.Position,
	)
	return err
}
