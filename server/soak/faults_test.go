package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/metadata"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A kind is a kind of store: how to start it, the flags with which noted finds it, and
// its faults.
type kind struct {
	name   string
	start  func(*storm) (flags []string)
	faults func(*storm) []fault
	// looksAreCurrent says that a look is never out of date. In a fleet a replaced
	// primary may answer it.
	looksAreCurrent bool

	releases []*release // of its Noteds; a restarted Noted may be of any of them
}

var (
	oneRelease  = []*release{thisRelease}
	twoReleases = []*release{thisRelease, firstRelease}
)

var stores = []kind{
	{"alone", (*storm).startAlone, (*storm).faultsOfAlone, true, oneRelease},
	{"sentinels", func(s *storm) []string {
		s.fleet = redistest.StartSentinels(s.t, "--appendonly", "yes")
		return []string{
			"-redis-mode",
			"sentinel",
			"-redis",
			s.fleet.URL,
			"-replicas",
			"2",
			"-replicas-timeout",
			"200ms",
		}
	}, (*storm).faultsOfFleet, false, oneRelease},
	{"cluster", func(s *storm) []string {
		s.fleet = redistest.StartClusterApart(s.t, "--cluster-node-timeout", "500", "--appendonly", "yes")
		return []string{"-redis-mode", "cluster", "-redis", s.fleet.URL, "-replicas", "1", "-replicas-timeout", "200ms"}
	}, (*storm).faultsOfFleet, false, oneRelease},
	// On a lone Redis, since the first release's refusals do not wait for replicas.
	{"upgrade", (*storm).startAlone, (*storm).faultsOfUpgrade, true, twoReleases},
}

func (s *storm) startAlone() []string {
	s.redis = redistest.Start(s.t, "--appendonly", "yes", "--appendfsync", "always", "--busy-reply-threshold", "100")
	s.back = newWay(s.t, s.seed+1, s.redis.Addr())
	return []string{"-redis", s.back.proxy.URL()}
}

// A fault is an event that is over when the function returns.
type fault struct {
	name string
	do   func(ctx context.Context, dice *rand.Rand)
}

// rage causes faults, one after another, until the storm ends.
func (s *storm) rage(ctx context.Context) {
	dice := rand.New(rand.NewPCG(s.seed, 2))
	faults := append(s.faultsOfNoted(), s.kind.faults(s)...)
	for began := time.Now(); time.Since(began) < s.length; {
		if !sleep(ctx, 50*time.Millisecond+paypaltest.UpTo(dice, 400*time.Millisecond)) {
			return
		}
		f := faults[dice.IntN(len(faults))]
		from := time.Since(s.history.began)
		f.do(ctx, dice)
		to := time.Since(s.history.began)
		s.befell = append(
			s.befell,
			fmt.Sprintf("%v to %v: %s", from.Round(time.Millisecond), to.Round(time.Millisecond), f.name),
		)
		if to-from > 10*time.Second {
			s.t.Logf("%s: well again after %v only", f.name, (to - from).Round(time.Second))
		}
	}
}

// a returns a random time; longer times are rarer.
func a(dice *rand.Rand, most time.Duration) time.Duration {
	return most/20 + paypaltest.UpTo(dice, paypaltest.UpTo(dice, most)+1)
}

func (s *storm) faultsOfNoted() []fault {
	again := func(signal syscall.Signal) func(context.Context, *rand.Rand) {
		return func(ctx context.Context, dice *rand.Rand) {
			n := s.noted[dice.IntN(servers)]
			n.end(signal)
			sleep(ctx, a(dice, time.Second))
			n.program = s.programs[dice.IntN(len(s.programs))]
			n.start()
		}
	}
	return []fault{
		{"a Noted is killed", again(syscall.SIGKILL)},
		{"a Noted is stopped and started", again(syscall.SIGTERM)},
		{"the way to a Noted is bad", func(ctx context.Context, dice *rand.Rand) {
			s.doors[dice.IntN(servers)].worsen(ctx, a(dice, 2*time.Second))
		}},
		{"the ways to the Noteds are cut", func(context.Context, *rand.Rand) {
			for _, d := range s.doors {
				d.proxy.Cut()
			}
		}},
		{"the callers' file is broken for a moment", func(ctx context.Context, dice *rand.Rand) {
			s.writeCallers(`{"receivers": {`)
			sleep(ctx, a(dice, 2*time.Second))
			s.writeCallers(callersFile())
		}},
	}
}

