package store_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// cluster starts a Redis Cluster of three primaries and returns its URL.
func cluster(t testing.TB) string { return threeNodes(t).url }

// threeNodes starts a cluster of three primaries without replicas.
func threeNodes(t testing.TB, args ...string) fleet {
	t.Helper()
	f := fleet{mode: "cluster"}
	create := []string{"--cluster", "create", "--cluster-yes"}
	for range 3 {
		node := redistest.Start(t, append([]string{"--cluster-enabled", "yes"}, args...)...)
		f.primaries, create = append(f.primaries, node), append(create, node.Addr())
	}
	if out, err := exec.Command("redis-cli", create...).CombinedOutput(); err != nil {
		t.Fatalf("making a cluster: %v\n%s", err, out)
	}
	for _, node := range f.primaries {
		soon(t, 20*time.Second, "the cluster is up", func() bool { return strings.Contains(told(t, node, "CLUSTER", "INFO"), "cluster_state:ok") })
	}
	f.url = "redis://" + f.primaries[0].Addr() + "?addr=" + f.primaries[1].Addr() + "&addr=" + f.primaries[2].Addr()
	return f
}
