package server

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// The server asks the caller of an old connection to open another. The caller notices
// nothing.
func TestConnectionAge(t *testing.T) {
	store, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	s, err := New(
		t.Context(),
		Config{
			Listen:      "127.0.0.1:0",
			AdminListen: Off,
			Redis:       store.URL(),
			Logger:      slog.New(slog.DiscardHandler),
			age:         200 * time.Millisecond,
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	var dials atomic.Int32
	conn, err := grpc.NewClient(
		s.Addr(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	client := notedv1.NewDedupeServiceClient(conn)
	for deadline := time.Now().Add(10 * time.Second); dials.Load() < 3; {
		if time.Now().After(deadline) {
			t.Fatalf("there were %d connections, want an old one replaced twice", dials.Load())
		}
		if _, err := client.NoteDonation(
			ctx,
			&notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}},
		); err != nil {
			t.Fatalf("on connection %d: %v", dials.Load(), err)
		}
	}
	conn.Close()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
