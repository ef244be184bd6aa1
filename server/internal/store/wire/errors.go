package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The ways in which Redis fails a call.
var (
	ErrPastDeadline   = errors.New("the deadline passed before the script ran; nothing was done")
	ErrStoreFull      = errors.New("the store has no memory for another note")
	ErrOutcomeUnknown = errors.New("the store was asked and did not answer; it may have noted")
	ErrNotReplicated  = errors.New("too few replicas have everything that the answer depends on")
	ErrPoolExhausted  = errors.New("every connection to the store is in use; nothing was done")
	ErrUnsuitable     = errors.New("the store cannot run Noted until an operator acts; nothing was done")
	ErrUnavailable    = errors.New("the store cannot answer; nothing was done")
	// ErrWentBack is the error of a connection that Config.Greet has refused.
	ErrWentBack = errors.New("the store has gone back in time and forgotten notes; an operator must acknowledge it")
)

// conclude turns an error of the client library into one that says whether nothing was
// done or the outcome is unknown.
//
// If Redis refuses, nothing was done: each script writes at its end, and if it writes
// twice, Redis refuses the first write in each case in which it would refuse the second.
// (The exception is a Redis user with the right to only one of the two commands.) If no
// connection was made, nothing was done either. Any other failure, such as a connection
// that broke or stayed silent after the script was sent, leaves the outcome open.
func conclude(ctx context.Context, err error) error {
	var refused redis.Error
	var network *net.OpError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case pastDeadline(ctx):
		return context.DeadlineExceeded
	case errors.Is(err, ErrWentBack): // Config.Greet refused the connection
		return err
	case redis.IsOOMError(err), inScript(err, "-OOM "):
		return fmt.Errorf("%w: %w", ErrStoreFull, err)
	case asShutOut(err) != nil:
		return asShutOut(err)
	case redis.HasErrorPrefix(err, "WRONGTYPE"), inScript(err, "WRONGTYPE "):
		return otherType(err)
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return fmt.Errorf("%w: %w", ErrPoolExhausted, err)
	case errors.As(err, &network) && network.Op == "dial", errors.Is(err, redis.ErrClosed):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// inScript tells whether a command in a script ended with this refusal. Redis 6.2 reports
// it behind the script's name and line.
func inScript(err error, reason string) bool {
	var refused redis.Error
	return errors.As(err, &refused) && strings.Contains(err.Error(), "@user_script:") &&
		strings.Contains(err.Error(), reason)
}

// NothingDone is err for a call that cannot have written: its outcome is not unknown.
func NothingDone(err error) error {
	if errors.Is(err, ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// pastDeadline tells that ctx is about to end. The connection has the same deadline, and
// may notice first.
func pastDeadline(ctx context.Context) bool {
	deadline, has := ctx.Deadline()
	return has && !time.Now().Before(deadline)
}

// A value under a key of Noted's that Noted did not write is never a verdict, and is
// never overwritten. It counts as a store that cannot answer, not as a bug: it is unknown
// whether the donation was noted, the caller retries, and once an operator has moved the
// value away the answer is right. The errors repeat neither key nor value: errors are
// logged, and both may be a donor's.

// errForeign marks the failures of such a value.
var errForeign = errors.New("the series' key holds what this release cannot read")

// Foreign tells whether err is the failure of one key alone, in a store that is well.
func Foreign(err error) bool { return errors.Is(err, errForeign) }

// NotOurs is the failure of a value of this version that another release, or another
// program, has written.
func NotOurs(version string) error {
	if version >= "2" && version <= "9" {
		return fmt.Errorf("%w: %w: a later release, whose format is %q, has written this series; run that one",
			ErrUnavailable, errForeign, version)
	}
	return fmt.Errorf("%w: %w: Noted has not written the value; %s", ErrUnavailable, errForeign, moveAway)
}

// otherType is the failure of a key that holds no text.
func otherType(err error) error {
	return fmt.Errorf("%w: %w: it is of another type than Noted's (%w); %s",
		ErrUnavailable, errForeign, err, moveAway)
}

// Unreadable is the failure of a line that a script took for a note, and may have written
// to.
func Unreadable() error {
	return fmt.Errorf("%w: %w: a note is not written as Noted writes it; %s", ErrOutcomeUnknown, errForeign, moveAway)
}

const moveAway = "another program writes to this Redis under the prefix of Noted; stop it, look at the series' key " +
	"with redis-cli, and move it away (RENAME); an ACL with the keys ~noted:* for Noted's user alone keeps others out"
