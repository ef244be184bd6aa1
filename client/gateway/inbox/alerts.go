package inbox

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// An Alert is a trouble that a person is told of, once when it begins and once when it
// ends. The inbox keeps it, so that a restart does not repeat the message.
type Alert struct {
	Cause string    // the subject; one alert for each cause at a time
	Since time.Time // when it was first seen
	Told  bool      // a person has been told
}

// Raise begins an alert unless its cause has one, and returns the alert.
func (b *Inbox) Raise(ctx context.Context, cause string) (a Alert, err error) {
	err = b.transact(ctx, func(t transaction) error {
		_, err := t.exec(`INSERT INTO inbox_alerts (account, cause, since, told, taken_until)
			VALUES (?, ?, ?, ?, 0) ON CONFLICT DO NOTHING`, b.config.Account, cause, millis(b.config.Now()), false)
		if err != nil {
			return err
		}
		a, err = b.alert(t, cause)
		return err
	})
	return a, b.wrap("raising an alert", err)
}

// Alert returns the alert of a cause; its Cause is empty without one.
func (b *Inbox) Alert(ctx context.Context, cause string) (a Alert, err error) {
	err = b.transact(ctx, func(t transaction) error { a, err = b.alert(t, cause); return err })
	if errors.Is(err, sql.ErrNoRows) {
		return Alert{}, nil
	}
	return a, b.wrap("reading an alert", err)
}

func (b *Inbox) alert(t transaction, cause string) (a Alert, err error) {
	a.Cause = cause
	var since int64
	err = t.queryRow(`SELECT since, told FROM inbox_alerts WHERE account = ? AND cause = ?`,
		b.config.Account, cause).Scan(&since, &a.Told)
	a.Since = timeOf(since)
	return a, err
}

// Alerts returns the causes of all alerts.
func (b *Inbox) Alerts(ctx context.Context) (causes []string, err error) {
	err = b.transact(ctx, func(t transaction) error {
		causes, err = t.texts(`SELECT cause FROM inbox_alerts WHERE account = ? ORDER BY cause`, b.config.Account)
		return err
	})
	return causes, b.wrap("reading alerts", err)
}

// Take reserves an alert for one of several desks, for the time of lease. taken is false
// if another desk has reserved it, or if the alert is gone.
func (b *Inbox) Take(ctx context.Context, cause string, lease time.Duration) (taken bool, err error) {
	now := b.config.Now()
	err = b.transact(ctx, func(t transaction) error {
		n, err := t.exec(`UPDATE inbox_alerts SET taken_until = ? WHERE account = ? AND cause = ? AND taken_until <= ?`,
			millis(now.Add(lease)), b.config.Account, cause, millis(now))
		taken = n > 0
		return err
	})
	return taken, b.wrap("taking an alert", err)
}

// Told records that a person knows that an alert began. With over it records that the
// person knows the end, and deletes the alert.
func (b *Inbox) Told(ctx context.Context, cause string, over bool) error {
	query := `UPDATE inbox_alerts SET told = ?, taken_until = 0 WHERE account = ? AND cause = ?`
	args := []any{true, b.config.Account, cause}
	if over {
		query, args = `DELETE FROM inbox_alerts WHERE account = ? AND cause = ?`, args[1:]
	}
	return b.wrap("keeping that an alert was told", b.transact(ctx, func(t transaction) error {
		_, err := t.exec(query, args...)
		return err
	}))
}
