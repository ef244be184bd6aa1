package paypal

import (
	"fmt"
	"time"
)

// An Event is the thing that happened to a donation. Names and numbers are the
// contract's, so a caller converts an event by its number alone.
type Event int32

// The events of noted.v1.Event. This package never gives the contract's unspecified
// event, which means a payment.
const (
	EventPayment          Event = 1
	EventPaymentPending   Event = 2
	EventPaymentFailed    Event = 3
	EventRefund           Event = 4
	EventReversal         Event = 5
	EventReversalCanceled Event = 6
	EventAdjustment       Event = 7
	EventSignup           Event = 8
	EventChange           Event = 9
	EventSuspension       Event = 10
	EventReactivation     Event = 11
	EventCancellation     Event = 12
	EventExpiry           Event = 13
	EventDispute          Event = 14
)

var eventNames = [...]string{
	"EVENT_UNSPECIFIED", "EVENT_PAYMENT", "EVENT_PAYMENT_PENDING", "EVENT_PAYMENT_FAILED", "EVENT_REFUND",
	"EVENT_REVERSAL", "EVENT_REVERSAL_CANCELED", "EVENT_ADJUSTMENT", "EVENT_SIGNUP", "EVENT_CHANGE",
	"EVENT_SUSPENSION", "EVENT_REACTIVATION", "EVENT_CANCELLATION", "EVENT_EXPIRY", "EVENT_DISPUTE",
}

// String returns the contract's name of the event, such as EVENT_PAYMENT, or the number
// of an event that the contract does not have.
func (e Event) String() string {
	if e < 0 || int(e) >= len(eventNames) {
		return fmt.Sprintf("%d", int32(e))
	}
	return eventNames[e]
}

// A Donation is one occurrence of an event in a series: the thing that must be processed
// once. Every field but SeriesID and Event may be empty.
type Donation struct {
	// Ledger is always empty here: only the receiver knows its ledgers.
	Ledger string
	// SeriesID names the recurring donation. A one-time donation is a series of one, named
	// by its transaction id, and so is a refund. A reversal, an adjustment and a dispute
	// have the id of the transaction that they are about, if they name it.
	SeriesID string
	Event    Event
	// OccurredAt is in UTC; the zero time means that the message does not say.
	OccurredAt time.Time
	// Amount has no sign and is otherwise as PayPal wrote it. It and
	// CurrencyCode come together or not at all.
	Amount        string
	CurrencyCode  string
	TransactionID string
}

// A Message is one notification: the channel it came over and its id there.
type Message struct {
	Channel string // "ipn" or "webhook"
	ID      string // empty where a webhook has none that can be used
}

// A Pair is a donation and the message with it.
type Pair struct {
	Donation Donation
	Message  Message
}

// Identified is the content of a message: either Pairs or a reason in Skipped.
type Identified struct {
	// Message is the message itself, also if it is skipped.
	Message Message
	// Pairs holds one pair per donation, in the order of the message.
	Pairs []Pair
	// Skipped is the reason, in a fixed sentence, why the message has no donation.
	Skipped string
	// Unknown is set with Skipped if the type or the status is unknown. Raise an alarm:
	// the message may be a donation.
	Unknown bool
	// Type is the txn_type or event_type, safe to be logged.
	Type string
	// Warnings say which fields were left out, each beginning with the field's name.
	Warnings []string
}

// A MalformedError says that a body cannot be read or names no series. The same bytes
// will fail each time, so do not let PayPal send them again.
type MalformedError struct {
	Field   string // the field or fields at fault; "body" for the whole body
	Problem string // what is wrong, and what to do
}

func (e *MalformedError) Error() string {
	return e.Field + ": " + e.Problem
}

func skipped(reason string) Identified { return Identified{Skipped: reason} }

func unknown(reason string) Identified { return Identified{Skipped: reason, Unknown: true} }
