package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
)

// between is a proxy between notectl and a server. It fails like a bad server or network.
type between struct {
	notedv1.UnimplementedDedupeServiceServer
	t     *testing.T
	addr  string
	noted notedv1.DedupeServiceClient

	// If set, each gets the number of the call, from 1, and a function for the server's own
	// answer.
	asked  func(request proto.Message)
	note   func(n int, ask func() (*notedv1.NoteDonationResponse, error)) (*notedv1.NoteDonationResponse, error)
	settle func(n int, ask func() (*notedv1.SettleDonationResponse, error)) (*notedv1.SettleDonationResponse, error)
	page   func(n int) (*notedv1.ListDonationsResponse, error)
	answer func() *notedv1.NoteDonationsResponse
	exists func() *notedv1.DonationExistsResponse

	notes, settles, pages int
	stop                  func() // kills the server during a call
}

func newBetween(t *testing.T, shadowLedgers ...string) *between {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	noted := servertest.Start(t, servertest.Options{ShadowLedgers: shadowLedgers})
	b := &between{t: t, addr: listener.Addr().String(), noted: notedv1.NewDedupeServiceClient(noted.Conn())}
	server := grpc.NewServer()
	notedv1.RegisterDedupeServiceServer(server, b)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	b.stop = server.Stop
	return b
}

func (b *between) NoteDonation(
	ctx context.Context,
	request *notedv1.NoteDonationRequest,
) (*notedv1.NoteDonationResponse, error) {
	b.notes++
	b.tell(request)
	ask := func() (*notedv1.NoteDonationResponse, error) { return b.noted.NoteDonation(ctx, request) }
	if b.note == nil {
		return ask()
	}
	return b.note(b.notes, ask)
}

func (b *between) SettleDonation(
	ctx context.Context,
	request *notedv1.SettleDonationRequest,
) (*notedv1.SettleDonationResponse, error) {
	b.settles++
	b.tell(request)
	ask := func() (*notedv1.SettleDonationResponse, error) { return b.noted.SettleDonation(ctx, request) }
	if b.settle == nil {
		return ask()
	}
	return b.settle(b.settles, ask)
}

func (b *between) ReleaseDonation(
	ctx context.Context,
	request *notedv1.ReleaseDonationRequest,
) (*notedv1.ReleaseDonationResponse, error) {
	return b.noted.ReleaseDonation(ctx, request)
}

func (b *between) DonationExists(
	ctx context.Context, request *notedv1.DonationExistsRequest,
) (*notedv1.DonationExistsResponse, error) {
	if b.exists != nil {
		return b.exists(), nil
	}
	return b.noted.DonationExists(ctx, request)
}

func (b *between) ListDonations(
	ctx context.Context, request *notedv1.ListDonationsRequest,
) (*notedv1.ListDonationsResponse, error) {
	b.pages++
	b.tell(request)
	if b.page == nil {
		return b.noted.ListDonations(ctx, request)
	}
	return b.page(b.pages)
}

func (b *between) NoteDonations(
	stream grpc.BidiStreamingServer[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse],
) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		b.tell(request)
		if err := stream.Send(b.answer()); err != nil {
			return err
		}
	}
}

// tell gives a request to the test.
func (b *between) tell(request proto.Message) {
	if b.asked != nil {
		b.asked(request)
	}
}

// run runs notectl.
func (b *between) run(stdin string, args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	var out, errs bytes.Buffer
	b.notes, b.settles, b.pages = 0, 0, 0
	code = run(
		b.t.Context(),
		append([]string{"notectl", "-addr", b.addr}, args...),
		nil,
		strings.NewReader(stdin),
		&out,
		&errs,
	)
	return code, out.String(), errs.String()
}

// trouble is an error of the contract that the client does not repeat by itself.
func trouble(code codes.Code, reason string) error {
	s, err := status.New(code, "a bad hour").WithDetails(&errdetails.ErrorInfo{Domain: "noted.v1", Reason: reason})
	if err != nil {
		return err
	}
	return s.Err()
}

