// Command noted-gateway takes PayPal's messages and sends each donation downstream once.
// It reads flags, the environment and the files that they name, and runs client/gateway
// behind two listeners: one for PayPal, one for operators. `noted-gateway -help` is its
// manual.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait for the drain
	os.Exit(run(ctx, os.Args, os.Environ(), os.Stdout, os.Stderr))
}

// run is the program. It returns the exit code when ctx is done and the messages under
// way have finished, or after a failure.
func run(ctx context.Context, args []string, environ cmdline.Environ, stdout, stderr io.Writer) int {
	var err error
	switch {
	case cmdline.Version("noted-gateway", args, stdout):
	case len(args) > 1 && args[1] == "inbox-key":
		_, err = fmt.Fprintln(stdout, inbox.NewKeyLine())
	case len(args) > 1 && args[1] == "check":
		err = check(ctx, args[1:], environ, stdout)
	case len(args) > 1 && args[1] == "inbox":
		err = runInbox(ctx, args[1:], environ.Lookup, stdout)
	default:
		err = receive(ctx, args, environ, stdout, stderr)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, cmdline.ErrUsage):
		fmt.Fprintln(stderr, "noted-gateway:", err)
		return 2
	}
	fmt.Fprintln(stderr, "noted-gateway:", err)
	return 1
}

// receive is the gateway itself.
func receive(ctx context.Context, args []string, environ cmdline.Environ, stdout, stderr io.Writer) error {
	settings, err := parse(ctx, args, environ, stdout)
	if err != nil || settings == nil { // help was asked for
		return err
	}
	settings.config.Logger = settings.log.Logger(stderr)
	var stopTracing func()
	settings.config.TracerProvider, stopTracing, err = telemetry.Start(
		ctx, environ.Lookup, "noted-gateway", settings.config.Logger)
	if err != nil {
		return err
	}
	defer stopTracing()
	return serve(ctx, settings)
}

// drain is the time in which messages must finish after the program is asked to stop: one
// delivery to the downstream, with the steps before and after it.
func drain(config gateway.Config) time.Duration { return config.ForwardTimeout + 40*time.Second }

func serve(ctx context.Context, s *settings) error {
	redis.SetLogger(quiet{s.config.Logger})
	g, err := gateway.New(s.config)
	if err != nil {
		return inFlags(err)
	}
	defer g.Close()
	logger := s.config.Logger

	public, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listening for PayPal: %w", err)
	}
	defer public.Close()
	// The gateway limits the time of a body; these timeouts limit the other steps. There
	// is no WriteTimeout, because an answer waits for the downstream.
	servers := []*http.Server{
		{
			Handler:           g,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       time.Minute,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    32 << 10,
		},
	}
	listeners := []net.Listener{public}
	admin := "off"
	if s.adminListen != off {
		listener, err := net.Listen("tcp", s.adminListen)
		if err != nil {
			return fmt.Errorf("listening for operators: %w", err)
		}
		defer listener.Close()
		admin = listener.Addr().String()
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", g.Metrics())
		mux.Handle("GET /healthz", g)
		mux.Handle("GET /readyz", g)
		servers = append(
			servers,
			&http.Server{
				Handler:        mux,
				ReadTimeout:    10 * time.Second,
				WriteTimeout:   30 * time.Second,
				IdleTimeout:    time.Minute,
				MaxHeaderBytes: 32 << 10,
			},
		)
		listeners = append(listeners, listener)
	}
	line := logger.With("listen", public.Addr().String(), "admin_listen", admin)
	if n := len(s.config.PayPalAccounts); n > 0 {
		line.Info("taking PayPal's messages", "accounts", n)
	} else {
		line.Info("taking PayPal's messages",
			"ipn", len(s.config.Accounts) > 0, "webhook", s.config.WebhookID != "", "ledger", s.config.Ledger)
	}
	if open, ok := public.Addr().(*net.TCPAddr); ok && !open.IP.IsLoopback() && len(s.config.TrustedProxies) == 0 {
		logger.Warn("other machines can reach -listen, which is plain HTTP", "listen", open.String(), "why",
			"PayPal's messages hold donors' names and addresses, and machines on the way can read them; put a web "+
				"server with TLS in front, let no other machine reach this address, and name the web "+
				"server's address as "+variables.Both("trusted-proxy"))
	}
	var starting sync.WaitGroup
	starting.Go(func() { g.AtStart(ctx) })
	defer starting.Wait()

	ended := make(chan error, len(servers))
	for i, server := range servers {
		server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
		go func() { ended <- server.Serve(listeners[i]) }()
	}
	select {
	case err = <-ended:
		err = fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
		logger.Info("stopping: no new messages are taken, messages under way finish")
	}
	return errors.Join(err, shutdown(servers, drain(s.config)))
}

// quiet takes the Redis library's own log, which repeats the gateway's lines about a
// failed delivery.
type quiet struct{ logger *slog.Logger }

func (q quiet) Printf(ctx context.Context, format string, v ...any) {
	q.logger.DebugContext(ctx, fmt.Sprintf(format, v...))
}

// shutdown waits for messages to finish, up to patience, and then interrupts them. PayPal
// repeats these.
func shutdown(servers []*http.Server, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() {
			if errs[i] = server.Shutdown(ctx); errs[i] != nil {
				server.Close()
				errs[i] = fmt.Errorf("stopping: not all messages were finished: %w", errs[i])
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
