package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

func init() { logging.Disable() } // tests take servers away on purpose, and the client would print of it

// A Fleet is a group of Redises: a primary with replicas and the sentinels that watch
// them, or a cluster.
type Fleet struct {
	tb        testing.TB
	Mode      string // sentinel or cluster
	URL       string // of all of it, as Redis clients take it
	Nodes     []*Server
	Sentinels []*Server
	Network   *Network // that separates the nodes from each other; nil if they are at home
}

// StartSentinels starts a primary, two replicas and three sentinels. Each Redis is at a
// place of its own, and the sentinels share a fourth. Without a network they are all at
// home, and Cut freezes.
func StartSentinels(tb testing.TB, args ...string) *Fleet {
	tb.Helper()
	f := &Fleet{tb: tb, Mode: "sentinel"}
	places := f.apart(4)
	args = append([]string{"--repl-diskless-sync-delay", "0", "--repl-backlog-size", "16mb"}, args...)
	for i, place := range places[:3] {
		with := args
		if i > 0 {
			with = append(with[:len(with):len(with)], "--replicaof", f.Nodes[0].Host(), strconv.Itoa(f.Nodes[0].Port()))
		}
		f.Nodes = append(f.Nodes, StartAt(tb, place, with...))
	}
	f.await(20*time.Second, "the replicas are up to date", func() bool { return f.follow(f.Nodes[0]) })
	configuration := fmt.Sprintf(
		"sentinel monitor noted %s %d 2\nsentinel down-after-milliseconds noted 500\nsentinel failover-timeout "+
			"noted 1000\nsentinel parallel-syncs noted 2\n",
		f.Nodes[0].Host(),
		f.Nodes[0].Port(),
	)
	var addrs []string
	for range 3 {
		s := StartSentinel(tb, places[3], configuration)
		// By default the sentinels talk to each other every two seconds, and allow a
		// primary eight seconds to come back. A test cannot wait that long.
		if got := s.Tell(
			"SENTINEL",
			"DEBUG",
			"publish-period",
			"200",
			"info-period",
			"200",
			"ping-period",
			"100",
			"ask-period",
			"100",
			"min-link-reconnect-period",
			"100",
		); got != "OK" &&
			!strings.HasPrefix(Release(tb), "6.") { // 6.x does not know the command, and takes longer
			tb.Fatalf("SENTINEL DEBUG: %s", got)
		}
		f.Sentinels, addrs = append(f.Sentinels, s), append(addrs, s.Addr())
	}
	f.await(20*time.Second, "the sentinels know each other and the replicas", func() bool {
		for _, s := range f.Sentinels {
			if !strings.Contains(s.Tell("INFO", "sentinel"), "slaves=2,sentinels=3") {
				return false
			}
		}
		return true
	})
	f.URL = "redis://" + addrs[0] + "?addr=" + addrs[1] + "&addr=" + addrs[2] + "&master_name=noted"
	return f
}

// StartCluster starts three primaries, each with a replica, all at home.
func StartCluster(tb testing.TB, args ...string) *Fleet {
	tb.Helper()
	f := &Fleet{tb: tb, Mode: "cluster"}
	return f.cluster(home(6), args)
}

// StartClusterApart is StartCluster with each node at a place of its own, if a network
// can be made.
func StartClusterApart(tb testing.TB, args ...string) *Fleet {
	tb.Helper()
	f := &Fleet{tb: tb, Mode: "cluster"}
	return f.cluster(f.apart(6), args)
}

func (f *Fleet) cluster(places []Place, args []string) *Fleet {
	f.tb.Helper()
	create := []string{"--cluster", "create", "--cluster-yes", "--cluster-replicas", "1"}
	for _, place := range places {
		node := StartAt(
			f.tb,
			place,
			append(
				[]string{
					"--repl-diskless-sync-delay",
					"0",
					"--cluster-enabled",
					"yes",
					"--cluster-node-timeout",
					"1000",
					"--cluster-replica-validity-factor",
					"0",
				},
				args...)...)
		f.Nodes, create = append(f.Nodes, node), append(create, node.Addr())
	}
	if out, err := exec.Command("redis-cli", create...).CombinedOutput(); err != nil {
		f.tb.Fatalf("making a cluster: %v\n%s", err, out)
	}
	f.URL = "redis://" + f.Nodes[0].Addr() + "?addr=" + f.Nodes[1].Addr() + "&addr=" + f.Nodes[2].Addr()
	f.await(20*time.Second, "the cluster is up, and each primary has a replica", f.Well)
	return f
}

func home(n int) []Place { return slices.Repeat([]Place{{Host: "127.0.0.1"}}, n) }

// apart returns n places of a new network. If none can be made, all places are at home;
// for root that is a failure.
func (f *Fleet) apart(n int) []Place {
	f.tb.Helper()
	var err error
	if f.Network, err = NewNetwork(f.tb, n); err == nil {
		return f.Network.Places
	}
	if _, missing := exec.LookPath("ip"); missing != nil && os.Geteuid() == 0 {
		f.tb.Fatal("ip is not installed; on Debian: apt-get install iproute2")
	}
	f.tb.Logf("no cable can be pulled here, servers are frozen instead: %v", err)
	f.Network = nil
	return home(n)
}

