// Package bench_test measures what a call costs. The server, Redis and the load generator
// are processes of their own, so the generator's processor time counts for neither.
//
//	make bench
//	make bench BENCH='^fresh'                       only the kinds whose name matches
//	make bench NOTED='before=…/noted,after=…/noted' these programs in turn, not this tree's
//
// # Design
//
// Rates and latencies swing by a third where generator, server and Redis share cores;
// processor time and allocations do not. Compare figures of one run only: programs that
// are compared take turns within a cell of the table, and the cell shows the median of
// the turns. The rate that cores shared with a generator leave says little where the
// generator costs much, so it is lean (see dialogue.load), and the table has its cost.
// make bench-allocations warns where a call allocates a tenth more than it did;
// .ci/run runs it. Allocations are those of the server alone.
package bench_test

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A kind is a kind of call, with the programs that are asked.
type kind struct {
	name     string
	callers  []int
	subjects []subject
	load     func(*running) load // for subjects without a load of their own
}

// A load makes calls from many callers at once for a time, and returns how long each call
// took. Callers keep to one of four connections.
type load func(callers int, span time.Duration) ([]time.Duration, error)

// A row is a cell of the table for one program, by call. The generator's processor time
// counts for no program, but it takes the same cores: where it is large, rates tell more of
// the generator than of the programs.
type row struct{ server, redis, generator, allocations, rate, p50, p99 float64 }

// all are the numbers of callers that call at once.
var all = []int{1, 64, most}

// kinds is every row of the table.
func kinds(t *testing.T) []kind {
	ours := programs(t)
	kinds := []kind{
		{"empty call, bare grpc-go", all, []subject{bare()}, empty},
		{"one trivial EVALSHA, bare grpc-go", all, []subject{bare()}, fresh},
		{"fresh notes", all, ours, fresh},
		{"a donation on two channels", all, ours, onTwoChannels},
		{"a message again, 45 notes", all, ours, fortyFive},
		{"DonationExists", all, ours, exists},
		{"hold, extend, settle", all, ours, holdExtendSettle},
		{"fresh notes, JSON door", all, ours, door},
		{"fresh notes, one stream", []int{1}, ours, stream},
		{"fresh notes, -replicas 1", []int{64}, with(ours, subject.replicated), fresh},
		{"gateway, no inbox", []int{64}, with(ours, subject.behindGateway), ipns},
		{"gateway, inbox in SQLite", []int{64}, with(with(ours, subject.behindGateway), subject.inbox), ipns},
	}
	if relative := os.Getenv("RELATIVE"); relative != "" {
		all := append([]subject{bare(), ratelimit(relative)}, ours...)
		kinds = []kind{{"fresh notes and the relative", []int{64, 256}, all, fresh}}
	}
	return kinds
}

// TestTable prints the table. Without BENCH it is a test of the loads: each runs for a
// moment.
func TestTable(t *testing.T) {
	wanted, err := regexp.Compile(os.Getenv("BENCH"))
	if err != nil {
		t.Fatalf("BENCH: %v", err)
	}
	fmt.Printf("%-36s %-9s %7s %9s %9s %7s %9s %7s %8s %8s %8s\n", "", "", "callers",
		"server µs", "Redis µs", "both µs", "caller µs", "allocs", "calls/s", "p50 ms", "p99 ms")
	for _, k := range kinds(t) {
		if wanted.MatchString(k.name) {
			t.Run(k.name, k.measure)
		}
	}
}

// allocations are those of the server for a call, at 64 callers. The table warns of a
// tenth more. Unlike times they hardly swing.
var allocations = map[string]float64{
	"fresh notes":                79,
	"a donation on two channels": 84,
	"a message again, 45 notes":  86,
	"DonationExists":             89,
	"hold, extend, settle":       95,
	"fresh notes, JSON door":     182,
}

