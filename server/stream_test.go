package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A thousand requests, every tenth bad and every second a repeat of the one before, are
// answered in order, each with its own answer.
func TestStream(t *testing.T) {
	n := start(t, servertest.Options{})
	stream, err := n.NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	const requests = 1000
	go func() {
		for i := range requests {
			request := &notedv1.NoteDonationsRequest{Request: series(fmt.Sprintf("I-%d", i/2))}
			switch i % 20 {
			case 9:
				request.Request.Donation = nil
			case 19:
				request.Request = nil
			}
			if stream.Send(request) != nil {
				return
			}
		}
		stream.CloseSend()
	}()
	for i := range requests {
		answer, err := stream.Recv()
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		switch {
		case i%20 == 9, i%20 == 19:
			field := map[int]string{9: "donation is required", 19: "request is required"}[i%20]
			if e := answer.GetError(); e.GetCode() != int32(codes.InvalidArgument) ||
				e.GetReason() != "INVALID_REQUEST" ||
				e.GetMessage() != field {
				t.Fatalf("answer %d = %v, want %s", i, answer, field)
			}
		default:
			want := notedv1.Verdict_VERDICT_FIRST
			if i%2 == 1 {
				want = notedv1.Verdict_VERDICT_DUPLICATE
			}
			r := answer.GetResponse()
			if r.GetVerdict() != want || r.GetNote().GetDonation().GetSeriesId() != fmt.Sprintf("I-%d", i/2) {
				t.Fatalf("answer %d = %v, want %v of I-%d", i, answer, want, i/2)
			}
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the last answer: %v, want EOF", err)
	}
	if got := n.metric(t, "noted_verdicts_total"); got != requests*9/10 {
		t.Errorf("noted_verdicts_total = %v, want %d", got, requests*9/10)
	}
	if got := n.metric(
		t,
		"noted_refusals_total",
		`rpc="NoteDonations"`,
		`reason="INVALID_REQUEST"`,
	); got != requests/10 {
		t.Errorf("noted_refusals_total = %v, want %d", got, requests/10)
	}
}

// A caller that sends single requests gets single answers: no request waits for others.
func TestStreamOneByOne(t *testing.T) {
	n := start(t, servertest.Options{})
	stream, err := n.NoteDonations(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
		if answer, err := stream.Recv(); err != nil ||
			answer.GetResponse().GetVerdict() != notedv1.Verdict_VERDICT_FIRST {
			t.Fatalf("answer %d = %v, %v", i, answer, err)
		}
	}
}

// The store goes away and comes back: its requests fail, the stream does not.
func TestStreamOutlivesTheStore(t *testing.T) {
	redis := redistest.Start(t)
	n := start(t, servertest.Options{Redis: redis.URL()})
	stream, err := n.NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ask := func() *notedv1.NoteDonationsResponse {
		t.Helper()
		if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-1")}); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if got := ask().GetResponse().GetVerdict(); got != notedv1.Verdict_VERDICT_FIRST {
		t.Fatalf("the first answer: %v", got)
	}
	redis.Kill()
	for range 3 {
		if e := ask().GetError(); e.GetCode() != int32(codes.Unavailable) || e.GetReason() == "" ||
			e.GetMessage() == "" {
			t.Fatalf("while the store is away: %v, want UNAVAILABLE with a reason", e)
		}
	}
	redis.Restart()
	eventually(t, 10*time.Second, "the stream gets answers again", func() bool { return ask().GetResponse() != nil })
}

// A stopping server lets a busy stream finish its requests, and ends a silent stream.
func TestStreamWhileDraining(t *testing.T) {
	n := start(t, servertest.Options{})
	stream, err := n.NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-1")}); err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil || answer.GetResponse() == nil {
		t.Fatalf("the first answer: %v, %v", answer, err)
	}
	began := time.Now()
	n.Stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping took %v, want about a second of silence", took)
	}
	if _, err := stream.Recv(); toldBy(
		err,
	) != (told{code: codes.Unavailable, reason: "noted.v1/STORE_UNAVAILABLE", retry: true}) {
		t.Errorf("the stream ended with %v, want UNAVAILABLE", err)
	}
}

// A stream that never falls silent is ended too.
func TestBusyStreamWhileDraining(t *testing.T) {
	n := start(t, servertest.Options{})
	stream, err := n.NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	answers, ended := 0, make(chan error, 1)
	first := make(chan struct{})
	go func() {
		for {
			answer, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			if answer.GetResponse() == nil {
				t.Errorf("answer %d: %v", answers, answer)
			}
			if answers++; answers == 1 {
				close(first)
			}
		}
	}()
	go func() {
		for i := 0; ; i++ {
			if stream.Send(&notedv1.NoteDonationsRequest{Request: series(fmt.Sprint("I-", i))}) != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	<-first
	began := time.Now()
	n.Stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping took %v, want little more than a second", took)
	}
	if err := <-ended; toldBy(
		err,
	) != (told{code: codes.Unavailable, reason: "noted.v1/STORE_UNAVAILABLE", retry: true}) {
		t.Errorf("the stream ended with %v, want UNAVAILABLE", err)
	}
	if answers < 10 {
		t.Errorf("%d requests were answered, want those of a whole second", answers)
	}
}

// A caller that goes away leaves no work behind in the server.
func TestStreamOfACallerWhoGoes(t *testing.T) {
	n := start(t, servertest.Options{})
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := n.NoteDonations(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 { // and never reads an answer
			if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series(fmt.Sprint(i))}); err != nil {
				break
			}
		}
		cancel()
		for err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.Canceled {
			t.Errorf("the caller's end: %v, want CANCELED", err)
		}
	}
	eventually(t, 5*time.Second, "no stream is open", func() bool {
		started := n.metric(t, "grpc_server_started_total", `grpc_method="NoteDonations"`)
		return n.metric(t, "grpc_server_handled_total", `grpc_method="NoteDonations"`) == started
	})
	n.mustNote(t, series("I-after"))
}
