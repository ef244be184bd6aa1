package store_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// cluster starts a Redis Cluster of three primaries and returns its URL.
func cluster(t testing.TB) string {
	t.Helper()
	var addrs []string
	for range 3 {
		addrs = append(addrs, redistest.Start(t, "--cluster-enabled", "yes").Addr())
	}
	out, err := exec.Command("redis-cli", append([]string{"--cluster", "create", "--cluster-yes"}, addrs...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("making a cluster: %v\n%s", err, out)
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, addr := range addrs {
		host, port, _ := strings.Cut(addr, ":")
		for {
			out, _ := exec.Command("redis-cli", "-h", host, "-p", port, "cluster", "info").Output()
			if strings.Contains(string(out), "cluster_state:ok") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the cluster has not come up: %s", out)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return "redis://" + addrs[0] + "?addr=" + addrs[1] + "&addr=" + addrs[2]
}
