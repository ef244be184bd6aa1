package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The tries of one call, and the waits between them.
const (
	maxTries    = 4                      // of one call, the first included
	baseBackoff = 100 * time.Millisecond // before the second try; doubles with each
	maxBackoff  = 2 * time.Second
)

// call runs one RPC with the default deadline, and repeats it while it is UNAVAILABLE.
// Every request that notes has a request id, so a repeat after a lost reply gets the same
// answer.
func call[Request, Response any](
	ctx context.Context,
	c *Client,
	act string,
	rpc func(context.Context, Request) (Response, error),
	request Request,
) (Response, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var earlier error // the first try's, or the latest with a reason
	for try := 1; ; try++ {
		response, err := rpc(ctx, request)
		if err == nil {
			c.budget.succeed()
			return response, nil
		}
		if !retriable(err) || !c.budget.spend() || try == maxTries || !sleep(ctx, waitAfter(try, err)) {
			return response, failing(act, telling(err, earlier), contextError(ctx, err)...)
		}
		if earlier == nil || Reason(err) != "" {
			earlier = err
		}
	}
}

// telling adds the reason of an earlier try to the error of a last try that got no answer,
// such as a try that hung until the deadline. The code stays the last try's: it may have
// noted, even if the earlier try did not.
func telling(err, earlier error) error {
	reason := Reason(err)
	if earlier == nil || reason != "" && reason != "DEADLINE_EXCEEDED" ||
		status.Convert(err).Message() == status.Convert(earlier).Message() {
		return err
	}
	last := status.Convert(err).Proto()
	last.Message += "; " + failing("an earlier try failed", earlier).Error()
	return status.ErrorProto(last)
}

// retriable says whether another try may help. Only UNAVAILABLE is retried: any other
// code would come again, or says that time is up. A store that has lost notes waits for its
// operator.
func retriable(err error) bool {
	return status.Code(err) == codes.Unavailable && Reason(err) != "STORE_WENT_BACK"
}

// waitAfter is the wait after the given try: exponential, with a random upper half so
// that callers do not come back in step. The server's RetryInfo is a lower bound.
func waitAfter(try int, err error) time.Duration {
	wait := min(baseBackoff<<min(try-1, 10), maxBackoff)
	wait = wait/2 + rand.N(wait/2)
	if asked, ok := RetryAfter(err); ok && asked > wait {
		wait = asked + rand.N(asked/4+1)
	}
	return wait
}

// sleep waits, and returns false if the context has ended or would end before the wait is
// over.
func sleep(ctx context.Context, wait time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// contextError returns why the caller's context ended, if the status does not say so: the
// context ended between two tries.
func contextError(ctx context.Context, err error) []error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return []error{cause, context.Cause(ctx)}
	}
	return nil
}

// budget keeps a client from making an outage worse (gRPC's retry throttling). A failure
// costs a token, and a success earns a tenth. While less than half of the tokens are
// left, no call is tried again. A first try is never refused.
type budget struct {
	mu     sync.Mutex
	tokens float64
}

const fullBudget = 100

func newBudget() *budget { return &budget{tokens: fullBudget} }

func (b *budget) succeed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(fullBudget, b.tokens+0.1)
}

// spend pays for a failure and says whether another try is within the budget.
func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = max(0, b.tokens-1)
	return b.tokens > fullBudget/2
}
