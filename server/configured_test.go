package server_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
)

type lockedBuffer = server.LockedBuffer

// A configuredServer is a server with a test's own Config.
type configuredServer struct {
	*server.Server
	log  *lockedBuffer
	stop func() // stops it and waits for its end; it may be called again
}

// startConfigured starts a server with a changed configuration. Without a store in it the
// server gets an embedded one.
func startConfigured(t *testing.T, change func(*server.Config)) configuredServer {
	t.Helper()
	s := configuredServer{log: &lockedBuffer{}}
	config := server.Config{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Drain: 5 * time.Second,
		Logger: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	change(&config)
	if config.Redis == "" {
		store, err := embedded.Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		config.Redis = store.URL()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if s.Server, err = server.New(ctx, config); err != nil {
		cancel()
		t.Fatalf("New: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// as makes a client with a connection of its own: with TLS unless config is nil, and with
// a token unless that is empty.
func (s configuredServer) as(t *testing.T, config *tls.Config, token string) client {
	t.Helper()
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if config != nil {
		options[0] = grpc.WithTransportCredentials(credentials.NewTLS(config))
	}
	if token != "" {
		authorization := metadata.Pairs("authorization", "Bearer "+token)
		options = append(
			options,
			grpc.WithUnaryInterceptor(
				func(
					ctx context.Context, method string, request, reply any, conn *grpc.ClientConn,
					invoke grpc.UnaryInvoker, o ...grpc.CallOption,
				) error {
					return invoke(metadata.NewOutgoingContext(ctx, authorization), method, request, reply, conn, o...)
				},
			),
			grpc.WithStreamInterceptor(
				func(
					ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
					streamer grpc.Streamer, o ...grpc.CallOption,
				) (grpc.ClientStream, error) {
					return streamer(metadata.NewOutgoingContext(ctx, authorization), desc, conn, method, o...)
				},
			),
		)
	}
	conn, err := grpc.NewClient(s.Addr(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{DedupeServiceClient: notedv1.NewDedupeServiceClient(conn), conn: conn}
}

type client struct {
	notedv1.DedupeServiceClient
	conn *grpc.ClientConn
}

// wantStillFirst checks that no refusal has noted a donation.
func wantStillFirst(t *testing.T, c client, r *notedv1.NoteDonationRequest) {
	t.Helper()
	if answer, err := c.NoteDonation(t.Context(), r); err != nil || answer.Verdict != first {
		t.Errorf("afterwards: %v, %v, want FIRST: no refusal has noted it", answer, err)
	}
}

func (s configuredServer) metric(t *testing.T, name string, parts ...string) float64 {
	t.Helper()
	return metricAt(t, s.AdminAddr(), name, parts...)
}

// logged counts the lines of the log that hold all of parts.
func (s configuredServer) logged(parts ...string) (lines int) {
	for line := range strings.Lines(s.log.String()) {
		holds := true
		for _, part := range parts {
			holds = holds && strings.Contains(line, part)
		}
		if holds {
			lines++
		}
	}
	return lines
}

// callersFile writes a file of callers, each a line that byToken or byCertificate makes.
func callersFile(t *testing.T, path string, callers ...string) string {
	t.Helper()
	return pkitest.Write(t, path, []byte("{\n"+strings.Join(callers, ",\n")+"\n}\n"))
}

// byToken is a line of the file.
func byToken(name, token, ledgers, verbs string) string {
	return fmt.Sprintf(`%q: {"token_sha256": [%q], "ledgers": [%s], "verbs": [%s]}`, name, sumOf(token), ledgers, verbs)
}

func sumOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func byCertificate(name, certificate, ledgers, verbs string) string {
	return fmt.Sprintf(`%q: {"certificate": %q, "ledgers": [%s], "verbs": [%s]}`, name, certificate, ledgers, verbs)
}

// inLedger is a request in a ledger.
func inLedger(ledger, series string) *notedv1.NoteDonationRequest {
	return &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{Ledger: ledger, SeriesId: series}}
}

func inDir(t *testing.T, name string) string { return filepath.Join(t.TempDir(), name) }

// stop frees the resources of a server that was made and not served.
func stop(t *testing.T, s *server.Server) {
	t.Helper()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(done); err != nil {
		t.Errorf("Serve with a context that is done: %v", err)
	}
}

// mustEnd waits for the end of Serve, which was asked to stop.
func mustEnd(t *testing.T, served <-chan error) {
	t.Helper()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("Serve: %v, want nil: it was asked to stop", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not stop")
	}
}

// noteAtTheDoor posts a NoteDonation as JSON, with a token unless that is empty. The
// response's body is read and closed.
func noteAtTheDoor(t *testing.T, c *http.Client, base, body, token string) (*http.Response, string) {
	t.Helper()
	url := base + notedv1connect.DedupeServiceNoteDonationProcedure
	request, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}