// profile is an IPN with a signup and its first payment.
const profile = "txn_type=recurring_payment_profile_created&recurring_payment_id=I-EXAMPLE1&initial_payment_txn_id=EX1&initial_payment_amount=5.00&initial_payment_status=Completed&currency_code=EUR"

func TestSettlingAMessageFails(t *testing.T) {
	failing := func(wanted int, err error, first bool) func(int, func() (*notedv1.SettleDonationResponse, error)) (*notedv1.SettleDonationResponse, error) {
		return func(n int, ask func() (*notedv1.SettleDonationResponse, error)) (*notedv1.SettleDonationResponse, error) {
			if n != wanted {
				return ask()
			}
			if first {
				_, _ = ask()
			}
			return nil, err
		}
	}
	internal := trouble(codes.Internal, "INTERNAL")

	t.Run("nothing is settled", func(t *testing.T) {
		b := newBetween(t)
		b.settle = failing(1, internal, false)
		if code, stdout, stderr := b.run(
			profile,
			"note",
			"ipn",
		); code != exitError || stdout != "" ||
			!strings.Contains(stderr, "settling: INTERNAL") {
			t.Errorf("got %d %s %s, want %d and nothing to process", code, stdout, stderr, exitError)
		}
		b.settle = nil
		if code, stdout, _ := b.run(profile, "note", "ipn"); code != exitFirst || strings.Count(stdout, "FIRST ") != 2 {
			t.Errorf("the next time: got %d %s, want both FIRST, because they were released", code, stdout)
		}
	})
	t.Run("one is settled", func(t *testing.T) {
		b := newBetween(t)
		b.settle = failing(2, internal, false)
		code, stdout, stderr := b.run(profile, "note", "ipn")
		receipt := regexp.MustCompile(`FIRST +payment .* receipt (\S+)`).FindStringSubmatch(stdout)
		if code != exitFirst || strings.Count(stdout, "FIRST ") != 2 || strings.Count(stdout, "receipt") != 1 ||
			receipt == nil {
			t.Fatalf("got %d %s, want both FIRST, and the receipt of the second", code, stdout)
		}
		if !strings.Contains(stderr, "settling: INTERNAL") || !strings.Contains(stderr, "notectl settle "+receipt[1]) {
			t.Errorf("got %s, want the remedy", stderr)
		}
		if code, _, stderr := b.run("", "settle", receipt[1]); code != exitFirst {
			t.Errorf("settling with the printed receipt: %d %s", code, stderr)
		}
	})
	t.Run("the first is, and its answer is lost", func(t *testing.T) {
		b := newBetween(t)
		b.settle = failing(1, internal, true)
		if code, stdout, _ := b.run(
			profile,
			"note",
			"ipn",
		); code != exitFirst || strings.Count(stdout, "FIRST ") != 2 ||
			strings.Contains(stdout, "receipt") {
			t.Errorf("got %d %s, want both FIRST", code, stdout)
		}
	})
	t.Run("already settled is settled", func(t *testing.T) {
		b := newBetween(t)
		b.settle = failing(2, trouble(codes.FailedPrecondition, "ALREADY_SETTLED"), true)
		if code, stdout, _ := b.run(
			profile,
			"note",
			"ipn",
		); code != exitFirst || strings.Count(stdout, "FIRST ") != 2 ||
			strings.Contains(stdout, "receipt") {
			t.Errorf("got %d %s, want both FIRST", code, stdout)
		}
	})
	t.Run("another has it meanwhile", func(t *testing.T) {
		for reason, want := range map[string]string{"SETTLED_BY_ANOTHER": "DUPLICATE ", "HOLD_LOST": "HELD "} {
			b := newBetween(t)
			b.settle = failing(2, trouble(codes.FailedPrecondition, reason), false)
			if code, stdout, _ := b.run(
				profile,
				"note",
				"ipn",
			); code != exitFirst || strings.Count(stdout, "FIRST ") != 1 ||
				!strings.Contains(stdout, want) {
				t.Errorf("%s: got %d %s, want FIRST and %s", reason, code, stdout, want)
			}
		}
	})
}

