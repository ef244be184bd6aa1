package inbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// callTimeout limits one transaction with the database. A migration may have to index the
// rows of years.
const (
	callTimeout    = 10 * time.Second
	migrateTimeout = 10 * time.Minute
)

// A dialect is the difference between the two databases. Queries have a ? for each
// argument, and are otherwise the same for both.
type dialect struct {
	numbered bool               // arguments are $1, $2 …
	bytes    string             // the type of a blob
	lockRow  string             // ends a SELECT of a row that the transaction changes
	skip     string             // ends a SELECT of rows that no other worker is claiming
	locks    string             // runs first in migrate, so that two gateways do not create tables at once
	snapshot sql.IsolationLevel // under which a transaction sees a single moment
}

var (
	sqliteDialect   = dialect{bytes: "BLOB"}
	postgresDialect = dialect{
		numbered: true, bytes: "BYTEA", lockRow: " FOR UPDATE", skip: " FOR UPDATE SKIP LOCKED",
		locks: "SELECT pg_advisory_xact_lock(7063120412)", snapshot: sql.LevelRepeatableRead,
	}
)

// openDatabase opens a database without a connection. It names no part of the URL in an
// error: any part may belong to a password.
func openDatabase(config Config) (*sql.DB, dialect, error) {
	address := config.URL
	scheme, rest, _ := strings.Cut(address, "://")
	switch strings.ToLower(scheme) {
	case "sqlite":
		if !strings.HasPrefix(rest, "/") || strings.ContainsAny(rest, "?#") {
			return nil, dialect{}, errors.New(
				"write the file's whole path, as in sqlite:///var/lib/noted/inbox.db",
			)
		}
		return openSQLite(rest, config)
	case "postgres", "postgresql":
		server, err := pgx.ParseConfig(address)
		if err != nil {
			return nil, dialect{}, errors.New(
				"the URL cannot be read as postgres://user:password@host:port/database; " +
					"write %40, %2F and so on for special characters in a password",
			)
		}
		// An operator can let a server answer before its disk has a commit. Here PayPal's
		// 200 depends on the disk.
		server.RuntimeParams["synchronous_commit"] = "on"
		// A gateway that is frozen within a transaction keeps others waiting for its
		// rows.
		server.RuntimeParams["idle_in_transaction_session_timeout"] = "5s"
		server.RuntimeParams["application_name"] = "noted-gateway"
		// A connection that the server has closed is noticed before its use. Otherwise
		// PayPal would get 503 although the database is back.
		ping := func(context.Context, stdlib.ShouldPingParams) bool { return true }
		db := stdlib.OpenDB(*server, stdlib.OptionShouldPing(ping))
		db.SetMaxOpenConns(16)
		db.SetMaxIdleConns(16)
		db.SetConnMaxIdleTime(5 * time.Minute)
		return db, postgresDialect, nil
	}
	return nil, dialect{}, errors.New("the URL must begin with sqlite:// or postgres://")
}

// openSQLite opens a file. A transaction takes the write lock at its beginning, so it
// does not fail halfway. One connection keeps transactions in order.
func openSQLite(path string, config Config) (*sql.DB, dialect, error) {
	flags := os.O_RDWR
	switch {
	case config.readOnly:
		flags = os.O_RDONLY
	case !config.Existing:
		flags |= os.O_CREATE
	}
	file, err := os.OpenFile(path, flags, 0o600) // other users can read a file that SQLite creates
	if err != nil {
		return nil, dialect{}, err
	}
	file.Close()
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)",
		"secure_delete(ON)", // a wiped body leaves the file too
	}}
	if config.readOnly {
		options = url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)"}}
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, dialect{}, err
	}
	db.SetMaxOpenConns(1)
	return db, sqliteDialect, nil
}

