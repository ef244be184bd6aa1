package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store"
)

var update = flag.Bool("update", false, "write testdata/simulation.md anew")

const simulationSeed = 20260101

// A shard is a ledger of its own in a store of its own. They run side by side, and small ones cost less: a store looks at all its keys whenever its
// clock moves.
type shard struct {
	row string // of the table
	plan
	shards int // so many alike
}

// Most of the daily series are short, since a script's cost grows with the notes that its series holds; two last the whole year, with 45 notes
// at a time.
var (
	withOwnIDs = []shard{
		{"daily", plan{series: 2, payments: 360, every: day}, 1},
		{"daily", plan{series: 200, payments: 10, every: day}, 6},
		{"weekly", plan{series: 50, payments: 51, every: 7 * day}, 6},
		{"monthly", plan{series: 100, payments: 12, every: 30 * day}, 15},
	}
	withSharedIDs = []shard{
		{"daily, ids shared", plan{series: 200, payments: 10, every: day, shared: true}, 1},
		{"weekly, ids shared", plan{series: 50, payments: 51, every: 7 * day, shared: true}, 1},
		{"monthly, ids shared", plan{series: 100, payments: 12, every: 30 * day, shared: true}, 2},
	}
	withSecondPayments = []shard{
		{"daily, 2 % paid twice", plan{series: 200, payments: 10, every: day, seconds: 0.02}, 3},
		{"daily, 2 % paid twice, ids shared", plan{series: 200, payments: 10, every: day, seconds: 0.02, shared: true}, 1},
	}
)

