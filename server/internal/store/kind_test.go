package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestWrongKind checks that Check finds a store of another kind than the mode says and
// names the remedy, and that no call is answered from a part of the notes.
func TestWrongKind(t *testing.T) {
	cluster, watched, alone := redistest.StartCluster(t), redistest.StartSentinels(t), redistest.Start(t)
	node, sentinel := cluster.Nodes[0], watched.Sentinels[0]
	for _, n := range cluster.Nodes {
		for _, rule := range [][]any{
			{"ACL", "SETUSER", "blind", "on", ">p", "~noted:*", "+@all", "-info"},
			{"ACL", "SETUSER", "least", "on", ">p", "~noted:*", "+evalsha", "+eval", "+time", "+get", "+set", "+del", "+persist", "+pexpireat", "+scan", "+info", "+client|setname"},
		} {
			if got := n.Tell(rule...); got != "OK" {
				t.Fatalf("%v: %s", rule, got)
			}
		}
	}
	right := open(t, "cluster", cluster.URL)
	for _, series := range []string{"I-1", "I-2", "I-3", "I-4", "I-5", "I-6"} {
		note(t, right, holding(t, series, "r"))
	}

	const master = "?master_name=noted"
	for _, c := range []struct{ name, mode, url, says string }{
		{"a cluster's node", "standalone", node.URL(), "a cluster's node, which has only some of the series: start " +
			"with -redis-mode cluster"},
		{"a cluster's node that hides INFO", "standalone", "redis://blind:p@" + node.Addr(), "start with " +
			"-redis-mode cluster"},
		{"a cluster's node, with the least rights", "standalone", "redis://least:p@" + node.Addr(), "start with " +
			"-redis-mode cluster"},
		{"a sentinel", "standalone", sentinel.URL(), "a sentinel, which keeps no notes: start with -redis-mode " +
			"sentinel"},
		{"a Redis as a cluster", "cluster", alone.URL(), "a Redis that is not in a cluster: start with -redis-mode " +
			"standalone"},
		{"a sentinel as a cluster", "cluster", sentinel.URL(), "start with -redis-mode sentinel where it is a " +
			"sentinel"},
		{"a Redis as a sentinel", "sentinel", alone.URL() + master, "a Redis and no sentinel: start with " +
			"-redis-mode standalone, or name the sentinels"},
		{"a cluster's node as a sentinel", "sentinel", node.URL() + master, "no sentinel"},
		{"sentinels that watch another", "sentinel", sentinel.URL() + "?master_name=other", "mend ?master_name="},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, c.mode, c.url)
			_, err := s.Check(within(t, 5*time.Second))
			if !errors.Is(err, store.ErrUnsuitable) || store.ShutOut(err) != store.ByMode ||
				!strings.Contains(err.Error(), c.says) {
				t.Fatalf("Check: %v, want %v and %q", err, store.ErrUnsuitable, c.says)
			}
			r := holding(t, "I-1", "r")
			if _, err := s.Note(ctx(t), r); !errors.Is(err, store.ErrUnsuitable) {
				t.Errorf("Note: %v, want %v", err, store.ErrUnsuitable)
			}
			if _, err := s.Exists(ctx(t), r.Donation, r.Message, r.Rules); !errors.Is(err, store.ErrUnsuitable) {
				t.Errorf("Exists: %v, want %v", err, store.ErrUnsuitable)
			}
			if page, err := s.List(
				ctx(t),
				store.ListRequest{Ledger: r.Donation.Ledger, PageSize: 100},
			); !errors.Is(
				err,
				store.ErrUnsuitable,
			) {
				t.Errorf("List: %d notes, %v, want %v", len(page.Notes), err, store.ErrUnsuitable)
			}
		})
	}

	// Before the first Check, too: it may come while the store is away.
	s := open(t, "standalone", node.URL())
	if page, err := s.List(
		ctx(t),
		store.ListRequest{Ledger: ledgerOf(t), PageSize: 100},
	); !errors.Is(
		err,
		store.ErrUnsuitable,
	) {
		t.Errorf("List before any Check: %d notes, %v, want %v", len(page.Notes), err, store.ErrUnsuitable)
	}

	for name, s := range map[string]*store.Store{
		"cluster": right, "sentinel": open(t, "sentinel", watched.URL), "standalone": open(t, "standalone", alone.URL()),
	} {
		if _, err := s.Check(within(t, 5*time.Second)); err != nil {
			t.Errorf("%s in its own mode: %v", name, err)
		}
	}
}

// TestRightKindAgain checks that calls are answered once the server at the address is of
// the right kind.
func TestRightKindAgain(t *testing.T) {
	r := redistest.Start(t)
	r.Stop()
	// A cluster of one node, which has all slots.
	other := redistest.StartOn(t, r, "--cluster-enabled", "yes")
	s := open(t, "standalone", r.URL())
	if _, err := s.Check(within(t, 5*time.Second)); !errors.Is(err, store.ErrUnsuitable) {
		t.Fatalf("Check of a cluster's node: %v, want %v", err, store.ErrUnsuitable)
	}
	other.Stop()
	r.Restart()
	if _, err := s.Check(within(t, 5*time.Second)); err != nil {
		t.Fatalf("Check: %v", err)
	}
	note(t, s, holding(t, "I-1", "r"))
}