// If it is unknown whether a donation was noted, the hint shows a repeat whose answer is
// FIRST.
func TestAskAgain(t *testing.T) {
	again := regexp.MustCompile(`(?m)^notectl: hint: .* -request-id (\S+)$`)
	for name, c := range map[string]struct {
		stdin string
		args  []string
		first int
	}{
		"note":       {"", []string{"note", "-series", "I-EXAMPLE1"}, 1},
		"own id":     {"", []string{"note", "-series", "I-EXAMPLE1", "-request-id", "mine"}, 1},
		"ipn":        {"txn_type=subscr_payment&subscr_id=I-EXAMPLE1&txn_id=EX1&payment_status=Completed", []string{"note", "ipn"}, 1},
		"ipn of two": {profile, []string{"note", "ipn"}, 2},
		"webhook":    {`{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"EX1"}}`, []string{"note", "webhook"}, 1},
	} {
		for _, lost := range []error{
			trouble(codes.Internal, "INTERNAL"),
			trouble(codes.Unavailable, "OUTCOME_UNKNOWN"),
			status.Error(codes.DeadlineExceeded, "too late"),
		} {
			b := newBetween(t)
			b.note = func(n int, ask func() (*notedv1.NoteDonationResponse, error)) (*notedv1.NoteDonationResponse, error) {
				if answer, err := ask(); n < c.first {
					return answer, err
				}
				return nil, lost
			}
			code, stdout, stderr := b.run(c.stdin, c.args...)
			hint := again.FindStringSubmatch(stderr)
			if code != exitError || stdout != "" || hint == nil || name == "own id" && hint[1] != "mine" {
				t.Fatalf("%s, %v: got %d %s%s, want %d and a hint", name, lost, code, stdout, stderr, exitError)
			}
			b.note = nil
			code, stdout, stderr = b.run(c.stdin, append(c.args, "-request-id", hint[1])...)
			if code != exitFirst || strings.Count(stdout, "FIRST ") != c.first {
				t.Errorf("%s, %v: the repeat: got %d %s%s, want FIRST", name, lost, code, stdout, stderr)
			}
		}
	}
	b := newBetween(t)
	b.settle = func(int, func() (*notedv1.SettleDonationResponse, error)) (*notedv1.SettleDonationResponse, error) {
		return nil, trouble(codes.Unavailable, "OUTCOME_UNKNOWN")
	}
	if code, _, stderr := b.run(
		"",
		"settle",
		"R",
	); code != exitError || strings.Contains(stderr, "-request-id") ||
		!strings.Contains(stderr, "hint: ") {
		t.Errorf("settle: got %d %s, want a hint without -request-id, which settle does not have", code, stderr)
	}
}

// A donation is noted even if its answer cannot be printed.
func TestAskAgainAfterABrokenPipe(t *testing.T) {
	b := newBetween(t)
	for _, args := range [][]string{{"note", "-series", "I-EXAMPLE2"}, {"note", "ipn"}} {
		reader, writer := io.Pipe()
		reader.Close()
		var errs bytes.Buffer
		code := run(
			t.Context(),
			append([]string{"notectl", "-addr", b.addr}, args...),
			nil,
			strings.NewReader(profile),
			writer,
			&errs,
		)
		if code != exitError || !strings.Contains(errs.String(), "-request-id ") {
			t.Errorf("%q: got %d %s, want a hint with the repeat", args, code, &errs)
		}
	}
}

