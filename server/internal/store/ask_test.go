package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A moving is a slot of a cluster that a test moves from one primary to another by hand,
// the series in it, and a series of the third primary.
type moving struct {
	slot      int64
	from, to  *redistest.Server
	series    []string
	elsewhere string
}

// moves finds a slot with as many series.
func moves(t testing.TB, f fleet, series int) moving {
	t.Helper()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{f.primaries[0].Addr()}})
	defer c.Close()
	bySlot := map[int64][]string{}
	m := moving{}
	for n := 0; m.series == nil; n += 4096 {
		pipe := c.Pipeline()
		slots := make([]*redis.IntCmd, 4096)
		for i := range slots {
			slots[i] = pipe.ClusterKeySlot(ctx(t), keyOf(t, fmt.Sprint("I-", n+i)))
		}
		if _, err := pipe.Exec(ctx(t)); err != nil {
			t.Fatalf("asking for slots: %v", err)
		}
		for i, slot := range slots {
			m.slot = slot.Val()
			if bySlot[m.slot] = append(bySlot[m.slot], fmt.Sprint("I-", n+i)); len(bySlot[m.slot]) == series {
				m.series = bySlot[m.slot]
				break
			}
		}
	}
	owner, err := c.MasterForKey(ctx(t), keyOf(t, m.series[0]))
	if err != nil {
		t.Fatal(err)
	}
	for node, on := range f.seriesByPrimary(t) {
		switch {
		case node.Addr() == owner.Options().Addr:
			m.from = node
		case m.to == nil:
			m.to = node
		default:
			m.elsewhere = on[0]
		}
	}
	return m
}

// keyOf is the key of a series in the test's ledger.
func keyOf(t testing.TB, series string) string { return "noted:{" + ledgerOf(t) + " " + series + "}" }

// begin opens the move: the old primary answers ASK for a key that it does not have.
func (m moving) begin(t testing.TB) {
	t.Helper()
	m.must(t, m.to, "CLUSTER", "SETSLOT", m.slot, "IMPORTING", told(t, m.from, "CLUSTER", "MYID"))
	m.must(t, m.from, "CLUSTER", "SETSLOT", m.slot, "MIGRATING", told(t, m.to, "CLUSTER", "MYID"))
}

// end moves the keys that are left, and gives the slot to the new primary.
func (m moving) end(t testing.TB) {
	t.Helper()
	for _, series := range m.series {
		if told(t, m.from, "EXISTS", keyOf(t, series)) == "1" {
			m.must(t, m.from, "MIGRATE", m.to.Host(), m.to.Port(), keyOf(t, series), 0, 5000)
		}
	}
	for _, node := range []*redistest.Server{m.to, m.from} {
		m.must(t, node, "CLUSTER", "SETSLOT", m.slot, "NODE", told(t, m.to, "CLUSTER", "MYID"))
	}
}

func (m moving) must(t testing.TB, node *redistest.Server, command ...any) {
	t.Helper()
	if got := told(t, node, command...); got != "OK" {
		t.Fatalf("%v: %q", command, got)
	}
}

// ran returns a function that counts the scripts that the old and the new primary have
// run since its last call.
func (m moving) ran(t *testing.T) func() [2]int {
	was := [2]int{}
	count := func() [2]int {
		t.Helper()
		now := [2]int{scriptsRun(t, m.from), scriptsRun(t, m.to)}
		since := [2]int{now[0] - was[0], now[1] - was[1]}
		was = now
		return since
	}
	count()
	return count
}

// TestSlotMoves moves a slot by hand, first with keys on both primaries (ASK), then with
// all keys on the new one (MOVED). Each call must get the right answer and run once, on
// one of the two: alone, several in a pipeline, many callers at once. With -replicas the
// new primary's replicas must count.
func TestSlotMoves(t *testing.T) {
	t.Run("without replicas", func(t *testing.T) { slotMoves(t, threeNodes(t), 0) })
	t.Run("with a replica each", func(t *testing.T) { slotMoves(t, sixNodes(t), 1) })
}

