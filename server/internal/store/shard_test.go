package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestShardLost takes one primary of a cluster away. By default all calls are refused
// then; with cluster-require-full-coverage no, only calls for its series. Each call must
// end within its caller's deadline, none may say that a donation is unknown, and Check
// must name the node. When the node is back, every noted donation is known, and refused
// ones are not.
func TestShardLost(t *testing.T) {
	killed := blow{"killed", func(_ *testing.T, p *redistest.Server) func() { p.Kill(); return p.Restart }, nil}
	frozen := blow{"frozen", func(_ *testing.T, p *redistest.Server) func() { p.Pause(); return p.Resume }, nil}
	for _, c := range []struct {
		coverage string
		blow     blow
	}{{"yes", killed}, {"no", killed}, {"no", frozen}} {
		t.Run(c.blow.name+", full coverage "+c.coverage, func(t *testing.T) {
			f := threeNodes(
				t,
				"--cluster-node-timeout",
				"500",
				"--appendonly",
				"yes",
				"--cluster-require-full-coverage",
				c.coverage,
			)
			s := f.open(t, 0)
			lost := f.primaries[1]
			on := f.seriesByPrimary(t)
			for _, series := range on {
				note(t, s, holding(t, series[0], "r"))
			}
			if _, err := s.Check(ctx(t)); err != nil {
				t.Fatalf("Check before: %v", err)
			}

			mend := c.blow.hit(t, lost)
			ask := func(what, series string) (reply store.NoteReply, err error) {
				t.Helper()
				began := time.Now()
				reply, err = s.Note(within(t, time.Second), holding(t, series, "other"))
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("%s: Note took %v, want it to end with its deadline of 1s", what, took)
				}
				return reply, err
			}
			gone := func(what string, err error) {
				t.Helper()
				// A frozen node may still answer.
				if !errors.Is(err, store.ErrUnavailable) &&
					(c.blow.name == "killed" ||
						!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, store.ErrOutcomeUnknown)) {
					t.Errorf("%s: %v, want %v", what, err, store.ErrUnavailable)
				}
			}
			if _, err := ask("at once", on[lost][0]); err == nil {
				t.Error("at once: an answer from a node that is gone")
			}
			for _, node := range f.primaries {
				if node != lost {
					soon(t, 20*time.Second, "the others have noticed", func() bool {
						return strings.Contains(told(t, node, "CLUSTER", "NODES"), "master,fail ") &&
							strings.Contains(
								told(t, node, "CLUSTER", "INFO"),
								"cluster_state:fail",
							) == (c.coverage == "yes")
					})
				}
			}
			for _, node := range f.primaries {
				known, fresh := on[node][0], on[node][1]
				answer, err := ask("known", known)
				_, errFresh := ask("new", fresh)
				exists, errLook := s.Exists(within(t, time.Second), holding(t, known, "").Donation, ipn, defaultRules)
				switch {
				case node == lost || c.coverage == "yes":
					gone("a known donation", err)
					gone("a new donation", errFresh)
					gone("a look", errLook)
				case err != nil || answer.Verdict != store.Held || errFresh != nil || errLook != nil ||
					exists.Evidence == 0:
					t.Errorf(
						"on a node that is there: a known donation %+v, %v; a new one: %v; a look: %+v, %v; want "+
							"answers",
						answer,
						err,
						errFresh,
						exists,
						errLook,
					)
				}
			}
			for range 3 { // whichever node is asked first
				report, err := s.Check(within(t, 900*time.Millisecond))
				said := fmt.Sprint(report.Lost, err)
				if (err != nil) != (c.coverage == "yes") || (len(report.Lost) == 1) != (c.coverage == "no") ||
					!strings.Contains(said, "primary "+lost.Addr()+":") {
					t.Errorf(
						"Check: lost %q, %v; want it to name the primary %s, and an error only where all is refused",
						report.Lost,
						err,
						lost.Addr(),
					)
				}
			}

			mend()
			soon(t, 20*time.Second, "the cluster is whole again", func() bool {
				report, err := s.Check(within(t, time.Second))
				return err == nil && report.Lost == nil &&
					strings.Contains(told(t, lost, "CLUSTER", "INFO"), "cluster_state:ok")
			})
			for _, node := range f.primaries {
				wantVerdict(t, note(t, s, holding(t, on[node][0], "other")), store.Held, store.SameMessage)
				want := store.First
				if c.coverage == "no" && node != lost {
					want = store.Held // noted meanwhile
				}
				if got := note(t, s, holding(t, on[node][1], "third")); got.Verdict != want {
					t.Errorf("the new donation on %s: verdict %d, want %d", node.Addr(), got.Verdict, want)
				}
			}
		})
	}
}

// TestNoShardAnswers checks that a cluster of which no node answers is asked once by
// Check and once by a call, however many keys they are about.
func TestNoShardAnswers(t *testing.T) {
	var met atomic.Int64
	url := "redis://"
	for i := range 3 {
		node, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { node.Close() })
		go func() {
			for {
				conn, err := node.Accept()
				if err != nil {
					return
				}
				met.Add(1)
				conn.Close()
			}
		}()
		url += []string{"", "?addr=", "&addr="}[i] + node.Addr().String()
	}
	requests := make([]store.NoteRequest, 100)
	for i := range requests {
		requests[i] = holding(t, fmt.Sprint("I-", i), "r")
	}
	for replicas := range 2 {
		s := openWith(t, store.Config{URL: url, Mode: "cluster", Replicas: replicas, ReplicasTimeout: time.Second})
		for name, ask := range map[string]func() error{
			"Check": func() error { _, err := s.Check(ctx(t)); return err },
			"Notes": func() error { _, errs := s.Notes(context.Background(), requests); return errors.Join(errs...) },
		} {
			met.Store(0)
			if err := ask(); !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrOutcomeUnknown) {
				t.Errorf("%s, %d replicas: %v, want %v", name, replicas, err, store.ErrUnavailable)
			}
			if n := met.Load(); n == 0 || n > 30 {
				t.Errorf("%s, %d replicas: three nodes were called %d times, want a few", name, replicas, n)
			}
		}
	}
}

// seriesByPrimary finds two series for each primary of a cluster.
func (f fleet) seriesByPrimary(t testing.TB) map[*redistest.Server][]string {
	t.Helper()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{f.primaries[0].Addr()}})
	defer c.Close()
	found := map[*redistest.Server][]string{}
	for i := 0; i < 1000; i++ {
		series := fmt.Sprint("I-", i)
		client, err := c.MasterForKey(ctx(t), "noted:{"+ledgerOf(t)+" "+series+"}")
		if err != nil {
			t.Fatalf("finding the primary of %s: %v", series, err)
		}
		enough := true
		for _, node := range f.primaries {
			if node.Addr() == client.Options().Addr {
				found[node] = append(found[node], series)
			}
			enough = enough && len(found[node]) >= 2
		}
		if enough {
			return found
		}
	}
	t.Fatalf("of 1000 series the primaries have %v", found)
	return nil
}
