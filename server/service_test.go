package server_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// The whole life of one donation, with every answer in full.
func TestLife(t *testing.T) {
	n := start(t, servertest.Options{Frozen: noon})
	request := &notedv1.NoteDonationRequest{
		Donation: &notedv1.Donation{
			Ledger:        "paypal-live",
			SeriesId:      "I-1",
			OccurredAt:    timestamppb.New(noon.Add(-time.Hour + 1500*time.Microsecond)),
			Amount:        "25.00",
			CurrencyCode:  "EUR",
			TransactionId: "T1",
		},
		Message:   &notedv1.Message{Channel: "ipn", Id: "m1"},
		Hold:      durationpb.New(time.Minute),
		RequestId: "r1",
	}
	first := n.mustNote(t, request)
	donation := &notedv1.Donation{
		Ledger:   "paypal-live",
		SeriesId: "I-1",
		Event:    notedv1.Event_EVENT_PAYMENT,
		OccurredAt: timestamppb.New(
			noon.Add(-time.Hour + time.Millisecond),
		),
		Amount:        "25.00",
		CurrencyCode:  "EUR",
		TransactionId: "T1",
	}
	want := &notedv1.NoteDonationResponse{
		Verdict:  notedv1.Verdict_VERDICT_FIRST,
		Evidence: notedv1.Evidence_EVIDENCE_NEW,
		Note: &notedv1.Note{
			Donation: donation,
			Sightings: []*notedv1.Sighting{
				{Message: request.Message, TransactionId: "T1", SeenAt: timestamppb.New(noon)},
			},
			State:     notedv1.State_STATE_HELD,
			NotedAt:   timestamppb.New(noon),
			HeldUntil: timestamppb.New(noon.Add(time.Minute)),
			ForgetAt:  timestamppb.New(noon.Add(45 * 24 * time.Hour)),
			Attempt:   1,
		},
	}
	ignore := cmp.Options{
		protocmp.Transform(),
		protocmp.IgnoreFields(&notedv1.Note{}, "donation_id"),
		protocmp.IgnoreFields(&notedv1.NoteDonationResponse{}, "receipt"),
	}
	if diff := cmp.Diff(want, first, ignore); diff != "" {
		t.Fatalf("the first answer (-want +got):\n%s", diff)
	}
	if first.Receipt == "" || first.Note.DonationId == "" {
		t.Fatalf("receipt %q, donation id %q, want both", first.Receipt, first.Note.DonationId)
	}
	if again := n.mustNote(
		t,
		request,
	); again.Evidence != notedv1.Evidence_EVIDENCE_SAME_REQUEST || again.Receipt != first.Receipt ||
		again.Verdict != first.Verdict {
		t.Fatalf("the same request again: %v", again)
	}

	n.Advance(20 * time.Second)
	repeat := &notedv1.NoteDonationRequest{
		Donation: &notedv1.Donation{
			Ledger: "paypal-live", SeriesId: "I-1", OccurredAt: timestamppb.New(noon.Add(-time.Hour)),
			Amount: "25.0", CurrencyCode: "EUR", TransactionId: "T2",
		},
		Message: &notedv1.Message{Channel: "webhook", Id: "WH-1"},
	}
	second := n.mustNote(t, repeat)
	if second.Verdict != notedv1.Verdict_VERDICT_HELD || second.Evidence != notedv1.Evidence_EVIDENCE_PAIRED ||
		second.RetryAfter.AsDuration() != 40*time.Second || second.Receipt != "" ||
		second.Note.DonationId != first.Note.DonationId {
		t.Fatalf("the repeat: %v, want HELD, PAIRED, 40s, no receipt, the same donation", second)
	}
	if got, want := second.Differences, []string{"transaction_id", "occurred_at"}; !slices.Equal(got, want) {
		t.Fatalf("differences = %v, want %v: 25.0 is 25.00", got, want)
	}

	extended, err := n.ExtendHold(
		t.Context(),
		&notedv1.ExtendHoldRequest{Receipt: first.Receipt, Hold: durationpb.New(5 * time.Minute)},
	)
	if err != nil || !extended.Note.HeldUntil.AsTime().Equal(noon.Add(5*time.Minute+20*time.Second)) {
		t.Fatalf("ExtendHold = %v, %v", extended, err)
	}
	settled, err := n.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: first.Receipt})
	if err != nil || settled.Note.State != notedv1.State_STATE_SETTLED || settled.Note.HeldUntil != nil {
		t.Fatalf("SettleDonation = %v, %v", settled, err)
	}
	if third := n.mustNote(t, repeat); third.Verdict != notedv1.Verdict_VERDICT_DUPLICATE || third.RetryAfter != nil {
		t.Fatalf("after it is settled: %v, want DUPLICATE", third)
	}

	looked, err := n.DonationExists(
		t.Context(),
		&notedv1.DonationExistsRequest{Donation: repeat.Donation, Message: repeat.Message},
	)
	if err != nil || !looked.Exists || looked.Evidence != notedv1.Evidence_EVIDENCE_SAME_MESSAGE ||
		len(looked.Note.Sightings) != 2 {
		t.Fatalf("DonationExists = %v, %v", looked, err)
	}
	page, err := n.ListDonations(t.Context(), &notedv1.ListDonationsRequest{Ledger: "paypal-live", SeriesId: "I-1"})
	if err != nil || len(page.Notes) != 1 || cmp.Diff(looked.Note, page.Notes[0], protocmp.Transform()) != "" {
		t.Fatalf("ListDonations = %v, %v, want the note that DonationExists found", page, err)
	}
	forgotten, err := n.ForgetDonation(
		t.Context(),
		&notedv1.ForgetDonationRequest{
			Ledger:     "paypal-live",
			SeriesId:   "I-1",
			DonationId: first.Note.DonationId,
			Reason:     "test",
		},
	)
	if err != nil || forgotten.Note.DonationId != first.Note.DonationId {
		t.Fatalf("ForgetDonation = %v, %v", forgotten, err)
	}
	if looked, err := n.DonationExists(
		t.Context(),
		&notedv1.DonationExistsRequest{Donation: repeat.Donation},
	); err != nil || looked.Exists || looked.Note != nil ||
		looked.Evidence != 0 {
		t.Fatalf("DonationExists after it is forgotten = %v, %v, want nothing", looked, err)
	}

	if got := n.metric(
		t,
		"noted_verdicts_total",
		`ledger="paypal-live"`,
		`channel="webhook"`,
		`event="payment"`,
		`verdict="held"`,
		`evidence="paired"`,
	); got != 1 {
		t.Errorf("noted_verdicts_total counts %v held duplicates, want 1", got)
	}
	// The ids are known to differ when neither has come over the other channel within the
	// match window.
	for _, want := range []float64{0, 1} {
		if got := n.metric(t, "noted_channel_pairs_total", `ledger="paypal-live"`, `outcome="differed"`); got != want {
			t.Errorf("noted_channel_pairs_total counts %v that differed, want %v, however often it is asked", got, want)
		}
		n.Advance(2 * time.Hour)
		n.mustNote(t, &notedv1.NoteDonationRequest{
			Donation: &notedv1.Donation{SeriesId: "I-2", TransactionId: "T3"},
			Message:  &notedv1.Message{Channel: "ipn", Id: "I3"},
		})
	}
}

