package contract_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
)

var lastEvent = notedv1.Event(len(notedv1.Event_name) - 1)

// limitsOfANote are requests at each limit of the contract.
var limitsOfANote = []struct {
	name   string
	change func(*notedv1.NoteDonationRequest)
	fields string // the fields at fault; empty if the request is taken
}{
	{"no donation", func(r *notedv1.NoteDonationRequest) { r.Donation = nil }, "donation"},
	{"no series", func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = "" }, "donation.series_id"},
	{"ledger of 64", func(r *notedv1.NoteDonationRequest) { r.Donation.Ledger = letters(64) }, ""},
	{"ledger of 65", func(r *notedv1.NoteDonationRequest) { r.Donation.Ledger = letters(65) }, "donation.ledger"},
	{"ledger with a space", func(r *notedv1.NoteDonationRequest) { r.Donation.Ledger = "a b" }, "donation.ledger"},
	{"series of 128", func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = letters(128) }, ""},
	{
		"series of 129",
		func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = letters(129) },
		"donation.series_id",
	},
	{
		"series with a space",
		func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = "I A" },
		"donation.series_id",
	},
	{
		"series with a NUL",
		func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = "I\x00A" },
		"donation.series_id",
	},
	{
		"series with a newline",
		func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = "I-A\n" },
		"donation.series_id",
	},
	{
		"series with an escape",
		func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = "\x1b[31mI" },
		"donation.series_id",
	},
	{
		"series with DEL",
		func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = "I\x7f" },
		"donation.series_id",
	},
	{
		"series not ASCII",
		func(r *notedv1.NoteDonationRequest) { r.Donation.SeriesId = "І-ABC" },
		"donation.series_id",
	},
	{"series of all that is printable", func(r *notedv1.NoteDonationRequest) {
		r.Donation.SeriesId = "!\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~"
	}, ""},
	{"event of the future", func(r *notedv1.NoteDonationRequest) { r.Donation.Event = lastEvent + 1 }, "donation.event"},
	{"event negative", func(r *notedv1.NoteDonationRequest) { r.Donation.Event = -1 }, "donation.event"},
	{"last event", func(r *notedv1.NoteDonationRequest) { r.Donation.Event = lastEvent }, ""},
	{"time with nanos out of range", func(r *notedv1.NoteDonationRequest) {
		r.Donation.OccurredAt = &timestamppb.Timestamp{Seconds: 1, Nanos: 1_000_000_000}
	}, "donation.occurred_at"},
	{"time after 9999", func(r *notedv1.NoteDonationRequest) {
		r.Donation.OccurredAt = &timestamppb.Timestamp{Seconds: 253402300800}
	}, "donation.occurred_at"},
	{
		"amount without currency",
		func(r *notedv1.NoteDonationRequest) { r.Donation.Amount = "1" },
		"donation.currency_code",
	},
	{
		"currency without amount",
		func(r *notedv1.NoteDonationRequest) { r.Donation.CurrencyCode = "EUR" },
		"donation.amount",
	},
	{"currency in small letters", func(r *notedv1.NoteDonationRequest) {
		r.Donation.Amount, r.Donation.CurrencyCode = "1", "eur"
	}, "donation.currency_code"},
	{
		"currency of four",
		func(r *notedv1.NoteDonationRequest) { r.Donation.Amount, r.Donation.CurrencyCode = "1", "EURO" },
		"donation.currency_code",
	},
	{"transaction of 128", func(r *notedv1.NoteDonationRequest) { r.Donation.TransactionId = letters(128) }, ""},
	{
		"transaction of 129",
		func(r *notedv1.NoteDonationRequest) { r.Donation.TransactionId = letters(129) },
		"donation.transaction_id",
	},
	{
		"transaction with a space",
		func(r *notedv1.NoteDonationRequest) { r.Donation.TransactionId = " " },
		"donation.transaction_id",
	},
	{"channel of 32", func(r *notedv1.NoteDonationRequest) { r.Message = &notedv1.Message{Channel: letters(32)} }, ""},
	{
		"channel of all that is allowed",
		func(r *notedv1.NoteDonationRequest) { r.Message = &notedv1.Message{Channel: "az09._-"} },
		"",
	},
	{
		"channel of 33",
		func(r *notedv1.NoteDonationRequest) { r.Message = &notedv1.Message{Channel: letters(33)} },
		"message.channel",
	},
	{
		"channel in capitals",
		func(r *notedv1.NoteDonationRequest) { r.Message = &notedv1.Message{Channel: "IPN"} },
		"message.channel",
	},
	{
		"message of 128",
		func(r *notedv1.NoteDonationRequest) { r.Message = &notedv1.Message{Channel: "ipn", Id: letters(128)} },
		"",
	},
	{
		"message of 129",
		func(r *notedv1.NoteDonationRequest) { r.Message = &notedv1.Message{Channel: "ipn", Id: letters(129)} },
		"message.id",
	},
	{
		"message with a tab",
		func(r *notedv1.NoteDonationRequest) { r.Message = &notedv1.Message{Channel: "ipn", Id: "\t"} },
		"message.id",
	},
	{
		"message without channel",
		func(r *notedv1.NoteDonationRequest) { r.Message = &notedv1.Message{Id: "1"} },
		"message.channel",
	},
	{"hold of 15 minutes", func(r *notedv1.NoteDonationRequest) { r.Hold = durationpb.New(15 * time.Minute) }, ""},
	{"hold of more", func(r *notedv1.NoteDonationRequest) { r.Hold = durationpb.New(15*time.Minute + 1) }, "hold"},
	{"hold negative", func(r *notedv1.NoteDonationRequest) { r.Hold = durationpb.New(-1) }, "hold"},
	{
		"hold malformed",
		func(r *notedv1.NoteDonationRequest) { r.Hold = &durationpb.Duration{Seconds: 1, Nanos: -1} },
		"hold",
	},
	{"request id of 128", func(r *notedv1.NoteDonationRequest) { r.RequestId = letters(128) }, ""},
	{"request id of 129", func(r *notedv1.NoteDonationRequest) { r.RequestId = letters(129) }, "request_id"},
	{"request id with a space", func(r *notedv1.NoteDonationRequest) { r.RequestId = "a b" }, "request_id"},
	{"all at once", func(r *notedv1.NoteDonationRequest) {
		r.Donation = &notedv1.Donation{Ledger: " ", Event: 99, Amount: "1,00", TransactionId: "ü"}
		r.Message = &notedv1.Message{Channel: "IPN", Id: " "}
		r.Hold = durationpb.New(-time.Second)
		r.RequestId = "\n"
	}, "donation.ledger donation.series_id donation.event donation.amount donation.currency_code donation.transaction_id message.channel message.id hold request_id"},
}

