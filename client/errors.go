package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// domain is the ErrorInfo domain of the contract. Reasons of other domains are ignored.
const domain = "noted.v1"

// One sentinel for each reason in the head of noted.proto. With errors.Is an error of
// this package matches the sentinel of its reason, ErrUnavailable if another try may cure
// it, ErrUndecidable or ErrNoteGone if its reason belongs to them, and context.Canceled or
// context.DeadlineExceeded. status.FromError still finds the gRPC status.
var (
	ErrInvalidRequest       = errors.New("invalid request")                                       // INVALID_REQUEST; Violations names the fields
	ErrRequestIDReused      = errors.New("request id belongs to another message")                 // REQUEST_ID_REUSED
	ErrOccurredTooEarly     = errors.New("occurred_at is older than the notes reach back")        // OCCURRED_TOO_EARLY
	ErrOccurredTooLate      = errors.New("occurred_at is further ahead than clocks may disagree") // OCCURRED_TOO_LATE
	ErrReceivedTooEarly     = errors.New("received_at is older than the notes reach back")        // RECEIVED_TOO_EARLY
	ErrHoldLost             = errors.New("hold lost to another attempt")                          // HOLD_LOST
	ErrHoldReleased         = errors.New("hold was released")                                     // HOLD_RELEASED
	ErrSettledByAnother     = errors.New("settled by another attempt")                            // SETTLED_BY_ANOTHER
	ErrAlreadySettled       = errors.New("already settled by this receipt")                       // ALREADY_SETTLED
	ErrStoreUnsuitable      = errors.New("store cannot run Noted")                                // STORE_UNSUITABLE; the operator must act
	ErrNoteNotFound         = errors.New("note not found")                                        // NOTE_NOT_FOUND
	ErrRateLimited          = errors.New("rate limited")                                          // RATE_LIMITED
	ErrStoreFull            = errors.New("store full")                                            // STORE_FULL
	ErrSeriesFull           = errors.New("series full")                                           // SERIES_FULL
	ErrOverloaded           = errors.New("server overloaded")                                     // OVERLOADED
	ErrUnauthenticated      = errors.New("unauthenticated")                                       // UNAUTHENTICATED
	ErrLedgerDenied         = errors.New("ledger denied")                                         // LEDGER_DENIED
	ErrVerbDenied           = errors.New("verb denied")                                           // VERB_DENIED
	ErrStoreUnavailable     = errors.New("store unavailable")                                     // STORE_UNAVAILABLE
	ErrOutcomeUnknown       = errors.New("outcome unknown")                                       // OUTCOME_UNKNOWN
	ErrDurabilityNotReached = errors.New("durability not reached")                                // DURABILITY_NOT_REACHED
	ErrStoreWentBack        = errors.New("store has lost notes")                                  // STORE_WENT_BACK
	ErrPoolExhausted        = errors.New("no connection to the store free")                       // POOL_EXHAUSTED
	ErrDeadlineExceeded     = errors.New("deadline exceeded at the server")                       // DEADLINE_EXCEEDED
	ErrInternal             = errors.New("internal error of the server")                          // INTERNAL
)

// ErrUnavailable matches every error that another try may cure: the server cannot be
// reached, or says UNAVAILABLE for any reason.
var ErrUnavailable = errors.New("unavailable")

// ErrUndecidable matches every error that each further try with the same message would end
// in: ErrInvalidRequest, ErrOccurredTooEarly, ErrOccurredTooLate, ErrReceivedTooEarly and
// ErrSeriesFull. Nothing was noted. A receiver keeps the message for a person and answers
// PayPal 200, or the donation is lost when PayPal gives up.
var ErrUndecidable = errors.New("no try can decide")

// ErrNoteGone matches every error that says that a note is not this attempt's any more:
// ErrSettledByAnother, ErrHoldReleased and ErrNoteNotFound. After ErrNotSettled, PayPal's
// next try would be a duplicate, or double the donation. A receiver tells a person and
// answers PayPal 200.
var ErrNoteGone = errors.New("note is not this attempt's any more")

// ErrWrongAnswer matches an answer about another series, ledger or donation than the
// request's: a program between client and server mixes answers up. As with every error,
// nothing is known.
var ErrWrongAnswer = errors.New("answer about something else")

// ErrNotSettled comes from Once: the function has run and succeeded, but its note could
// not be made final. The donation IS processed.
var ErrNotSettled = errors.New("processed, but not settled")

