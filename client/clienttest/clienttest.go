// Package clienttest is a fake of Noted, for unit tests of programs that use package
// client.
//
//	func TestReceiver(t *testing.T) {
//		noted := clienttest.New(t)
//		receiver := NewReceiver(noted.Client(client.Config{}))
//
//		noted.FailNext("STORE_UNAVAILABLE")
//		// … the receiver must answer 503, and book nothing …
//
//		noted.Advance(61 * time.Second) // the hold of a crashed receiver has run out
//	}
//
// The client is the real client, with its retries and [client.Client.Once]. Its calls go
// to a service in the test's memory, without a socket. That service knows the simple life
// of a note: Note, with a hold or without, Exists, Settle, Release and Extend.
//
// # Limits
//
// The fake decides by the contract's rules under the default settings of a server, but it
// never learns that two channels' transaction ids agree. It refuses no donation for its
// times, and no caller. It checks only the fields that programs get wrong most often. Its
// clock stands still until Advance moves it. Notes, List, Page and Forget are
// UNIMPLEMENTED. For more use server/servertest: it runs the real service in the test's
// process, and brings the server's dependencies.
package clienttest

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
)

// Fake answers the calls of one test from memory.
type Fake struct {
	notedv1.UnsafeDedupeServiceServer // a call of the contract without a method does not compile

	tb       testing.TB
	listener *bufconn.Listener

	mu       sync.Mutex
	now      time.Time
	notes    []*note
	receipts map[string]holding
	failures []error
	shadow   bool
}

// New starts a fake without notes. It ends with the test.
func New(tb testing.TB) *Fake {
	tb.Helper()
	f := &Fake{
		tb:       tb,
		listener: bufconn.Listen(64 << 10),
		now:      time.Now().Truncate(time.Millisecond),
		receipts: map[string]holding{},
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(f.failing))
	notedv1.RegisterDedupeServiceServer(server, f)
	state := health.NewServer()
	state.SetServingStatus(notedv1.DedupeService_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, state)
	served := make(chan error, 1)
	go func() { served <- server.Serve(f.listener) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			tb.Errorf("serving the fake of noted: %v", err)
		}
	})
	return f
}

// Client makes a client of the fake, which ends with the test. It needs no TLS.
func (f *Fake) Client(config client.Config) *client.Client {
	f.tb.Helper()
	dialer := func(ctx context.Context, _ string) (net.Conn, error) { return f.listener.DialContext(ctx) }
	config.DialOptions = append([]grpc.DialOption{grpc.WithContextDialer(dialer)}, config.DialOptions...)
	noted, err := client.New("passthrough:///127.0.0.1:0", config)
	if err != nil {
		f.tb.Fatal(err)
	}
	f.tb.Cleanup(func() { noted.Close() })
	return noted
}

// Now is the fake's clock.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves the fake's clock forward: holds run out, and notes are forgotten.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// Shadow puts every ledger in shadow, or takes them out of it: in shadow each message is
// First, with the true verdict in ShadowVerdict.
func (f *Fake) Shadow(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shadow = on
}

// FailNext lets the next call fail with a reason of the contract, such as
// "OCCURRED_TOO_EARLY", and changes nothing. Several reasons queue, one for each call. The
// client repeats a call that is UNAVAILABLE: it fails for good if four reasons queue.
func (f *Fake) FailNext(reasons ...string) {
	f.tb.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, reason := range reasons {
		code, known := codeOf[reason]
		if !known {
			f.tb.Fatalf("failing with %q: it is not a reason of the contract; noted.proto begins with all of them", reason)
		}
		f.failures = append(f.failures, refuse(code, reason, "the test lets this call fail"))
	}
}

// All returns every note as it is, the oldest first.
func (f *Fake) All() []*client.Note {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget()
	var notes []*client.Note
	for _, n := range f.notes {
		notes = append(notes, n.as(f.now))
	}
	return notes
}

// failing answers with the failures of FailNext.
func (f *Fake) failing(
	ctx context.Context,
	request any,
	_ *grpc.UnaryServerInfo,
	handle grpc.UnaryHandler,
) (any, error) {
	f.mu.Lock()
	var err error
	if len(f.failures) > 0 {
		err, f.failures = f.failures[0], f.failures[1:]
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

// forget drops the notes whose retention is over.
func (f *Fake) forget() {
	f.notes = slices.DeleteFunc(f.notes, func(n *note) bool { return !n.ForgetAt.AsTime().After(f.now) })
}

// as returns the note as a caller sees it at the given time.
func (n *note) as(now time.Time) *notedv1.Note {
	copied := proto.CloneOf(n.Note)
	copied.State = n.state(now)
	return copied
}
