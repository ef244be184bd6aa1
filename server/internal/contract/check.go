package contract

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A check collects everything that is wrong with a request, so that the caller learns all
// of it at once. Descriptions never repeat a value: it may be long, or hold control
// characters that a terminal or a log would obey.
type check struct {
	violations []*errdetails.BadRequest_FieldViolation
}

// err is nil if nothing is wrong.
func (c *check) err() error {
	if len(c.violations) == 0 {
		return nil
	}
	return invalid("INVALID_REQUEST", c.violations)
}

func (c *check) wrong(field, format string, args ...any) {
	c.violations = append(
		c.violations,
		&errdetails.BadRequest_FieldViolation{Field: field, Description: fmt.Sprintf(format, args...)},
	)
}

// CheckNote finds what is wrong with a request of NoteDonation.
func CheckNote(r *notedv1.NoteDonationRequest) error {
	var c check
	c.donation(r.GetDonation())
	c.message(r.GetMessage())
	c.hold(r.GetHold())
	c.word("request_id", r.GetRequestId(), MaxID)
	return c.err()
}

// CheckStreamed finds what is wrong with one request on a stream of NoteDonations.
func CheckStreamed(r *notedv1.NoteDonationRequest) error {
	if r == nil {
		var c check
		c.wrong("request", "is required")
		return c.err()
	}
	return CheckNote(r)
}

// CheckExists finds what is wrong with a request of DonationExists.
func CheckExists(r *notedv1.DonationExistsRequest) error {
	var c check
	c.donation(r.GetDonation())
	c.message(r.GetMessage())
	return c.err()
}

// CheckSettle finds what is wrong with a request of SettleDonation.
func CheckSettle(r *notedv1.SettleDonationRequest) error {
	var c check
	c.receipt(r.GetReceipt())
	c.reason(r.GetReason())
	return c.err()
}

// CheckRelease finds what is wrong with a request of ReleaseDonation.
func CheckRelease(r *notedv1.ReleaseDonationRequest) error {
	var c check
	c.receipt(r.GetReceipt())
	c.reason(r.GetReason())
	return c.err()
}

// CheckExtend finds what is wrong with a request of ExtendHold.
func CheckExtend(r *notedv1.ExtendHoldRequest) error {
	var c check
	c.receipt(r.GetReceipt())
	if r.GetHold() == nil {
		c.wrong("hold", "is required: how long from now")
	} else if c.hold(r.GetHold()); r.GetHold().IsValid() && r.GetHold().AsDuration() == 0 {
		c.wrong("hold", "must be more than 0; to give the hold up, release it")
	}
	return c.err()
}

// CheckList finds what is wrong with a request of ListDonations.
func CheckList(r *notedv1.ListDonationsRequest) error {
	var c check
	c.word("ledger", r.GetLedger(), MaxLedger)
	c.word("series_id", r.GetSeriesId(), MaxID)
	if s := r.GetState(); s < 0 || s > notedv1.State_STATE_SETTLED {
		c.wrong("state", "is %d, which is not a state of this version", s)
	}
	c.channel("seen_only_on", r.GetSeenOnlyOn())
	c.word("transaction_id", r.GetTransactionId(), MaxID)
	c.time("noted_after", r.GetNotedAfter())
	c.time("noted_before", r.GetNotedBefore())
	if n := r.GetPageSize(); n < 0 || n > MaxPageSize {
		c.wrong("page_size", "is %d; it must be 1 to %d, or 0 for the default", n, MaxPageSize)
	}
	return c.err()
}

// CheckForget finds what is wrong with a request of ForgetDonation.
func CheckForget(r *notedv1.ForgetDonationRequest) error {
	var c check
	c.word("ledger", r.GetLedger(), MaxLedger)
	c.required("series_id", r.GetSeriesId())
	c.word("series_id", r.GetSeriesId(), MaxID)
	c.required("donation_id", r.GetDonationId())
	c.bytes("donation_id", r.GetDonationId(), MaxDonationID, "letters, digits and \"-\"", func(b byte) bool {
		return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-'
	})
	c.required("reason", r.GetReason())
	c.reason(r.GetReason())
	return c.err()
}

