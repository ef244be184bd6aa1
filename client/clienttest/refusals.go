package clienttest

import (
	"regexp"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// codeOf has every reason of the contract. A test compares it with the head of
// noted.proto.
var codeOf = map[string]codes.Code{
	"INVALID_REQUEST":        codes.InvalidArgument,
	"REQUEST_ID_REUSED":      codes.InvalidArgument,
	"OCCURRED_TOO_EARLY":     codes.OutOfRange,
	"OCCURRED_TOO_LATE":      codes.OutOfRange,
	"RECEIVED_TOO_EARLY":     codes.OutOfRange,
	"HOLD_LOST":              codes.FailedPrecondition,
	"HOLD_RELEASED":          codes.FailedPrecondition,
	"SETTLED_BY_ANOTHER":     codes.FailedPrecondition,
	"ALREADY_SETTLED":        codes.FailedPrecondition,
	"STORE_UNSUITABLE":       codes.FailedPrecondition,
	"NOTE_NOT_FOUND":         codes.NotFound,
	"RATE_LIMITED":           codes.ResourceExhausted,
	"STORE_FULL":             codes.ResourceExhausted,
	"SERIES_FULL":            codes.ResourceExhausted,
	"OVERLOADED":             codes.ResourceExhausted,
	"UNAUTHENTICATED":        codes.Unauthenticated,
	"LEDGER_DENIED":          codes.PermissionDenied,
	"VERB_DENIED":            codes.PermissionDenied,
	"STORE_UNAVAILABLE":      codes.Unavailable,
	"OUTCOME_UNKNOWN":        codes.Unavailable,
	"DURABILITY_NOT_REACHED": codes.Unavailable,
	"STORE_WENT_BACK":        codes.Unavailable,
	"POOL_EXHAUSTED":         codes.Unavailable,
	"DEADLINE_EXCEEDED":      codes.DeadlineExceeded,
	"INTERNAL":               codes.Internal,
}

func refuse(code codes.Code, reason, sentence string, more ...protoadapt.MessageV1) error {
	details := append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Domain: "noted.v1", Reason: reason}}, more...)
	refusal, err := status.New(code, sentence).WithDetails(details...)
	if err != nil {
		return err
	}
	return refusal.Err()
}

func invalid(reason, field, problem string) error {
	violation := &errdetails.BadRequest_FieldViolation{Field: field, Description: problem}
	bad := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{violation}}
	return refuse(codes.InvalidArgument, reason, field+" "+problem, bad)
}

func (f *Fake) refuseReceipt(reason string) error {
	return refuse(codeOf[reason], reason, "the receipt is not that of a live hold: "+reason)
}

const maxHold = 15 * time.Minute

var (
	word    = regexp.MustCompile(`^[!-~]{0,128}$`)
	decimal = regexp.MustCompile(`^-?\d{1,15}(\.\d{1,8})?$`)
)

// check refuses the fields that a program gets wrong most often, at the first of them.
func check(d *notedv1.Donation, m *notedv1.Message, hold *durationpb.Duration) error {
	switch {
	case d == nil:
		return invalid("INVALID_REQUEST", "donation", "is required")
	case d.GetSeriesId() == "":
		return invalid("INVALID_REQUEST", "donation.series_id", "is required")
	case !word.MatchString(d.GetSeriesId()):
		return invalid("INVALID_REQUEST", "donation.series_id", "must be up to 128 letters of ASCII without spaces")
	case !word.MatchString(d.GetTransactionId()):
		return invalid("INVALID_REQUEST", "donation.transaction_id", "must be up to 128 letters of ASCII without spaces")
	case d.GetAmount() != "" && !decimal.MatchString(d.GetAmount()):
		return invalid("INVALID_REQUEST", "donation.amount", "is not a decimal, such as 25.00")
	case d.GetAmount() != "" && d.GetCurrencyCode() == "":
		return invalid("INVALID_REQUEST", "donation.currency_code", "is required with an amount")
	case d.GetAmount() == "" && d.GetCurrencyCode() != "":
		return invalid("INVALID_REQUEST", "donation.amount", "is required with a currency_code")
	case !word.MatchString(m.GetId()):
		return invalid("INVALID_REQUEST", "message.id", "must be up to 128 letters of ASCII without spaces")
	case m.GetId() != "" && m.GetChannel() == "":
		return invalid("INVALID_REQUEST", "message.channel", "is required with an id")
	case hold.AsDuration() < 0 || hold.AsDuration() > maxHold:
		return invalid("INVALID_REQUEST", "hold", "must be 0 to 15 minutes")
	}
	return nil
}