// reasons turns a reason of the contract into its sentinel. A test compares it with the
// head of noted.proto.
var reasons = map[string]error{
	"INVALID_REQUEST":        ErrInvalidRequest,
	"REQUEST_ID_REUSED":      ErrRequestIDReused,
	"OCCURRED_TOO_EARLY":     ErrOccurredTooEarly,
	"OCCURRED_TOO_LATE":      ErrOccurredTooLate,
	"RECEIVED_TOO_EARLY":     ErrReceivedTooEarly,
	"HOLD_LOST":              ErrHoldLost,
	"HOLD_RELEASED":          ErrHoldReleased,
	"SETTLED_BY_ANOTHER":     ErrSettledByAnother,
	"ALREADY_SETTLED":        ErrAlreadySettled,
	"STORE_UNSUITABLE":       ErrStoreUnsuitable,
	"NOTE_NOT_FOUND":         ErrNoteNotFound,
	"RATE_LIMITED":           ErrRateLimited,
	"STORE_FULL":             ErrStoreFull,
	"SERIES_FULL":            ErrSeriesFull,
	"OVERLOADED":             ErrOverloaded,
	"UNAUTHENTICATED":        ErrUnauthenticated,
	"LEDGER_DENIED":          ErrLedgerDenied,
	"VERB_DENIED":            ErrVerbDenied,
	"STORE_UNAVAILABLE":      ErrStoreUnavailable,
	"OUTCOME_UNKNOWN":        ErrOutcomeUnknown,
	"DURABILITY_NOT_REACHED": ErrDurabilityNotReached,
	"STORE_WENT_BACK":        ErrStoreWentBack,
	"POOL_EXHAUSTED":         ErrPoolExhausted,
	"DEADLINE_EXCEEDED":      ErrDeadlineExceeded,
	"INTERNAL":               ErrInternal,
}

// Violation is one field of a request that the server refused.
type Violation struct {
	Field       string // its path, such as "donation.amount"
	Description string // what is wrong with it
}

// RetryAfter returns how long the server asks to wait before the next try, and false if
// it does not ask.
func RetryAfter(err error) (time.Duration, bool) {
	for _, detail := range details(err) {
		if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay().IsValid() {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}

// Violations returns every field that the server refused. It is empty if the request was
// not at fault.
func Violations(err error) []Violation {
	var violations []Violation
	for _, detail := range details(err) {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				violations = append(violations, Violation{Field: v.GetField(), Description: v.GetDescription()})
			}
		}
	}
	return violations
}

// Reason returns the contract's reason, such as "RATE_LIMITED"; empty for an error that
// did not come from Noted, such as a refused connection.
func Reason(err error) string {
	if call, ok := errors.AsType[*callError](err); ok && call.reason != "" {
		return call.reason
	}
	for _, detail := range details(err) {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			return info.GetReason()
		}
	}
	return ""
}

func details(err error) []any {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s.Details()
	}
	return nil
}

// callError is the error of a failed call: the act, the server's status, and the errors
// that errors.Is should match.
type callError struct {
	act    string // in the gerund: "noting I-1"
	status *status.Status
	reason string
	causes []error
}

// failing makes the error of a call that failed in an act. The causes are errors that the
// client knows beyond the status, such as the end of ctx.
func failing(act string, err error, causes ...error) error {
	s := status.Convert(err)
	e := &callError{act: act, status: s, reason: Reason(err), causes: causes}
	return e.withCauses()
}

// failed makes the error of one answer of a stream, which has its reason beside the
// code and not in details.
func failed(act string, code codes.Code, message, reason string) error {
	s := status.New(code, message)
	if detailed, err := s.WithDetails(
		&errdetails.ErrorInfo{Domain: domain, Reason: reason},
	); err == nil &&
		reason != "" {
		s = detailed
	}
	e := &callError{act: act, status: s, reason: reason}
	return e.withCauses()
}

// wrongAnswer makes the error of an answer about another donation.
func wrongAnswer(act, about string) error {
	message := "the answer is about " + about +
		", so nothing is known; find the proxy that mixes answers up between client and server"
	return &callError{act: act, status: status.New(codes.Internal, message), causes: []error{ErrWrongAnswer}}
}

func (e *callError) withCauses() error {
	if sentinel := reasons[e.reason]; sentinel != nil {
		e.causes = append(e.causes, sentinel)
	}
	switch e.reason {
	case "INVALID_REQUEST", "OCCURRED_TOO_EARLY", "OCCURRED_TOO_LATE", "RECEIVED_TOO_EARLY", "SERIES_FULL":
		e.causes = append(e.causes, ErrUndecidable)
	case "SETTLED_BY_ANOTHER", "HOLD_RELEASED", "NOTE_NOT_FOUND":
		e.causes = append(e.causes, ErrNoteGone)
	}
	switch e.status.Code() {
	case codes.Unavailable:
		e.causes = append(e.causes, ErrUnavailable)
	case codes.DeadlineExceeded:
		e.causes = append(e.causes, context.DeadlineExceeded)
	case codes.Canceled:
		e.causes = append(e.causes, context.Canceled)
	}
	return e
}

// Error says the act, the reason or else the code, and the server's sentence.
func (e *callError) Error() string {
	why := e.reason
	if why == "" {
		why = e.status.Code().String()
	}
	return e.act + ": " + why + ": " + e.status.Message()
}

func (e *callError) Unwrap() []error            { return e.causes }
func (e *callError) GRPCStatus() *status.Status { return e.status }
