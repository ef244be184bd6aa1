package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Report is what the store says of itself. A field that it does not tell is empty.
type Report struct {
	Server      string        // the program and its release: "Redis 7.0.15" or "Valkey 9.1.2"
	Version     string        // of Redis; of the Redis that Valkey says it is compatible with
	Policy      string        // maxmemory_policy
	Evicts      bool          // when its memory is full it forgets notes
	Role        string        // "master", or "slave", which takes no notes
	Persistence string        // "none", "rdb", "aof"; "hidden" if it tells only that there is no append-only file
	Replicas    int           // connected ones
	MinReplicas bool          // it takes no writes without replicas (min-replicas-to-write)
	Memory      int64         // bytes that it uses; 0 where it does not tell
	MemoryLimit int64         // bytes that it may use (maxmemory); 0 for any, and where it does not tell
	Trouble     string        // why its persistence does not work, where it does not
	ClockOffset time.Duration // the store's clock less this machine's; on a cluster, the largest
	Unverified  bool          // its certificate is not checked (skip_verify)
	Lost        []string      // primaries that cannot be used while the rest of the cluster answers, and why
}

// oldest is the first release whose SET knows PXAT.
const oldest = "6.2"

// Check asks the store, or every primary of a cluster, whether it can take notes. The
// error says why not; the report has the facts that the store told. A cluster that
// continues without one of its primaries (cluster-require-full-coverage no) can take
// notes, and the report names the missing primary.
func (c *Client) Check(ctx context.Context) (Report, error) {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		return c.check(ctx, c.redis, c.clocks.at(""))
	}
	primaries, err := primariesOf(ctx, cluster)
	if err != nil { // no node knows the primaries
		return Report{}, cmp.Or(asWrongKind(err), NothingDone(conclude(ctx, err)))
	}
	var mu sync.Mutex
	var worst Report
	var errs []error // each names its primary
	goesOn := false
	var all sync.WaitGroup
	for node := range primaries {
		all.Go(func() {
			r, err := c.check(ctx, node, c.clocks.at(node.Options().Addr))
			goes := err == nil && strings.Contains(node.ClusterInfo(ctx).Val(), "cluster_state:ok")
			mu.Lock()
			defer mu.Unlock()
			worst, goesOn = worse(worst, r), goesOn || goes
			if err != nil {
				errs = append(errs, fmt.Errorf("the primary %s: %w", node.Options().Addr, err))
			}
		})
	}
	all.Wait()
	if len(errs) > 0 {
		cluster.ReloadState(ctx) // a replica may have taken over
	}
	if goesOn {
		for _, err := range errs {
			worst.Lost = append(worst.Lost, err.Error())
		}
		return worst, nil
	}
	return worst, errors.Join(errs...)
}

// primariesOf are the primaries that the client library knows. Unlike ForEachMaster it
// does not look them up first: that would ask a dead primary for the others.
func primariesOf(ctx context.Context, cluster *redis.ClusterClient) (map[*redis.Client]bool, error) {
	primaries := map[*redis.Client]bool{}
	for i := range manyKeys {
		node, err := cluster.MasterForKey(ctx, Prefix+"{"+strconv.Itoa(i)+"}")
		if err != nil {
			return nil, err // every node was asked, and none knows the slots
		}
		primaries[node] = true
	}
	return primaries, nil
}

// manyKeys is enough keys for every primary to have one, unless it has almost no slots.
const manyKeys = 1024

// worse joins the reports of two primaries: each field is the worse of the two.
func worse(a, b Report) Report {
	if a.ClockOffset.Abs() < b.ClockOffset.Abs() {
		a.ClockOffset = b.ClockOffset
	}
	b.ClockOffset = a.ClockOffset
	if a.Version == "" {
		return b
	} else if b.Version == "" {
		return a
	}
	if b.Evicts && !a.Evicts {
		a.Policy, a.Evicts = b.Policy, true
	}
	if older(b.Version, a.Version) {
		a.Server, a.Version = b.Server, b.Version
	}
	for _, worst := range []string{"none", "hidden", "rdb", "aof"} {
		if a.Persistence == worst || b.Persistence == worst {
			a.Persistence = worst
			break
		}
	}
	if a.Trouble == "" {
		a.Trouble = b.Trouble
	}
	if b.fullness() > a.fullness() || b.fullness() == a.fullness() && b.Memory > a.Memory {
		a.Memory, a.MemoryLimit = b.Memory, b.MemoryLimit
	}
	a.Replicas, a.MinReplicas = min(a.Replicas, b.Replicas), a.MinReplicas && b.MinReplicas
	return a
}

// fullness is the part of its memory that a primary uses; 0 without a limit.
func (r Report) fullness() float64 {
	if r.MemoryLimit == 0 {
		return 0
	}
	return float64(r.Memory) / float64(r.MemoryLimit)
}

