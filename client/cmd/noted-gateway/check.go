package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway"
)

// check is noted-gateway check. It takes the flags of the gateway, and prints a line for
// each part that the gateway needs.
func check(ctx context.Context, args []string, environ cmdline.Environ, stdout io.Writer) error {
	settings, err := parse(ctx, args, environ, stdout)
	if err != nil || settings == nil { // help was asked for
		return err
	}
	settings.config.Logger = slog.New(slog.DiscardHandler)
	redis.SetLogger(quiet{settings.config.Logger})
	findings, err := gateway.Check(ctx, settings.config)
	if err != nil {
		return inFlags(err)
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		state := cmp.Or(f.Unasked, "ok")
		if f.Trouble != "" {
			state, err = f.Trouble, errors.New("a part is in trouble")
		}
		fmt.Fprintf(table, "%s\t%s\n", f.Part, state)
	}
	return errors.Join(err, table.Flush())
}