// letters is a text of a length.
func letters(length int) string { return strings.Repeat("a", length) }

// A request at each limit of the contract is taken. A request beyond it is refused with
// the field's name, and leaves nothing in the store.
func TestLimitsOfANote(t *testing.T) {
	n := start(t)
	for _, c := range limitsOfANote {
		t.Run(c.name, func(t *testing.T) {
			request := series("I-" + strings.ReplaceAll(c.name, " ", "-"))
			c.change(request)
			_, err := n.NoteDonation(t.Context(), request)
			looked, lookErr := n.DonationExists(
				t.Context(),
				&notedv1.DonationExistsRequest{Donation: request.Donation, Message: request.Message},
			)
			if c.fields == "" {
				if err != nil || lookErr != nil || !looked.GetExists() {
					t.Fatalf("noting: %v; looking: %v, %v; want both taken", err, looked, lookErr)
				}
				return
			}
			want := told{code: codes.InvalidArgument, reason: "noted.v1/INVALID_REQUEST", fields: c.fields}
			if got := toldBy(err); got != want {
				t.Errorf("NoteDonation: %+v, want %+v (%v)", got, want, err)
			}
			if c.fields == "hold" || c.fields == "request_id" {
				return // DonationExists does not have these fields
			}
			want.fields = strings.TrimSuffix(want.fields, " hold request_id")
			if got := toldBy(lookErr); got != want {
				t.Errorf("DonationExists: %+v, want %+v", got, want)
			}
		})
	}

	// Only the requests that were taken have left notes.
	var taken int
	for _, c := range limitsOfANote {
		if c.fields == "" {
			taken++
		}
	}
	found := 0
	for _, ledger := range []string{"", letters(64)} {
		page, err := n.ListDonations(t.Context(), &notedv1.ListDonationsRequest{Ledger: ledger, PageSize: 1000})
		if err != nil {
			t.Fatal(err)
		}
		found += len(page.Notes)
	}
	if found != taken {
		t.Errorf("the store holds %d notes, want one for each of the %d requests that were taken", found, taken)
	}
}

