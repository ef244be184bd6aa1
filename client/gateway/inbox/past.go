package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"
)

// A Past is an inbox at one moment, only for reading. A gateway may go on with the inbox:
// its changes do not show here, and a Past creates, changes and locks nothing. Several
// goroutines may call the methods of a Past.
type Past struct {
	inbox Inbox
	mu    sync.Mutex // one connection answers one query at a time
	at    transaction
}

// A PastMessage is a message of a Past, without its contents.
type PastMessage struct {
	Row, Ledger, Channel string
	State                State
	Cause                string
	Verified             bool
	Size                 int64 // of the sealed contents; 0 if they are wiped
	Copies               int
	ReceivedAt           time.Time
}

// OpenPast opens an existing inbox, until ctx ends. It uses the URL and the keys of the
// config, and covers the messages of all accounts. Its errors contain no password.
func OpenPast(ctx context.Context, config Config) (*Past, error) {
	config.readOnly = true
	db, dialect, err := openDatabase(config)
	if err != nil {
		return nil, fmt.Errorf("opening the inbox: %w", err)
	}
	p := &Past{inbox: Inbox{config: config, db: db, dialect: dialect}}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: dialect.snapshot, ReadOnly: true})
	if err != nil {
		db.Close()
		return nil, p.explain(err)
	}
	p.at = transaction{ctx, tx, dialect}
	return p, nil
}

// Messages returns all messages in the order of their receipt. The first call fixes the
// moment of the Past.
func (p *Past) Messages() (all []PastMessage, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, err := p.at.query(`SELECT row_id, ledger, channel, state, cause, verified, COALESCE(LENGTH(body), 0), copies,
		received_at FROM inbox_messages ORDER BY received_at, row_id`)
	if err != nil {
		return nil, p.explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var m PastMessage
		var state string
		var received int64
		err := rows.Scan(&m.Row, &m.Ledger, &m.Channel, &state, &m.Cause, &m.Verified, &m.Size, &m.Copies, &received)
		if err != nil {
			return nil, p.explain(err)
		}
		m.State, m.ReceivedAt = State(state), timeOf(received)
		all = append(all, m)
	}
	return all, p.explain(rows.Err())
}

// Body opens the body of a message.
func (p *Past) Body(row string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var keyID string
	var sealed []byte
	err := p.at.queryRow(`SELECT key_id, body FROM inbox_messages WHERE row_id = ?`, row).Scan(&keyID, &sealed)
	if err != nil {
		return nil, p.explain(err)
	}
	e, err := p.inbox.open(row, keyID, sealed)
	return e.Body, err
}

// Close ends the reading.
func (p *Past) Close() error {
	_ = p.at.tx.Rollback() // it has changed nothing
	return p.inbox.db.Close()
}

// explain adds the remedy to an error of the database.
func (p *Past) explain(err error) error {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case strings.Contains(text, "unable to open database file"):
		return fmt.Errorf("reading the inbox: %w: SQLite needs two more files in its folder; "+
			"read it as a user with write access there, or read a copy from sqlite3's .backup", err)
	case strings.Contains(text, "inbox_messages"):
		return fmt.Errorf("reading the inbox: %w: give the database of the gateway's -inbox", err)
	}
	return p.inbox.wrap("reading the inbox", err)
}