// measure measures a kind and prints its rows.
func (k kind) measure(t *testing.T) {
	turns, warmUp, span := 1, 500*time.Millisecond, setting(t, "SPAN", 2*time.Second)
	if len(k.subjects) > 1 {
		turns = 5
	}
	if os.Getenv("BENCH") == "" {
		turns, warmUp, span = 1, 0, 20*time.Millisecond
	}
	started, loads := make([]*running, len(k.subjects)), make([]load, len(k.subjects))
	for i, s := range k.subjects {
		started[i] = s.start(t)
		made := k.load
		if s.load != nil {
			made = s.load
		}
		loads[i] = made(started[i])
	}
	for _, callers := range k.callers {
		rows := make([][]row, len(started))
		for range turns {
			for i, r := range started {
				rows[i] = append(rows[i], r.measure(callers, loads[i], warmUp, span))
			}
		}
		var others []string // beside the last
		last := median(rows[len(rows)-1])
		for i, s := range k.subjects {
			r := median(rows[i])
			fmt.Printf("%-36s %-9s %7d %9.1f %9.1f %7.1f %9.1f %7.1f %8.0f %8.3f %8.3f\n", k.name, s.name, callers,
				r.server, r.redis, r.server+r.redis, r.generator, r.allocations, r.rate, r.p50, r.p99)
			if want := allocations[k.name]; callers == 64 && s.load == nil && r.allocations > 1.1*want && want > 0 {
				fmt.Printf(
					"warning: %s allocates %.1f times a call, and %.0f in allocations\n", s.name, r.allocations, want,
				)
			}
			if i < len(rows)-1 {
				others = append(others, fmt.Sprintf("%.2f times the rate of %s for %.2f of its processor time",
					last.rate/r.rate, s.name, (last.server+last.redis)/(r.server+r.redis)))
			}
		}
		if len(others) > 0 {
			fmt.Printf("%s has %s\n", k.subjects[len(rows)-1].name, strings.Join(others, ", and "))
		}
	}
}

// setting reads a time from the environment.
func setting(t *testing.T, name string, otherwise time.Duration) time.Duration {
	told := os.Getenv(name)
	if told == "" {
		return otherwise
	}
	span, err := time.ParseDuration(told)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return span
}

// measure runs a load, after a while of warming up.
func (r *running) measure(callers int, l load, warmUp, span time.Duration) row {
	if _, err := l(callers, warmUp); err != nil {
		r.fail(err)
	}
	mallocs, began := r.mallocs(), time.Now()
	server, redis := r.spent()
	ours := r.processorTime("self")
	took, err := l(callers, span)
	if err != nil {
		r.fail(err)
	}
	lasted := time.Since(began)
	oursAfter := r.processorTime("self")
	serverAfter, redisAfter := r.spent()
	calls := float64(len(took))
	slices.Sort(took)
	at := func(part float64) float64 {
		return float64(took[int(part*(calls-1))].Microseconds()) / 1000
	}
	return row{
		server:      float64((serverAfter - server).Microseconds()) / calls,
		redis:       float64((redisAfter - redis).Microseconds()) / calls,
		generator:   float64((oursAfter - ours).Microseconds()) / calls,
		allocations: (r.mallocs() - mallocs) / calls,
		rate:        calls / lasted.Seconds(),
		p50:         at(.5),
		p99:         at(.99),
	}
}

// median is the median of each column.
func median(rows []row) row {
	of := func(column func(row) float64) float64 {
		values := make([]float64, len(rows))
		for i, r := range rows {
			values[i] = column(r)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return row{
		server:      of(func(r row) float64 { return r.server }),
		redis:       of(func(r row) float64 { return r.redis }),
		generator:   of(func(r row) float64 { return r.generator }),
		allocations: of(func(r row) float64 { return r.allocations }),
		rate:        of(func(r row) float64 { return r.rate }),
		p50:         of(func(r row) float64 { return r.p50 }),
		p99:         of(func(r row) float64 { return r.p99 }),
	}
}

// each is the load of a call that every caller makes again and again. The call gets the
// number of its caller, and its own among all calls.
func each(call func(caller, i int) error) load {
	var made atomic.Int64
	return func(callers int, span time.Duration) ([]time.Duration, error) {
		took, failed := make([][]time.Duration, callers), make([]error, callers)
		end := time.Now().Add(span)
		var done sync.WaitGroup
		for caller := range callers {
			done.Go(func() {
				for began := time.Now(); began.Before(end); {
					if failed[caller] = call(caller, int(made.Add(1))); failed[caller] != nil {
						return
					}
					ended := time.Now()
					took[caller] = append(took[caller], ended.Sub(began))
					began = ended
				}
			})
		}
		done.Wait()
		return slices.Concat(took...), cmp.Or(failed...)
	}
}

// programs are the builds of noted that take turns: those that NOTED names, or this
// tree's.
func programs(t *testing.T) (subjects []subject) {
	named := os.Getenv("NOTED")
	if named == "" {
		return []subject{{name: "noted", program: build(t, "../cmd/noted")}}
	}
	for each := range strings.SplitSeq(named, ",") {
		name, path, found := strings.Cut(each, "=")
		if !found {
			t.Fatalf("NOTED=%q: write name=program, parted by commas", named)
		}
		subjects = append(subjects, subject{name: name, program: path})
	}
	return subjects
}

// with changes every subject.
func with(subjects []subject, change func(subject) subject) (changed []subject) {
	for _, s := range subjects {
		changed = append(changed, change(s))
	}
	return changed
}
