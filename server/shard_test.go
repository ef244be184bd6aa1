package server_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A cluster has lost one shard, primary and replica, and may go on without it. Callers
// with a series there are told UNAVAILABLE in time; callers with another series are
// answered, however many calls are refused. The log and /readyz name the node. When all
// shards are lost, the store counts as dead. When they are back, all notes are known.
func TestShardLost(t *testing.T) {
	cluster := redistest.StartCluster(t, "--cluster-require-full-coverage", "no", "--appendonly", "yes")
	s := startConfigured(t, func(c *server.Config) { c.Redis, c.RedisMode = cluster.URL, "cluster" })
	c := s.as(t, nil, "")
	primaries := cluster.Primaries()
	lost := primaries[0]
	replica := cluster.ReplicaOf(lost)
	var there, elsewhere string // a series on the shard that will be lost, and one that is not
	for i := 0; there == "" || elsewhere == ""; i++ {
		id := fmt.Sprint("I-", i)
		if _, err := c.NoteDonation(t.Context(), series(id)); err != nil {
			t.Fatal(err)
		}
		if lost.Tell("EXISTS", "noted:{ "+id+"}") == "1" { // any other node replies MOVED
			there = id
		} else {
			elsewhere = id
		}
	}
	known := func(id string) error {
		answer, err := c.NoteDonation(within(t, 2*time.Second), series(id))
		if err == nil && answer.Verdict != notedv1.Verdict_VERDICT_DUPLICATE {
			t.Errorf("%s: %v, want DUPLICATE or an error", id, answer.Verdict)
		}
		return err
	}

	replica.Kill()
	lost.Kill()
	named := "the primary " + lost.Addr() + ":"
	eventually(t, 20*time.Second, "/readyz names the node", func() bool {
		got := get(t, "http://"+s.AdminAddr()+"/readyz")
		return strings.HasPrefix(got, "200") && strings.Contains(got, named)
	})
	if s.logged("a primary of the cluster cannot be used", named) == 0 {
		t.Errorf("the log does not say that %s is lost", lost.Addr())
	}
	if got := s.metric(t, "noted_store_primaries_lost"); got != 1 {
		t.Errorf("noted_store_primaries_lost = %v, want 1", got)
	}
	notAsked := s.metric(t, "noted_store_not_asked_total")
	stop := make(chan struct{})
	var refused atomic.Int64
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				err := known(there)
				if got := toldBy(
					err,
				); got.code != codes.Unavailable || !got.retry ||
					time.Since(began) > 1900*time.Millisecond {
					t.Errorf(
						"a series of the lost shard: %v after %v, want UNAVAILABLE, with when to come again, before "+
							"the deadline",
						err,
						time.Since(began),
					)
					return
				}
				refused.Add(1)
			}
		})
	}
	eventually(t, 20*time.Second, "many calls were refused in a row", func() bool { return refused.Load() > 500 })
	for range 20 {
		before := refused.Load()
		if err := known(elsewhere); err != nil {
			t.Errorf("a series of another shard: %v, want an answer", err)
		}
		eventually(t, 20*time.Second, "a few more were refused", func() bool { return refused.Load() > before+50 })
	}
	close(stop)
	all.Wait()
	if got := get(t, "http://"+s.AdminAddr()+"/readyz"); !strings.HasPrefix(got, "200") {
		t.Errorf("/readyz = %s, want 200, or a balancer would take the whole service away for a part of the store", got)
	}
	if got := s.metric(t, "noted_store_not_asked_total") - notAsked; got != 0 {
		t.Errorf("%v calls did not ask the store, want none: the rest of the cluster lives", got)
	}

	for _, node := range cluster.Nodes {
		node.Kill()
	}
	eventually(t, 20*time.Second, "a cluster of which nothing is left counts as dead", func() bool {
		known(elsewhere)
		return s.metric(t, "noted_store_breaker_open") == 1
	})
	for _, primary := range primaries { // before a replica takes over, which may lack the notes of the last second
		primary.Restart()
	}
	eventually(
		t,
		30*time.Second,
		"the whole cluster is ready again",
		func() bool { return get(t, "http://"+s.AdminAddr()+"/readyz") == "200\nready\n" },
	)
	for _, id := range []string{there, elsewhere} {
		eventually(t, 20*time.Second, id+" is answered again", func() bool { return known(id) == nil })
	}
	if got := s.metric(t, "noted_store_went_back_total"); got != 0 {
		t.Errorf("%v losses are counted for a cluster that has kept everything, want none", got)
	}
}