// A verdict of a later contract is neither FIRST nor DUPLICATE.
func TestUnknownVerdicts(t *testing.T) {
	b := newBetween(t)
	const later = notedv1.Verdict(9)
	for _, verdict := range []notedv1.Verdict{later, notedv1.Verdict_VERDICT_UNSPECIFIED} {
		b.note = func(n int, ask func() (*notedv1.NoteDonationResponse, error)) (*notedv1.NoteDonationResponse, error) {
			answer, err := ask()
			answer.Verdict = verdict
			return answer, err
		}
		for _, args := range [][]string{
			{"note", "-series", "I-EXAMPLE1"},
			{"-o", "json", "note", "-series", "I-EXAMPLE1"},
			{"note", "ipn"},
		} {
			if code, stdout, stderr := b.run(
				profile,
				args...); code != exitError || stdout != "" ||
				!strings.Contains(stderr, "verdict") {
				t.Errorf("%v to %q: got %d %s%s, want %d", verdict, args, code, stdout, stderr, exitError)
			}
		}
		for _, answer := range []*notedv1.NoteDonationsResponse{
			{Result: &notedv1.NoteDonationsResponse_Response{Response: &notedv1.NoteDonationResponse{Verdict: verdict}}},
			{Result: &notedv1.NoteDonationsResponse_Response{}},
			{},
		} {
			b.answer = func() *notedv1.NoteDonationsResponse { return answer }
			code, stdout, stderr := b.run(`{"donation":{"series_id":"I-EXAMPLE1"}}`, "note", "-f", "-")
			if code != exitError || stdout != "" ||
				!strings.Contains(stderr, "0 first, 0 duplicate, 0 held, 1 failed") {
				t.Errorf("%v of a stream: got %d %s%s, want %d", answer, code, stdout, stderr, exitError)
			}
		}
	}
}

func TestListShowsWhatItHas(t *testing.T) {
	b := newBetween(t)
	b.page = func(n int) (*notedv1.ListDonationsResponse, error) {
		if n > 1 {
			return nil, trouble(codes.Internal, "INTERNAL")
		}
		return &notedv1.ListDonationsResponse{NextPageToken: "more", Notes: []*notedv1.Note{
			{DonationId: "d-1", Donation: &notedv1.Donation{SeriesId: "I-EXAMPLE1"}, NotedAt: timestamppb.Now()},
		}}, nil
	}
	for _, format := range []string{"text", "json"} {
		code, stdout, stderr := b.run("", "-o", format, "list")
		if code != exitError || strings.Count(stdout, "I-EXAMPLE1") != 1 || !strings.Contains(stderr, "INTERNAL") {
			t.Errorf("%s: got %d %s%s, want the note and the error", format, code, stdout, stderr)
		}
	}
}

// A line that is too long ends the reading. The error must name the line from which on
// nothing was noted.
func TestLongLine(t *testing.T) {
	b := newBetween(t)
	b.answer = func() *notedv1.NoteDonationsResponse {
		note := &notedv1.Note{Donation: &notedv1.Donation{SeriesId: "I-EXAMPLE1"}}
		first := &notedv1.NoteDonationResponse{Verdict: notedv1.Verdict_VERDICT_FIRST, Note: note}
		return &notedv1.NoteDonationsResponse{Result: &notedv1.NoteDonationsResponse_Response{Response: first}}
	}
	const line = `{"donation":{"series_id":"I-EXAMPLE1"}}` + "\n"
	code, stdout, stderr := b.run(line+"\n"+strings.Repeat("x", 1<<20)+"\n"+line, "note", "-f", "-")
	if code != exitError || strings.Count(stdout, "FIRST") != 1 ||
		!strings.Contains(
			stderr,
			"reading line 3: it is longer than 1 MiB; this line and all later lines were not noted\n",
		) ||
		!strings.Contains(stderr, "1 first, 0 duplicate, 0 held, 1 failed") {
		t.Errorf("got %d %s%s", code, stdout, stderr)
	}
}

// If an answer of note -f is lost, the hint has the line's request id.
func TestAskAgainForALine(t *testing.T) {
	b := newBetween(t)
	b.answer = func() *notedv1.NoteDonationsResponse {
		return &notedv1.NoteDonationsResponse{
			Result: &notedv1.NoteDonationsResponse_Error_{
				Error: &notedv1.NoteDonationsResponse_Error{
					Code:    int32(codes.Internal),
					Reason:  "INTERNAL",
					Message: "a bad hour",
				},
			},
		}
	}
	for _, format := range []string{"text", "json"} {
		code, _, stderr := b.run(
			`{"donation":{"series_id":"I-EXAMPLE1"},"request_id":"mine"}`,
			"-o",
			format,
			"note",
			"-f",
			"-",
		)
		if code != exitError || !strings.Contains(stderr, `"request_id":"mine"`) {
			t.Errorf("%s: got %d %s, want the repeat", format, code, stderr)
		}
	}
}