// A whole request is a series id.
func TestSeriesIDAlone(t *testing.T) {
	n := start(t, servertest.Options{})
	if got := n.mustNote(
		t,
		series("I-ABC"),
	); got.Verdict != notedv1.Verdict_VERDICT_FIRST || got.Receipt != "" ||
		got.Note.State != notedv1.State_STATE_SETTLED {
		t.Fatalf("the first: %v", got)
	}
	if got := n.mustNote(t, series("I-ABC")); got.Verdict != notedv1.Verdict_VERDICT_DUPLICATE {
		t.Fatalf("the second: %v, want DUPLICATE: each request that names no id is a request of its own", got)
	}
}

// A hold of less than a millisecond is still a hold.
func TestHoldOfANanosecond(t *testing.T) {
	n := start(t, servertest.Options{})
	if got := n.mustNote(t, held(series("I-1"), 1)); got.Receipt == "" {
		t.Fatalf("noted with a hold of 1ns: %v, want a receipt", got)
	}
}

// An open note does not exist, but it is returned.
func TestExistsOfAnOpenNote(t *testing.T) {
	n := start(t, servertest.Options{})
	receipt := n.mustNote(t, held(series("I-1"), time.Minute)).Receipt
	ask := &notedv1.DonationExistsRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}}
	if got, err := n.DonationExists(t.Context(), ask); err != nil || !got.Exists {
		t.Fatalf("while it is held: %v, %v, want true", got, err)
	}
	released, err := n.ReleaseDonation(t.Context(), &notedv1.ReleaseDonationRequest{Receipt: receipt, Reason: "test"})
	if err != nil || released.Note.State != notedv1.State_STATE_OPEN {
		t.Fatalf("ReleaseDonation = %v, %v", released, err)
	}
	if got, err := n.DonationExists(
		t.Context(),
		ask,
	); err != nil || got.Exists ||
		got.Note.GetState() != notedv1.State_STATE_OPEN {
		t.Fatalf("once it is released: %v, %v, want false, with the note", got, err)
	}
}