func (c *Client) check(ctx context.Context, node redis.Cmdable, clock *Clock) (Report, error) {
	sent := time.Now()
	now, err := node.Time(ctx).Result()
	if redis.HasErrorPrefix(err, "unknown command") && modeOf(readInfo(node.Info(ctx).Val())) == "sentinel" {
		return Report{}, wrongKind(isSentinel)
	} else if wrong := asWrongKind(err); wrong != nil {
		return Report{}, wrong
	} else if err != nil {
		return Report{}, unanswered(conclude(ctx, err))
	}
	clock.observe(now, sent, time.Now())
	r := Report{ClockOffset: clock.offset(), Unverified: c.unverified}
	text, err := node.Info(ctx).Result()
	var refused redis.Error
	if err != nil && !errors.As(err, &refused) { // a managed Redis may hide it
		return r, unanswered(conclude(ctx, err))
	}
	info := readInfo(text)
	if _, cluster := c.redis.(*redis.ClusterClient); !cluster {
		if err := kind(ctx, node, info); err != nil {
			return r, err
		}
	}
	r.Version, r.Policy, r.Role = info["redis_version"], info["maxmemory_policy"], info["role"]
	r.Server = serverOf(info)
	r.Evicts = r.Policy != "" && r.Policy != "noeviction"
	r.Replicas, _ = strconv.Atoi(info["connected_slaves"])
	r.Memory, _ = strconv.ParseInt(info["used_memory"], 10, 64)
	r.MemoryLimit, _ = strconv.ParseInt(info["maxmemory"], 10, 64)
	r.MinReplicas = info["min_slaves_good_slaves"] != "" // Redis tells it only where the setting is on
	r.Persistence = persistence(info, func() string {
		saves, err := node.ConfigGet(ctx, "save").Result()
		if err != nil {
			return "hidden" // a managed Redis may refuse it
		}
		return saves["save"]
	})
	switch {
	case info["aof_enabled"] == "1" && info["aof_last_write_status"] == "err":
		r.Trouble = "it cannot write its append-only file, and takes no new notes until it can"
	case info["rdb_last_bgsave_status"] == "err":
		r.Trouble = "its last snapshot failed, and it may take no new notes until one succeeds " +
			"(stop-writes-on-bgsave-error)"
	}
	switch {
	case r.Version != "" && older(r.Version, oldest):
		return r, fmt.Errorf("%w: it is %s, and Noted needs Redis %s or newer: upgrade it, or name another with "+
			"-redis", ErrUnsuitable, r.Server, oldest)
	case r.Role == "slave":
		return r, fmt.Errorf("%w: it is a replica (%s), which takes no notes; name the primary, or use -redis-mode "+
			"sentinel", ErrUnavailable, r.Server)
	case info["loading"] == "1":
		return r, fmt.Errorf("%w: it is still loading its data (%s)", ErrUnavailable, r.Server)
	}
	return r, nil
}

// serverOf names the program and its release, from INFO; empty if INFO does not say.
// Valkey tells the release of Redis that it is compatible with, beside its own.
func serverOf(info map[string]string) string {
	switch {
	case info["server_name"] == "valkey" || info["valkey_version"] != "":
		return strings.TrimSpace("Valkey " + info["valkey_version"])
	case info["redis_version"] != "":
		return "Redis " + info["redis_version"]
	}
	return ""
}

// readInfo reads the reply of INFO.
func readInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// inInfo finds one value in the reply of INFO, for calls that cannot afford to read all
// of it.
func inInfo(text, name string) string {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// unanswered is NothingDone for an operator, to whom a deadline would say nothing.
func unanswered(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf(
			"%w: it has not answered in time; see whether it is frozen, overloaded, or cut off from here: %w",
			ErrUnavailable,
			err,
		)
	}
	return NothingDone(err)
}

func persistence(info map[string]string, saves func() string) string {
	switch aof := info["aof_enabled"]; {
	case aof == "":
		return ""
	case aof == "1":
		return "aof"
	}
	switch saves() {
	case "hidden":
		return "hidden"
	case "":
		return "none"
	}
	return "rdb"
}

// older compares versions by their numbers.
func older(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.Atoi(as[i])
		y, errY := strconv.Atoi(bs[i])
		if errX != nil || errY != nil {
			return false
		}
		if x != y {
			return x < y
		}
	}
	return false
}

// Stats are counts of the connections to the store and of the scripts sent over them.
type Stats struct {
	Hits, Misses, Timeouts            uint32
	TotalConns, IdleConns, StaleConns uint32
	UnknownScripts                    uint32 // that Redis did not know, and that were sent again with their source
}

// Stats counts since Open.
func (c *Client) Stats() Stats {
	p := c.redis.PoolStats()
	return Stats{
		Hits:           p.Hits,
		Misses:         p.Misses,
		Timeouts:       p.Timeouts,
		TotalConns:     p.TotalConns,
		IdleConns:      p.IdleConns,
		StaleConns:     p.StaleConns,
		UnknownScripts: c.unknownScripts.Load(),
	}
}
