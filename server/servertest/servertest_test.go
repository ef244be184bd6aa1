package servertest_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
)

// After a holder's hold has run out, the other message is FIRST, as attempt 2.
func TestAdvance(t *testing.T) {
	noted := servertest.New(t)
	client := notedv1.NewDedupeServiceClient(noted.Conn())
	note := func() *notedv1.NoteDonationResponse {
		t.Helper()
		response, err := client.NoteDonation(t.Context(), &notedv1.NoteDonationRequest{
			Donation: &notedv1.Donation{SeriesId: "I-ABC"},
			Hold:     durationpb.New(time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	if got := note().Verdict; got != notedv1.Verdict_VERDICT_FIRST {
		t.Fatalf("the first message: %v, want FIRST", got)
	}
	if got := note().Verdict; got != notedv1.Verdict_VERDICT_HELD {
		t.Fatalf("the other message while it is held: %v, want HELD", got)
	}
	noted.Advance(61 * time.Second)
	taken := note()
	if taken.Verdict != notedv1.Verdict_VERDICT_FIRST || taken.Note.Attempt != 2 {
		t.Fatalf(
			"the other message after the hold: %v, attempt %d, want FIRST, attempt 2",
			taken.Verdict,
			taken.Note.GetAttempt(),
		)
	}
	noted.Stop()
}

func TestFrozen(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000)
	noted := servertest.Start(t, servertest.Options{Frozen: at})
	client := notedv1.NewDedupeServiceClient(noted.Conn())
	response, err := client.NoteDonation(
		t.Context(),
		&notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-ABC"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Note.NotedAt.AsTime(); !got.Equal(at) {
		t.Fatalf("noted_at = %v, want %v", got, at)
	}
}
