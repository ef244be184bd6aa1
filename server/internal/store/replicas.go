package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A run is a call on its way.
type run struct {
	cmd        once
	wait       *redis.IntCmd // the WAIT behind it on its connection; nil where none was asked for
	replicated bool          // enough replicas have all that was written before the reply
}

// send sends the runs at the indices. What needs replicas is followed by a WAIT on the
// same connection, which counts who has what that connection wrote: so every answer that
// needs replicas writes, if only what is there already (see confirm in notes.lua).
func (s *Store) send(ctx context.Context, calls []call, runs []run, indices []int) {
	writes := func(i int) bool { return calls[i].script.answers && calls[i].deadline != unknownDeadline }
	if s.replicas > 0 && slices.ContainsFunc(indices, writes) {
		s.sendAndWait(ctx, calls, runs, indices)
		return
	}
	if _, cluster := s.redis.(*redis.ClusterClient); !cluster &&
		!calls[indices[0]].script.answers { // a cluster redirects us to the primary
		pipe := watched(ctx, s.redis)
		for _, i := range indices {
			_ = pipe.Process(ctx, runs[i].cmd)
		}
		if err := pipe.exec(ctx); err != nil {
			for _, i := range indices {
				runs[i].cmd.SetErr(err)
			}
		}
		return
	}
	if len(indices) == 1 {
		_ = s.redis.Process(ctx, runs[indices[0]].cmd) // the command bears the error
		return
	}
	pipe := s.redis.Pipeline()
	for _, i := range indices {
		_ = pipe.Process(ctx, runs[i].cmd)
	}
	exec(ctx, pipe)
}

// sendAndWait asks each primary for the runs of its own keys, and behind them for
// replicas.
func (s *Store) sendAndWait(ctx context.Context, calls []call, runs []run, indices []int) {
	cluster, ok := s.redis.(*redis.ClusterClient)
	if !ok {
		s.pipeAndWait(ctx, s.redis, false, runs, indices)
		return
	}
	// A call that was redirected was not run, so it may be sent again; the client does
	// not follow for us, since WAIT must stay behind it.
	for attempt := 0; len(indices) > 0; attempt++ {
		byNode := map[*redis.Client][]int{}
		for _, i := range indices {
			node, err := cluster.MasterForKey(ctx, calls[i].key)
			if err != nil { // no node has said yet which has what, and each was asked: nothing is sent
				for _, i := range indices {
					runs[i].cmd.SetErr(err)
				}
				return
			}
			byNode[node] = append(byNode[node], i)
		}
		var all sync.WaitGroup
		var p carried
		for node, indices := range byNode {
			all.Go(func() {
				p.run(func() {
					s.pipeAndWait(ctx, node, false, runs, indices)
					s.ask(ctx, node, calls, runs, indices)
				})
			})
		}
		all.Wait()
		p.raise()
		var moved []int
		for _, i := range indices {
			if err := runs[i].cmd.Err(); redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK") {
				moved = append(moved, i)
			}
		}
		if indices = moved; len(indices) == 0 || attempt == mostMoves {
			return
		}
		cluster.ReloadState(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(movePause << attempt): // the client looks where slots are in its own time, up to five times a second
		}
		renew(ctx, calls, runs, indices)
	}
}

// ask sends those runs on that a node has not run because their slots are on the way to
// another, and their keys there or nowhere. That is the rare moment of a resharding, and
// the client may not know the other node yet, so each time a connection is made for it.
func (s *Store) ask(ctx context.Context, node *redis.Client, calls []call, runs []run, indices []int) {
	asked := map[string][]int{}
	for _, i := range indices {
		if addr, is := redis.IsAskError(runs[i].cmd.Err()); is {
			asked[addr] = append(asked[addr], i)
		}
	}
	for addr, indices := range asked {
		o := *node.Options()
		o.Addr, o.MinIdleConns = addr, 0
		other := redis.NewClient(&o)
		renew(ctx, calls, runs, indices)
		s.pipeAndWait(ctx, other, true, runs, indices)
		other.Close()
	}
}

// renew makes commands anew that were redirected.
func renew(ctx context.Context, calls []call, runs []run, indices []int) {
	for _, i := range indices {
		runs[i] = run{cmd: calls[i].command(ctx, runs[i].cmd.Name() == "eval")}
	}
}

// A slot that has moved is looked for so often, with pauses that double.
const (
	mostMoves = 5
	movePause = 10 * time.Millisecond
)

// pipeAndWait sends the runs and a WAIT in one pipeline, and so on one connection. With
// asking the node runs what belongs to a slot that is still on its way there.
func (s *Store) pipeAndWait(ctx context.Context, node redis.UniversalClient, asking bool, runs []run, indices []int) {
	timeout := s.replicasTimeout
	if deadline, has := ctx.Deadline(); has {
		left := time.Until(deadline)
		timeout = min(timeout, max(left/2, left-replyTime))
	}
	wait := redis.NewIntCmd(ctx, "wait", s.replicas, max(1, timeout.Milliseconds())) // 0 would wait for ever
	pipe := node.Pipeline()
	for _, i := range indices {
		if asking {
			_ = pipe.Process(ctx, redis.NewCmd(ctx, "asking")) // it counts for the next command only
		}
		_ = pipe.Process(ctx, runs[i].cmd)
	}
	_ = pipe.Process(ctx, wait)
	exec(ctx, pipe)
	for _, i := range indices {
		runs[i].wait, runs[i].replicated = wait, wait.Err() == nil && wait.Val() >= int64(s.replicas)
	}
}

// replyTime is left of a caller's deadline for the way back, so that he hears of too few
// replicas rather than nothing. Redis looks at the timeouts of WAIT ten times a second
// only.
const replyTime = 120 * time.Millisecond

// notReplicated is the failure of an answer that enough replicas may not have.
func notReplicated(ctx context.Context, wait *redis.IntCmd) error {
	if err := wait.Err(); err != nil {
		if pastDeadline(ctx) {
			return context.DeadlineExceeded
		}
		return fmt.Errorf("%w: asking for them: %w", ErrNotReplicated, err)
	}
	return fmt.Errorf("%w: %d have acknowledged it", ErrNotReplicated, wait.Val())
}

// follow has a cluster's client look where the slots are when a primary seems to have
// gone. By itself it does so once a minute only, since none of our calls may be sent to a
// second node.
func (s *Store) follow(runs []run) {
	cluster, ok := s.redis.(*redis.ClusterClient)
	if !ok {
		return
	}
	for _, r := range runs {
		err := r.cmd.Err()
		var refused redis.Error
		if err == nil ||
			errors.As(err, &refused) && !strings.HasPrefix(err.Error(), "READONLY") &&
				!strings.HasPrefix(err.Error(), "CLUSTERDOWN") {
			continue
		}
		cluster.ReloadState(context.Background())
		return
	}
}
