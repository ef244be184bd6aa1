package contract

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// TestEndsOfRanges tries the last value that each rule allows, and the first that it does
// not.
func TestEndsOfRanges(t *testing.T) {
	list := func(r *notedv1.ListDonationsRequest) error { return CheckList(r) }
	forget := func(id, reason string) error {
		return CheckForget(&notedv1.ForgetDonationRequest{SeriesId: "I-1", DonationId: id, Reason: reason})
	}
	note := func(change func(r *notedv1.NoteDonationRequest)) error {
		r := &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}, Message: &notedv1.Message{}}
		change(r)
		return CheckNote(r)
	}
	channel := func(s string) error { return list(&notedv1.ListDonationsRequest{SeenOnlyOn: s}) }
	series := func(s string) error { return list(&notedv1.ListDonationsRequest{SeriesId: s}) }
	amount := func(s string) error {
		return note(func(r *notedv1.NoteDonationRequest) { r.Donation.Amount, r.Donation.CurrencyCode = s, "EUR" })
	}
	lastEvent := notedv1.Event(len(notedv1.Event_name) - 1)
	event := func(e notedv1.Event) error {
		return note(func(r *notedv1.NoteDonationRequest) { r.Donation.Event = e })
	}
	hold := func(seconds int64, nanos int32) error {
		return note(
			func(r *notedv1.NoteDonationRequest) { r.Hold = &durationpb.Duration{Seconds: seconds, Nanos: nanos} },
		)
	}
	long := func(n int) string { return strings.Repeat("a", n) }
	type request struct {
		name    string
		err     error
		allowed bool
	}
	cases := []request{
		{"state 0", list(&notedv1.ListDonationsRequest{}), true},
		{"the last state", list(&notedv1.ListDonationsRequest{State: notedv1.State_STATE_SETTLED}), true},
		{"a state after it", list(&notedv1.ListDonationsRequest{State: notedv1.State_STATE_SETTLED + 1}), false},
		{"a state before 0", list(&notedv1.ListDonationsRequest{State: -1}), false},
		{"the largest page", list(&notedv1.ListDonationsRequest{PageSize: MaxPageSize}), true},
		{"a larger page", list(&notedv1.ListDonationsRequest{PageSize: MaxPageSize + 1}), false},
		{"the last event", event(lastEvent), true},
		{"an event after it", event(lastEvent + 1), false},
		{"an event before 0", event(-1), false},
		{"the longest hold", hold(int64(MaxHold.Seconds()), 0), true},
		{"a longer hold", hold(int64(MaxHold.Seconds()), 1), false},
		{"no hold", hold(0, 0), true},
		{"less than no hold", hold(0, -1), false},
		{"the longest id", series(long(MaxID)), true},
		{"a longer id", series(long(MaxID + 1)), false},
		{"the longest reason", forget("x", long(MaxReason)), true},
		{"a longer reason", forget("x", long(MaxReason+1)), false},
		{"the longest donation id", forget(long(MaxDonationID), "x"), true},
		{"a longer donation id", forget(long(MaxDonationID+1), "x"), false},
		{"the longest channel", channel(long(MaxChannel)), true},
		{"a longer channel", channel(long(MaxChannel + 1)), false},
		{"the most digits", amount("123456789012345.12345678"), true},
		{"a digit more", amount("1234567890123456"), false},
		{"a decimal more", amount("1.123456789"), false},
		{"the first and the last digit", amount("0.9"), true},
	}
	letters := func(name string, ask func(string) error, allowed, not string) {
		for _, letter := range allowed + not {
			is := strings.ContainsRune(allowed, letter)
			cases = append(cases, request{name + " " + string(letter), ask(string(letter)), is})
		}
	}
	letters("a donation id", func(s string) error { return forget(s, "x") }, "azAZ09-", "`{@[/:_")
	letters("a channel", channel, "az09._-", "`{/:AZ")
	letters("an id", series, "!~", " \x1f\x7f")
	letters("an amount", amount, "09", "/:")
	for _, c := range cases {
		if (c.err == nil) != c.allowed {
			t.Errorf("%s: got error %v, want allowed = %v", c.name, c.err, c.allowed)
		}
	}
}