// schema creates the tables. BIGINT times are Unix milliseconds; 0 stands for no time.
const schema = `
CREATE TABLE IF NOT EXISTS inbox_messages (
	row_id TEXT PRIMARY KEY, account TEXT NOT NULL, channel TEXT NOT NULL, message_id TEXT NOT NULL,
	ledger TEXT NOT NULL, type TEXT NOT NULL, receiver TEXT NOT NULL,
	transaction_id TEXT NOT NULL, parent_id TEXT NOT NULL, series_id TEXT NOT NULL, case_id TEXT NOT NULL,
	test BOOLEAN NOT NULL, verified BOOLEAN NOT NULL, redo BOOLEAN NOT NULL,
	state TEXT NOT NULL, cause TEXT NOT NULL, tries BIGINT NOT NULL, copies BIGINT NOT NULL,
	received_at BIGINT NOT NULL, since BIGINT NOT NULL, next_at BIGINT NOT NULL, finished_at BIGINT NOT NULL,
	lease TEXT NOT NULL, key_id TEXT NOT NULL, body BLOBTYPE,
	UNIQUE (account, channel, message_id));
CREATE INDEX IF NOT EXISTS inbox_messages_queue ON inbox_messages (account, state, next_at);
CREATE INDEX IF NOT EXISTS inbox_messages_received ON inbox_messages (account, received_at);
CREATE INDEX IF NOT EXISTS inbox_messages_lane ON inbox_messages (account, ledger, channel, received_at);
CREATE INDEX IF NOT EXISTS inbox_messages_message ON inbox_messages (message_id);
CREATE INDEX IF NOT EXISTS inbox_messages_transaction ON inbox_messages (transaction_id) WHERE transaction_id <> '';
CREATE INDEX IF NOT EXISTS inbox_messages_parent ON inbox_messages (parent_id) WHERE parent_id <> '';
CREATE INDEX IF NOT EXISTS inbox_messages_series ON inbox_messages (series_id) WHERE series_id <> '';
CREATE INDEX IF NOT EXISTS inbox_messages_case ON inbox_messages (case_id) WHERE case_id <> '';
CREATE TABLE IF NOT EXISTS inbox_donations (
	row_id TEXT NOT NULL, position BIGINT NOT NULL,
	series_id TEXT NOT NULL, event TEXT NOT NULL, transaction_id TEXT NOT NULL, pair TEXT NOT NULL,
	asked_series TEXT NOT NULL, verdict TEXT NOT NULL, donation_id TEXT NOT NULL,
	outcome TEXT NOT NULL, reason TEXT NOT NULL, accepted_id TEXT NOT NULL, attempt BIGINT NOT NULL,
	accepted_at BIGINT NOT NULL, decided_at BIGINT NOT NULL, accepted_answer TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (row_id, position));
CREATE INDEX IF NOT EXISTS inbox_donations_series ON inbox_donations (series_id);
CREATE INDEX IF NOT EXISTS inbox_donations_transaction ON inbox_donations (transaction_id);
CREATE INDEX IF NOT EXISTS inbox_donations_donation ON inbox_donations (donation_id);
CREATE INDEX IF NOT EXISTS inbox_donations_accepted ON inbox_donations (accepted_id);
CREATE TABLE IF NOT EXISTS inbox_transactions (
	ledger TEXT NOT NULL, event TEXT NOT NULL, transaction_id TEXT NOT NULL,
	asked_series TEXT NOT NULL, named_series TEXT NOT NULL, used_at BIGINT NOT NULL,
	PRIMARY KEY (ledger, event, transaction_id));
CREATE TABLE IF NOT EXISTS inbox_accounts (account TEXT PRIMARY KEY, served_at BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS inbox_acts (
	at BIGINT NOT NULL, actor TEXT NOT NULL, act TEXT NOT NULL, row_id TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS inbox_acts_row ON inbox_acts (row_id);
CREATE TABLE IF NOT EXISTS inbox_alerts (
	account TEXT NOT NULL, cause TEXT NOT NULL, since BIGINT NOT NULL, told BOOLEAN NOT NULL,
	taken_until BIGINT NOT NULL, PRIMARY KEY (account, cause));
`

// migrate creates the tables.
func (b *Inbox) migrate(ctx context.Context) error {
	return b.transactWithin(ctx, migrateTimeout, func(t transaction) error {
		if b.dialect.locks != "" {
			if _, err := t.exec(b.dialect.locks); err != nil {
				return err
			}
		}
		for statement := range strings.SplitSeq(strings.ReplaceAll(schema, "BLOBTYPE", b.dialect.bytes), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := t.exec(statement); err != nil {
				return fmt.Errorf("creating tables: %w", err)
			}
		}
		if err := addAnswer(t); err != nil {
			return fmt.Errorf("adding a column: %w", err)
		}
		return knowAccounts(t, b.config.Now())
	})
}

// addAnswer adds the column that inboxes of the first weeks lack.
func addAnswer(t transaction) error {
	rows, err := t.query(`SELECT * FROM inbox_donations LIMIT 0`)
	if err != nil {
		return err
	}
	columns, err := rows.Columns()
	rows.Close()
	if err := cmp.Or(err, rows.Err()); err != nil || slices.Contains(columns, "accepted_answer") {
		return err
	}
	_, err = t.exec(`ALTER TABLE inbox_donations ADD COLUMN accepted_answer TEXT NOT NULL DEFAULT ''`)
	return err
}

// A transaction runs queries in either dialect.
type transaction struct {
	ctx     context.Context
	tx      *sql.Tx
	dialect dialect
}

// transact runs f in a transaction, which takes effect only if f returns nil.
func (b *Inbox) transact(ctx context.Context, f func(transaction) error) error {
	return b.transactWithin(ctx, callTimeout, f)
}

func (b *Inbox) transactWithin(ctx context.Context, limit time.Duration, f func(transaction) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(transaction{ctx, tx, b.dialect}); err != nil {
		return err
	}
	return tx.Commit()
}

// exec returns the number of changed rows.
func (t transaction) exec(query string, args ...any) (int64, error) {
	result, err := t.tx.ExecContext(t.ctx, t.dialect.rebind(query), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (t transaction) query(query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(t.ctx, t.dialect.rebind(query), args...)
}

func (t transaction) queryRow(query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(t.ctx, t.dialect.rebind(query), args...)
}

// texts returns the only column of a query.
func (t transaction) texts(query string, args ...any) (all []string, err error) {
	rows, err := t.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}

// rebind numbers the arguments if the database needs that. No query here has a question
// mark in a text.
func (d dialect) rebind(query string) string {
	if !d.numbered {
		return query
	}
	parts := strings.Split(query, "?")
	var out strings.Builder
	for i, part := range parts {
		if out.WriteString(part); i < len(parts)-1 {
			out.WriteString("$" + strconv.Itoa(i+1))
		}
	}
	return out.String()
}

// millis and timeOf convert times of columns.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
