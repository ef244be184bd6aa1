package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// failure turns what the Redis client failed with into what a caller may conclude from
// it: nothing was done, or nobody knows.
//
// A reply of Redis that refuses means that nothing was done: each script writes at its
// end, and where it writes twice Redis refuses the first wherever it would refuse the
// second, unless our user has the right to one of the commands only. So does a connection
// that was never made. All else, a connection that broke or stayed silent after the
// script was sent, leaves it open.
func failure(ctx context.Context, err error) error {
	var refused redis.Error
	var network *net.OpError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case pastDeadline(ctx):
		return context.DeadlineExceeded
	case errors.Is(err, ErrWentBack):
		return err
	case redis.IsOOMError(err), inScript(err, "-OOM "):
		return fmt.Errorf("%w: %w", ErrStoreFull, err)
	case asShutOut(err) != nil:
		return asShutOut(err)
	case redis.HasErrorPrefix(err, "WRONGTYPE"), inScript(err, "WRONGTYPE "):
		return foreign(err)
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return fmt.Errorf("%w: %w", ErrPoolExhausted, err)
	case errors.As(err, &network) && network.Op == "dial", errors.Is(err, redis.ErrClosed):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// inScript tells a refusal that a command in a script ended with, as Redis 6.2 reports
// it: the reason stands behind the script's name and line.
func inScript(err error, reason string) bool {
	return redis.HasErrorPrefix(err, "Error running script") && strings.Contains(err.Error(), reason)
}

// looked is failure for a script that only reads: whatever happened, nothing was done.
func looked(err error) error {
	if errors.Is(err, ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// pastDeadline tells that ctx is about to end: the connection has the same deadline, and
// may notice first.
func pastDeadline(ctx context.Context) bool {
	deadline, has := ctx.Deadline()
	return has && !time.Now().Before(deadline)
}
