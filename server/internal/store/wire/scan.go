package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// A Node is a primary, whose keys can be walked through.
type Node struct {
	Addr   string // empty if there is no cluster: under sentinels the address may change
	client redis.Cmdable
}

// A Page is a step of a walk through a node's keys.
type Page struct {
	Keys []string
	Next uint64 // where SCAN goes on; 0 at the end
	Run  string // the run_id of the Redis process; empty where Redis hides it
}

// Nodes are the primaries of a cluster in a fixed order, or the one Redis.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		return []Node{{"", c.redis}}, nil
	}
	var mu sync.Mutex
	var nodes []Node
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, Node{c.Options().Addr, c})
		return nil
	})
	if err != nil {
		return nil, NothingDone(conclude(ctx, err))
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, errors.New("the cluster has no primary"))
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Addr, b.Addr) })
	return nodes, nil
}

// Scan walks one step through the keys that match a pattern.
func (n Node) Scan(ctx context.Context, from uint64, pattern string, count int64) (Page, error) {
	pipe := watched(ctx, n.client) // one connection, so that all replies are of one process
	info, step := pipe.Info(ctx, "server"), pipe.Scan(ctx, from, pattern, count)
	if err := pipe.exec(ctx); err != nil {
		return Page{}, NothingDone(conclude(ctx, err))
	}
	keys, next, err := step.Result()
	if err != nil {
		return Page{}, NothingDone(conclude(ctx, err))
	}
	told := readInfo(info.Val())
	if n.Addr == "" && modeOf(told) == "cluster" {
		return Page{}, wrongKind(isNode)
	}
	return Page{Keys: keys, Next: next, Run: told["run_id"]}, nil
}
