package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// beat beats once, and fails the test unless the beat finds as many losses as wanted.
func beat(t testing.TB, s *store.Store, want int, what string) {
	t.Helper()
	found, err := s.Beat(ctx(t))
	if err != nil {
		t.Fatalf("%s: Beat: %v", what, err)
	}
	if len(found) != want {
		t.Errorf("%s: Beat found %v, want %d losses", what, found, want)
	}
	for _, f := range found {
		t.Logf("%s: %s", what, f.What)
	}
}

// TestNothingLost checks that servers that beat side by side find no loss while they come
// and go, on every kind of store.
func TestNothingLost(t *testing.T) {
	everyFleet := map[string]func(t *testing.T) store.Config{
		"embedded": func(t *testing.T) store.Config {
			server, err := embedded.Start()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			return store.Config{URL: server.URL(), Mode: "standalone"}
		},
		"redis": func(t *testing.T) store.Config {
			return store.Config{URL: redistest.Start(t).URL(), Mode: "standalone"}
		},
		"cluster": func(t *testing.T) store.Config { return store.Config{URL: cluster(t), Mode: "cluster"} },
	}
	for name, config := range everyFleet {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			c.RefuseAfterLoss = true
			var all sync.WaitGroup
			ids := make(chan string, 4)
			for i := range 4 {
				all.Go(func() {
					s := openWith(t, c)
					for range 30 * (i + 1) { // the last beat of a slow server drops out of the mark
						if found, err := s.Beat(ctx(t)); err != nil || len(found) > 0 {
							t.Errorf("Beat: %v, %v", found, err)
						}
						if i == 0 {
							for range 30 {
								if _, err := s.Exists(
									ctx(t),
									store.Donation{SeriesID: "I-1", Event: pay},
									ipn,
									defaultRules,
								); err != nil {
									t.Errorf("Exists: %v", err)
								}
							}
						}
					}
					ids <- s.Epoch()
				})
			}
			all.Wait()
			epoch := <-ids
			for range 3 {
				if other := <-ids; other != epoch {
					t.Errorf("servers that started at once have the epochs %s and %s", epoch, other)
				}
			}
			c.Epoch = epoch
			late := openWith(t, c)
			beat(t, late, 0, "a late start that expects the epoch")
			if lost := late.Lost(); !lost.At.IsZero() {
				t.Errorf("it has lost %+v", lost)
			}
		})
	}
}

