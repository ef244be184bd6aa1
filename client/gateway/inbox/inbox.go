// Package inbox keeps PayPal's messages in a database until they are processed, and
// journals what became of them.
//
//	box, err := inbox.Open(ctx, inbox.Config{URL: "sqlite:///var/lib/noted/inbox.db", Keys: keys})
//	…
//	err = box.Keep(ctx, message)     // on disk; PayPal may hear 200
//	…
//	claim, err := box.Claim(ctx)     // a worker's turn; nil where nothing waits
//	…
//	err = box.Finish(ctx, claim, inbox.Result{State: inbox.Done})
//
// The package knows databases, sealing and states. It knows neither PayPal's formats nor
// Noted: client/gateway puts the two together.
//
// # Design
//
// A message is one row of inbox_messages, the donations that it tells of are rows of
// inbox_donations. The same row is queue entry and journal entry, so the two never
// disagree. That is why no job library is used: its own table would be a second record of
// every state. A worker owns a row by a lease. The lease is a column, and a worker that
// dies loses it after Config.Lease without costing the message a try.
//
// Every step may happen twice, because a worker may die after a step and before its
// record. The database is written before the outside world hears of a step (Keep before
// PayPal's 200, Accepted before Noted's settle), and Noted makes the rest repeatable.
//
// Leases compare the clocks of gateways. A clock that is wrong by more than a lease makes
// two workers process one message at the same time. That wastes work but doubles nothing,
// since Noted holds each donation for one of them.
//
// Bodies and headers are sealed (seal.go). Everything else in a row is free of names,
// addresses and e-mails: PayPal's ids, times, states, and causes from a fixed list.
package inbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The defaults of Config.
const (
	DefaultLease   = time.Minute
	DefaultKeep    = 14 * 24 * time.Hour
	DefaultJournal = 400 * 24 * time.Hour
)

// Config holds the settings of an inbox. A zero field means its default.
type Config struct {
	// URL names the database: sqlite:///absolute/path for one machine, postgres://… for
	// several gateways side by side. Required. It may hold a password and is never logged.
	URL string
	// Account separates messages of different accounts in one database. Claim returns
	// messages of this account only.
	Account string
	// AllAccounts is for tools: they find, list and act on the messages of every account.
	// Keep and Claim still work for Account alone.
	AllAccounts bool
	// Keys seal bodies: the first seals, all open. Without keys the journal can be read,
	// but Keep and Claim fail.
	Keys []Key
	// Existing refuses to create the file of SQLite: a tool does not want a new inbox.
	Existing bool
	// Lease is how long a worker owns a message without renewing its claim. Default 1m.
	Lease time.Duration
	// BodiesFor is how long a body is kept after its message is finished. Default 14 days.
	BodiesFor time.Duration
	// RowsFor is how long a row is kept after its message is finished. Default 400 days.
	RowsFor time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time

	readOnly bool // of a Past
}

// A State says what happens to a message next.
type State string

// The states of a message.
const (
	Waiting   State = "waiting"   // for a worker, from Message.NextAt on
	Working   State = "working"   // owned by a worker until Message.NextAt
	Done      State = "done"      // every donation is settled, a duplicate, closed; or the message tells of no donation
	Person    State = "person"    // a person must look at it
	Refused   State = "refused"   // verified, but not for this gateway
	Discarded State = "discarded" // PayPal says that it has not sent it
)

// States lists all states.
var States = []State{Waiting, Working, Done, Person, Refused, Discarded}

// finished says whether a message in this state ages out of the inbox.
func (s State) finished() bool { return s == Done || s == Refused || s == Discarded }

// IDs are PayPal's ids in a message, as far as it has them.
type IDs struct {
	Transaction string `json:"transaction,omitempty"`
	Parent      string `json:"parent,omitempty"`
	Series      string `json:"series,omitempty"`
	Case        string `json:"case,omitempty"`
}

// A Message is a row of the journal.
type Message struct {
	Row        string     `json:"row"` // the inbox's id of the message
	Account    string     `json:"account,omitempty"`
	Ledger     string     `json:"ledger"`
	Channel    string     `json:"channel"`
	ID         string     `json:"message_id"` // the id that makes copies recognisable
	Type       string     `json:"type,omitempty"`
	IDs        IDs        `json:"paypal"`
	Receiver   string     `json:"receiver,omitempty"` // of a message for a foreign account: a merchant id, or a domain
	Test       bool       `json:"test,omitempty"`     // from PayPal's sandbox
	Verified   bool       `json:"verified"`
	ReceivedAt time.Time  `json:"received_at"`
	State      State      `json:"state"`
	Since      time.Time  `json:"since"` // when it last began to wait afresh: received, copied or redone
	NextAt     time.Time  `json:"next_at,omitzero"`
	FinishedAt time.Time  `json:"finished_at,omitzero"`
	Tries      int        `json:"tries"`
	Cause      string     `json:"cause,omitempty"` // why it is not done, or not worth more
	Copies     int        `json:"copies"`          // how often it came again
	Redo       bool       `json:"redo,omitempty"`  // a person asked for it to be processed again
	HasBody    bool       `json:"has_body"`
	Donations  []Donation `json:"donations,omitempty"`

	keyID string
}

