package process

import (
	"context"
	"errors"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
)

// The outcomes of a donation, and of a message. The outcome of a refused message is the
// reason of its refusal.
const (
	settled     = "settled"
	duplicate   = "duplicate"
	held        = "held"      // by another caller
	undecided   = "undecided" // delivered for a person
	notAccepted = "forward"   // the downstream did not accept it
	unavailable = "noted"     // Noted did not answer, or could not settle
	postponed   = "postponed" // not begun
	skipped     = "skipped"   // of a message: it has no donation
	unknown     = "unknown"   // of a message: its type is unknown
	off         = "off"       // of a message: its channel has no listener
)

// reasonNoReceiver is the reason of a donation whose message names no receiver.
const reasonNoReceiver = "RECEIVER_MISSING"

// reasonNotAllFirst is the reason of a FIRST donation beside donations that are not
// FIRST, in a message that a listener gets whole or not at all.
const reasonNotAllFirst = "NOT_ALL_FIRST"

// sentences tell PayPal why it must come again.
var sentences = map[string]string{
	held:        "another caller is processing this donation; come again",
	notAccepted: "the donation could not be delivered; come again",
	unavailable: "Noted did not answer, or could not settle; come again",
	postponed:   "the time was too short for all donations of the message; come again",
}

// explanations tell a person why Noted cannot decide.
var explanations = map[string]string{
	"OCCURRED_TOO_EARLY": "it is older than Noted's notes, so Noted cannot say whether it was delivered before",
	"RECEIVED_TOO_EARLY": "it came before the oldest of Noted's notes, so Noted cannot say whether it was delivered before",
	"OCCURRED_TOO_LATE":  "its time is too far in the future",
	"SERIES_FULL":        "its series has more donations than a real series can have; is its id a constant?",
	"INVALID_REQUEST":    "Noted refuses the request as invalid",
	reasonNoReceiver:     "the message does not say whose account it is about",
}

// done reports whether a donation is finished although it could not be settled: another
// attempt has settled it (the downstream saw its id twice), or an operator intervened. A
// redelivery could then be a new donation, and count this donation twice.
func done(err error) bool {
	return errors.Is(err, client.ErrNotSettled) && errors.Is(err, client.ErrNoteGone)
}

// cause describes an error in words that are safe to log: the client's own errors name
// series.
func cause(err error) string {
	if reason := client.Reason(err); reason != "" {
		return reason
	}
	if trouble, ok := errors.AsType[downstream.Error](err); ok {
		return trouble.Error()
	}
	switch {
	case errors.Is(err, client.ErrUnavailable):
		return "Noted cannot be reached"
	case errors.Is(err, context.DeadlineExceeded):
		return "Noted did not answer in time"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "unexpected"
}