// TestLoss loses a store's data in every way. A server must notice with its next
// beat, once. So must other servers, and servers that start later if they expect the
// epoch. With RefuseAfterLoss no call may be answered from the data that is left.
func TestLoss(t *testing.T) {
	dir := t.TempDir()
	dump := filepath.Join(dir, "dump.rdb")
	backup := func(r *redistest.Server) []byte {
		r.Do("SAVE")
		data, err := os.ReadFile(dump)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	ways := []struct {
		name    string
		noticed bool // by new connections, before the next beat
		lose    func(r *redistest.Server, s, strict, other *store.Store)
	}{
		{"flushed", false, func(r *redistest.Server, _, _, _ *store.Store) { r.Do("FLUSHALL") }},
		{"restarted without its data", true, func(r *redistest.Server, _, _, _ *store.Store) {
			r.Kill()
			os.Remove(dump)
			r.Restart()
		}},
		{"restored from an old backup", true, func(r *redistest.Server, s, strict, _ *store.Store) {
			old := backup(r)
			beat(t, s, 0, "after the backup")
			beat(t, strict, 0, "after the backup")
			r.Kill()
			if err := os.WriteFile(dump, old, 0o600); err != nil {
				t.Fatal(err)
			}
			r.Restart()
		}},
		{
			"restored, and another server has made up for the beats",
			true,
			func(r *redistest.Server, s, strict, other *store.Store) {
				old := backup(r)
				beat(t, s, 0, "after the backup")
				beat(t, strict, 0, "after the backup")
				r.Kill()
				if err := os.WriteFile(dump, old, 0o600); err != nil {
					t.Fatal(err)
				}
				r.Restart()
				for range 20 {
					beat(t, other, 0, "another server, which never saw the lost notes,")
				}
			},
		},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			os.Remove(dump)
			r := redistest.Start(t, "--dir", dir)
			config := store.Config{URL: r.URL(), Mode: "standalone"}
			s, other := openWith(t, config), openWith(t, config)
			config.RefuseAfterLoss = true
			strict := openWith(t, config)
			if _, err := strict.Note(ctx(t), holding(t, "I-0", "r")); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("before the first beat: %v, want %v", err, store.ErrUnavailable)
			}
			beat(t, other, 0, "the first")
			beat(t, s, 0, "the second")
			beat(t, strict, 0, "the third")
			epoch := s.Epoch()
			note(t, strict, holding(t, "I-1", "r"))
			way.lose(r, s, strict, other)

			if way.noticed {
				// Before any beat: the connections are new, and the greeting over them
				// finds the loss.
				for range 3 {
					if reply, err := strict.Note(
						ctx(t),
						holding(t, "I-1", "other"),
					); !errors.Is(err, store.ErrWentBack) &&
						!errors.Is(err, store.ErrOutcomeUnknown) {
						t.Errorf("a call before the next beat: %+v, %v", reply, err)
					}
				}
			}
			beat(t, s, 1, "the next beat")
			beat(t, s, 0, "the beat after it")
			if lost := s.Lost(); lost.At.IsZero() || s.Epoch() == epoch {
				t.Errorf("Lost = %+v in epoch %s, which was %s", lost, s.Epoch(), epoch)
			}
			if _, err := s.Note(ctx(t), holding(t, "I-2", "r")); err != nil {
				t.Errorf("a server that only reports: %v", err)
			}
			beat(t, strict, 1, "the strict server's next beat")
			for _, ask := range []func() error{
				func() error { _, err := strict.Note(ctx(t), holding(t, "I-1", "other")); return err },
				func() error {
					_, errs := strict.Notes(ctx(t), []store.NoteRequest{holding(t, "I-1", "other")})
					return errs[0]
				},
				func() error {
					_, err := strict.Exists(ctx(t), holding(t, "I-1", "").Donation, ipn, defaultRules)
					return err
				},
				func() error {
					_, err := strict.List(ctx(t), store.ListRequest{Ledger: ledgerOf(t), PageSize: 1})
					return err
				},
			} {
				if err := ask(); !errors.Is(err, store.ErrWentBack) {
					t.Errorf("a call after the loss: %v, want %v", err, store.ErrWentBack)
				}
			}
			strict.Acknowledge()
			note(t, strict, holding(t, "I-3", "r"))
			beat(t, strict, 0, "acknowledged")
			if lost := strict.Lost(); !lost.At.IsZero() {
				t.Errorf("acknowledged, and still %+v", lost)
			}

			config.Epoch = epoch
			late := openWith(t, config)
			beat(t, late, 1, "a late start that expects the old epoch")
			config.Epoch = s.Epoch()
			beat(t, openWith(t, config), 0, "a late start that expects the new epoch")
			config.Epoch = ""
			beat(t, openWith(t, config), 0, "a late start that expects no epoch")
		})
	}
}

// TestLossOfAClusterPart empties each primary of a cluster in turn, and checks that the
// loss is noticed.
func TestLossOfAClusterPart(t *testing.T) {
	f := sixNodes(t)
	s := f.open(t, 0)
	beat(t, s, 0, "the first")
	for _, p := range f.primaries {
		for i, mark := range marksOn(t, p) {
			if slot, err := strconv.Atoi(told(t, p, "CLUSTER", "KEYSLOT", mark)); err != nil || slot%1024 != 512 {
				t.Errorf("mark %d, %s, is in slot %d", i, mark, slot)
			}
		}
	}
	for i, p := range f.primaries {
		before := s.Epoch()
		p.Do("FLUSHALL")
		found, err := s.Beat(ctx(t))
		if err != nil || len(found) < 5 {
			t.Errorf("primary %d emptied: Beat found %v, %v; want its five or six marks missing", i, found, err)
		}
		if s.Epoch() == before {
			t.Errorf("the epoch is still %s", before)
		}
		beat(t, s, 0, "the next")
		late := openWith(t, store.Config{URL: f.url, Mode: f.mode, Epoch: s.Epoch()})
		beat(t, late, 0, "a late start that expects the new epoch")
		late = openWith(t, store.Config{URL: f.url, Mode: f.mode, Epoch: before})
		if found, _ := late.Beat(ctx(t)); len(found) == 0 {
			t.Error("a late start that expects the old epoch noticed nothing")
		}
	}
}