func (c *check) donation(d *notedv1.Donation) {
	if d == nil {
		c.wrong("donation", "is required")
		return
	}
	c.word("donation.ledger", d.GetLedger(), MaxLedger)
	c.required("donation.series_id", d.GetSeriesId())
	c.word("donation.series_id", d.GetSeriesId(), MaxID)
	if e := d.GetEvent(); e < 0 || e > notedv1.Event(store.MaxEvent) {
		c.wrong("donation.event", "is %d, which is not an event of this version", e)
	}
	c.time("donation.occurred_at", d.GetOccurredAt())
	if d.GetAmount() != "" && !isDecimal(d.GetAmount()) {
		c.wrong(
			"donation.amount",
			"is not a decimal: an optional minus sign, 1 to 15 digits, optionally a point and 1 to 8 digits",
		)
	}
	if d.GetCurrencyCode() != "" && !isCurrency(d.GetCurrencyCode()) {
		c.wrong("donation.currency_code", "is not three capital letters")
	}
	if d.GetAmount() != "" && d.GetCurrencyCode() == "" {
		c.wrong("donation.currency_code", "is required with an amount")
	}
	if d.GetAmount() == "" && d.GetCurrencyCode() != "" {
		c.wrong("donation.amount", "is required with a currency_code")
	}
	c.word("donation.transaction_id", d.GetTransactionId(), MaxID)
}

func (c *check) message(m *notedv1.Message) {
	c.channel("message.channel", m.GetChannel())
	c.word("message.id", m.GetId(), MaxID)
	if m.GetId() != "" && m.GetChannel() == "" {
		c.wrong("message.channel", "is required with an id: a message's id is its own on its channel only")
	}
}

func (c *check) hold(d *durationpb.Duration) {
	switch {
	case d == nil:
	case !d.IsValid():
		c.wrong("hold", "is not a duration: seconds and nanos must agree in sign and lie within their ranges")
	case d.AsDuration() < 0:
		c.wrong("hold", "is negative; it must be 0 to %d minutes", MaxHold/time.Minute)
	case d.AsDuration() > MaxHold:
		c.wrong("hold", "is longer than %d minutes; hold for less and extend while processing", MaxHold/time.Minute)
	}
}

func (c *check) time(field string, t *timestamppb.Timestamp) {
	if t != nil && !t.IsValid() {
		c.wrong(field, "is not a time: it must lie in the years 1 to 9999, with nanos of 0 to 999,999,999")
	}
}

func (c *check) receipt(receipt string) {
	c.required("receipt", receipt)
	c.word("receipt", receipt, MaxReceipt)
}

func (c *check) reason(reason string) {
	if len(reason) > MaxReason {
		c.wrong("reason", "is %d bytes long; the limit is %d", len(reason), MaxReason)
	}
	if !utf8.ValidString(reason) {
		c.wrong("reason", "is not valid UTF-8")
	}
}

func (c *check) required(field, value string) {
	if value == "" {
		c.wrong(field, "is required")
	}
}

// Word tells what is wrong with a name, by the contract's rule of ids and ledgers.
func Word(value string, limit int) error {
	var c check
	c.word("", value, limit)
	if len(c.violations) > 0 {
		return errors.New(c.violations[0].Description)
	}
	return nil
}

// word is the rule of every id: printable ASCII without spaces.
func (c *check) word(field, value string, limit int) {
	c.bytes(field, value, limit, "printable ASCII without spaces", func(b byte) bool { return b > ' ' && b <= '~' })
}

func (c *check) channel(field, value string) {
	c.bytes(field, value, MaxChannel, "a-z, 0-9, \".\", \"_\" and \"-\"", func(b byte) bool {
		return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '.' || b == '_' || b == '-'
	})
}

// bytes holds a value to a length and to an alphabet.
func (c *check) bytes(field, value string, limit int, alphabet string, allowed func(byte) bool) {
	if len(value) > limit {
		c.wrong(field, "is %d bytes long; the limit is %d", len(value), limit)
	}
	for i := range len(value) {
		if !allowed(value[i]) {
			c.wrong(field, "may hold %s only; byte %d is 0x%02x", alphabet, i, value[i])
			return
		}
	}
}

// isDecimal says whether s is ^-?\d{1,15}(\.\d{1,8})?$.
func isDecimal(s string) bool {
	whole, fraction, pointed := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	return isDigits(whole, 15) && (!pointed || isDigits(fraction, 8))
}

func isDigits(s string, limit int) bool {
	if len(s) == 0 || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isCurrency(s string) bool {
	return len(s) == 3 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
