package contract

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// Outcomes that are not the store's.
var (
	ErrNoCaller     = errors.New("no valid caller")
	ErrVerbDenied   = errors.New("the caller does not have this verb")
	ErrLedgerDenied = errors.New("the caller does not have this ledger")
	ErrOverloaded   = errors.New("as many calls are under way as the server takes")
	ErrRateLimited  = errors.New("the caller is over its rate")
	ErrDraining     = errors.New("the server is draining")
)

// Internal is the reason of every error that the table does not know.
const Internal = "INTERNAL"

// domain is the domain of every google.rpc.ErrorInfo that this service sends.
const domain = "noted.v1"

// A refusal is what the caller gets for one outcome that is not an answer. Callers switch
// on code and reason, never on the sentence.
type refusal struct {
	when     error // the outcome; errors.Is compares
	code     codes.Code
	reason   string        // as listed at the head of the contract
	sentence string        // what is wrong, and what to do about it
	field    string        // the field at fault; empty if there is none
	retry    time.Duration // about how long to wait; 0 if waiting does not help
}

// refusals is the one table from the store's outcomes to the caller's errors. The first
// row that matches counts, so the order matters. The store's own errors come before those
// of a context: a connection that takes too long is the store's failure, not the end of
// the caller's time. And "nothing was done" comes before "unknown": a lookup without
// a reply is both, and did nothing.
var refusals = []refusal{
	{
		when: store.ErrPastDeadline, code: codes.DeadlineExceeded, reason: "DEADLINE_EXCEEDED",
		sentence: "the deadline passed before the store could decide, and nothing was noted; ask again with more " +
			"time",
	},

	{
		when: store.ErrBadReceipt, code: codes.InvalidArgument, reason: "INVALID_REQUEST", field: "receipt",
		sentence: "is not a receipt that Noted gave; pass the receipt of the FIRST answer unchanged",
	},
	{
		when: store.ErrBadPageToken, code: codes.InvalidArgument, reason: "INVALID_REQUEST", field: "page_token",
		sentence: "is not a page token of this listing; pass next_page_token of the page before, and change no " +
			"other field",
	},
	{
		when: store.ErrBadDonationID, code: codes.InvalidArgument, reason: "INVALID_REQUEST", field: "donation_id",
		sentence: "is not a donation id that Noted gave in this series; pass donation_id, ledger and series_id " +
			"as the note has them",
	},

	{
		when: store.ErrRequestReused, code: codes.InvalidArgument, reason: "REQUEST_ID_REUSED", field: "request_id",
		sentence: "belongs to another message of this series, which was answered FIRST, and nothing was noted; " +
			"give each call its own id",
	},

	{
		when: store.ErrTooEarly, code: codes.OutOfRange, reason: "OCCURRED_TOO_EARLY",
		sentence: "donation.occurred_at lies further back than notes are kept, so Noted cannot tell whether this " +
			"donation was noted; let a person decide",
	},
	{
		when: store.ErrTooLate, code: codes.OutOfRange, reason: "OCCURRED_TOO_LATE",
		sentence: "donation.occurred_at lies further ahead than clocks disagree; look for a wrong time zone or " +
			"unit",
	},

	{
		when: store.ErrReceivedTooEarly, code: codes.OutOfRange, reason: "RECEIVED_TOO_EARLY",
		sentence: "message.received_at lies further back than notes are kept, so Noted cannot tell whether this " +
			"donation was noted; let a person decide",
	},

	{
		when: store.ErrHoldLost, code: codes.FailedPrecondition, reason: "HOLD_LOST",
		sentence: "the hold ran out and another attempt has taken the donation over; stop processing it",
	},
	{
		when: store.ErrSettledByAnother, code: codes.FailedPrecondition, reason: "SETTLED_BY_ANOTHER",
		sentence: "the hold ran out and another attempt has settled the donation; if this one was processed too, " +
			"it was processed twice",
	},
	{
		when: store.ErrHoldReleased, code: codes.FailedPrecondition, reason: "HOLD_RELEASED",
		sentence: "the hold of this receipt was released; note the donation again to process it",
	},
	{
		when: store.ErrAlreadySettled, code: codes.FailedPrecondition, reason: "ALREADY_SETTLED",
		sentence: "this receipt has settled the donation, and a settled note stays settled; forget the note to " +
			"undo it",
	},
	{
		when: store.ErrNotFound, code: codes.NotFound, reason: "NOTE_NOT_FOUND",
		sentence: "the note was forgotten, or never existed",
	},

	{
		when: store.ErrSeriesFull, code: codes.ResourceExhausted, reason: "SERIES_FULL",
		sentence: "the series holds more notes than a real series could, so its id looks like a constant; pass the " +
			"series' own id, or set a higher -series-limit",
	},
	{
		when: store.ErrStoreFull, code: codes.ResourceExhausted, reason: "STORE_FULL", retry: 10 * time.Second,
		sentence: "the store has no memory for another note; give Redis more memory, and ask again later",
	},

	{
		when: store.ErrNotReplicated, code: codes.Unavailable, reason: "DURABILITY_NOT_REACHED", retry: time.Second,
		sentence: "too few replicas have everything that the answer depends on, so a failover could lose it; " +
			"ask the same again, with its request_id where it has one",
	},
	{
		when: store.ErrUnsuitable, code: codes.FailedPrecondition, reason: "STORE_UNSUITABLE",
		sentence: "the store cannot run Noted, and nothing was noted; the operator must act, and the server's log " +
			"and /readyz say what to do",
	},
	{
		when: store.ErrWentBack, code: codes.Unavailable, reason: "STORE_WENT_BACK", retry: 10 * time.Second,
		sentence: "the store has lost notes, and answers nothing until an operator has looked; ask again later",
	},
	{
		when: store.ErrPoolExhausted, code: codes.Unavailable, reason: "POOL_EXHAUSTED", retry: 200 * time.Millisecond,
		sentence: "every connection of this server to the store is in use, and nothing was noted; ask again soon",
	},
	{
		when: store.ErrUnavailable, code: codes.Unavailable, reason: "STORE_UNAVAILABLE", retry: time.Second,
		sentence: "the store cannot answer, and nothing was noted; ask again later",
	},
	{
		when: store.ErrOutcomeUnknown, code: codes.Unavailable, reason: "OUTCOME_UNKNOWN", retry: time.Second,
		sentence: "the store did not answer and may have noted; ask the same again, with its request_id where it " +
			"has one",
	},
	{
		when: ErrNoCaller, code: codes.Unauthenticated, reason: "UNAUTHENTICATED",
		sentence: "this server knows no caller with that token or certificate; send a valid token as " +
			"authorization: Bearer TOKEN, or a certificate",
	},
	{
		when: ErrVerbDenied, code: codes.PermissionDenied, reason: "VERB_DENIED",
		sentence: "this caller may not do that; its verbs are granted in the server's file of callers",
	},
	{
		when: ErrLedgerDenied, code: codes.PermissionDenied, reason: "LEDGER_DENIED",
		sentence: "this caller may not use that ledger; its ledgers are granted in the server's file of callers",
	},
	{
		when: ErrOverloaded, code: codes.ResourceExhausted, reason: "OVERLOADED", retry: 500 * time.Millisecond,
		sentence: "the server has as many calls under way as it takes, and nothing was noted; ask again later",
	},
	{
		when: ErrRateLimited, code: codes.ResourceExhausted, reason: "RATE_LIMITED", retry: time.Second,
		sentence: "this caller asks more often than it may, and nothing was noted; ask again later",
	},
	{
		when: ErrDraining, code: codes.Unavailable, reason: "STORE_UNAVAILABLE", retry: time.Second,
		sentence: "this server is shutting down; open the stream again, and repeat the requests that have no " +
			"answer",
	},

	{
		when: context.DeadlineExceeded, code: codes.DeadlineExceeded, reason: "DEADLINE_EXCEEDED",
		sentence: "the deadline passed, and nothing more will be noted; ask the same again, with its request_id " +
			"where it has one",
	},
	{
		when: context.Canceled, code: codes.Canceled, reason: "CANCELED",
		sentence: "the caller has gone",
	},
}