// An Outcome says what became of a donation.
type Outcome string

// The outcomes of a donation. An empty outcome means that it is still to be processed.
const (
	Settled   Outcome = "settled"
	Duplicate Outcome = "duplicate"
	Undecided Outcome = "undecided" // left to a person
	Rejected  Outcome = "rejected"  // the downstream wants a person to look at it
	Closed    Outcome = "closed"    // booked by hand
)

// ForPerson says whether a person must look at the donation.
func (o Outcome) ForPerson() bool { return o == Undecided || o == Rejected }

// A Donation is one donation of a message.
type Donation struct {
	Position      int             `json:"position"`
	SeriesID      string          `json:"series_id"`
	Event         string          `json:"event"`
	TransactionID string          `json:"transaction_id,omitempty"`
	Pair          json.RawMessage `json:"pair"`                   // {"donation":…,"message":…}, as notectl identify prints it
	AskedSeries   string          `json:"asked_series,omitempty"` // the series under which Noted was asked
	Verdict       string          `json:"verdict,omitempty"`      // Noted's last
	DonationID    string          `json:"donation_id,omitempty"`  // Noted's
	Outcome       Outcome         `json:"outcome,omitempty"`      //
	Reason        string          `json:"reason,omitempty"`       // of an undecided, rejected or closed donation
	AcceptedID    string          `json:"accepted_id,omitempty"`  // the donation id that the downstream accepted
	AcceptedAt    time.Time       `json:"accepted_at,omitzero"`   //
	DecidedAt     time.Time       `json:"decided_at,omitzero"`    // when it got its outcome
	Attempt       int32           `json:"attempt,omitempty"`      // Noted's, of the accepted event
}

// Errors of the inbox.
var (
	// ErrLeaseLost means that another worker owns the message by now.
	ErrLeaseLost = errors.New("the lease on the message is lost")
	// ErrNotFound means that no row has this id.
	ErrNotFound = errors.New("the inbox has no row of this id; list the rows with noted-gateway inbox list")
	// ErrNoRoom means that unverified messages fill the room for them.
	ErrNoRoom = errors.New("the inbox has no room for more unverified messages")
)

// Inbox is an open inbox. Its methods may be called by several goroutines.
type Inbox struct {
	config  Config
	db      *sql.DB
	dialect dialect
}

// Open opens an inbox and creates its tables where they are missing. Its errors tell no
// password.
func Open(ctx context.Context, config Config) (*Inbox, error) {
	config.Lease = cmp.Or(config.Lease, DefaultLease)
	config.BodiesFor = cmp.Or(config.BodiesFor, DefaultKeep)
	config.RowsFor = cmp.Or(config.RowsFor, DefaultJournal)
	if config.Now == nil {
		config.Now = time.Now
	}
	db, dialect, err := openDatabase(config)
	if err != nil {
		return nil, fmt.Errorf("opening the inbox: %w", err)
	}
	b := &Inbox{config: config, db: db, dialect: dialect}
	if err := b.migrate(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("opening the inbox: %w", err)
	}
	return b, nil
}

// Of returns the same inbox for another account. It shares the connections, which Close of
// either closes.
func (b *Inbox) Of(account string) *Inbox {
	other := *b
	other.config.Account, other.config.AllAccounts = account, false
	return &other
}

// All returns the same inbox for tools that are about every account, as Config.AllAccounts
// does.
func (b *Inbox) All() *Inbox {
	other := *b
	other.config.AllAccounts = true
	return &other
}

// ours is the condition of the messages that a call may see.
func (b *Inbox) ours(column string) (condition string, args []any) {
	if b.config.AllAccounts {
		return "1 = 1", nil
	}
	return column + " = ?", []any{b.config.Account}
}

// Close closes the connections to the database.
func (b *Inbox) Close() error { return b.db.Close() }

// Ready says whether the database answers.
func (b *Inbox) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var one int
	return b.db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

// newRow makes the id of a row. Ids sort by time.
func newRow(now time.Time) string {
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails
	return fmt.Sprintf("%011x%s", now.UnixMilli(), hex.EncodeToString(random[:]))
}
