package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A message that comes again with other contents is the same message, and the answer
// names the differences. An operator sees them in a metric.
func TestSameMessageOtherPayload(t *testing.T) {
	n := start(t, servertest.Options{})
	request := func(amount, currency string, at time.Time) *notedv1.NoteDonationRequest {
		return &notedv1.NoteDonationRequest{
			Message: &notedv1.Message{Channel: "ipn", Id: "61A0"},
			Donation: &notedv1.Donation{
				Ledger:       "live",
				SeriesId:     "I-1",
				Amount:       amount,
				CurrencyCode: currency,
				OccurredAt:   timestamppb.New(at),
			},
		}
	}
	at := n.Now().Add(-time.Hour).Truncate(time.Second)
	first := n.mustNote(t, request("25.00", "EUR", at))
	for _, c := range []struct {
		request *notedv1.NoteDonationRequest
		want    []string
	}{
		{request("25.000", "EUR", at), nil},
		{request("26.00", "EUR", at), []string{"amount"}},
		{request("25.00", "USD", at.Add(time.Minute)), []string{"currency_code", "occurred_at"}},
	} {
		again := n.mustNote(t, c.request)
		if again.Verdict != notedv1.Verdict_VERDICT_DUPLICATE ||
			again.Evidence != notedv1.Evidence_EVIDENCE_SAME_MESSAGE ||
			again.Note.DonationId != first.Note.DonationId {
			t.Errorf(
				"%v: %v by %v of %s, want DUPLICATE by SAME_MESSAGE of %s",
				c.request.Donation,
				again.Verdict,
				again.Evidence,
				again.Note.DonationId,
				first.Note.DonationId,
			)
		}
		if !slices.Equal(again.Differences, c.want) {
			t.Errorf("%v: differences %q, want %q", c.request.Donation, again.Differences, c.want)
		}
		if again.Note.Donation.Amount != "25.00" || again.Note.Donation.CurrencyCode != "EUR" {
			t.Errorf(
				"the note's amount is %s %s now, want 25.00 EUR as before",
				again.Note.Donation.Amount,
				again.Note.Donation.CurrencyCode,
			)
		}
	}
	for field, want := range map[string]float64{
		"amount": 1, "currency_code": 1, "occurred_at": 1, "transaction_id": 0,
	} {
		if got := n.metric(t, "noted_differences_total", `ledger="live"`, `field="`+field+`"`); got != want {
			t.Errorf("noted_differences_total counts %v of %s, want %v", got, field, want)
		}
	}
}

// The server ignores fields of a newer client.
func TestUnknownFields(t *testing.T) {
	n := start(t, servertest.Options{})
	request := series("I-1")
	request.ProtoReflect().
		SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "of a later release"))
	request.Donation.ProtoReflect().
		SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 901, protowire.VarintType), 7))
	if got := n.mustNote(t, request).Verdict; got != notedv1.Verdict_VERDICT_FIRST {
		t.Errorf("with fields of a later release: %v, want FIRST", got)
	}
	if got := n.mustNote(t, series("I-1")).Verdict; got != notedv1.Verdict_VERDICT_DUPLICATE {
		t.Errorf("without them: %v, want DUPLICATE", got)
	}
}

// Ids are taken as they are: nothing is folded, and look-alike letters are refused,
// because no id of PayPal's has them.
func TestIDsAreNotFolded(t *testing.T) {
	n := start(t, servertest.Options{})
	for _, id := range []string{"I-ABC", "I-abc", "i-ABC", "I-ABC.", "I-A%42C", "I-O0", "I-0O", "I_ABC"} {
		if got := n.mustNote(t, series(id)).Verdict; got != notedv1.Verdict_VERDICT_FIRST {
			t.Errorf("%q: %v, want FIRST: no other donation has this id", id, got)
		}
	}
	want := told{code: codes.InvalidArgument, reason: "noted.v1/INVALID_REQUEST", fields: "donation.series_id"}
	for _, id := range []string{
		"I-АВС" /* Cyrillic */, "I-ABC\u0301", "\uff29-ABC", "I\u2010ABC", "I-ABC\u200b", "I-ABC ", " I-ABC",
	} {
		if _, err := n.NoteDonation(t.Context(), series(id)); toldBy(err) != want {
			t.Errorf("%q: %+v, want %+v", id, toldBy(err), want)
		}
	}
}

// Unknown methods get no series in the metrics: callers could make up as many as they
// like.
func TestUnknownMethods(t *testing.T) {
	n := start(t, servertest.Options{})
	for i := range 20 {
		method := fmt.Sprintf("MadeUp%d", i)
		for _, service := range []string{notedv1.DedupeService_ServiceDesc.ServiceName, "made.up.v1.Service"} {
			err := n.Conn().Invoke(t.Context(), "/"+service+"/"+method, series("I-1"), &notedv1.NoteDonationResponse{})
			if got := status.Code(err); got != codes.Unimplemented {
				t.Errorf("%s of %s: %v, want UNIMPLEMENTED", method, service, err)
			}
			response, err := http.Post(
				"http://"+n.HTTPAddr()+"/"+service+"/"+method,
				"application/json",
				strings.NewReader("{}"),
			)
			if err != nil {
				t.Fatal(err)
			}
			if response.Body.Close(); response.StatusCode != http.StatusNotFound {
				t.Errorf("%s of %s at the door: %s, want 404", method, service, response.Status)
			}
		}
	}
	if metrics := get(
		t,
		"http://"+n.AdminAddr()+"/metrics",
	); strings.Contains(metrics, "MadeUp") ||
		strings.Contains(metrics, "made.up") {
		t.Error("the metrics have names that callers made up")
	}
}
