package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// dial makes a client of addr that ends with the test.
func dial(t testing.TB, addr string, config client.Config) *client.Client {
	t.Helper()
	noted, err := client.New(addr, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	return noted
}

// eventually polls until ok is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 10s still waiting until %s", what)
		}
	}
}

func series(id string) *client.Donation { return &client.Donation{SeriesId: id} }

func held(id string) *client.NoteRequest {
	return &client.NoteRequest{Donation: series(id), Hold: durationpb.New(time.Minute)}
}

func TestCalls(t *testing.T) {
	server := servertest.New(t)
	noted := dial(t, server.Addr(), client.Config{})
	ctx := t.Context()

	if found, err := noted.Exists(ctx, series("I-1"), nil); err != nil || found.GetExists() {
		t.Errorf("Exists before Note: got %v, %v; want false", found, err)
	}
	request := held("I-1")
	first, err := noted.Note(ctx, request)
	if err != nil || first.GetVerdict() != client.First || first.GetReceipt() == "" {
		t.Fatalf("Note: got %v, %v; want First and a receipt", first, err)
	}
	if request.GetRequestId() != "" {
		t.Error("Note changed its request")
	}
	if again, err := noted.Note(
		ctx,
		held("I-1"),
	); err != nil || again.GetVerdict() != client.Held ||
		again.GetRetryAfter().AsDuration() <= 0 {
		t.Errorf("Note while held: got %v, %v; want Held and a wait", again, err)
	}
	if note, err := noted.Extend(
		ctx,
		first.GetReceipt(),
		10*time.Minute,
	); err != nil ||
		!note.GetHeldUntil().AsTime().After(first.GetNote().GetHeldUntil().AsTime()) {
		t.Errorf(
			"Extend: got %v, %v; want a later held_until than %v",
			note,
			err,
			first.GetNote().GetHeldUntil().AsTime(),
		)
	}
	if note, err := noted.Release(ctx, first.GetReceipt(), "test"); err != nil || note.GetState() != client.StateOpen {
		t.Errorf("Release: got %v, %v; want an open note", note, err)
	}
	if _, err := noted.Settle(
		ctx,
		first.GetReceipt(),
		"",
	); !errors.Is(err, client.ErrHoldReleased) ||
		status.Code(err) != codes.FailedPrecondition {
		t.Errorf("Settle after Release: got %v; want ErrHoldReleased and FAILED_PRECONDITION", err)
	}
	second, err := noted.Note(ctx, held("I-1"))
	if err != nil || second.GetVerdict() != client.First || second.GetNote().GetAttempt() != 2 {
		t.Fatalf("Note after Release: got %v, %v; want First, attempt 2", second, err)
	}
	if note, err := noted.Settle(ctx, second.GetReceipt(), ""); err != nil || note.GetState() != client.StateSettled {
		t.Errorf("Settle: got %v, %v; want a settled note", note, err)
	}
	if found, err := noted.Exists(ctx, series("I-1"), nil); err != nil || !found.GetExists() {
		t.Errorf("Exists after Settle: got %v, %v; want true", found, err)
	}
	forget := &client.ForgetRequest{SeriesId: "I-1", DonationId: second.GetNote().GetDonationId(), Reason: "test"}
	if note, err := noted.Forget(ctx, forget); err != nil || note.GetDonationId() != forget.GetDonationId() {
		t.Errorf("Forget: got %v, %v; want the note", note, err)
	}
	if _, err := noted.Forget(ctx, forget); !errors.Is(err, client.ErrNoteNotFound) {
		t.Errorf("Forget twice: got %v; want ErrNoteNotFound", err)
	}
}

