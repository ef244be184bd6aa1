package store

import (
	"errors"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// Event is the number of an event, as in the contract (PAYMENT is 1). Donations of two
// events are never the same.
type Event int

// Donation is one occurrence of an event in a series. Times are exact to the millisecond;
// the zero time means unknown.
type Donation struct {
	Ledger        string
	SeriesID      string
	Event         Event // 1 to MaxEvent
	OccurredAt    time.Time
	Amount        string // a decimal, with CurrencyCode or not at all
	CurrencyCode  string
	TransactionID string
}

// Message is one notification of a donation. ID needs Channel. ReceivedAt is when it
// first arrived; the zero time means now.
type Message struct {
	Channel    string
	ID         string
	ReceivedAt time.Time
}

// Rules are the settings of a ledger that a decision needs. The caller passes them with
// every request, since only the caller knows them.
type Rules struct {
	MatchWindow    time.Duration // the largest distance of two occurred_at of one donation
	ArrivalWindow  time.Duration // the largest distance of two arrivals, if an occurred_at is missing
	Retention      time.Duration // how long a note lives after its donation
	SkewAhead      time.Duration // how far ahead of the store's clock occurred_at may lie
	TransactionIDs TransactionIDs
	Agreeing       []string // with Auto: the channels whose ids the ledger knows to agree with the message's channel
	SeriesLimit    int      // how many live notes a series may hold
	Shadow         bool     // the caller processes at every verdict, so each verdict with a hold has a receipt
}

// TransactionIDs says what unequal transaction ids on two channels mean.
type TransactionIDs int

func (t TransactionIDs) String() string { return [...]string{"auto", "per-channel", "shared"}[t] }

// The settings of transaction ids.
const (
	// Auto means two donations if the ids of the two channels are known to agree, from
	// the series or from Rules.Agreeing; otherwise the ids mean nothing.
	Auto TransactionIDs = iota
	// PerChannel means that the ids mean nothing.
	PerChannel
	// Shared means two donations.
	Shared
)

// Verdict is the answer to a note.
type Verdict int

// The verdicts, numbered as in the contract.
const (
	First Verdict = iota + 1
	Duplicate
	Held
)

// Evidence is the rule that decided.
type Evidence int

// The evidence, numbered as in the contract.
const (
	New Evidence = iota + 1
	SameRequest
	SameMessage
	SameTransaction
	Paired
	TakenOver
)

// State is where a note is in its life, as seen at the time of the reply.
type State int

// The states, numbered as in the contract.
const (
	StateHeld State = iota + 1
	StateOpen
	StateSettled
)

// Note is what the store remembers of a donation.
type Note struct {
	DonationID string
	Donation   Donation
	Sightings  []Sighting
	State      State
	NotedAt    time.Time
	HeldUntil  time.Time // zero for a settled note and after a release
	ForgetAt   time.Time
	Attempt    int
}

// size is an upper limit of a note's size in the contract's binary form. The 96 and 32
// bytes exceed the numbers, times and lengths.
func (n Note) size() int {
	d := n.Donation
	size := 96 + len(
		n.DonationID,
	) + len(
		d.Ledger,
	) + len(
		d.SeriesID,
	) + len(
		d.Amount,
	) + len(
		d.CurrencyCode,
	) + len(
		d.TransactionID,
	)
	for _, s := range n.Sightings {
		size += 32 + len(s.Message.Channel) + len(s.Message.ID) + len(s.TransactionID)
	}
	return size
}

// Sighting is a message that the store has seen for a donation.
type Sighting struct {
	Message       Message
	TransactionID string
	SeenAt        time.Time
}

// NoteRequest asks to note a donation.
type NoteRequest struct {
	Donation  Donation
	Message   Message
	Hold      time.Duration
	RequestID string
	Token     Token // from NewToken, if there is no RequestID
	Rules     Rules
}

// NoteReply is the answer to a NoteRequest.
type NoteReply struct {
	Verdict  Verdict
	Evidence Evidence
	Note     Note
	Receipt  string    // only with First and a hold; in shadow with each verdict and a hold
	Now      time.Time // the store's clock at the decision
	Recorded bool      // this message was added to the note's sightings, as the last of them
	Against  []Told    // with New: the ids that alone kept the message from being paired
}

// Told is a transaction id that a channel gave a donation.
type Told struct {
	Channel, TransactionID string
}

// ExistsReply is the answer to Exists. Evidence is 0 if there is no note.
type ExistsReply struct {
	Evidence Evidence
	Note     Note
	Now      time.Time
}

// ListRequest asks for a page of the notes of Ledger, or of one of its series. All
// conditions must hold; a zero condition always holds.
type ListRequest struct {
	Ledger, SeriesID        string
	State                   State
	SeenOnlyOn              string
	NotedAfter, NotedBefore time.Time // at or after, and before
	TransactionID           string    // in any sighting
	PageSize                int       // at least 1
	PageBytes               int       // the limit of the notes' size, by Note.size; 0 means no limit
	PageToken               string
}

// ListReply is a page. On the last page NextPageToken is empty.
type ListReply struct {
	Notes         []Note
	NextPageToken string
}

// Outcomes that a caller of the service must be able to tell apart.
var (
	ErrTooEarly         = errors.New("occurred_at lies further back than notes are kept")
	ErrTooLate          = errors.New("occurred_at lies further ahead than clocks disagree")
	ErrReceivedTooEarly = errors.New("received_at lies further back than notes are kept")
	ErrRequestReused    = errors.New("the request id belongs to another message; nothing was noted")
	ErrNotFound         = errors.New("the note was forgotten, or never existed")
	ErrHoldLost         = errors.New("the hold was lost to another attempt")
	ErrHoldReleased     = errors.New("the hold was released")
	ErrSettledByAnother = errors.New("another attempt has settled the note")
	ErrAlreadySettled   = errors.New("this receipt has settled the note")
	ErrSeriesFull       = errors.New("the series holds more notes than a real series could")
	ErrBadReceipt       = errors.New("this is not a receipt that Noted gave")
	ErrBadPageToken     = errors.New("this is not a page token of this listing")
	ErrBadDonationID    = errors.New("this is not a donation id that Noted gave")

	// Failures of the store itself.
	ErrPastDeadline   = wire.ErrPastDeadline
	ErrStoreFull      = wire.ErrStoreFull
	ErrOutcomeUnknown = wire.ErrOutcomeUnknown
	ErrNotReplicated  = wire.ErrNotReplicated
	ErrWentBack       = wire.ErrWentBack
	ErrPoolExhausted  = wire.ErrPoolExhausted
	ErrUnsuitable     = wire.ErrUnsuitable
	ErrUnavailable    = wire.ErrUnavailable
)
