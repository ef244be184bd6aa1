// Package servertest runs Noted inside a test: the real service, on a store of its own
// that lives in the test's process.
//
//	func TestReceiver(t *testing.T) {
//		noted := servertest.New(t)
//		client := notedv1.NewDedupeServiceClient(noted.Conn())
//
//		// … let your receiver take a message twice, and look at its effects …
//
//		noted.Advance(61 * time.Second) // the hold of a receiver that died has run out
//	}
//
// A test of windows, ledgers or a real Redis calls Start with Options. Everything ends
// with the test.
package servertest

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// Options are the differences from a server in production.
type Options struct {
	// Redis is the URL of a store to use instead of one of the test's own. Advance does
	// not work then.
	Redis string
	// RedisMode is that store's mode: standalone, sentinel or cluster.
	RedisMode string
	// Frozen, unless zero, is the time at which the store's clock stands: it then moves
	// by Advance only.
	Frozen time.Time
	// Rules, Ledgers, ShadowLedgers, SeriesLimit and MaxDeadline are those of
	// server.Config.
	Rules         server.Rules
	Ledgers       map[string]server.LedgerRules
	ShadowLedgers []string
	SeriesLimit   int
	MaxDeadline   time.Duration
	// Callers, TLSCert, TLSKey and TLSClientCA are those of server.Config. With any of
	// them Conn is of no use: connect with Addr.
	Callers, TLSCert, TLSKey, TLSClientCA string
	// Log gets the whole log of the server. Nil drops it.
	Log io.Writer
}

// Server is a running server that belongs to one test.
type Server struct {
	tb     testing.TB
	store  *embedded.Server // nil if Options names another
	server *server.Server
	conn   *grpc.ClientConn
	stop   func()
}

// New starts a server with production's settings on an empty store.
func New(tb testing.TB) *Server {
	tb.Helper()
	return Start(tb, Options{})
}

// Start starts a server with options.
func Start(tb testing.TB, options Options) *Server {
	tb.Helper()
	s := &Server{tb: tb}
	config := server.Config{
		Listen:        "127.0.0.1:0",
		HTTPListen:    "127.0.0.1:0",
		AdminListen:   "127.0.0.1:0",
		Redis:         options.Redis,
		RedisMode:     options.RedisMode,
		Rules:         options.Rules,
		Ledgers:       options.Ledgers,
		ShadowLedgers: options.ShadowLedgers,
		SeriesLimit:   options.SeriesLimit,
		MaxDeadline:   options.MaxDeadline,
		Callers:       options.Callers,
		TLSCert:       options.TLSCert,
		TLSKey:        options.TLSKey,
		TLSClientCA:   options.TLSClientCA,
		Reflection:    true,
		Drain:         5 * time.Second,
		Logger:        slog.New(slog.DiscardHandler),
	}
	if options.Log != nil {
		config.Logger = slog.New(slog.NewJSONHandler(options.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if config.Redis == "" {
		s.store = startStore(tb, options.Frozen)
		config.Redis, config.Trial = s.store.URL(), true
	}

	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if s.server, err = server.New(ctx, config); err != nil {
		cancel()
		tb.Fatalf("starting noted: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-served; err != nil {
			tb.Errorf("serving noted: %v", err)
		}
		served <- nil // so that a second Stop returns
	}
	tb.Cleanup(s.stop)

	s.conn, err = grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatalf("connecting to noted: %v", err)
	}
	tb.Cleanup(func() { s.conn.Close() }) // before the server stops, which waits for it
	return s
}

func startStore(tb testing.TB, frozen time.Time) *embedded.Server {
	tb.Helper()
	start := embedded.Start
	if !frozen.IsZero() {
		start = func() (*embedded.Server, error) { return embedded.StartFrozen(frozen) }
	}
	store, err := start()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(store.Close)
	return store
}

// Conn is a connection to the server, for the generated clients of the contract and for
// health.
func (s *Server) Conn() *grpc.ClientConn { return s.conn }

// Addr is the address of the gRPC listener, for clients of your own; plaintext.
func (s *Server) Addr() string { return s.server.Addr() }

// HTTPAddr is the address for JSON over HTTP; plaintext.
func (s *Server) HTTPAddr() string { return s.server.HTTPAddr() }

// AdminAddr is the address of /readyz and /metrics.
func (s *Server) AdminAddr() string { return s.server.AdminAddr() }

// Now is the store's clock.
func (s *Server) Now() time.Time {
	s.tb.Helper()
	return s.own().Now()
}

// Advance moves the store's clock forward: holds run out, and notes are forgotten,
// without a wait.
func (s *Server) Advance(d time.Duration) {
	s.tb.Helper()
	s.own().Advance(d)
}

// Stop stops the server before the test's end, as an operator does: calls under
// way finish first.
func (s *Server) Stop() { s.stop() }

func (s *Server) own() *embedded.Server {
	s.tb.Helper()
	if s.store == nil {
		s.tb.Fatal("the clock of a store that Options.Redis names cannot be moved")
	}
	return s.store
}