func TestListWalksAllPages(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	for i := range 7 {
		request := &client.NoteRequest{
			Donation: series("I-1"),
			Message:  &client.Message{Channel: "ipn", Id: string(rune('a' + i))},
		}
		request.Donation.TransactionId = "T" + request.Message.Id
		if _, err := noted.Note(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for note, err := range noted.List(t.Context(), &client.ListRequest{SeriesId: "I-1", PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, note.GetDonation().GetTransactionId())
	}
	if got, want := strings.Join(ids, " "), "Ta Tb Tc Td Te Tf Tg"; got != want {
		t.Errorf("List: got %s; want %s", got, want)
	}
	for _, err := range noted.List(t.Context(), &client.ListRequest{PageSize: -1}) {
		if !errors.Is(err, client.ErrInvalidRequest) {
			t.Errorf("List with page_size -1: got %v; want ErrInvalidRequest", err)
		}
	}
}

func TestErrorsSayWhatAndWhy(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	donation := &client.Donation{SeriesId: "I 1", Amount: "a lot"}
	_, err := noted.Note(t.Context(), &client.NoteRequest{Donation: donation})
	if !errors.Is(err, client.ErrInvalidRequest) || client.Reason(err) != "INVALID_REQUEST" ||
		status.Code(err) != codes.InvalidArgument {
		t.Fatalf("Note of invalid fields: got %v; want ErrInvalidRequest", err)
	}
	var fields []string
	for _, v := range client.Violations(err) {
		fields = append(fields, v.Field)
	}
	if got := strings.Join(
		fields,
		" ",
	); !strings.Contains(got, "donation.series_id") ||
		!strings.Contains(got, "donation.amount") {
		t.Errorf("Violations: got %s; want donation.series_id and donation.amount", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := noted.Note(ctx, held("I-1")); !errors.Is(err, context.Canceled) || status.Code(err) != codes.Canceled {
		t.Errorf("Note with a context that has ended: got %v; want context.Canceled", err)
	}
}

// A lost reply after the donation was noted must not lose the donation.
func TestLostReplyIsStillFirst(t *testing.T) {
	server := servertest.New(t)
	proxy := newProxy(t, server.Addr())
	noted, direct := dial(t, proxy.addr(), client.Config{}), dial(t, server.Addr(), client.Config{})
	for _, request := range []*client.NoteRequest{held("I-held"), {Donation: series("I-final")}} {
		if _, err := noted.Exists(t.Context(), series("I-warm"), nil); err != nil {
			t.Fatal(err)
		}
		proxy.set(true, false)
		go func() {
			for found := false; !found && t.Context().Err() == nil; {
				existence, _ := direct.Exists(t.Context(), request.GetDonation(), nil)
				found = existence.GetExists()
			}
			proxy.set(false, false)
			proxy.cut()
		}()
		answer, err := noted.Note(t.Context(), request)
		if err != nil || answer.GetVerdict() != client.First || answer.GetEvidence() != client.EvidenceSameRequest {
			t.Errorf(
				"Note of %s whose reply was lost: got %v, %v; want First by SAME_REQUEST",
				request.GetDonation().GetSeriesId(),
				answer,
				err,
			)
		}
	}
}

func TestRetries(t *testing.T) {
	server := servertest.New(t)
	unavailable := status.Error(codes.Unavailable, "away")
	for _, test := range []struct {
		name  string
		errs  []error
		calls int
		want  error
	}{
		{"three failures", []error{unavailable, unavailable, unavailable}, 4, nil},
		{"four failures", []error{unavailable, unavailable, unavailable, unavailable}, 4, client.ErrUnavailable},
		{"deadline", []error{status.Error(codes.DeadlineExceeded, "late")}, 1, context.DeadlineExceeded},
		{"internal", []error{status.Error(codes.Internal, "oops")}, 1, errAny},
		{"aborted", []error{status.Error(codes.Aborted, "no")}, 1, errAny},
		{"store went back", []error{detailed(codes.Unavailable, "STORE_WENT_BACK", 0)}, 1, client.ErrStoreWentBack},
		{
			"rate limited",
			[]error{detailed(codes.ResourceExhausted, "RATE_LIMITED", time.Millisecond)},
			1, client.ErrRateLimited,
		},
		{
			"a wait beyond the deadline",
			[]error{detailed(codes.Unavailable, "STORE_UNAVAILABLE", time.Hour)},
			1, client.ErrStoreUnavailable,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &failing{errs: test.errs}
			start := time.Now()
			_, err := dial(t, server.Addr(), f.config()).Exists(t.Context(), series("I-1"), nil)
			if (err == nil) != (test.want == nil) ||
				test.want != nil && test.want != errAny && !errors.Is(err, test.want) {
				t.Errorf("Exists: got %v; want %v", err, test.want)
			}
			if f.calls != test.calls {
				t.Errorf("Exists made %d calls; want %d", f.calls, test.calls)
			}
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("Exists took %s", took)
			}
		})
	}
}

func TestRetryInfoIsHonoured(t *testing.T) {
	f := &failing{errs: []error{detailed(codes.Unavailable, "STORE_UNAVAILABLE", 400*time.Millisecond)}}
	start := time.Now()
	if _, err := dial(t, servertest.New(t).Addr(), f.config()).Exists(t.Context(), series("I-1"), nil); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Errorf("Exists came back after %s; the server asked for 400ms", took)
	}
	err := detailed(codes.ResourceExhausted, "RATE_LIMITED", time.Second)
	if wait, ok := client.RetryAfter(err); !ok || wait != time.Second {
		t.Errorf("RetryAfter: got %s, %t; want 1s", wait, ok)
	}
}

// While every call fails, each is tried once, so that retries do not worsen an outage.
func TestBudgetEndsRetries(t *testing.T) {
	f := &failing{}
	for range 100 {
		f.errs = append(f.errs, detailed(codes.Unavailable, "STORE_UNAVAILABLE", time.Millisecond))
	}
	noted := dial(t, servertest.New(t).Addr(), f.config())
	var callers sync.WaitGroup
	for range 60 {
		callers.Go(func() { noted.Exists(t.Context(), series("I-1"), nil) })
	}
	callers.Wait()
	if f.calls > 110 {
		t.Errorf("60 callers without a server made %d calls; want at most 50 retries", f.calls)
	}
}

// Serving tells a server that answers from one that is away or silent. The gateway's
// tests of readiness show the same for a store that is away.
func TestServing(t *testing.T) {
	p := newProxy(t, servertest.New(t).Addr())
	noted := dial(t, p.addr(), client.Config{Timeout: time.Second})
	if err := noted.Serving(t.Context()); err != nil {
		t.Errorf("Serving: %v, want nil", err)
	}
	p.set(true, false)
	if err := noted.Serving(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serving of a silent server: %v, want context.DeadlineExceeded", err)
	}
	p.set(false, true)
	p.cut()
	err := noted.Serving(t.Context())
	if !errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrStoreUnavailable) {
		t.Errorf("Serving without a server: %v, want ErrUnavailable alone", err)
	}
}

