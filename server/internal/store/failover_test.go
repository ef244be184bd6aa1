package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A watched is a primary, two replicas and three sentinels: each Redis at a place of its own, the sentinels at a fourth.
type watched struct {
	network   *redistest.Network // nil where there can be none
	redises   []*redistest.Server
	sentinels []*redistest.Server
}

func sentinels(t *testing.T, args ...string) *watched {
	t.Helper()
	w := &watched{}
	places := make([]redistest.Place, 4)
	for i := range places {
		places[i] = redistest.Place{Host: "127.0.0.1"}
	}
	var err error
	if w.network, err = redistest.NewNetwork(t, 4); err != nil {
		if os.Geteuid() == 0 {
			if _, missing := exec.LookPath("ip"); missing != nil {
				t.Fatal("ip is not installed; on Debian: apt-get install iproute2")
			}
		}
		t.Logf("no cable can be pulled here, servers are frozen instead: %v", err)
		w.network = nil
	} else {
		places = w.network.Places
	}
	args = append([]string{"--repl-diskless-sync-delay", "0", "--repl-backlog-size", "16mb"}, args...)
	for i, place := range places[:3] {
		with := args
		if i > 0 {
			with = append(with[:len(with):len(with)], "--replicaof", fmt.Sprintf("%s %d", w.redises[0].Host(), w.redises[0].Port()))
		}
		w.redises = append(w.redises, redistest.StartAt(t, place, with...))
	}
	w.settled(t, w.redises[0])
	configuration := fmt.Sprintf("sentinel monitor noted %s %d 2\nsentinel down-after-milliseconds noted 500\nsentinel failover-timeout noted 1000\nsentinel parallel-syncs noted 2\n",
		w.redises[0].Host(), w.redises[0].Port())
	for range 3 {
		s := redistest.StartSentinel(t, places[3], configuration)
		// They talk to each other every two seconds, and forgive a primary that comes back for eight; a test has no such time.
		if got := told(t, s, "SENTINEL", "DEBUG", "publish-period", "200", "info-period", "200", "ping-period", "100", "ask-period", "100", "min-link-reconnect-period", "100"); got != "OK" {
			t.Fatalf("SENTINEL DEBUG: %s", got)
		}
		w.sentinels = append(w.sentinels, s)
	}
	soon(t, 20*time.Second, "the sentinels know each other and the replicas", func() bool {
		for _, s := range w.sentinels {
			if info := told(t, s, "INFO", "sentinel"); !strings.Contains(info, "slaves=2,sentinels=3") {
				return false
			}
		}
		return true
	})
	return w
}

func (w *watched) config(replicas int) store.Config {
	return store.Config{Mode: "sentinel", Replicas: replicas, ReplicasTimeout: 200 * time.Millisecond,
		URL: "redis://" + w.sentinels[0].Addr() + "?addr=" + w.sentinels[1].Addr() + "&addr=" + w.sentinels[2].Addr() + "&master_name=noted"}
}

// primary is the one that most sentinels name; nil while they do not agree.
func (w *watched) primary(t testing.TB) *redistest.Server {
	votes := map[string]int{}
	for _, s := range w.sentinels {
		votes[told(t, s, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "noted")]++
	}
	for _, r := range w.redises {
		if votes[fmt.Sprintf("[%s %d]", r.Host(), r.Port())] == len(w.sentinels) {
			return r
		}
	}
	return nil
}

// settled waits until all others are replicas of one, and up to date.
func (w *watched) settled(t testing.TB, primary *redistest.Server) {
	t.Helper()
	soon(t, 30*time.Second, "every other is a replica of the primary", func() bool {
		for _, r := range w.redises {
			info := told(t, r, "INFO", "replication")
			if r == primary && strings.Count(info, "state=online") != 2 ||
				r != primary && (!strings.Contains(info, "master_link_status:up") || !strings.Contains(info, fmt.Sprintf("master_port:%d", primary.Port()))) {
				return false
			}
		}
		return true
	})
}

