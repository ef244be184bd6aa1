package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A noted is a running service and a client of it.
type noted struct {
	*servertest.Server
	notedv1.DedupeServiceClient
}

func start(t *testing.T, options servertest.Options) noted {
	t.Helper()
	s := servertest.Start(t, options)
	return noted{Server: s, DedupeServiceClient: notedv1.NewDedupeServiceClient(s.Conn())}
}

// series is a request for a donation of which only the series is known.
func series(id string) *notedv1.NoteDonationRequest {
	return &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: id}}
}

// held adds a hold to a request.
func held(r *notedv1.NoteDonationRequest, hold time.Duration) *notedv1.NoteDonationRequest {
	r.Hold = durationpb.New(hold)
	return r
}

func (n noted) mustNote(t *testing.T, r *notedv1.NoteDonationRequest) *notedv1.NoteDonationResponse {
	t.Helper()
	response, err := n.NoteDonation(t.Context(), r)
	if err != nil {
		t.Fatalf("NoteDonation(%v): %v", r, err)
	}
	return response
}

// wantEveryCall fails a test about all calls that leaves a call out. made tells whether the
// test makes the call of this name.
func wantEveryCall(t testing.TB, made func(rpc string) bool) {
	t.Helper()
	var calls []string
	for _, method := range notedv1.DedupeService_ServiceDesc.Methods {
		calls = append(calls, method.MethodName)
	}
	for _, stream := range notedv1.DedupeService_ServiceDesc.Streams {
		calls = append(calls, stream.StreamName)
	}
	for _, rpc := range calls {
		if !made(rpc) {
			t.Errorf("%s is missing here: add it, since this is about all calls", rpc)
		}
	}
}

// metric is the sum of all series of a metric whose labels hold all of parts.
func (n noted) metric(t *testing.T, name string, parts ...string) float64 {
	t.Helper()
	return metricAt(t, n.AdminAddr(), name, parts...)
}

func metricAt(t *testing.T, admin, name string, parts ...string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(get(t, "http://"+admin+"/metrics")) {
		labels, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.HasPrefix(labels, name+"{") {
			if labels, value, _ = strings.Cut(strings.TrimSpace(line), " "); labels != name {
				continue
			}
		}
		matches := true
		for _, part := range parts {
			matches = matches && strings.Contains(labels, part)
		}
		if matches {
			var v float64
			if _, err := fmt.Sscan(value, &v); err != nil {
				t.Fatalf("reading %q: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintln(response.StatusCode) + string(body)
}

// told is an error as a caller sees it.
type told struct {
	code   codes.Code
	reason string
	fields string // of BadRequest, in order, joined by spaces
	retry  bool   // it has a RetryInfo
}

func toldBy(err error) told {
	s := status.Convert(err)
	t := told{code: s.Code()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			t.reason = d.Domain + "/" + d.Reason
		case *errdetails.RetryInfo:
			t.retry = d.RetryDelay.AsDuration() > 0
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				t.fields = strings.TrimSpace(t.fields + " " + v.Field)
			}
		}
	}
	return t
}

func eventually(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// within is a context that ends.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, addr string) (*grpc.ClientConn, notedv1.DedupeServiceClient) {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return conn, notedv1.NewDedupeServiceClient(conn)
}
