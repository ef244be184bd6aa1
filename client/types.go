package client

import notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"

// The messages of the contract, under names that need no second import. noted.proto says
// what each field means, and its limits.
type (
	Donation      = notedv1.Donation
	Message       = notedv1.Message
	Note          = notedv1.Note
	Sighting      = notedv1.Sighting
	NoteRequest   = notedv1.NoteDonationRequest
	NoteResponse  = notedv1.NoteDonationResponse
	ExistsRequest = notedv1.DonationExistsRequest
	Existence     = notedv1.DonationExistsResponse
	ListRequest   = notedv1.ListDonationsRequest
	Page          = notedv1.ListDonationsResponse
	ForgetRequest = notedv1.ForgetDonationRequest
)

// The enums of the contract.
type (
	Event    = notedv1.Event
	Verdict  = notedv1.Verdict
	Evidence = notedv1.Evidence
	State    = notedv1.State
)

// The verdicts. Undecided comes with an error: nothing is known, so do not process the
// donation, and do not drop the message either.
const (
	Undecided = notedv1.Verdict_VERDICT_UNSPECIFIED
	First     = notedv1.Verdict_VERDICT_FIRST
	Duplicate = notedv1.Verdict_VERDICT_DUPLICATE
	Held      = notedv1.Verdict_VERDICT_HELD
)

// TrueVerdict is the verdict by Noted's rules. In a ledger that is in shadow it is the
// ShadowVerdict, since the Verdict is First for every message there; in other ledgers it is
// the Verdict. A receiver follows the Verdict. A person who closes a donation needs this
// one, because the receipt of a duplicate in shadow settles nothing.
func TrueVerdict(response *NoteResponse) Verdict {
	if shadow := response.GetShadowVerdict(); shadow != Undecided {
		return shadow
	}
	return response.GetVerdict()
}

// The events.
const (
	EventPayment          = notedv1.Event_EVENT_PAYMENT
	EventPaymentPending   = notedv1.Event_EVENT_PAYMENT_PENDING
	EventPaymentFailed    = notedv1.Event_EVENT_PAYMENT_FAILED
	EventRefund           = notedv1.Event_EVENT_REFUND
	EventReversal         = notedv1.Event_EVENT_REVERSAL
	EventReversalCanceled = notedv1.Event_EVENT_REVERSAL_CANCELED
	EventAdjustment       = notedv1.Event_EVENT_ADJUSTMENT
	EventSignup           = notedv1.Event_EVENT_SIGNUP
	EventChange           = notedv1.Event_EVENT_CHANGE
	EventSuspension       = notedv1.Event_EVENT_SUSPENSION
	EventReactivation     = notedv1.Event_EVENT_REACTIVATION
	EventCancellation     = notedv1.Event_EVENT_CANCELLATION
	EventExpiry           = notedv1.Event_EVENT_EXPIRY
	EventDispute          = notedv1.Event_EVENT_DISPUTE
)

// The rules that decide, strongest first. Exists says EvidenceNone if there is no note.
const (
	EvidenceNone            = notedv1.Evidence_EVIDENCE_UNSPECIFIED
	EvidenceNew             = notedv1.Evidence_EVIDENCE_NEW
	EvidenceSameRequest     = notedv1.Evidence_EVIDENCE_SAME_REQUEST
	EvidenceSameMessage     = notedv1.Evidence_EVIDENCE_SAME_MESSAGE
	EvidenceSameTransaction = notedv1.Evidence_EVIDENCE_SAME_TRANSACTION
	EvidencePaired          = notedv1.Evidence_EVIDENCE_PAIRED
	EvidenceTakenOver       = notedv1.Evidence_EVIDENCE_TAKEN_OVER
)

// The states of a note. StateAny is every state, in a ListRequest.
const (
	StateAny     = notedv1.State_STATE_UNSPECIFIED
	StateHeld    = notedv1.State_STATE_HELD
	StateOpen    = notedv1.State_STATE_OPEN
	StateSettled = notedv1.State_STATE_SETTLED
)