// A blow is something that happens to a primary, and how it is made good again.
type blow struct {
	name string
	hit  func(t *testing.T, primary *redistest.Server) (mend func())
}

func (w *watched) blows() (killed, frozen, cut, handed blow) {
	killed = blow{"killed", func(_ *testing.T, p *redistest.Server) func() { p.Kill(); return p.Restart }}
	frozen = blow{"frozen", func(_ *testing.T, p *redistest.Server) func() { p.Pause(); return p.Resume }}
	cut = blow{"cut off", func(_ *testing.T, p *redistest.Server) func() {
		for _, place := range w.network.Places {
			if place.Host == p.Host() {
				w.network.Cut(place)
				return func() { w.network.Heal(place) }
			}
		}
		return nil
	}}
	if w.network == nil {
		cut = frozen
	}
	handed = blow{"handed over", func(t *testing.T, _ *redistest.Server) func() {
		soon(t, 10*time.Second, "the sentinels hand over", func() bool { return told(t, w.sentinels[0], "SENTINEL", "FAILOVER", "noted") == "OK" })
		return func() {}
	}}
	return killed, frozen, cut, handed
}

// strike does it under whatever load there is, and returns when another is the primary and all is well again.
func (w *watched) strike(t *testing.T, b blow) {
	t.Helper()
	before := w.primary(t)
	began := time.Now()
	mend := b.hit(t, before)
	var now *redistest.Server
	soon(t, 30*time.Second, b.name+": another primary", func() bool {
		now = w.primary(t)
		return now != nil && now != before && strings.Contains(told(t, now, "INFO", "replication"), "role:master")
	})
	took := time.Since(began)
	// For a while both are primaries, as far as they know.
	lapse := time.Now()
	soon(t, time.Second, "a moment", func() bool { return time.Since(lapse) > 300*time.Millisecond })
	mend()
	w.settled(t, now)
	t.Logf("%s: another primary after %v, all well after %v", b.name, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// A till is one who asks for donations while things happen, and remembers every answer.
type till struct {
	t     testing.TB
	store *store.Store
	seed  uint64
	stop  chan struct{}
	going sync.WaitGroup

	mu       sync.Mutex
	answered []answered
	doubled  []string // FIRST for a second request while the first one's hold stood
	wrong    []string

	done         []atomic.Int64 // donations that each worker is done with
	lastError    atomic.Value
	errors       atomic.Int64
	unreplicated atomic.Int64
	longest      atomic.Int64 // without an answer, in nanoseconds
}

type answered struct {
	series, donation string
	settled          bool
}

// begin has workers note, settle and ask again until end.
func begin(t testing.TB, s *store.Store, ledger string, workers int) *till {
	l := &till{t: t, store: s, seed: rand.Uint64(), stop: make(chan struct{}), done: make([]atomic.Int64, workers)}
	t.Logf("seed %d", l.seed)
	for i := range workers {
		l.going.Go(func() { l.work(ledger, i) })
	}
	return l
}

func (l *till) work(ledger string, worker int) {
	random := rand.New(rand.NewPCG(l.seed, uint64(worker)))
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		r := store.NoteRequest{Donation: store.Donation{Ledger: ledger, SeriesID: fmt.Sprintf("I-%d-%d", worker, n), Event: pay}, Message: ipn,
			Hold: 10 * time.Minute, RequestID: fmt.Sprintf("%d-%d", worker, n), Rules: usual}
		var first store.NoteReply
		// The same request again until it is answered, as a client does.
		if !l.until(func(ctx context.Context) (err error) { first, err = l.store.Note(ctx, r); return err }) {
			return
		}
		if first.Verdict != store.First {
			l.say(&l.wrong, "%s: the only one to ask got verdict %d by evidence %d", r.Donation.SeriesID, first.Verdict, first.Evidence)
			continue
		}
		a := answered{series: r.Donation.SeriesID, donation: first.Note.DonationID}
		l.again(r, a, false)
		if random.IntN(4) > 0 {
			lost := false
			ok := l.until(func(ctx context.Context) error {
				_, err := l.store.Settle(ctx, first.Receipt)
				if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrHoldLost) {
					lost = true
					return nil
				}
				return err
			})
			a.settled = ok && !lost
			if a.settled {
				l.again(r, a, true)
			}
		}
		l.mu.Lock()
		l.answered = append(l.answered, a)
		l.mu.Unlock()
		l.done[worker].Add(1)
	}
}

