package server

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A panic tells the caller nothing and the log everything, and the server goes on: in a
// call and on a stream, at both doors.
func TestPanicTellsNothing(t *testing.T) {
	redis, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	var mu sync.Mutex
	var log bytes.Buffer
	s, err := New(t.Context(), Config{
		Listen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Redis: redis.URL(), Trial: true,
		Logger: slog.New(slog.NewJSONHandler(writer(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(p)
		}), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	rules := s.service.Rules
	s.service.Rules = func(ledger string) store.Rules {
		if ledger == "panic" {
			panic("the secret canary")
		}
		return rules(ledger)
	}
	s.door.Unary = append(
		[]grpc.UnaryServerInterceptor{
			func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				if r, ok := request.(*notedv1.NoteDonationRequest); ok && r.RequestId == "of an interceptor" {
					panic("the secret canary")
				}
				return handler(ctx, request)
			},
		},
		s.door.Unary...)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client := notedv1.NewDedupeServiceClient(conn)

	bad := &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{Ledger: "panic", SeriesId: "I-1"}}
	told := func(what string, err error) {
		t.Helper()
		text := status.Convert(err).Proto().String()
		if status.Code(err) != codes.Internal || strings.Contains(text, "canary") ||
			strings.Contains(text, "goroutine") ||
			strings.Contains(text, ".go:") {
			t.Errorf("%s told %s, want INTERNAL and no more", what, text)
		}
	}
	_, err = client.NoteDonation(ctx, bad)
	told("the call", err)
	stream, err := client.NoteDonations(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&notedv1.NoteDonationsRequest{Request: bad}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	told("the stream", err)

	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	defer h2c.CloseIdleConnections()
	door := notedv1connect.NewDedupeServiceClient(&http.Client{Transport: h2c}, "http://"+s.HTTPAddr())
	_, err = door.NoteDonation(ctx, bad)
	told("the call at the door", status.Error(codes.Code(connect.CodeOf(err)), err.Error()))
	second, err := door.NoteDonations(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Send(&notedv1.NoteDonationsRequest{Request: bad}); err != nil {
		t.Fatal(err)
	}
	_, err = second.Receive()
	told("the stream at the door", status.Error(codes.Code(connect.CodeOf(err)), err.Error()))
	bad.RequestId = "of an interceptor"
	_, err = door.NoteDonation(ctx, bad)
	told("the call whose interceptor panics", status.Error(codes.Code(connect.CodeOf(err)), err.Error()))
	if _, err := client.NoteDonation(
		ctx,
		&notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}},
	); err != nil {
		t.Errorf("after the panics: %v", err)
	}
	response, err := http.Get("http://" + s.AdminAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	var metrics bytes.Buffer
	metrics.ReadFrom(response.Body)
	response.Body.Close()
	if !strings.Contains(metrics.String(), "\nnoted_panics_total 5\n") {
		t.Error("noted_panics_total is not 5")
	}

	// No goroutine of the stream that panicked stays behind.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("(*Service).NoteDonations")) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a goroutine of the stream is still there:\n%s", stacks)
		}
	}

	conn.Close()
	stop()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not stop after a panic")
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Count(
		log.String(),
		"the secret canary",
	); got != 5 ||
		!strings.Contains(log.String(), "goroutine") {
		t.Errorf("the log tells of %d panics with their stacks, want 5", got)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
