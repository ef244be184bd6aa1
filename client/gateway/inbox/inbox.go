// Package inbox keeps PayPal's messages in a database until they are processed, and
// journals their outcomes.
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
// Noted: client/gateway connects them.
//
// # Design
//
// A message is one row of inbox_messages, and its donations are rows of inbox_donations.
// The same row is queue entry and journal entry, so the two never disagree. So the inbox
// uses no job library: the library's own table would be a second record of every state. A
// worker owns a row by a lease. The lease is a column. A worker that dies loses it after
// Config.Lease without costing the message a try.
//
// Every step may happen twice, because a worker may die after a step and before its
// record. The database is written before the outside world learns of a step (Keep before
// PayPal's 200, Accepted before Noted's settle), and Noted makes the other steps
// repeatable.
//
// Leases compare the clocks of gateways. If a clock is wrong by more than a lease, two
// workers process one message at the same time. That wastes work but doubles nothing,
// because Noted holds each donation for one of them.
//
// Bodies and headers are sealed (seal.go). The other columns have no names, addresses or
// e-mails: PayPal's ids, times, states, and causes from a fixed list.
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

// Config has the settings of an inbox. A zero field means its default.
type Config struct {
	// URL names the database: sqlite:///absolute/path for one machine, postgres://… for
	// several gateways side by side. Required. It may contain a password and is never
	// logged.
	URL string
	// Account separates messages of different accounts in one database. Claim returns
	// messages of this account only.
	Account string
	// AllAccounts is for tools: they find, list and change the messages of every account.
	// Keep and Claim still use Account alone.
	AllAccounts bool
	// Keys seal bodies: the first seals, all open. Without keys the journal is readable,
	// but Keep and Claim fail.
	Keys []Key
	// Existing refuses to create SQLite's file, because a tool needs an existing inbox.
	Existing bool
	// Lease is the time for which a worker owns a message without renewing its claim.
	// Default 1m.
	Lease time.Duration
	// BodiesFor is the time for which a body is kept after its message is finished.
	// Default 14 days.
	BodiesFor time.Duration
	// RowsFor is the time for which a row is kept after its message is finished. Default
	// 400 days.
	RowsFor time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time

	readOnly bool // of a Past
}

// A State is the state of a message.
type State string

// The states of a message.
const (
	Waiting   State = "waiting"   // for a worker, from Message.NextAt on
	Working   State = "working"   // owned by a worker until Message.NextAt
	Done      State = "done"      // every donation is settled, a duplicate or closed; or the message has no donation
	Person    State = "person"    // a person must handle it
	Refused   State = "refused"   // verified, but not for this gateway
	Discarded State = "discarded" // PayPal says that it did not send it
)

// States lists all states.
var States = []State{Waiting, Working, Done, Person, Refused, Discarded}

// finished reports whether a message in this state ages out of the inbox.
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
	ID         string     `json:"message_id"` // the same for every copy
	Type       string     `json:"type,omitempty"`
	IDs        IDs        `json:"paypal"`
	Receiver   string     `json:"receiver,omitempty"` // of a message for a foreign account: a merchant id or a domain
	Test       bool       `json:"test,omitempty"`     // from PayPal's sandbox
	Verified   bool       `json:"verified"`
	ReceivedAt time.Time  `json:"received_at"`
	State      State      `json:"state"`
	Since      time.Time  `json:"since"` // the start of its present wait: received, copied or redone
	NextAt     time.Time  `json:"next_at,omitzero"`
	FinishedAt time.Time  `json:"finished_at,omitzero"`
	Tries      int        `json:"tries"`
	Cause      string     `json:"cause,omitempty"` // why it is not done, or why it is done without a settled donation
	Copies     int        `json:"copies"`          // the number of repeats
	Redo       bool       `json:"redo,omitempty"`  // a person asked for another try
	HasBody    bool       `json:"has_body"`
	Donations  []Donation `json:"donations,omitempty"`

	keyID string
}

// An Outcome is the outcome of a donation.
type Outcome string

// The outcomes of a donation. Without an outcome it is not processed yet.
const (
	Settled   Outcome = "settled"
	Duplicate Outcome = "duplicate"
	Undecided Outcome = "undecided" // left to a person
	Rejected  Outcome = "rejected"  // the downstream asks for a person
	Closed    Outcome = "closed"    // booked by hand
)

// ForPerson reports whether a person must handle the donation.
func (o Outcome) ForPerson() bool { return o == Undecided || o == Rejected }

// A Donation is one donation of a message.
type Donation struct {
	Position       int             `json:"position"`
	SeriesID       string          `json:"series_id"`
	Event          string          `json:"event"`
	TransactionID  string          `json:"transaction_id,omitempty"`
	Pair           json.RawMessage `json:"pair"`                      // {"donation":…,"message":…}, as printed by notectl identify
	AskedSeries    string          `json:"asked_series,omitempty"`    // the series of the request to Noted
	Verdict        string          `json:"verdict,omitempty"`         // Noted's last
	DonationID     string          `json:"donation_id,omitempty"`     // Noted's
	Outcome        Outcome         `json:"outcome,omitempty"`         //
	Reason         string          `json:"reason,omitempty"`          // of an undecided, rejected or closed donation
	AcceptedID     string          `json:"accepted_id,omitempty"`     // the donation id that the downstream accepted
	AcceptedAt     time.Time       `json:"accepted_at,omitzero"`      //
	AcceptedAnswer string          `json:"accepted_answer,omitempty"` // the downstream's: an HTTP status, or the entry of a stream
	DecidedAt      time.Time       `json:"decided_at,omitzero"`       // the time of its outcome
	Attempt        int32           `json:"attempt,omitempty"`         // Noted's, of the accepted event
}

// Errors of the inbox.
var (
	// ErrLeaseLost means that another worker now owns the message.
	ErrLeaseLost = errors.New("the lease on the message is lost")
	// ErrNotFound means that no row has this id.
	ErrNotFound = errors.New("the inbox has no row of this id; list the rows with noted-gateway inbox list")
	// ErrNoRoom means that unverified messages use all their room.
	ErrNoRoom = errors.New("the inbox has no room for more unverified messages")
)

// Inbox is an open inbox. Its methods may be called by several goroutines.
type Inbox struct {
	config  Config
	db      *sql.DB
	dialect dialect
}

// Open opens an inbox and creates missing tables. Its errors contain no password.
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

// Of returns the same inbox for another account. Both share the connections, which Close
// of either closes.
func (b *Inbox) Of(account string) *Inbox {
	other := *b
	other.config.Account, other.config.AllAccounts = account, false
	return &other
}

// All returns the same inbox for tools that cover every account, like Config.AllAccounts.
func (b *Inbox) All() *Inbox {
	other := *b
	other.config.AllAccounts = true
	return &other
}

// ours is the condition for the messages that a call may see.
func (b *Inbox) ours(column string) (condition string, args []any) {
	if b.config.AllAccounts {
		return "1 = 1", nil
	}
	return column + " = ?", []any{b.config.Account}
}

// Close closes the connections to the database.
func (b *Inbox) Close() error { return b.db.Close() }

// Ready reports whether the database answers.
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
