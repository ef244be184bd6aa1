// Command noted-desk serves the desk: a web page that answers where a donation is. It
// reads flags, the environment and the files that they name, and runs client/desk.
// `noted-desk -help` is its manual.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/alert"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait
	os.Exit(run(ctx, os.Args, os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// run is the program. It returns the exit code: 0 asked to stop, 1 failed, 2 bad usage.
func run(
	ctx context.Context, args []string, env cmdline.Env, stdin *os.File, stdout, stderr io.Writer,
) int {
	if cmdline.Version("noted-desk", args, stdout) {
		return 0
	}
	var err error
	if len(args) > 1 && args[1] == "passwd" {
		err = passwd(args[2:], stdin, stdout, stderr)
	} else {
		var s *settings
		if s, err = parse(ctx, args, env, stdout); err == nil && s != nil { // nil where help was asked for
			s.config.Logger = s.log.Logger(stderr)
			err = serve(ctx, s, stdout)
		}
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "noted-desk:", err)
	if errors.Is(err, cmdline.ErrUsage) {
		return 2
	}
	return 1
}

func serve(ctx context.Context, s *settings, stdout io.Writer) (err error) {
	noted, err := client.New(s.noted, s.notedClient)
	if err != nil {
		return cmdline.Usagef("%s: %w", variables.Both("noted"), err)
	}
	defer noted.Close()
	s.config.Noted = noted
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer listener.Close()
	if s.config.Open {
		clean, err := trial(ctx, s)
		if err != nil {
			return err
		}
		defer clean()
	}
	if s.inbox != "" {
		config := inbox.Config{URL: s.inbox, Account: s.config.Ledger, Existing: true}
		if s.config.Inbox, err = inbox.Open(ctx, config); err != nil {
			return cmdline.Usagef("%s: %w", variables.Both("inbox"), err)
		}
		defer s.config.Inbox.Close()
	}
	page, err := desk.New(s.config)
	if err != nil {
		return cmdline.Usagef("%w", err)
	}
	if s.config.Open {
		fmt.Fprintf(
			stdout,
			"noted-desk -dev: a trial with made-up donations on http://%s; nothing survives a restart.\n",
			listener.Addr(),
		)
	}
	ended := make(chan error, 1)
	if s.sender != nil {
		watching, stop := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() { s.watch().Run(watching) })
		defer watch.Wait() // before the inbox is closed
		defer stop()
	}
	s.config.Logger.Info("serving the desk", "listen", listener.Addr().String(), "inbox", s.inbox != "",
		"ledger", s.config.Ledger)
	server := &http.Server{
		Handler: page, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelWarn),
	}
	go func() { ended <- server.Serve(listener) }()
	select {
	case err = <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		return fmt.Errorf("stopping: not all pages were finished: %w", err)
	}
	return nil
}

// watch makes the alerts for people.
func (s *settings) watch() *alert.Watch {
	c := s.config
	return alert.New(alert.Config{
		Noted: c.Noted, Inbox: c.Inbox, Ledger: c.Ledger, Admins: c.Admins, Send: s.sender, PublicURL: s.publicURL,
		SilentAfter: c.SilentAfter, Zone: c.Zone, Logger: c.Logger,
	})
}

// trial makes up a week of donations in an inbox that is removed at the end.
func trial(ctx context.Context, s *settings) (clean func(), err error) {
	dir, err := os.MkdirTemp("", "noted-desk-")
	if err != nil {
		return nil, err
	}
	clean = func() { os.RemoveAll(dir) }
	s.inbox = "sqlite://" + filepath.Join(dir, "inbox.db")
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	cases, err := week.Fill(
		ctx,
		s.config.Noted,
		inbox.Config{URL: s.inbox},
		time.Now(),
		binary.NativeEndian.Uint64(seed[:]),
	)
	if err != nil {
		clean()
		if errors.Is(err, client.ErrUnavailable) {
			err = fmt.Errorf("no Noted answers at %s; start one with: go run ./server/cmd/noted -dev", s.noted)
		}
		return nil, err
	}
	for _, c := range cases {
		s.config.Examples = append(s.config.Examples, desk.Example(c))
	}
	return clean, nil
}