func marksOn(t *testing.T, node *redistest.Server) []string {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: node.Addr()})
	defer c.Close()
	keys, err := c.Keys(ctx(t), "noted:{epoch*").Result()
	if err != nil || len(keys) < 5 {
		t.Fatalf("the primary has the marks %v, %v", keys, err)
	}
	return keys
}

// TestBeatNeedsReplicas checks that losing a beat that no replica had is no loss: no
// answer depended on it.
func TestBeatNeedsReplicas(t *testing.T) {
	f := pair(t, 1)
	s, careless := f.open(t, 1), f.open(t, 0)
	beat(t, s, 0, "replicated")
	beat(t, careless, 0, "replicated")
	replicated := told(t, f.primaries[0], "GET", "noted:{epoch}")
	f.replicas[0].Pause()
	for range 3 {
		beat(t, s, 0, "not replicated")
		beat(t, careless, 0, "not replicated")
	}
	f.replicas[0].Resume()
	told(t, f.primaries[0], "SET", "noted:{epoch}", replicated) // as if the replica had taken over
	beat(t, s, 0, "after the replica has taken over")
	beat(t, careless, 1, "after the replica has taken over, without -replicas")
}

// TestBeatWhenFull checks that beats still work in a store without memory, and find no
// loss there.
func TestBeatWhenFull(t *testing.T) {
	r := redistest.Start(t)
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone"})
	beat(t, s, 0, "the first")
	r.Do("CONFIG SET maxmemory 1")
	for range 3 {
		beat(t, s, 0, "full")
	}
}

// TestMarkIsNoSeries checks that a listing of a ledger with the mark's name does not read
// the mark as a series.
func TestMarkIsNoSeries(t *testing.T) {
	s := openWith(t, store.Config{URL: redistest.Start(t).URL(), Mode: "standalone"})
	beat(t, s, 0, "the first")
	r := holding(t, "I-1", "r")
	r.Donation.Ledger = "epoch"
	note(t, s, r)
	for _, ledger := range []string{"epoch", ""} {
		reply, err := s.List(ctx(t), store.ListRequest{Ledger: ledger, PageSize: 10})
		if want := map[string]int{"epoch": 1}[ledger]; err != nil || len(reply.Notes) != want {
			t.Errorf("List(%q): %v, %v; want %d notes", ledger, reply, err, want)
		}
	}
}

// TestStrictBehindSentinels checks that a server that refuses after a loss finds its
// primary again through its sentinels: the sentinels have no mark, so it must not look
// for one there.
func TestStrictBehindSentinels(t *testing.T) {
	w := sentinels(t)
	c := w.config(0)
	c.RefuseAfterLoss = true
	s := openWith(t, c)
	beat(t, s, 0, "the first")
	beat(t, s, 0, "the second")
	first := note(t, s, holding(t, "I-1", "r"))
	for _, node := range append(slices.Clone(w.Sentinels), w.primary()) {
		for _, kind := range []string{"normal", "pubsub"} {
			told(t, node, "CLIENT", "KILL", "TYPE", kind)
		}
	}
	var last error
	var again store.NoteReply
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last error: %v", last)
		}
	})
	soon(t, 5*time.Second, "a beat after all connections were cut", func() bool {
		_, last = s.Beat(within(t, time.Second))
		return last == nil
	})
	soon(t, 5*time.Second, "an answer after all connections were cut", func() bool {
		again, last = s.Note(within(t, time.Second), holding(t, "I-1", "r"))
		return last == nil
	})
	wantVerdict(t, again, store.First, store.SameRequest)
	if lost := s.Lost(); again.Receipt != first.Receipt || !lost.At.IsZero() {
		t.Errorf("the same request got receipt %q, want %q; lost %+v, want nothing", again.Receipt, first.Receipt, lost)
	}
}
