package store_test

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A fleet is a Redis with replicas, or a cluster.
type fleet struct {
	mode, url           string
	primaries, replicas []*redistest.Server
	ran                 *store.Ran // what the stores run that open opens; nil for none to be told
}

// pair starts a primary with n replicas.
func pair(t testing.TB, n int) fleet {
	t.Helper()
	primary := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	f := fleet{mode: "standalone", url: primary.URL(), primaries: []*redistest.Server{primary}}
	for range n {
		f.replicas = append(f.replicas, redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(primary.Port())))
	}
	f.linked(t)
	return f
}

// sixNodes starts a cluster of three primaries, each with a replica.
func sixNodes(t testing.TB, args ...string) fleet {
	return fleetOf(t, redistest.StartCluster(t, args...))
}

func fleetOf(t testing.TB, nodes *redistest.Fleet) fleet {
	t.Helper()
	f := fleet{mode: nodes.Mode, url: nodes.URL, primaries: nodes.Primaries()}
	for _, node := range nodes.Nodes {
		if !slices.Contains(f.primaries, node) {
			f.replicas = append(f.replicas, node)
		}
	}
	return f
}

// linked waits until every replica is up to date.
func (f fleet) linked(t testing.TB) {
	t.Helper()
	for _, r := range f.replicas {
		soon(
			t,
			20*time.Second,
			"the replica is up to date",
			func() bool { return strings.Contains(told(t, r, "INFO", "replication"), "master_link_status:up") },
		)
	}
	soon(t, 20*time.Second, "the primaries know their replicas", func() bool {
		online := 0
		for _, p := range f.primaries {
			// A replica that has not acknowledged anything yet is at offset 0. It may
			// delay the first answer by a second.
			info := told(t, p, "INFO", "replication")
			online += strings.Count(info, "state=online") - strings.Count(info, "state=online,offset=0,")
		}
		return online >= len(f.replicas)
	})
}

func (f fleet) open(t testing.TB, replicas int) *store.Store {
	t.Helper()
	c := store.Config{URL: f.url, Mode: f.mode, Replicas: replicas, ReplicasTimeout: 200 * time.Millisecond}
	if f.ran != nil {
		c.Took = f.ran.Took
	}
	return openWith(t, c)
}

// patient opens a store that waits for its replicas as long as a busy machine may need.
func (f fleet) patient(t testing.TB, replicas int) *store.Store {
	t.Helper()
	return openWith(t, store.Config{URL: f.url, Mode: f.mode, Replicas: replicas, ReplicasTimeout: 10 * time.Second})
}

func openWith(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open(%+v): %v", c, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// told is the answer of a node; empty if there is none.
func told(t testing.TB, node *redistest.Server, command ...any) string { return node.Tell(command...) }

// within is a context that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	c, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return c
}

func soon(t testing.TB, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// fleets runs a test on a pair and on a cluster.
func fleets(t *testing.T, test func(t *testing.T, f fleet)) {
	t.Run("pair", func(t *testing.T) { test(t, pair(t, 1)) })
	t.Run("cluster", func(t *testing.T) { test(t, sixNodes(t)) })
}

func holding(t testing.TB, series, request string) store.NoteRequest {
	return store.NoteRequest{
		Donation:  store.Donation{Ledger: ledgerOf(t), SeriesID: series, Event: pay},
		Message:   ipn,
		Hold:      time.Minute,
		RequestID: request,
		Rules:     defaultRules,
	}
}