func TestAmounts(t *testing.T) {
	n := start(t)
	for amount, good := range map[string]bool{
		"0": true, "-0": true, "25.00": true, "007": true, "-1.5": true, "123456789012345": true, "123456789012345.12345678": true,
		"1234567890123456": false, "1.123456789": false, "1.": false, ".5": false, "-": false, "+1": false, "1e3": false, "1,00": false,
		" 1": false, "1 ": false, "--1": false, "1.2.3": false, "٣": false, "0x1": false, "NaN": false,
	} {
		request := series("I-1")
		request.Donation.Amount, request.Donation.CurrencyCode = amount, "EUR"
		_, err := n.NoteDonation(t.Context(), request)
		if got := toldBy(err).fields; (got == "") != good || !good && got != "donation.amount" {
			t.Errorf("amount %q: refused for %q, want good = %v", amount, got, good)
		}
	}
}

func TestLimitsOfTheOtherCalls(t *testing.T) {
	n := start(t)
	long := strings.Repeat("a", 600)
	settle := func(r *notedv1.SettleDonationRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := n.SettleDonation(ctx, r); return err }
	}
	release := func(r *notedv1.ReleaseDonationRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := n.ReleaseDonation(ctx, r); return err }
	}
	extend := func(r *notedv1.ExtendHoldRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := n.ExtendHold(ctx, r); return err }
	}
	list := func(r *notedv1.ListDonationsRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := n.ListDonations(ctx, r); return err }
	}
	forget := func(r *notedv1.ForgetDonationRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := n.ForgetDonation(ctx, r); return err }
	}
	minute := durationpb.New(time.Minute)
	receipt := mustHold(t, n, "I-1")
	cases := []struct {
		name   string
		call   func(context.Context) error
		fields string
	}{
		{"settle without receipt", settle(&notedv1.SettleDonationRequest{}), "receipt"},
		{"settle with a long receipt", settle(&notedv1.SettleDonationRequest{Receipt: long}), "receipt"},
		{"settle with a foreign receipt", settle(&notedv1.SettleDonationRequest{Receipt: "hello"}), "receipt"},
		{
			"settle with a receipt cut short",
			settle(&notedv1.SettleDonationRequest{Receipt: receipt[:len(receipt)/2]}),
			"receipt",
		},
		{"settle with a receipt of two lines", settle(&notedv1.SettleDonationRequest{Receipt: "a\nb"}), "receipt"},
		{"release without receipt", release(&notedv1.ReleaseDonationRequest{}), "receipt"},
		{"release with a foreign receipt", release(&notedv1.ReleaseDonationRequest{Receipt: "hello"}), "receipt"},
		{
			"release with a long reason",
			release(&notedv1.ReleaseDonationRequest{Receipt: receipt, Reason: long}),
			"reason",
		},
		{"extend without anything", extend(&notedv1.ExtendHoldRequest{}), "receipt hold"},
		{
			"extend with a foreign receipt",
			extend(&notedv1.ExtendHoldRequest{Receipt: "hello", Hold: minute}),
			"receipt",
		},
		{"extend by nothing", extend(&notedv1.ExtendHoldRequest{Receipt: receipt, Hold: durationpb.New(0)}), "hold"},
		{"extend backwards", extend(&notedv1.ExtendHoldRequest{Receipt: receipt, Hold: durationpb.New(-1)}), "hold"},
		{
			"extend for long",
			extend(&notedv1.ExtendHoldRequest{Receipt: receipt, Hold: durationpb.New(time.Hour)}),
			"hold",
		},
		{
			"list a bad ledger, series and channel",
			list(&notedv1.ListDonationsRequest{Ledger: " ", SeriesId: "\n", SeenOnlyOn: "IPN"}),
			"ledger series_id seen_only_on",
		},
		{"list a state of the future", list(&notedv1.ListDonationsRequest{State: 4}), "state"},
		{
			"list from no time",
			list(
				&notedv1.ListDonationsRequest{
					NotedAfter:  &timestamppb.Timestamp{Nanos: -1},
					NotedBefore: &timestamppb.Timestamp{Nanos: -1},
				},
			),
			"noted_after noted_before",
		},
		{"list 1001", list(&notedv1.ListDonationsRequest{PageSize: 1001}), "page_size"},
		{"list -1", list(&notedv1.ListDonationsRequest{PageSize: -1}), "page_size"},
		{"list on with a foreign token", list(&notedv1.ListDonationsRequest{PageToken: "hello"}), "page_token"},
		{"forget nothing", forget(&notedv1.ForgetDonationRequest{}), "series_id donation_id reason"},
		{
			"forget with a long reason",
			forget(&notedv1.ForgetDonationRequest{SeriesId: "I-1", DonationId: "x", Reason: long}),
			"reason",
		},
		{
			"forget with a malformed donation id",
			forget(&notedv1.ForgetDonationRequest{SeriesId: "I-1", DonationId: "a_b", Reason: "test"}),
			"donation_id",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(t.Context())
			want := told{code: codes.InvalidArgument, reason: "noted.v1/INVALID_REQUEST", fields: c.fields}
			if got := toldBy(err); got != want {
				t.Errorf("%+v, want %+v (%v)", got, want, err)
			}
		})
	}
	// All of them were refused, so the hold still stands.
	if _, err := n.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: receipt}); err != nil {
		t.Errorf("settling after the refused calls: %v", err)
	}
}