// internal applies to every error without a row. Its cause goes to the log alone: it may
// hold details that callers must not see.
var internal = refusal{code: codes.Internal, reason: Internal, sentence: "internal error"}

// A Failure is an error with two readers: the caller gets the status, the log gets the
// cause too. It deliberately does not unwrap: the logging middleware takes an error that
// wraps io.EOF for success, and a Redis that hangs up is one.
type Failure struct {
	status *status.Status
	reason string
	cause  error // nil if the status says everything
}

// Reason is the reason that the caller gets.
func (f *Failure) Reason() string { return f.reason }

// GRPCStatus is the part that goes over the wire.
func (f *Failure) GRPCStatus() *status.Status { return f.status }

// Error is the text for the log.
func (f *Failure) Error() string {
	text := f.reason + ": " + f.status.Message()
	if f.cause != nil {
		text += ": " + f.cause.Error()
	}
	return text
}

// Refuse turns an outcome that is not an answer into the error for the caller.
func Refuse(err error) *Failure {
	row := internal
	for _, r := range refusals {
		if errors.Is(err, r.when) {
			row = r
			break
		}
	}
	if row.field != "" {
		f := invalid(row.reason, []*errdetails.BadRequest_FieldViolation{{Field: row.field, Description: row.sentence}})
		f.cause = err
		return f
	}
	var details []protoadapt.MessageV1
	if wait, ok := errors.AsType[waitFor](err); ok {
		row.retry = wait.wait
	}
	if row.retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(Jitter(row.retry))})
	}
	f := newFailure(row.code, row.reason, row.sentence, details...)
	f.cause = err
	return f
}

// RateLimited refuses a call of a caller that is over its rate until wait has passed.
func RateLimited(wait time.Duration) *Failure {
	return Refuse(waitFor{error: ErrRateLimited, wait: wait})
}

// waitFor is an error that knows when to ask again.
type waitFor struct {
	error
	wait time.Duration
}

// Unwrap is for errors.Is.
func (w waitFor) Unwrap() error { return w.error }

// invalid names every violation at once.
func invalid(reason string, violations []*errdetails.BadRequest_FieldViolation) *Failure {
	sentences := make([]string, len(violations))
	for i, v := range violations {
		sentences[i] = v.Field + " " + v.Description
	}
	return newFailure(
		codes.InvalidArgument,
		reason,
		strings.Join(sentences, "; "),
		&errdetails.BadRequest{FieldViolations: violations},
	)
}

func newFailure(code codes.Code, reason, sentence string, details ...protoadapt.MessageV1) *Failure {
	s := status.New(code, sentence)
	details = append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: domain}}, details...)
	if detailed, err := s.WithDetails(details...); err == nil { // fails for codes.OK only
		s = detailed
	}
	return &Failure{status: s, reason: reason}
}

// Jitter spreads a wait by a quarter either way, so that callers that were refused
// together do not return together.
func Jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2)
}

// ReasonOf is the reason of any error that ends a call, for counting. Errors of gRPC
// itself have no reason and count as their code.
func ReasonOf(err error) string {
	var f *Failure
	if errors.As(err, &f) {
		return f.reason
	}
	return status.Code(err).String()
}
