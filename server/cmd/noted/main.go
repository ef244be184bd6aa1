// Command noted is the service: it reads flags and environment, and serves until it is
// told to stop. `noted -help` is its manual.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/telemetry"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/embedded"
)

func main() {
	if os.Getenv("GOGC") == "" {
		// Little lives between two calls. Collecting at the default growth would cost a
		// tenth of the processor time, and save a few megabytes.
		debug.SetGCPercent(400)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait for the drain
	err := run(ctx, os.Args, os.Environ(), os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "noted:", err)
	}
	os.Exit(exitCode(err))
}

// run is the program: it returns when ctx is done and calls in flight have finished, or
// when it cannot go on.
func run(ctx context.Context, args []string, environ cmdline.Environ, stdout, stderr io.Writer) error {
	if cmdline.Version("noted", args, stdout) {
		return nil
	}
	if isKeeping(args) {
		return keep(ctx, args, environ, stdout, stderr)
	}
	settings, err := parse(ctx, args, environ, stdout)
	if err != nil || settings == nil { // settings is nil where help was asked for
		return err
	}
	config := settings.config
	config.Logger = settings.log.Logger(stderr)
	config.Logger.Info("starting", settings.started()...)
	// Nine tenths of the container's memory, unless GOMEMLIMIT says otherwise. Go itself
	// takes GOMAXPROCS from the container.
	if _, err := memlimit.Set(); err != nil {
		config.Logger.Warn("the memory limit of this container cannot be read; set GOMEMLIMIT", "error", err)
	}
	var stopTracing func()
	config.TracerProvider, stopTracing, err = telemetry.Start(ctx, environ.Lookup, "noted", config.Logger)
	if err != nil {
		return err
	}
	defer stopTracing()
	var audit *auditFile
	if settings.auditLog != "" {
		if audit, err = openAudit(settings.auditLog); err != nil {
			return cmdline.Usagef("%s cannot be opened: %w", variables.Both("audit-log"), err)
		}
		config.Audit = audit.logger()
	}

	if settings.dev {
		store, err := embedded.Start()
		if err != nil {
			return err
		}
		defer store.Close()
		config.Redis, config.RedisMode, config.Trial = store.URL(), server.DefaultRedisMode, true
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // before the wait for the store: unhandled, it ends the process
	defer signal.Stop(hangups)
	s, err := server.New(ctx, config)
	if err != nil {
		return err
	}
	go func() {
		for {
			select {
			case <-hangups:
				s.Reload()
				if audit == nil {
					continue
				}
				if err := audit.reopen(); err != nil {
					config.Logger.Error(
						"the file of the audit cannot be opened again; its lines still go to the old file",
						"error", err,
					)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	if settings.dev {
		where := s.Addr()
		if s.HTTPAddr() != "" {
			where += " (JSON on http://" + s.HTTPAddr() + ")"
		}
		fmt.Fprintf(
			stdout,
			"noted -dev: a trial on %s, plaintext. NOTHING SURVIVES A RESTART.\n",
			where,
		)
	}
	return s.Serve(ctx)
}

// exitCode: 0 asked to stop, 1 failed, 2 bad usage.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, cmdline.ErrUsage), errors.Is(err, server.ErrConfig):
		return 2
	}
	return 1
}
