package wire

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Prefix begins every key of Noted's; an ACL may be limited to it.
const Prefix = "noted:"

// partTags put their keys into slots that lie a sixteenth of all slots apart.
var partTags = []int{
	12218, 1354, 18830, 1799, 8560, 49032, 47682, 14976, 266, 40460, 69520, 5967, 3209, 8706, 9821, 10788,
}

// KeysOfAllParts are sixteen keys of a name, all over a cluster, so that each primary has
// one.
func KeysOfAllParts(name string) (keys []string) {
	for _, tag := range partTags {
		keys = append(keys, Prefix+"{"+name+strconv.Itoa(tag)+"}")
	}
	return keys
}

// How often to look up a slot that has moved, and the first of the pauses, which double.
const (
	mostMoves = 5
	movePause = 10 * time.Millisecond
)

// sendToPrimaries sends each primary of a cluster the runs of its keys, with a WAIT
// behind them. A redirected run did not run, so it may be sent again. The client library
// follows no redirection here, since WAIT must stay behind the run.
func (c *Client) sendToPrimaries(ctx context.Context, cluster *redis.ClusterClient, runs []*run) {
	for attempt := 0; len(runs) > 0; attempt++ {
		byNode := map[*redis.Client][]*run{}
		for _, r := range runs {
			node, err := cluster.MasterForKey(ctx, r.call.Key)
			if err != nil { // no node could say where the slots are: send nothing
				failAll(runs, err)
				return
			}
			byNode[node] = append(byNode[node], r)
		}
		var all sync.WaitGroup
		var p caughtPanic
		for node, runs := range byNode {
			all.Go(func() {
				p.catch(func() {
					c.pipeAndWait(ctx, node, false, runs)
					c.followASK(ctx, node, runs)
				})
			})
		}
		all.Wait()
		p.raise()
		var moved []*run
		for _, r := range runs {
			if err := r.cmd.Err(); redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK") {
				moved = append(moved, r)
			}
		}
		if runs = moved; len(runs) == 0 || attempt == mostMoves {
			return
		}
		cluster.ReloadState(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(movePause << attempt): // the library looks up slots up to five times a second
		}
		renew(ctx, runs)
	}
}

// followASK sends the runs that a node answered with ASK to the node that it named: their
// slots are moving there, and their keys are there or nowhere. This happens only during a
// resharding, and the client library may not know the other node yet, so each call opens
// a connection.
func (c *Client) followASK(ctx context.Context, node *redis.Client, runs []*run) {
	asked := map[string][]*run{}
	for _, r := range runs {
		if addr, is := redis.IsAskError(r.cmd.Err()); is {
			asked[addr] = append(asked[addr], r)
		}
	}
	for addr, runs := range asked {
		o := *node.Options()
		o.Addr, o.MinIdleConns = addr, 0
		other := redis.NewClient(&o)
		renew(ctx, runs)
		c.pipeAndWait(ctx, other, true, runs)
		other.Close()
	}
}

// renew gives redirected runs new commands of the same kind.
func renew(ctx context.Context, runs []*run) {
	for _, r := range runs {
		r.prepare(ctx, r.cmd.Name() == "eval")
	}
}