func (s *storm) faultsOfAlone() []fault {
	setting := func(name, bad, good string) func(context.Context, *rand.Rand) {
		return func(ctx context.Context, dice *rand.Rand) {
			s.redis.Tell("CONFIG", "SET", name, bad)
			sleep(ctx, a(dice, time.Second))
			s.redis.Tell("CONFIG", "SET", name, good)
		}
	}
	return []fault{
		{"Redis is killed", func(ctx context.Context, dice *rand.Rand) {
			s.redis.Kill()
			sleep(ctx, a(dice, 2*time.Second))
			s.redis.Restart()
		}},
		{"Redis is restarted", func(context.Context, *rand.Rand) { s.redis.Restart() }},
		{
			"Redis is frozen",
			func(ctx context.Context, dice *rand.Rand) { freeze(ctx, s.redis, a(dice, 2*time.Second)) },
		},
		{
			"the way to Redis is bad",
			func(ctx context.Context, dice *rand.Rand) { s.back.worsen(ctx, a(dice, 2*time.Second)) },
		},
		{"the connections to Redis are cut", func(context.Context, *rand.Rand) { s.back.proxy.Cut() }},
		{"Redis forgets its scripts", func(context.Context, *rand.Rand) { s.redis.Tell("SCRIPT", "FLUSH") }},
		{"Redis is full", setting("maxmemory", "1", "0")},
		{"Redis misses its replicas", setting("min-replicas-to-write", "1", "0")},
		{"Redis takes no more clients", func(ctx context.Context, dice *rand.Rand) {
			client := redis.NewClient(&redis.Options{Addr: s.redis.Addr()})
			defer client.Close()
			in := client.Conn() // a connection from before may stay
			defer in.Close()
			in.ConfigSet(ctx, "maxclients", "1")
			in.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			sleep(ctx, a(dice, time.Second))
			in.ConfigSet(ctx, "maxclients", "10000")
		}},
		{"Redis is a replica", func(ctx context.Context, dice *rand.Rand) {
			s.redis.Tell("REPLICAOF", "127.0.0.1", "1")
			sleep(ctx, a(dice, time.Second))
			s.redis.Tell("REPLICAOF", "NO", "ONE")
		}},
		{"Redis is busy with another's script", func(ctx context.Context, dice *rand.Rand) {
			var asking sync.WaitGroup
			asking.Go(func() { s.redis.Tell("EVAL", "while true do end", "0") })
			sleep(ctx, 100*time.Millisecond+a(dice, time.Second))
			s.await(
				20*time.Second,
				"Redis is not busy any more",
				func() bool { return s.redis.Do("SCRIPT KILL") != "OK" && s.redis.Do("PING") == "PONG" },
			)
			asking.Wait()
		}},
	}
}

// faultsOfUpgrade returns the faults of a lone Redis. Half of all faults are a restart of a
// Noted.
func (s *storm) faultsOfUpgrade() []fault {
	return append(s.faultsOfAlone(), slices.Repeat(s.faultsOfNoted()[:2], 5)...)
}

