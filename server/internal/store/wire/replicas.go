package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// send sends the runs in one go. Runs that need replicas are followed by a WAIT on the
// same connection. WAIT counts the replicas that have everything written on that
// connection, so every answer that needs replicas writes. If it has nothing new to write,
// it rewrites the series unchanged (see confirm in series.lua).
func (c *Client) send(ctx context.Context, runs []*run) {
	_, cluster := c.redis.(*redis.ClusterClient)
	writes := func(r *run) bool { return r.call.Script.Writes && r.deadline != unknownDeadline }
	switch {
	case c.replicas > 0 && slices.ContainsFunc(runs, writes):
		c.sendAndWait(ctx, runs)
	case !cluster && !runs[0].call.Script.Writes: // a cluster redirects a read to the primary
		pipe := watched(ctx, c.redis)
		for _, r := range runs {
			_ = pipe.Process(ctx, r.cmd)
		}
		if err := pipe.exec(ctx); err != nil {
			failAll(runs, err)
		}
	case len(runs) == 1:
		_ = c.redis.Process(ctx, runs[0].cmd) // the command has the error
	default:
		pipe := c.redis.Pipeline()
		for _, r := range runs {
			_ = pipe.Process(ctx, r.cmd)
		}
		exec(ctx, pipe)
	}
}

// WaitsForReplicas tells whether an answer waits for replicas.
func (c *Client) WaitsForReplicas() bool { return c.replicas > 0 }

func failAll(runs []*run, err error) {
	for _, r := range runs {
		r.cmd.SetErr(err)
	}
}

// sendAndWait sends each primary the runs of its keys, and a WAIT behind them.
func (c *Client) sendAndWait(ctx context.Context, runs []*run) {
	if cluster, ok := c.redis.(*redis.ClusterClient); ok {
		c.sendToPrimaries(ctx, cluster, runs)
		return
	}
	c.pipeAndWait(ctx, c.redis, false, runs)
}

// pipeAndWait sends the runs and a WAIT in one pipeline, and so on one connection. With
// asking, the node runs scripts whose slot is still on its way there.
func (c *Client) pipeAndWait(ctx context.Context, node redis.UniversalClient, asking bool, runs []*run) {
	timeout := c.replicasTimeout
	if deadline, has := ctx.Deadline(); has {
		left := time.Until(deadline)
		timeout = min(timeout, max(left/2, left-replyTime))
	}
	wait := redis.NewIntCmd(ctx, "wait", c.replicas, max(1, timeout.Milliseconds())) // 0 would wait for ever
	pipe := node.Pipeline()
	for _, r := range runs {
		if asking {
			_ = pipe.Process(ctx, redis.NewCmd(ctx, "asking")) // it counts for the next command only
		}
		_ = pipe.Process(ctx, r.cmd)
	}
	_ = pipe.Process(ctx, wait)
	exec(ctx, pipe)
	for _, r := range runs {
		r.wait, r.replicated = wait, wait.Err() == nil && wait.Val() >= int64(c.replicas)
	}
}

// replyTime is the part of a caller's deadline that is kept for the way back, so that the
// caller hears of too few replicas and not of a deadline. Redis checks the timeouts of
// WAIT only ten times a second.
const replyTime = 120 * time.Millisecond

// notReplicated is the failure of an answer that too few replicas may have.
func notReplicated(ctx context.Context, wait *redis.IntCmd) error {
	if err := wait.Err(); err != nil {
		if pastDeadline(ctx) {
			return context.DeadlineExceeded
		}
		return fmt.Errorf("%w: asking for them: %w", ErrNotReplicated, err)
	}
	return fmt.Errorf("%w: %d have acknowledged it", ErrNotReplicated, wait.Val())
}

// follow makes a cluster's client library look up the slots when a primary seems to have
// gone. By itself the library does so once a minute: it otherwise learns of a change by
// sending a call to a second node, which our calls forbid.
func (c *Client) follow(runs []*run) {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		return
	}
	for _, r := range runs {
		err := r.cmd.Err()
		var refused redis.Error
		if err == nil || errors.As(err, &refused) && !strings.HasPrefix(err.Error(), "READONLY") &&
			!strings.HasPrefix(err.Error(), "CLUSTERDOWN") {
			continue
		}
		cluster.ReloadState(context.Background())
		return
	}
}