// again asks for the donation with another request, once: the answer must not be FIRST.
func (l *till) again(r store.NoteRequest, a answered, settled bool) {
	r.RequestID = fmt.Sprint(r.RequestID, " again ", settled)
	c, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if reply, err := l.store.Note(c, r); err == nil && reply.Verdict == store.First {
		l.say(&l.doubled, "%s was FIRST as %s, settled %v, and is FIRST again as %s by evidence %d", a.series, a.donation, settled, reply.Note.DonationID, reply.Evidence)
	}
}

// until asks until there is an answer; false when it is told to stop first.
func (l *till) until(ask func(ctx context.Context) error) bool {
	began := time.Now()
	for {
		c, cancel := context.WithTimeout(context.Background(), time.Second)
		err := ask(c)
		cancel()
		if err == nil {
			for took := int64(time.Since(began)); ; {
				most := l.longest.Load()
				if took <= most || l.longest.CompareAndSwap(most, took) {
					return true
				}
			}
		}
		l.errors.Add(1)
		l.lastError.Store(err.Error())
		if errors.Is(err, store.ErrNotReplicated) {
			l.unreplicated.Add(1)
		}
		select {
		case <-l.stop:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (l *till) say(list *[]string, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*list = append(*list, fmt.Sprintf(format, args...))
}

// end stops the workers and looks for everything that was answered. It returns how much is not there any more.
func (l *till) end(ledger string) (lost []string) {
	l.t.Helper()
	close(l.stop)
	l.going.Wait()
	for _, a := range l.answered {
		var reply store.ExistsReply
		soon(l.t, 20*time.Second, "a look", func() bool {
			c, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var err error
			reply, err = l.store.Exists(c, store.Donation{Ledger: ledger, SeriesID: a.series, Event: pay}, ipn, usual)
			return err == nil
		})
		switch {
		case reply.Evidence == 0 || reply.Note.DonationID != a.donation:
			lost = append(lost, fmt.Sprintf("%s was FIRST as %s, and is now %+v", a.series, a.donation, reply.Note))
		case a.settled && reply.Note.State != store.StateSettled:
			lost = append(lost, fmt.Sprintf("%s was settled, and is now %+v", a.series, reply.Note))
		}
	}
	for _, w := range l.wrong {
		l.t.Error(w)
	}
	return lost
}

// beating beats ten times a second until the returned function is called, which says how often the store was found to have gone back.
func beating(t testing.TB, s *store.Store) func() int {
	stop, losses := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				losses <- n
				return
			case <-tick.C:
			}
			c, cancel := context.WithTimeout(context.Background(), 900*time.Millisecond)
			found, _ := s.Beat(c)
			cancel()
			for _, f := range found {
				t.Logf("noticed: %s", f.What)
			}
			n += len(found)
		}
	}()
	return func() int { close(stop); return <-losses }
}

// flushing makes the Redises forget their scripts now and then.
func flushing(t testing.TB, servers []*redistest.Server) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(200 * time.Millisecond); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				for _, s := range servers {
					c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialTimeout: 50 * time.Millisecond, DialerRetries: 1, ReadTimeout: 50 * time.Millisecond})
					c.ScriptFlush(context.Background())
					c.Close()
				}
			}
		}
	}()
	return func() { close(done); <-ended }
}