// small tells that a tenth or so must do: the race detector makes a script five times as slow, and has nothing to find in the other nine. The full run, without
// it, is go test -run Simulation ./server/internal/store.
func small() bool {
	if testing.Short() {
		return true
	}
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A tally is what became of a shard's payments, by ours and by the designs that it is compared with.
type tally struct {
	payments, sent, tries int
	errors                wrongs
	mispaired             int // replies that took a message for another payment's, whether or not that did harm
	givenUp               int // messages that PayPal sends no more
	held, takenOver       int
	repeats               int
	crashed               [crashes]int
	lostReplies           [3]int
	others, healthy       [4]wrongs // healthy: had nothing gone wrong at the receivers
}

func (t *tally) add(u tally) {
	t.payments += u.payments
	t.sent += u.sent
	t.tries += u.tries
	t.errors.add(u.errors)
	t.mispaired += u.mispaired
	t.givenUp += u.givenUp
	t.held += u.held
	t.takenOver += u.takenOver
	t.repeats += u.repeats
	for i := range u.crashed {
		t.crashed[i] += u.crashed[i]
	}
	for i := range u.lostReplies {
		t.lostReplies[i] += u.lostReplies[i]
	}
	for i := range u.others {
		t.others[i].add(u.others[i])
		t.healthy[i].add(u.healthy[i])
	}
}

// TestSimulation sends a year of PayPal's messages to receivers that fail in every way, and looks into the books.
//
// The last part counts what is a known limit: two payments of one amount in a series within the match window, told on two channels whose ids differ and
// arriving crosswise, can be paired wrongly. Where the channels share their ids, none is.
func TestSimulation(t *testing.T) {
	results := append(simulate(t, simulationSeed, "own", withOwnIDs), simulate(t, simulationSeed+1, "shared", withSharedIDs)...)
	twice := simulate(t, simulationSeed+2, "twice", withSecondPayments)
	all := &tally{}
	for _, r := range results {
		all.add(r.tally)
		if r.errors != (wrongs{}) || r.mispaired != 0 || r.givenUp != 0 {
			t.Errorf("%s (seed %d): %d payments lost, %d doubled, %d messages taken for another payment's, %d given up by PayPal; want 0 of each",
				r.row, simulationSeed, r.errors.lost, r.errors.doubled, r.mispaired, r.givenUp)
		}
		if r.others[0] == (wrongs{}) || r.healthy[0] == (wrongs{}) {
			t.Errorf("%s: the design that Noted replaces loses and doubles nothing; this simulation shows no difference", r.row)
		}
	}
	if !small() && all.payments < 50_000 {
		t.Errorf("the simulation has %d payments, want 50,000 or more", all.payments)
	}
	for c := beforeNoting; c < crashes; c++ {
		if all.crashed[c] == 0 {
			t.Errorf("no receiver has crashed %v: nothing is shown of that", c)
		}
	}
	if all.lostReplies[lostBefore] == 0 || all.lostReplies[lostAfter] == 0 || all.held == 0 || all.takenOver == 0 || all.repeats == 0 {
		t.Errorf("nothing is shown of requests lost (%d), replies lost (%d), held (%d), taken over (%d) or repeated at the books (%d)",
			all.lostReplies[lostBefore], all.lostReplies[lostAfter], all.held, all.takenOver, all.repeats)
	}
	for _, r := range twice {
		if r.shared && (r.errors != (wrongs{}) || r.mispaired != 0) {
			t.Errorf("%s (seed %d): %v, %d messages taken for another payment's; want 0 and 0, and none", r.row, simulationSeed, r.errors, r.mispaired)
		}
	}
	got := report(results, twice, all)
	t.Logf("seed %d\n%s", simulationSeed, got)
	if small() {
		return
	}
	golden(t, "testdata/simulation.md", got)
}

// A result is a row of the table.
type result struct {
	row    string
	shared bool
	tally
}

// simulate runs shards, as many at a time as there are cores, and adds them up by their rows.
func simulate(t *testing.T, seed uint64, name string, shards []shard) []*result {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // the embedded store makes and drops an interpreter a call
	if small() {
		shards = slices.Clone(shards)
		for i := range shards {
			shards[i].series, shards[i].shards = max(1, shards[i].series/4), 1
		}
	}
	tallies := make([][]tally, len(shards))
	t.Run(name, func(t *testing.T) {
		for i, s := range shards {
			tallies[i] = make([]tally, s.shards)
			for j := range s.shards {
				t.Run(fmt.Sprintf("%s %d-%d", s.row, i, j), func(t *testing.T) {
					t.Parallel()
					tallies[i][j] = aYear(t, seed<<16+uint64(1000*i+j), s.plan)
				})
			}
		}
	})
	var results []*result
	for i, s := range shards {
		if len(results) == 0 || results[len(results)-1].row != s.row {
			results = append(results, &result{row: s.row, shared: s.shared})
		}
		for _, u := range tallies[i] {
			results[len(results)-1].add(u)
		}
	}
	return results
}

func aYear(t *testing.T, seed uint64, p plan) tally {
	payments, messages := deliveries(seed, ledgerOf(t), p)
	r := newReceiver(t, payments, p.shared)
	r.tally.payments = payments
	for _, m := range messages {
		r.tally.sent += len(m.sent)
	}
	r.tally.tries, r.tally.givenUp = deliver(r.world, messages, misfortunes(seed), r.receive)
	r.tally.repeats, r.tally.errors = r.books.repeats, r.books.errors()
	for i, d := range designs(payments) {
		deliver(d.world, messages, misfortunes(seed), d.receive)
		r.tally.others[i] = d.errors()
	}
	for i, d := range designs(payments) {
		deliver(d.world, messages, allWell, d.receive)
		r.tally.healthy[i] = d.errors()
	}
	return *r.tally
}

// A receiver is one of ours, as often as PayPal calls at a time: it notes with a hold, works, and settles.
type receiver struct {
	*world
	t      *testing.T
	store  *store.Store
	server *embedded.Server
	rules  store.Rules
	books  *books
	tally  *tally
	noted  map[string]int // the payment whose message made the donation
}

func newReceiver(t *testing.T, payments int, shared bool) *receiver {
	server, err := embedded.StartFrozen(yearsStart)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	r := &receiver{
		world: &world{}, t: t, server: server, rules: usual, books: newBooks(payments), tally: &tally{}, noted: map[string]int{},
		store: open(t, "standalone", server.URL()+"?read_timeout=5m"), // a reply is lost where the simulation says so, not where the machine is busy
	}
	if shared {
		r.rules.TransactionIDs = store.Shared
	}
	return r
}

const (
	holds       = time.Minute
	asksIn      = 300 * time.Millisecond // asks again in so long
	received    = true                   // 200
	unavailable = false                  // 503, or a connection that breaks
)

func (r *receiver) receive(m *message, try string, f fate, answer func(bool)) {
	r.after(f.asks, func() {
		if r.crashes(f, beforeNoting) {
			answer(unavailable)
			return
		}
		r.note(m, try, f, answer)
	})
}

func (r *receiver) note(m *message, try string, f fate, answer func(bool)) {
	var reply store.NoteReply
	err := r.ask(f.asking, func() (err error) {
		reply, err = r.store.Note(context.Background(), store.NoteRequest{Donation: m.donation, Message: m.message, Hold: holds, RequestID: try, Rules: r.rules})
		return err
	})
	switch {
	case errors.Is(err, errLost) && f.again:
		f.asking = arrives
		r.after(asksIn, func() { r.note(m, try, f, answer) })
		return
	case errors.Is(err, errLost):
		answer(unavailable)
		return
	case err != nil:
		r.t.Fatalf("Note(%+v): %v", m, err)
	}
	r.judge(m, reply)
	switch reply.Verdict {
	case store.Duplicate:
		answer(received)
	case store.Held:
		r.tally.held++
		answer(unavailable)
	case store.First:
		if reply.Evidence == store.TakenOver {
			r.tally.takenOver++
		}
		if r.crashes(f, beforeProcessing) {
			answer(unavailable)
			return
		}
		r.after(f.works, func() { r.process(m, reply, f, answer) })
	}
}

// judge compares what the store took a message for with the truth.
func (r *receiver) judge(m *message, reply store.NoteReply) {
	id := reply.Note.DonationID
	if payment, known := r.noted[id]; !known {
		r.noted[id] = m.payment
	} else if payment != m.payment {
		r.tally.mispaired++
	}
}

func (r *receiver) process(m *message, reply store.NoteReply, f fate, answer func(bool)) {
	if r.crashes(f, halfway) { // whatever it has done, the payment is not in the books
		answer(unavailable)
		return
	}
	if f.refused {
		if err := r.ask(arrives, func() error {
			_, err := r.store.Release(context.Background(), reply.Receipt)
			return err
		}); err != nil && !notHolder(err) {
			r.t.Fatalf("Release: %v", err)
		}
		answer(unavailable)
		return
	}
	r.books.book(m.payment, reply.Note.DonationID)
	if r.crashes(f, beforeSettling) {
		answer(unavailable)
		return
	}
	r.after(f.settles, func() { r.settle(reply.Receipt, f, answer) })
}

func (r *receiver) settle(receipt string, f fate, answer func(bool)) {
	err := r.ask(f.settling, func() error {
		_, err := r.store.Settle(context.Background(), receipt)
		return err
	})
	switch {
	case errors.Is(err, errLost) && f.again:
		f.settling = arrives
		r.after(asksIn, func() { r.settle(receipt, f, answer) })
	case errors.Is(err, errLost), notHolder(err):
		answer(unavailable)
	case err != nil:
		r.t.Fatalf("Settle: %v", err)
	default:
		answer(!r.crashes(f, beforeAnswering))
	}
}

// notHolder tells that another has taken the donation over meanwhile, from one that took too long.
func notHolder(err error) bool {
	return errors.Is(err, store.ErrHoldLost) || errors.Is(err, store.ErrSettledByAnother)
}

func (r *receiver) crashes(f fate, at crash) bool {
	if f.crash == at {
		r.tally.crashed[at]++
	}
	return f.crash == at
}

var errLost = errors.New("no reply has come")

// ask asks the store at the world's time. The request, or the reply, is lost if it shall be.
func (r *receiver) ask(fate reply, call func() error) error {
	if fate != arrives {
		r.tally.lostReplies[fate]++
	}
	if fate == lostBefore {
		return errLost
	}
	if d := yearsStart.Add(r.now).Sub(r.server.Now()); d > 0 {
		r.server.Advance(d)
	}
	if err := call(); fate == arrives {
		return err
	}
	return errLost
}

// A design is one that Noted replaces. Its receivers make a key known for a while, and process what was not known. None can take that back, and
// so its downstream never refuses.
type design struct {
	name  string
	key   func(m *message) string
	keeps time.Duration
	later time.Duration // the key is made known so long after the check, or in one step with it if this is 0

	*world
	*books
	until map[string]time.Duration // when a key is forgotten
}

func designs(payments int) []*design {
	series := func(m *message) string { return m.donation.SeriesID }
	transaction := func(m *message) string { return m.donation.TransactionID }
	all := []*design{
		{name: "check then note, by series id, kept 1 hour", key: series, keeps: time.Hour, later: 2 * time.Second},
		{name: "kept 4 days", key: series, keeps: 4 * day, later: 2 * time.Second},
		{name: "one atomic SET NX by series id, 4 days", key: series, keeps: 4 * day},
		{name: "by transaction id alone", key: transaction, keeps: usual.Retention},
	}
	for _, d := range all {
		d.world, d.books, d.until = &world{}, newBooks(payments), map[string]time.Duration{}
	}
	return all
}

func (d *design) receive(m *message, _ string, f fate, answer func(bool)) {
	d.after(f.asks, func() {
		if d.later > 0 && d.knows(m) {
			answer(received)
			return
		}
		d.after(d.later, func() { d.note(m, f, answer) })
	})
}

func (d *design) knows(m *message) bool { return d.now < d.until[d.key(m)] }

func (d *design) note(m *message, f fate, answer func(bool)) {
	again := func() {
		if !f.again {
			answer(unavailable)
			return
		}
		f.asking = arrives
		d.after(asksIn, func() { d.note(m, f, answer) })
	}
	if f.crash == beforeNoting {
		answer(unavailable)
		return
	}
	if f.asking == lostBefore {
		again()
		return
	}
	taken := d.later == 0 && d.knows(m)
	if !taken {
		d.until[d.key(m)] = d.now + d.keeps
	}
	switch {
	case f.asking == lostAfter:
		again()
	case taken:
		answer(received)
	case f.crash == beforeProcessing, f.crash == halfway:
		answer(unavailable)
	default:
		d.after(f.works, func() {
			d.book(m.payment, "")
			answer(f.crash == never)
		})
	}
}

// report writes the tables as the README quotes them.
func report(results, twice []*result, all *tally) string {
	var b strings.Builder
	header := func(first string, last ...string) {
		columns := []string{first}
		for _, d := range designs(0) {
			columns = append(columns, d.name)
		}
		columns = append(columns, last...)
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
	}
	header("payments", "Noted")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s %s |", thousands(r.payments), r.row)
		for _, o := range r.others {
			fmt.Fprintf(&b, " %s |", o)
		}
		fmt.Fprintf(&b, " %s |\n", r.errors)
	}
	fmt.Fprintf(&b, "\nThe same messages, had no receiver crashed or hung and no reply been lost:\n\n")
	header("payments")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s %s |", thousands(r.payments), r.row)
		for _, o := range r.healthy {
			fmt.Fprintf(&b, " %s |", o)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nIn all %s payments, told by %s messages, which took PayPal %s tries to deliver. Receivers crashed:\n\n",
		thousands(all.payments), thousands(all.sent), thousands(all.tries))
	for c := beforeNoting; c < crashes; c++ {
		fmt.Fprintf(&b, "- %s: %s times\n", c, thousands(all.crashed[c]))
	}
	fmt.Fprintf(&b, "\nOf what receivers asked the store %s requests and %s replies were lost. %s tries were answered HELD, and %s took a donation over. "+
		"The books were given a donation that they had %s times, each under its donation id, and refused it.\n",
		thousands(all.lostReplies[lostBefore]), thousands(all.lostReplies[lostAfter]), thousands(all.held), thousands(all.takenOver), thousands(all.repeats))
	fmt.Fprintf(&b, "\nWith second payments of one amount within the match window:\n\n| payments | Noted | replies about another payment |\n| --- | --- | --- |\n")
	for _, r := range twice {
		fmt.Fprintf(&b, "| %s %s | %s | %s |\n", thousands(r.payments), r.row, r.errors, thousands(r.mispaired))
	}
	return b.String()
}

func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// golden compares got with a file, which go test -run Simulation -update writes.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what came out; -update writes it anew (-file +now):\n%s", file, diff)
	}
}
