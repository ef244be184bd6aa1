package store_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// cluster starts a Redis Cluster of three primaries and returns its URL.
func cluster(t testing.TB) string { return threeNodes(t).url }

// threeNodes starts a cluster of three primaries without replicas.
func threeNodes(t testing.TB, args ...string) fleet {
	t.Helper()
	return clusterOf(t, func() *redistest.Server {
		return redistest.Start(t, append([]string{"--cluster-enabled", "yes"}, args...)...)
	})
}

func clusterOf(t testing.TB, start func() *redistest.Server) fleet {
	t.Helper()
	f := fleet{mode: "cluster"}
	create := []string{"--cluster", "create", "--cluster-yes"}
	for range 3 {
		node := start()
		f.primaries, create = append(f.primaries, node), append(create, node.Addr())
	}
	if out, err := exec.Command("redis-cli", create...).CombinedOutput(); err != nil {
		t.Fatalf("making a cluster: %v\n%s", err, out)
	}
	for _, node := range f.primaries {
		soon(
			t,
			20*time.Second,
			"the cluster is up",
			func() bool { return strings.Contains(told(t, node, "CLUSTER", "INFO"), "cluster_state:ok") },
		)
	}
	f.url = "redis://" + f.primaries[0].Addr() + "?addr=" + f.primaries[1].Addr() + "&addr=" + f.primaries[2].Addr()
	return f
}

// TestListAsksOnce checks that a listing looks up the primaries of a cluster once a page,
// however many steps it takes through their keys.
func TestListAsksOnce(t *testing.T) {
	f := threeNodes(t)
	s := f.open(t, 0)
	requests := make([]store.NoteRequest, 1000)
	for i := range requests {
		requests[i] = holding(t, fmt.Sprint("I-", i), "r")
	}
	if _, errs := s.Notes(ctx(t), requests); errors.Join(errs...) != nil {
		t.Fatal(errors.Join(errs...))
	}
	asked := func() (calls int) {
		for _, p := range f.primaries {
			stats := strings.ReplaceAll(
				told(t, p, "INFO", "commandstats"),
				"cmdstat_cluster:",
				"cmdstat_cluster|slots:",
			) // Redis 6.2 counts all of CLUSTER
			_, rest, _ := strings.Cut(stats, "cmdstat_cluster|slots:calls=")
			n, _, _ := strings.Cut(rest, ",")
			of, _ := strconv.Atoi(n)
			calls += of
		}
		return calls
	}
	before := asked()
	reply, err := s.List(ctx(t), store.ListRequest{Ledger: ledgerOf(t), PageSize: 1000})
	if n := asked() - before; err != nil || len(reply.Notes) != 1000 || before == 0 ||
		n > 2 { // the client library may look once by itself
		t.Errorf(
			"List: %d notes, %v; it asked for the slots %d times, want 1000 notes and once",
			len(reply.Notes),
			err,
			n,
		)
	}
}