// TestSentinelFailovers checks that with replicas waited for, no failover loses an answer or makes a donation FIRST twice. One replica is enough where the primary is
// gone: the sentinels take the replica that has most. It is not where the primary goes on while they take another, as a handover by hand does: the
// third may then be the one that acknowledges. All replicas are enough for that.
func TestSentinelFailovers(t *testing.T) {
	w := sentinels(t)
	killed, frozen, cut, handed := w.blows()
	for _, c := range []struct {
		replicas int
		blows    []blow
	}{
		{1, []blow{killed, cut, frozen, cut, killed, frozen, cut, killed, frozen, killed}},
		{2, []blow{handed, cut, handed, killed, handed}},
	} {
		ledger := fmt.Sprint("replicas-", c.replicas)
		s := openWith(t, w.config(c.replicas))
		beats, scripts, l := beating(t, s), flushing(t, w.redises), begin(t, s, ledger, 8)
		for _, b := range c.blows {
			w.strike(t, b)
		}
		scripts()
		lost := l.end(ledger)
		if n := beats(); n > 0 {
			t.Errorf("%d losses were noticed where none was", n)
		}
		for _, bad := range some(append(lost, l.doubled...)) {
			t.Error(bad)
		}
		t.Logf("with -replicas %d, %d failovers: %s", c.replicas, len(c.blows), l.sum(lost))
		if len(l.answered) < 200 {
			t.Errorf("only %d answers: the load was none", len(l.answered))
		}
	}
}

// sum is the figures of a till.
func (l *till) sum(lost []string) string {
	return fmt.Sprintf("%d answers, %d lost, %d FIRST twice; %d errors, %d of them for want of replicas; the longest wait for an answer %v",
		len(l.answered), len(lost), len(l.doubled), l.errors.Load(), l.unreplicated.Load(), time.Duration(l.longest.Load()).Round(time.Millisecond))
}

// TestSentinelLoss counts what failovers lose where no replicas are waited for, or too few, and checks that it is noticed. The figures are printed, not judged: they depend on
// when the sentinels act.
func TestSentinelLoss(t *testing.T) {
	w := sentinels(t)
	killed, _, cut, handed := w.blows()
	for i, c := range []struct {
		name     string
		replicas int
		guard    string // min-replicas-to-write
		blow     blow
	}{
		{"killed", 0, "0", killed},
		{"cut off", 0, "0", cut},
		{"cut off, with min-replicas-to-write 1 and min-replicas-max-lag 1", 0, "1", cut},
		{"handed over by hand", 0, "0", handed},
		{"handed over by hand, with one of two replicas waited for", 1, "0", handed},
	} {
		for _, r := range w.redises {
			told(t, r, "CONFIG", "SET", "min-replicas-to-write", c.guard)
			told(t, r, "CONFIG", "SET", "min-replicas-max-lag", "1")
		}
		ledger := fmt.Sprint("ledger-", i)
		s := openWith(t, w.config(c.replicas))
		beats := beating(t, s)
		l := begin(t, s, ledger, 8)
		enough(t, l)
		w.strike(t, c.blow)
		lost := l.end(ledger)
		noticed := beats()
		t.Logf("-replicas %d, the primary %s: %s; noticed %d times", c.replicas, c.name, l.sum(lost), noticed)
		if len(lost) > 50 && noticed == 0 {
			t.Errorf("the primary %s: %d answers were lost and nobody noticed", c.name, len(lost))
		}
	}
}

// enough waits until there is a load.
func enough(t testing.TB, l *till) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the last error of %d: %v", l.errors.Load(), l.lastError.Load())
		}
	}()
	soon(t, 20*time.Second, "a load", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.answered) > 200
	})
}

// allGoOn waits until no worker is stuck. Each has soon asked every part of a cluster.
func (l *till) allGoOn() {
	l.t.Helper()
	began := make([]int64, len(l.done))
	for i := range l.done {
		began[i] = l.done[i].Load()
	}
	soon(l.t, 10*time.Second, "everybody is answered again", func() bool {
		for i := range l.done {
			if l.done[i].Load() < began[i]+20 {
				return false
			}
		}
		return true
	})
}

// some are the first few of many.
func some(all []string) []string { return all[:min(len(all), 10)] }