// The reason of settling by hand, and the time of a queued message, reach the server.
func TestWhatIsAsked(t *testing.T) {
	asked := map[string]proto.Message{}
	noted := dial(t, newPeer(t, func(rpc string, request, _ proto.Message) error {
		asked[rpc] = request
		return nil
	}).addr, client.Config{})
	received := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	request := held("I-1")
	request.Message = &client.Message{Channel: "ipn", Id: "1", ReceivedAt: timestamppb.New(received)}
	answer, err := noted.Note(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := noted.Settle(t.Context(), answer.GetReceipt(), "booked by hand"); err != nil {
		t.Fatal(err)
	}
	for _, err := range noted.List(t.Context(), &client.ListRequest{TransactionId: "T-1"}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := asked["NoteDonation"].(*client.NoteRequest).GetMessage().GetReceivedAt(); !got.AsTime().Equal(received) {
		t.Errorf("Note sent received_at %v; want %v", got, received)
	}
	if got := asked["SettleDonation"].(*notedv1.SettleDonationRequest).GetReason(); got != "booked by hand" {
		t.Errorf("Settle sent the reason %q; want \"booked by hand\"", got)
	}
	if got := asked["ListDonations"].(*client.ListRequest).GetTransactionId(); got != "T-1" {
		t.Errorf("List sent the transaction %q; want T-1", got)
	}
}

// A note keeps received_at of its message, and List finds it by its transaction id.
func TestReceivedAtAndTransactionID(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	received := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for _, id := range []string{"T-1", "T-2"} {
		request := &client.NoteRequest{
			Donation: &client.Donation{SeriesId: "I-1", TransactionId: id},
			Message:  &client.Message{Channel: "ipn", Id: id, ReceivedAt: timestamppb.New(received)},
		}
		if answer, err := noted.Note(t.Context(), request); err != nil || answer.GetVerdict() != client.First {
			t.Fatalf("Note: got %v, %v; want First", answer, err)
		}
	}
	var notes []*client.Note
	for note, err := range noted.List(t.Context(), &client.ListRequest{TransactionId: "T-2"}) {
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, note)
	}
	if len(notes) != 1 || notes[0].GetDonation().GetTransactionId() != "T-2" {
		t.Fatalf("List by transaction id: got %v; want the note of T-2", notes)
	}
	if got := notes[0].GetSightings()[0].GetMessage().GetReceivedAt(); !got.AsTime().Equal(received) {
		t.Errorf("the sighting was received at %v; want %v", got, received)
	}
	request := &client.NoteRequest{
		Donation: series("I-2"),
		Message:  &client.Message{ReceivedAt: timestamppb.New(received.AddDate(-1, 0, 0))},
	}
	if _, err := noted.Note(t.Context(), request); !errors.Is(err, client.ErrReceivedTooEarly) {
		t.Errorf("Note of a message a year old: got %v; want ErrReceivedTooEarly", err)
	}
}

func TestUnreachable(t *testing.T) {
	noted := dial(t, "127.0.0.1:1", client.Config{})
	_, err := noted.Note(t.Context(), held("I-1"))
	if !errors.Is(err, client.ErrUnavailable) || client.Reason(err) != "" {
		t.Errorf("Note without a server: got %v; want ErrUnavailable without a reason", err)
	}
}

func TestFromPayPal(t *testing.T) {
	identified, err := paypal.IdentifyIPN(
		[]byte("txn_type=subscr_payment&subscr_id=I-EXAMPLE1&txn_id=T1&payment_status=Completed" +
			"&mc_gross=25.00&mc_currency=EUR&payment_date=05%3A05%3A00+Mar+01%2C+2026+PST"),
	)
	if err != nil || len(identified.Pairs) != 1 {
		t.Fatalf("IdentifyIPN: got %v, %v; want one pair", identified, err)
	}
	donation, message := client.FromPayPal(identified.Pairs[0], "paypal-live")
	want := time.Date(2026, 3, 1, 13, 5, 0, 0, time.UTC)
	if donation.GetLedger() != "paypal-live" || donation.GetSeriesId() != "I-EXAMPLE1" ||
		donation.GetEvent() != client.EventPayment ||
		donation.GetAmount() != "25.00" || donation.GetCurrencyCode() != "EUR" || donation.GetTransactionId() != "T1" ||
		!donation.GetOccurredAt().AsTime().Equal(want) ||
		message.GetChannel() != "ipn" ||
		len(message.GetId()) != 32 {
		t.Errorf("FromPayPal: got %v, %v", donation, message)
	}
	if donation, message := client.FromPayPal(
		paypal.Pair{},
		"",
	); donation.OccurredAt != nil ||
		message.ReceivedAt != nil {
		t.Errorf("FromPayPal without a time: got %v, %v; want none", donation.OccurredAt, message.ReceivedAt)
	}
}