// Every failure that a caller can cause, with all parts of its error.
func TestFailures(t *testing.T) {
	n := start(t, servertest.Options{Frozen: noon, SeriesLimit: 2})
	settle := func(receipt string) error {
		_, err := n.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: receipt})
		return err
	}
	release := func(receipt string) error {
		_, err := n.ReleaseDonation(t.Context(), &notedv1.ReleaseDonationRequest{Receipt: receipt})
		return err
	}
	extend := func(receipt string) error {
		_, err := n.ExtendHold(
			t.Context(),
			&notedv1.ExtendHoldRequest{Receipt: receipt, Hold: durationpb.New(time.Minute)},
		)
		return err
	}
	occurred := func(at time.Time) error {
		r := series("I-time")
		r.Donation.OccurredAt = timestamppb.New(at)
		_, err := n.NoteDonation(t.Context(), r)
		return err
	}
	expect := func(what string, err error, code codes.Code, reason string) {
		t.Helper()
		if got, want := toldBy(err), (told{code: code, reason: "noted.v1/" + reason}); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}

	expect("too early", occurred(noon.Add(-46*24*time.Hour)), codes.OutOfRange, "OCCURRED_TOO_EARLY")
	expect("in the year 1", occurred(time.Time{}), codes.OutOfRange, "OCCURRED_TOO_EARLY")
	expect("too late", occurred(noon.Add(25*time.Hour)), codes.OutOfRange, "OCCURRED_TOO_LATE")
	expect(
		"in the year 9999",
		occurred(time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)),
		codes.OutOfRange,
		"OCCURRED_TOO_LATE",
	)

	lost := n.mustNote(t, held(series("I-1"), time.Minute)).Receipt
	n.Advance(61 * time.Second)
	taken := n.mustNote(t, held(series("I-1"), time.Minute))
	if taken.Evidence != notedv1.Evidence_EVIDENCE_TAKEN_OVER || taken.Note.Attempt != 2 {
		t.Fatalf("the takeover: %v", taken)
	}
	expect("settling with a receipt that was taken over", settle(lost), codes.FailedPrecondition, "HOLD_LOST")
	expect("releasing with a receipt that was taken over", release(lost), codes.FailedPrecondition, "HOLD_LOST")
	expect("extending with a receipt that was taken over", extend(lost), codes.FailedPrecondition, "HOLD_LOST")
	if err := settle(taken.Receipt); err != nil {
		t.Fatal(err)
	}
	if err := settle(taken.Receipt); err != nil {
		t.Errorf("settling twice: %v", err)
	}
	expect("settling after another has settled", settle(lost), codes.FailedPrecondition, "SETTLED_BY_ANOTHER")
	expect("releasing a settled donation", release(taken.Receipt), codes.FailedPrecondition, "ALREADY_SETTLED")
	expect("extending a settled donation", extend(taken.Receipt), codes.FailedPrecondition, "ALREADY_SETTLED")

	released := n.mustNote(t, held(series("I-2"), time.Minute)).Receipt
	for range 2 {
		if err := release(released); err != nil {
			t.Errorf("releasing: %v", err)
		}
	}
	expect("settling a released donation", settle(released), codes.FailedPrecondition, "HOLD_RELEASED")
	expect("extending a released donation", extend(released), codes.FailedPrecondition, "HOLD_RELEASED")

	n.Advance(46 * 24 * time.Hour)
	expect("settling a forgotten donation", settle(released), codes.NotFound, "NOTE_NOT_FOUND")
	noted := n.mustNote(t, series("I-3")).Note
	forget := &notedv1.ForgetDonationRequest{SeriesId: "I-3", DonationId: noted.DonationId, Reason: "test"}
	if _, err := n.ForgetDonation(t.Context(), forget); err != nil {
		t.Fatal(err)
	}
	_, err := n.ForgetDonation(t.Context(), forget)
	expect("forgetting twice", err, codes.NotFound, "NOTE_NOT_FOUND")

	for i := range 3 {
		r := series("constant")
		r.Donation.TransactionId, r.Message = fmt.Sprint(i), &notedv1.Message{Channel: "ipn", Id: fmt.Sprint(i)}
		_, err = n.NoteDonation(t.Context(), r)
	}
	expect("a third donation of a series of two", err, codes.ResourceExhausted, "SERIES_FULL")
	if got := n.metric(
		t,
		"noted_refusals_total",
		`rpc="SettleDonation"`,
		`code="FailedPrecondition"`,
		`reason="HOLD_LOST"`,
	); got != 1 {
		t.Errorf("noted_refusals_total counts %v lost holds, want 1", got)
	}
}