func (s *storm) faultsOfFleet() []fault {
	// Each fault begins with all nodes well: every answered note is then on the primary
	// and its replicas, and the notes would be lost if all of them lost their memory at
	// once. replaced waits until the primary is replaced, at most for as long as the
	// store may be away.
	under := func(
		strike func(ctx context.Context, dice *rand.Rand, primary *redistest.Server, replaced func() bool),
	) func(context.Context, *rand.Rand) {
		return func(ctx context.Context, dice *rand.Rand) {
			primaries := s.fleet.Primaries()
			if len(primaries) == 0 {
				return
			}
			p := primaries[dice.IntN(len(primaries))]
			next := s.fleet.ReplicaOf(p)
			strike(ctx, dice, p, func() bool {
				for began := time.Now(); time.Since(began) < 10*time.Second; {
					now := s.fleet.Primaries()
					if s.fleet.Mode == "sentinel" && len(now) > 0 && now[0] != p ||
						s.fleet.Mode == "cluster" && next != nil &&
							strings.Contains(next.Tell("INFO", "replication"), "role:master") {
						return true
					}
					if !sleep(ctx, 50*time.Millisecond) {
						break
					}
				}
				return false
			})
			s.await(60*time.Second, "all is well again", s.fleet.Well)
		}
	}
	faults := []fault{
		{
			"a primary is killed",
			under(func(ctx context.Context, dice *rand.Rand, p *redistest.Server, replaced func() bool) {
				p.Kill()
				another := replaced()
				sleep(ctx, a(dice, time.Second))
				if p.Restart(); !another && s.fleet.Mode == "sentinel" {
					p.Tell("REPLICAOF", "NO", "ONE") // it was a primary, though its arguments may make it a replica
				}
			}),
		},
		{
			"a primary hands over",
			under(func(_ context.Context, _ *rand.Rand, p *redistest.Server, replaced func() bool) {
				if s.fleet.HandOver(p) {
					replaced()
				}
			}),
		},
		{"a primary is frozen", under(func(ctx context.Context, dice *rand.Rand, p *redistest.Server, _ func() bool) {
			freeze(ctx, p, a(dice, 3*time.Second))
		})},
		{
			"a primary is cut off",
			under(func(ctx context.Context, dice *rand.Rand, p *redistest.Server, replaced func() bool) {
				heal := s.fleet.Cut(p)
				replaced()
				sleep(ctx, a(dice, time.Second))
				heal()
			}),
		},
		{"a replica is frozen", under(func(ctx context.Context, dice *rand.Rand, p *redistest.Server, _ func() bool) {
			if r := s.fleet.ReplicaOf(p); r != nil {
				freeze(ctx, r, a(dice, time.Second))
			}
		})},
		{"all forget their scripts", func(context.Context, *rand.Rand) {
			for _, node := range s.fleet.Nodes {
				node.Tell("SCRIPT", "FLUSH")
			}
		}},
		{
			"all connections to a primary are cut",
			under(func(_ context.Context, _ *rand.Rand, p *redistest.Server, _ func() bool) {
				p.Tell("CLIENT", "KILL", "TYPE", "normal")
			}),
		},
	}
	if s.fleet.Mode == "cluster" {
		return append(faults, fault{"slots move", s.reshard})
	}
	return append(
		faults,
		fault{"the connections to the sentinels are cut", func(context.Context, *rand.Rand) {
			for _, sentinel := range s.fleet.Sentinels {
				sentinel.Tell("CLIENT", "KILL", "TYPE", "normal")
				sentinel.Tell("CLIENT", "KILL", "TYPE", "pubsub")
			}
		}},
		fault{
			"a sentinel is frozen",
			under(func(ctx context.Context, dice *rand.Rand, _ *redistest.Server, _ func() bool) {
				freeze(ctx, s.fleet.Sentinels[dice.IntN(len(s.fleet.Sentinels))], a(dice, 2*time.Second))
			}),
		},
	)
}

// reshard moves some slots from one primary of a cluster to another.
func (s *storm) reshard(_ context.Context, dice *rand.Rand) {
	primaries := s.fleet.Primaries()
	if len(primaries) < 2 {
		return
	}
	dice.Shuffle(len(primaries), func(i, j int) { primaries[i], primaries[j] = primaries[j], primaries[i] })
	if err := s.fleet.Reshard(primaries[0], primaries[1], 50+dice.IntN(300)); err != nil {
		s.wrong("%v", err)
	}
	s.await(60*time.Second, "the cluster is well", s.fleet.Well)
}

func freeze(ctx context.Context, r *redistest.Server, d time.Duration) {
	r.Pause()
	sleep(ctx, d)
	r.Resume()
}

// A way is a proxy that is bad at times: it delays and loses requests, and loses replies.
type way struct {
	proxy *redistest.Proxy
	bad   atomic.Bool
	mu    sync.Mutex
	dice  *rand.Rand
}

func newWay(t *testing.T, seed uint64, to string) *way {
	w := &way{dice: rand.New(rand.NewPCG(seed, 3))}
	w.proxy = redistest.StartProxy(t, to, func([]byte) (d redistest.Disturbance) {
		if !w.bad.Load() {
			return d
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		switch x := w.dice.IntN(20); {
		case x < 1:
			d.DropRequest = true
		case x < 3:
			d.DropReply = true
		case x < 8:
			d.Delay, d.DelayReply = paypaltest.UpTo(
				w.dice,
				20*time.Millisecond,
			), paypaltest.UpTo(
				w.dice,
				20*time.Millisecond,
			)
		}
		return d
	})
	return w
}

func (w *way) worsen(ctx context.Context, d time.Duration) {
	w.bad.Store(true)
	sleep(ctx, d)
	w.bad.Store(false)
}

// list lists a page of the ledger, and repeats that until it gets an answer.
func (s *storm) list(ctx context.Context, page string) (answered *notedv1.ListDonationsResponse, err error) {
	for range 10 {
		asking, cancel := context.WithTimeout(
			metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token),
			5*time.Second,
		)
		answered, err = s.clients[0].ListDonations(
			asking,
			&notedv1.ListDonationsRequest{Ledger: ledger, PageSize: 100, PageToken: page},
		)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "Unavailable") || !sleep(ctx, 200*time.Millisecond) {
			break
		}
	}
	return answered, err
}
