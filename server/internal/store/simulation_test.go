package store_test

import (
	"flag"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

var update = flag.Bool("update", false, "write testdata/simulation.md anew")

const (
	simulationSeed = 20260101
	day            = 24 * time.Hour
)

// A shard is a ledger in a store of its own. Shards run side by side, and small ones cost
// less: a store looks at all its keys whenever its clock moves.
type shard struct {
	row string // of the table
	paypaltest.Plan
	shards int // how many of this kind
}

// Most of the daily series are short, since a script's cost grows with the notes that its
// series holds; two last the whole year, with 45 notes at a time.
var withPayments = []shard{
	{"daily", paypaltest.Plan{Series: 2, Payments: 360, Every: day}, 1},
	{"daily", paypaltest.Plan{Series: 200, Payments: 10, Every: day}, 6},
	{"weekly", paypaltest.Plan{Series: 50, Payments: 51, Every: 7 * day}, 6},
	{"monthly", paypaltest.Plan{Series: 100, Payments: 12, Every: 30 * day}, 15},
	{"daily, ids agree", paypaltest.Plan{Series: 200, Payments: 10, Every: day, Agree: 1}, 1},
	{"weekly, ids agree", paypaltest.Plan{Series: 50, Payments: 51, Every: 7 * day, Agree: 1}, 1},
	{"monthly, ids agree", paypaltest.Plan{Series: 100, Payments: 12, Every: 30 * day, Agree: 1}, 2},
}

// ledgersEach is how many ledgers a row of withEverything has.
const ledgersEach = 3

// withEverything are the ledgers that each setting is tried on. Their series are of one
// kind each, a third of the donations in each kind.
func withEverything(scale int) (shards []shard) {
	kinds := []paypaltest.Plan{
		{Series: 40 * scale, Payments: 10, Every: day},
		{Series: 20 * scale, Payments: 20, Every: 7 * day},
		{Series: 40 * scale, Payments: 10, Every: 30 * day},
	}
	for _, ids := range []struct {
		say   string
		agree float64
	}{{"agree", 1}, {"differ", 0}, {"agree in 95 % of the series", 0.95}, {"agree in half of the series", 0.5}} {
		for _, seconds := range []float64{0, 0.02} {
			for _, lack := range []string{"", "a fifth without times", "a fifth without transaction ids"} {
				if ids.agree > 0 && ids.agree < 1 && (seconds == 0 || lack != "") {
					continue
				}
				row := "ids " + ids.say
				if seconds > 0 {
					row += ", 2 % paid twice"
				}
				if lack != "" {
					row += ", " + lack
				}
				for _, p := range kinds {
					p.Agree, p.Seconds, p.Events = ids.agree, seconds, true
					switch lack {
					case "a fifth without times":
						p.NoTime = 0.2
					case "a fifth without transaction ids":
						p.NoTransaction = 0.2
					}
					shards = append(shards, shard{row, p, 1})
				}
			}
		}
	}
	return shards
}

// small is true if about a tenth of the simulation must do: with the race detector a
// script is five times as slow, and the other nine tenths would show it nothing new. The
// full run, without the detector, is go test -run '^TestSimulation$'
// ./server/internal/store.
func small() bool {
	if testing.Short() {
		return true
	}
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A tally counts the outcomes of a shard's donations, for Noted and for the designs that
// it replaces.
type tally struct {
	donations       map[store.Event]int
	sent, tries     int
	wrongs          paypaltest.ByEvent
	mispaired       map[store.Event]int // replies that took a message for another donation's, harmful or not
	givenUp         int                 // messages that PayPal sends no more
	contradicted    int                 // payments that contradicted a ledger whose ids were known to agree
	held, takenOver int
	repeats         int
	crashed         [paypaltest.Crashes]int
	lost            [3]int               // requests and replies
	others, healthy [4]paypaltest.Wrongs // healthy: with receivers that never fail
}

func newTally() *tally {
	return &tally{donations: map[store.Event]int{}, wrongs: paypaltest.ByEvent{}, mispaired: map[store.Event]int{}}
}

func (t *tally) add(u *tally) {
	for event, n := range u.donations {
		t.donations[event] += n
	}
	t.sent += u.sent
	t.tries += u.tries
	t.wrongs.Add(u.wrongs)
	for event, n := range u.mispaired {
		t.mispaired[event] += n
	}
	t.givenUp += u.givenUp
	t.contradicted += u.contradicted
	t.held += u.held
	t.takenOver += u.takenOver
	t.repeats += u.repeats
	for i := range u.crashed {
		t.crashed[i] += u.crashed[i]
	}
	for i := range u.lost {
		t.lost[i] += u.lost[i]
	}
	for i := range u.others {
		t.others[i] = t.others[i].Plus(u.others[i])
		t.healthy[i] = t.healthy[i].Plus(u.healthy[i])
	}
}

func (t *tally) payments() paypaltest.Wrongs { return t.wrongs[paypaltest.Payment] }

// money sums up the payments and refunds, which must not be lost or doubled.
func (t *tally) money() paypaltest.Wrongs {
	return t.wrongs.Sum(paypaltest.Payment, paypaltest.Refund)
}

// TestSimulation sends a year of PayPal's messages to receivers that fail in every way,
// and checks the books.
func TestSimulation(t *testing.T) {
	got := simulation(t, stored, small())
	if !small() {
		golden(t, "testdata/simulation.md", got)
	}
}

// TestSimulationOfModel does the same with the model, which must come to the same
// figures. The store and the model were written separately, from the design.
func TestSimulationOfModel(t *testing.T) {
	if small() {
		t.Skip("the race detector has nothing to find here")
	}
	golden(t, "testdata/simulation.md", simulation(t, modelled, false))
}

// TestSimulationAtLarge tries the rules on ten times as many series as the store has time
// for. The README has its figures from here.
func TestSimulationAtLarge(t *testing.T) {
	if small() {
		t.Skip("the race detector has nothing to find here")
	}
	trials := try(t, simulationSeed+2, withEverything(10), modelled)
	wantGoals(t, trials)
	golden(t, "testdata/settings.md", reportTrials(trials))
}

// simulation runs all parts, and returns their report.
func simulation(t *testing.T, on newSubject, small bool) string {
	year, everything := withPayments, withEverything(1)
	if small {
		year, everything = fewer(year), fewer(everything)
	}
	results := simulate(t, simulationSeed, "year", year, store.Auto, on, true)
	all := newTally()
	for _, r := range results {
		all.add(r.tally)
		if r.wrongs.Sum() != (paypaltest.Wrongs{}) || len(r.mispaired) != 0 || r.givenUp != 0 {
			t.Errorf("%s: payments: %v, %v messages taken for another payment's, %d given up by PayPal; want 0 of each",
				r.row, r.wrongs, r.mispaired, r.givenUp)
		}
		if r.others[0] == (paypaltest.Wrongs{}) || r.healthy[0] == (paypaltest.Wrongs{}) {
			t.Errorf(
				"%s: the design that Noted replaces loses and doubles nothing; there is no difference to show",
				r.row,
			)
		}
	}
	if payments := all.donations[paypaltest.Payment]; !small && payments < 50_000 {
		t.Errorf("the simulation has %d payments, want 50,000 or more", payments)
	}
	for c := paypaltest.BeforeNoting; c < paypaltest.Crashes; c++ {
		if all.crashed[c] == 0 {
			t.Errorf("no receiver has crashed %v, so the simulation proves nothing about it", c)
		}
	}
	requests, replies := all.lost[paypaltest.RequestLost], all.lost[paypaltest.ReplyLost]
	if min(requests, replies, all.held, all.takenOver, all.repeats) == 0 {
		t.Errorf(
			"too few requests lost (%d), replies lost (%d), held (%d), taken over (%d) or repeated (%d)",
			requests,
			replies,
			all.held,
			all.takenOver,
			all.repeats,
		)
	}
	trials := try(t, simulationSeed+1, everything, on)
	wantGoals(t, trials)
	got := report(results, all) + "\n" + reportTrials(trials)
	t.Logf("seed %d\n%s", simulationSeed, got)
	return got
}

func fewer(shards []shard) []shard {
	shards = slices.Clone(shards)
	for i := range shards {
		shards[i].Series, shards[i].shards = max(1, shards[i].Series/4), 1
	}
	return shards
}

// A result is a row of a table.
type result struct {
	row string
	*tally
}

// simulate runs shards, as many at a time as there are cores, and adds them up by their
// rows.
func simulate(
	t *testing.T, seed uint64, name string, shards []shard, setting store.TransactionIDs, on newSubject, compare bool,
) []*result {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // the embedded store makes and drops an interpreter a call
	tallies := make([][]*tally, len(shards))
	t.Run(name, func(t *testing.T) {
		for i, s := range shards {
			tallies[i] = make([]*tally, s.shards)
			for j := range s.shards {
				t.Run(fmt.Sprintf("%d-%d %s", i, j, s.row), func(t *testing.T) {
					t.Parallel()
					tallies[i][j] = newTally()
					aYear(t, seed<<16+uint64(1000*i+j), s.Plan, setting, on, compare, tallies[i][j])
				})
			}
		}
	})
	var results []*result
	for i, s := range shards {
		if len(results) == 0 || results[len(results)-1].row != s.row {
			results = append(results, &result{s.row, newTally()})
		}
		for _, u := range tallies[i] {
			results[len(results)-1].add(u)
		}
	}
	return results
}

// A trial is one kind of ledger under each setting.
type trial struct {
	row      string
	settings map[store.TransactionIDs]*result
}

var settings = []store.TransactionIDs{store.Auto, store.PerChannel, store.Shared}

func try(t *testing.T, seed uint64, shards []shard, on newSubject) (trials []trial) {
	for _, setting := range settings {
		for i, r := range simulate(t, seed, setting.String(), shards, setting, on, false) {
			if setting == settings[0] {
				trials = append(trials, trial{r.row, map[store.TransactionIDs]*result{}})
			}
			trials[i].settings[setting] = r
		}
	}
	return trials
}

// wantGoals checks that the rules reach their goals.
func wantGoals(t *testing.T, trials []trial) {
	t.Helper()
	for _, trial := range trials {
		auto, perChannel := trial.settings[store.Auto], trial.settings[store.PerChannel]
		shared := trial.settings[store.Shared]
		fail := func(why string) {
			t.Helper()
			t.Errorf("%s: auto is wrong by %v, per-channel by %v, shared by %v: %s",
				trial.row, auto.wrongs, perChannel.wrongs, shared.wrongs, why)
		}
		sum := func(r *result) int { return r.payments().Lost + r.payments().Doubled }
		alike := strings.Contains(trial.row, "paid twice")
		nameless := strings.Contains(trial.row, "without transaction ids")
		switch {
		case strings.Contains(trial.row, "agree in half"):
			// Each contradiction of a mistaken ledger costs one payment at most, and
			// contradictions soon outweigh the agreements. How soon depends on the order
			// of the payments, which is different in the reduced simulation.
			if sum(auto) > sum(perChannel)+auto.contradicted {
				fail(fmt.Sprintf("want it to cost no more than the %d payments that contradicted", auto.contradicted))
			}
			if !small() && auto.contradicted > ledgersEach {
				fail(fmt.Sprintf(
					"want each ledger to be mistaken by one payment, and not all by %d", auto.contradicted,
				))
			}
		case strings.Contains(trial.row, "agree in 95 %"):
			if auto.payments().Lost > perChannel.payments().Lost || 3*sum(auto) > sum(shared) {
				fail("want about one doubled payment of each series whose ids differ, no more lost than per-channel")
			}
		case strings.Contains(trial.row, "ids agree"):
			if auto.money() != (paypaltest.Wrongs{}) && !(alike && nameless) {
				fail("want no payment and no refund lost or doubled")
			}
			// The messages of a failed payment have no transaction id. Only they may be taken for
			// another's, and then one is lost.
			failed := shared.mispaired[paypaltest.PaymentFailed]
			mistaken := maps.Clone(shared.mispaired)
			delete(mistaken, paypaltest.PaymentFailed)
			if alike && !strings.Contains(trial.row, "without") && (shared.money() != (paypaltest.Wrongs{}) ||
				len(mistaken) != 0 || failed > shared.wrongs[paypaltest.PaymentFailed].Lost) {
				fail(fmt.Sprintf("want none by shared, and not messages by event %v for another's", shared.mispaired))
			}
			if auto.money().Lost > min(perChannel.money().Lost, shared.money().Lost) {
				fail("want no more lost than by the better of the two settings")
			}
		default:
			if !maps.Equal(auto.wrongs, perChannel.wrongs) {
				fail("want the same as per-channel, the known limit")
			}
			if auto.payments() != (paypaltest.Wrongs{}) && !alike && !strings.Contains(trial.row, "without times") {
				fail("want no payment lost or doubled")
			}
			refunds := auto.wrongs[paypaltest.Refund]
			if refunds.Lost != 0 || refunds.Doubled > auto.donations[paypaltest.Refund] {
				fail("want no refund lost or tripled")
			}
		}
	}
}