// Each ledger has its own windows.
func TestLedgerRules(t *testing.T) {
	n := start(t, servertest.Options{Frozen: noon, Ledgers: map[string]server.LedgerRules{
		"short":  {ArrivalWindow: time.Hour, Retention: 2 * time.Hour},
		"shared": {TransactionIDs: server.Shared},
	}})
	note := func(ledger, channel, transaction string) *notedv1.NoteDonationResponse {
		t.Helper()
		r := series("I-1")
		r.Donation.Ledger, r.Donation.TransactionId = ledger, transaction
		r.Message = &notedv1.Message{Channel: channel, Id: channel + transaction}
		return n.mustNote(t, r)
	}
	for _, ledger := range []string{"", "short", "shared"} {
		if got := note(ledger, "ipn", "1"); got.Verdict != notedv1.Verdict_VERDICT_FIRST {
			t.Errorf("ledger %q: %v, want FIRST: ledgers do not meet", ledger, got.Verdict)
		}
	}
	if got := note("shared", "webhook", "2"); got.Verdict != notedv1.Verdict_VERDICT_FIRST {
		t.Errorf("two transaction ids where they are shared: %v, want FIRST", got.Verdict)
	}
	if got := note("", "webhook", "2"); got.Verdict != notedv1.Verdict_VERDICT_DUPLICATE {
		t.Errorf("two transaction ids where they are per channel: %v, want DUPLICATE", got.Verdict)
	}
	n.Advance(61 * time.Minute)
	if got := note("short", "webhook", "2"); got.Verdict != notedv1.Verdict_VERDICT_FIRST {
		t.Errorf("after the ledger's own arrival window: %v, want FIRST", got.Verdict)
	} else if want := n.Now().Add(2 * time.Hour); !got.Note.ForgetAt.AsTime().Equal(want) {
		t.Errorf("forget_at = %v, want the ledger's own retention: %v", got.Note.ForgetAt.AsTime(), want)
	}
}

// A full store still knows its notes.
func TestStoreFull(t *testing.T) {
	redis := redistest.Start(t)
	n := start(t, servertest.Options{Redis: redis.URL()})
	n.mustNote(t, series("I-known"))
	redis.Do("CONFIG SET maxmemory 1")
	_, err := n.NoteDonation(t.Context(), series("I-new"))
	if got, want := toldBy(
		err,
	), (told{code: codes.ResourceExhausted, reason: "noted.v1/STORE_FULL", retry: true}); got != want {
		t.Errorf("noting: %+v, want %+v (%v)", got, want, err)
	}
	if got := n.mustNote(t, series("I-known")); got.Verdict != notedv1.Verdict_VERDICT_DUPLICATE {
		t.Errorf("noting a known donation: %v, want DUPLICATE", got.Verdict)
	}
}

// With a store that is away, frozen or slow, the caller gets an error in time, and never
// a verdict. The error says whether something may have been noted.
func TestStoreAway(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes")
	n := start(t, servertest.Options{Redis: redis.URL(), MaxDeadline: 400 * time.Millisecond})
	n.mustNote(t, series("I-1"))

	redis.Pause()
	began := time.Now()
	_, err := n.NoteDonation(t.Context(), series("I-2")) // without a deadline the caller would wait forever
	if got := toldBy(err).code; got != codes.DeadlineExceeded && got != codes.Unavailable {
		t.Errorf("a frozen store: %v, want DEADLINE_EXCEEDED or UNAVAILABLE", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the call waited for a frozen store for %v, want about 400ms", took)
	}
	redis.Resume()
	eventually(t, 5*time.Second, "the store answers again", func() bool {
		_, err := n.DonationExists(
			within(t, time.Second),
			&notedv1.DonationExistsRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}},
		)
		return err == nil
	})
	if got, err := n.DonationExists(
		t.Context(),
		&notedv1.DonationExistsRequest{Donation: &notedv1.Donation{SeriesId: "I-2"}},
	); err != nil ||
		got.Exists {
		t.Errorf("the call to a frozen store has noted %v, %v; want nothing, since its caller has gone", got, err)
	}

	redis.Kill()
	want := told{code: codes.Unavailable, reason: "noted.v1/STORE_UNAVAILABLE", retry: true}
	eventually(t, 2*time.Second, "the broken connections are gone", func() bool {
		_, err = n.NoteDonation(within(t, time.Second), series("I-3"))
		return toldBy(err) == want
	})
	if _, err := n.DonationExists(
		t.Context(),
		&notedv1.DonationExistsRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}},
	); toldBy(
		err,
	) != want {
		t.Errorf("looking while the store is away: %v, want %+v: never \"does not exist\"", err, want)
	}

	redis.Restart()
	eventually(t, 10*time.Second, "the earlier note is known", func() bool {
		got, err := n.NoteDonation(within(t, time.Second), series("I-1"))
		return err == nil && got.Verdict == notedv1.Verdict_VERDICT_DUPLICATE
	})
}