// Primaries are the nodes that take writes, according to the sentinels or the cluster;
// nil while they do not agree.
func (f *Fleet) Primaries() (primaries []*Server) {
	if f.Mode == "cluster" {
		for _, node := range f.Nodes {
			if info := node.Tell(
				"INFO",
				"replication",
			); strings.Contains(info, "role:master") &&
				strings.Contains(info, "state=online") {
				primaries = append(primaries, node)
			}
		}
		if len(primaries) != 3 {
			return nil
		}
		return primaries
	}
	for _, node := range f.Nodes {
		votes := 0
		for _, s := range f.Sentinels {
			if s.Tell(
				"SENTINEL",
				"GET-MASTER-ADDR-BY-NAME",
				"noted",
			) == fmt.Sprintf(
				"[%s %d]",
				node.Host(),
				node.Port(),
			) {
				votes++
			}
		}
		if votes == len(f.Sentinels) {
			return []*Server{node}
		}
	}
	return nil
}

// Well tells whether all nodes agree on the primaries, and every replica has all of its
// primary's data.
func (f *Fleet) Well() bool {
	primaries := f.Primaries()
	if f.Mode == "sentinel" {
		return len(primaries) == 1 && f.follow(primaries[0])
	}
	for _, node := range f.Nodes {
		info := node.Tell("INFO", "replication")
		if !strings.Contains(node.Tell("CLUSTER", "INFO"), "cluster_state:ok") ||
			strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
			return false
		}
	}
	return len(primaries) == 3
}

// follow tells whether all other nodes are up-to-date replicas of one node.
func (f *Fleet) follow(primary *Server) bool {
	for _, node := range f.Nodes {
		info := node.Tell("INFO", "replication")
		if node == primary && strings.Count(info, "state=online") != len(f.Nodes)-1 ||
			node != primary &&
				(!strings.Contains(info, "master_link_status:up") ||
					!strings.Contains(info, fmt.Sprintf("master_port:%d", primary.Port()))) {
			return false
		}
	}
	return true
}

// ReplicaOf is a replica of a node; nil if there is none.
func (f *Fleet) ReplicaOf(primary *Server) *Server {
	for _, node := range f.Nodes {
		if strings.Contains(node.Tell("INFO", "replication"), fmt.Sprintf("master_port:%d", primary.Port())) {
			return node
		}
	}
	return nil
}

// HandOver asks for another primary in the place of a healthy one, unless a handover is
// under way. It tells whether one is under way now. On a busy machine Redis gives a
// handover up, so a test asks again until it sees another primary.
func (f *Fleet) HandOver(primary *Server) bool {
	if f.Mode == "sentinel" {
		return strings.Contains(f.Sentinels[0].Tell("SENTINEL", "MASTER", "noted"), "failover_in_progress") ||
			f.Sentinels[0].Tell("SENTINEL", "FAILOVER", "noted") == "OK"
	}
	replica := f.ReplicaOf(primary)
	return replica != nil && replica.Tell("CLUSTER", "FAILOVER") == "OK"
}

// Reshard moves slots from one primary of a cluster to another.
func (f *Fleet) Reshard(from, to *Server, slots int) error {
	out, err := exec.Command("redis-cli", "--cluster", "reshard", from.Addr(), "--cluster-from", from.Tell("CLUSTER", "MYID"), "--cluster-to", to.Tell("CLUSTER", "MYID"),
		"--cluster-slots", strconv.Itoa(slots), "--cluster-yes", "--cluster-pipeline", "100").
		CombinedOutput()
	if err != nil {
		return fmt.Errorf("moving slots: %w\n%s", err, out[max(0, len(out)-1000):])
	}
	return nil
}

// Cut separates a node from all others, as a pulled cable does. The function that it
// returns reconnects the node.
func (f *Fleet) Cut(node *Server) (heal func()) {
	if f.Network == nil {
		node.Pause()
		return node.Resume
	}
	f.Network.Cut(node.place)
	return func() { f.Network.Heal(node.place) }
}

func (f *Fleet) await(limit time.Duration, what string, condition func() bool) {
	f.tb.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.tb.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// Tell sends one command, in words, and returns the reply or the error as text. The text
// is empty if the server does not answer.
func (s *Server) Tell(command ...any) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c := redis.NewClient(
		&redis.Options{
			Addr:          s.Addr(),
			MaxRetries:    -1,
			DialerRetries: 1,
			DialTimeout:   time.Second,
			ReadTimeout:   time.Second,
		},
	)
	defer c.Close()
	reply, err := c.Do(ctx, command...).Result()
	if err != nil {
		return ""
	}
	return fmt.Sprint(reply)
}