func slotMoves(t *testing.T, f fleet, replicas int) {
	const known, fresh, many, flushed, late, later = 0, 1, 4, 5, 6, 7
	m := moves(t, f, 8)
	s, idle := f.open(t, replicas), f.open(t, replicas) // idle is not used until the slot has moved
	for _, on := range f.seriesByPrimary(t) {           // so that each primary knows the script
		note(t, s, holding(t, on[1], "r"))
		note(t, idle, holding(t, on[1], "r"))
	}
	first := map[int]store.NoteReply{known: note(t, s, holding(t, m.series[known], "r"))}
	ran := m.ran(t)
	check := func(what string, want [2]int) {
		t.Helper()
		if got := ran(); got != want {
			t.Errorf("%s: the old and the new primary ran %v scripts, want %v", what, got, want)
		}
	}
	several := func(s *store.Store, asks ...store.NoteRequest) (verdicts []store.Verdict) {
		t.Helper()
		replies, errs := s.Notes(ctx(t), asks)
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("Notes: %v", err)
		}
		for _, r := range replies {
			verdicts = append(verdicts, r.Verdict)
		}
		return verdicts
	}

	m.begin(t)
	first[fresh] = note(t, s, holding(t, m.series[fresh], "r"))
	wantVerdict(t, first[fresh], store.First, store.New)
	check("a new donation", [2]int{0, 1})
	wantVerdict(t, note(t, s, holding(t, m.series[known], "other")), store.Held, store.SameMessage)
	check("a known one", [2]int{1, 0})
	wantVerdict(t, note(t, s, holding(t, m.series[fresh], "other")), store.Held, store.SameMessage)
	again := note(t, s, holding(t, m.series[fresh], "r"))
	wantVerdict(t, again, store.First, store.SameRequest)
	if again.Receipt != first[fresh].Receipt {
		t.Errorf("the same request got receipt %q, want %q", again.Receipt, first[fresh].Receipt)
	}
	check("the new one again, twice", [2]int{0, 2})

	got := several(
		s,
		holding(t, m.series[2], "r"),
		holding(t, m.series[known], "other"),
		holding(t, m.series[2], "other"),
		holding(t, m.elsewhere, "r"),
		holding(t, m.series[3], "r"),
		holding(t, m.series[2], "r"),
	)
	if diff := cmp.Diff(
		[]store.Verdict{store.First, store.Held, store.Held, store.First, store.First, store.First},
		got,
	); diff != "" {
		t.Errorf("several at once (-want +got):\n%s", diff)
	}
	check("several at once", [2]int{1, 4})

	const callers = 16
	verdicts := make([]store.Verdict, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { verdicts[i] = note(t, s, holding(t, m.series[many], fmt.Sprint(i))).Verdict })
	}
	all.Wait()
	firsts := 0
	for _, v := range verdicts {
		if v == store.First {
			firsts++
		}
	}
	if firsts != 1 {
		t.Errorf("%d of %d callers got FIRST, want 1: %v", firsts, callers, verdicts)
	}
	check("many callers", [2]int{0, callers})

	m.must(t, m.to, "SCRIPT", "FLUSH")
	wantVerdict(t, note(t, s, holding(t, m.series[flushed], "r")), store.First, store.New)
	wantVerdict(t, note(t, s, holding(t, m.series[flushed], "other")), store.Held, store.SameMessage)
	if n, err := s.Settle(ctx(t), first[fresh].Receipt); err != nil || n.State != store.StateSettled {
		t.Errorf("Settle: state %d, %v", n.State, err)
	}
	if look, err := s.Exists(
		ctx(t),
		holding(t, m.series[fresh], "").Donation,
		ipn,
		defaultRules,
	); err != nil ||
		look.Note.State != store.StateSettled {
		t.Errorf("Exists: %+v, %v; want it settled", look, err)
	}
	if replicas > 0 {
		replica := f.replicaOf(t, m.to)
		if keys := told(t, replica, "KEYS", "*"); !strings.Contains(keys, m.series[flushed]+"}") {
			t.Errorf("the new primary's replica has %s, want %s among them", keys, m.series[flushed])
		}
		replica.Pause()
		if _, err := s.Note(ctx(t), holding(t, m.series[late], "r")); !errors.Is(err, store.ErrNotReplicated) {
			t.Errorf("with the new primary's replica frozen: %v, want %v", err, store.ErrNotReplicated)
		}
		replica.Resume()
		soon(t, 10*time.Second, "the replica is back", func() bool {
			_, err := s.Note(ctx(t), holding(t, m.series[late], "r"))
			return err == nil
		})
	}

	m.end(t)
	ran()
	wantVerdict(t, note(t, idle, holding(t, m.series[known], "other")), store.Held, store.SameMessage)
	check("a known donation after the move", [2]int{0, 1})
	got = several(
		s,
		holding(t, m.series[known], "r"),
		holding(t, m.series[fresh], "other"),
		holding(t, m.series[2], "other"),
		holding(t, m.series[later], "r"),
		holding(t, m.series[later], "other"),
	)
	if diff := cmp.Diff(
		[]store.Verdict{store.First, store.Duplicate, store.Held, store.First, store.Held},
		got,
	); diff != "" {
		t.Errorf("several after the move (-want +got):\n%s", diff)
	}
	check("several after the move", [2]int{0, 5})
}

// replicaOf is the replica of a primary.
func (f fleet) replicaOf(t testing.TB, primary *redistest.Server) *redistest.Server {
	t.Helper()
	for _, r := range f.replicas {
		if strings.Contains(told(t, r, "INFO", "replication"), fmt.Sprintf("master_port:%d", primary.Port())) {
			return r
		}
	}
	t.Fatalf("no node replicates %s", primary.Addr())
	return nil
}