// A violation names the field and never repeats the value.
func TestRefusalsDoNotEcho(t *testing.T) {
	n := start(t)
	_, err := n.NoteDonation(t.Context(), series("canary\x1b[31m"+strings.Repeat("canary", 100)))
	if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("the error is %q, want one without the value", err)
	}
	if size := proto.Size(status.Convert(err).Proto()); size > 4<<10 {
		t.Errorf("the status is %d bytes, want at most 4096: Java's limit is near", size)
	}
}

func start(t *testing.T) notedv1.DedupeServiceClient {
	t.Helper()
	return notedv1.NewDedupeServiceClient(servertest.New(t).Conn())
}

// series is a request for a donation of which only the series is known.
func series(id string) *notedv1.NoteDonationRequest {
	return &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: id}}
}

// mustHold holds a donation for a minute and returns the receipt.
func mustHold(t *testing.T, n notedv1.DedupeServiceClient, id string) string {
	t.Helper()
	request := series(id)
	request.Hold = durationpb.New(time.Minute)
	response, err := n.NoteDonation(t.Context(), request)
	if err != nil {
		t.Fatalf("NoteDonation(%v): %v", request, err)
	}
	return response.Receipt
}

// told is the part of a refusal that callers rely on.
type told struct {
	code   codes.Code
	reason string
	fields string // of BadRequest, in order, joined by spaces
}

func toldBy(err error) told {
	s := status.Convert(err)
	got := told{code: s.Code()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			got.reason = d.Domain + "/" + d.Reason
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				got.fields = strings.TrimSpace(got.fields + " " + v.Field)
			}
		}
	}
	return got
}