// TestClusterFailovers is the same for a cluster of six, and while slots move.
func TestClusterFailovers(t *testing.T) {
	f := sixNodes(t, "--cluster-node-timeout", "500")
	nodes := append(f.primaries, f.replicas...)
	s := f.open(t, 1)
	beats, scripts, l := beating(t, s), flushing(t, nodes), begin(t, s, "ledger", 8)
	enough(t, l)
	is := func(node *redistest.Server, what string) bool {
		return strings.Contains(told(t, node, "INFO", "replication"), what)
	}
	well := func() {
		t.Helper()
		soon(t, 30*time.Second, "three primaries with a replica each", func() bool {
			primaries := 0
			for _, node := range nodes {
				if is(node, "role:master") && is(node, "state=online") && strings.Contains(told(t, node, "CLUSTER", "INFO"), "cluster_state:ok") {
					primaries++
				}
			}
			return primaries == 3
		})
	}
	// replicaOf is the node that replicates another.
	replicaOf := func(primary *redistest.Server) *redistest.Server {
		for _, node := range nodes {
			if is(node, fmt.Sprintf("master_port:%d", primary.Port())) {
				return node
			}
		}
		t.Fatalf("no node replicates %s", primary.Addr())
		return nil
	}
	primary := func(i int) *redistest.Server {
		n := 0
		for _, node := range nodes {
			if is(node, "role:master") && is(node, "state=online") {
				if n++; n > i {
					return node
				}
			}
		}
		t.Fatal("there are no three primaries")
		return nil
	}
	failovers := 0
	for i, b := range []blow{
		{"killed", func(_ *testing.T, p *redistest.Server) func() { p.Kill(); return p.Restart }},
		{"handed over", func(t *testing.T, p *redistest.Server) func() {
			if got := told(t, replicaOf(p), "CLUSTER", "FAILOVER"); got != "OK" {
				t.Fatalf("CLUSTER FAILOVER: %s", got)
			}
			return func() {}
		}},
		{"frozen", func(_ *testing.T, p *redistest.Server) func() { p.Pause(); return p.Resume }},
	} {
		p := primary(i)
		next := replicaOf(p)
		began := time.Now()
		mend := b.hit(t, p)
		soon(t, 30*time.Second, b.name+": the replica takes over", func() bool { return is(next, "role:master") })
		took := time.Since(began)
		mend()
		soon(t, 30*time.Second, b.name+": the old primary follows", func() bool { return is(p, "role:slave") })
		well()
		l.allGoOn()
		failovers++
		t.Logf("%s: another primary after %v, all well after %v", b.name, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}

	from, to := primary(0), primary(1)
	id := func(node *redistest.Server) string { return told(t, node, "CLUSTER", "MYID") }
	began := time.Now()
	out, err := exec.Command("redis-cli", "--cluster", "reshard", from.Addr(), "--cluster-from", id(from), "--cluster-to", id(to), "--cluster-slots", "1500", "--cluster-yes",
		"--cluster-pipeline", "100").CombinedOutput()
	if err != nil {
		t.Errorf("resharding: %v\n%s", err, out[max(0, len(out)-1000):])
	}
	t.Logf("1500 slots moved in %v", time.Since(began).Round(time.Millisecond))
	well()

	scripts()
	lost := l.end("ledger")
	if n := beats(); n > 0 {
		t.Errorf("%d losses were noticed where none was", n)
	}
	for _, bad := range some(append(lost, l.doubled...)) {
		t.Error(bad)
	}
	t.Logf("a cluster with -replicas 1, %d failovers and a resharding: %s", failovers, l.sum(lost))

	// Without replicas waited for, a primary that is gone is left as quickly; what that loses is printed.
	careless := begin(t, f.open(t, 0), "careless", 8)
	enough(t, careless)
	p := primary(2)
	next := replicaOf(p)
	p.Kill()
	soon(t, 30*time.Second, "the replica takes over", func() bool { return is(next, "role:master") })
	careless.allGoOn() // while the old primary is still away: it would say who has its slots now
	p.Restart()
	soon(t, 30*time.Second, "the old primary follows", func() bool { return is(p, "role:slave") })
	well()
	t.Logf("a cluster with -replicas 0, a primary killed: %s", careless.sum(careless.end("careless")))
}
