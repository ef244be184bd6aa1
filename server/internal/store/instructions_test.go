package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// instructions is the committed table of what a call costs Redis.
const instructions = "testdata/instructions.txt"

// BenchmarkInstructions counts the instructions that Redis takes for a call, with
// callgrind. Unlike times, they do not swing. It prints a table, and warns where a call
// takes a tenth more than in the committed table, which -update writes anew. It never
// fails for a count.
//
// The calls of one kind share a pipeline, so that reading and writing cost little. The
// row of the bare script shows the cost of Redis alone.
func BenchmarkInstructions(b *testing.B) {
	for _, program := range []string{"valgrind", "vgdb"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Fatalf("%v; on Debian: apt-get install valgrind", err)
		}
	}
	counted := startCounted(b)
	b.Cleanup(func() { counted.client.Close() })
	var table, warnings strings.Builder
	committed := readInstructions(b)
	tell := func(name string, count int) {
		fmt.Fprintf(&table, "%10d  %s\n", count, name)
		if before := committed[name]; before > 0 && count > before+before/10 {
			fmt.Fprintf(&warnings, "WARNING: %s: %d instructions, %d when %s was committed\n",
				name, count, before, instructions)
		}
	}
	tell("a bare script: SET NX PX", counted.bare(b, 200))
	counts := map[string]int{}
	for _, k := range kinds {
		counts[k.name] = counted.kind(b, k)
		tell(k.name, counts[k.name])
	}
	for _, of := range []string{"another event", "the same"} {
		behind := func(n int) int { return counts[fmt.Sprintf("FIRST behind %d notes of %s", n, of)] }
		tell("each further note of "+of, (behind(511)-behind(12))/(511-12))
	}
	b.ReportMetric(0, "ns/op")
	fmt.Printf("Instructions of Redis %s for a call:\n%s%s", redistest.Release(b), table.String(), warnings.String())
	if *update {
		if err := os.WriteFile(instructions, []byte(table.String()), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func readInstructions(b *testing.B) map[string]int {
	text, err := os.ReadFile(instructions)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	table := map[string]int{}
	for line := range strings.Lines(string(text)) {
		count, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if table[name], err = strconv.Atoi(count); err != nil {
			b.Fatalf("%s: %v", instructions, err)
		}
	}
	return table
}

// A kind of call. Each call asks about a series of its own.
type kind struct {
	name  string
	calls int
	has   []store.NoteRequest // the notes of each series
	ask   store.NoteRequest
	want  store.Verdict
	why   store.Evidence
}

var kinds = func() []kind {
	now := time.Now()
	// The i-th payment before now, by IPN.
	ask := func(i int) store.NoteRequest {
		ipn, _ := messages(1, i)
		return store.NoteRequest{
			Donation: payment("paypal-live", 1, i, now.Add(-time.Duration(i)*2*time.Hour-time.Minute)),
			Message:  ipn, Hold: time.Minute, RequestID: ipn.ID, Rules: defaultRules,
		}
	}
	settled := func(n int) (all []store.NoteRequest) {
		for i := n; i > 0; i-- {
			r := ask(i)
			r.Hold = 0
			all = append(all, r)
		}
		return all
	}
	fresh := ask(0)
	again := ask(1)
	again.RequestID = "again"
	byWebhook := again
	_, byWebhook.Message = messages(1, 1)
	paired := byWebhook
	paired.Donation.TransactionID = "ANOTHER0123456789"
	refunded := fresh
	refunded.Donation.Event = refund
	all := []kind{
		{"FIRST in an empty series", 400, nil, fresh, store.First, store.New},
		{"DUPLICATE by message", 400, settled(1), again, store.Duplicate, store.SameMessage},
		{"DUPLICATE by transaction id", 400, settled(1), byWebhook, store.Duplicate, store.SameTransaction},
		{"PAIRED", 400, settled(1), paired, store.Duplicate, store.Paired},
	}
	for _, n := range []int{12, 45, 511} {
		calls := 4 + 600/n
		all = append(all,
			kind{
				fmt.Sprintf("FIRST behind %d notes of another event", n), calls, settled(n), refunded,
				store.First, store.New,
			},
			kind{fmt.Sprintf("FIRST behind %d notes of the same", n), calls, settled(n), fresh, store.First, store.New})
	}
	return all
}()

// counted is a Redis under callgrind.
type counted struct {
	*redistest.Server
	client  *redis.Client
	store   *store.Store
	process string
	out     string
	dumps   int
}

func startCounted(b *testing.B) *counted {
	b.Helper()
	dir := b.TempDir()
	c := &counted{out: filepath.Join(dir, "count")}
	program := filepath.Join(dir, "redis-server")
	text := fmt.Sprintf("#!/bin/sh\nexec valgrind -q --tool=callgrind --callgrind-out-file=%s %s \"$@\"\n",
		c.out, redistest.Program())
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		b.Fatal(err)
	}
	before, was := os.LookupEnv("REDIS_SERVER")
	os.Setenv("REDIS_SERVER", program)
	c.Server = redistest.Start(b, "--hz", "1")
	if os.Unsetenv("REDIS_SERVER"); was {
		os.Setenv("REDIS_SERVER", before)
	}
	c.client = redis.NewClient(&redis.Options{Addr: c.Addr(), ReadTimeout: time.Minute})
	info, err := c.client.Info(context.Background(), "server").Result()
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "process_id:")
	c.process, _, _ = strings.Cut(rest, "\r")
	c.store = open(b, "standalone", c.URL())
	return c
}

// count returns the instructions that a call takes; f makes that many calls.
func (c *counted) count(b *testing.B, calls int, f func()) int {
	b.Helper()
	c.tell(b, "zero")
	f()
	c.tell(b, "dump")
	c.dumps++
	text, err := os.ReadFile(fmt.Sprintf("%s.%d", c.out, c.dumps))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nsummary: ")
	number, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(number)
	if err != nil {
		b.Fatal(err)
	}
	return n / calls
}

func (c *counted) tell(b *testing.B, what string) {
	b.Helper()
	if output, err := exec.Command("vgdb", "--pid="+c.process, what).CombinedOutput(); err != nil {
		b.Fatalf("vgdb %s: %v\n%s; it needs the right to trace processes", what, err, output)
	}
}

// bare runs the smallest script that could note something.
func (c *counted) bare(b *testing.B, calls int) int {
	b.Helper()
	script := redis.NewScript(`return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])`)
	if err := script.Load(context.Background(), c.client).Err(); err != nil {
		b.Fatal(err)
	}
	run := func(round string) {
		p := c.client.Pipeline()
		for i := range calls {
			script.EvalSha(context.Background(), p, []string{fmt.Sprint("bare ", round, i)}, "1", "3888000000")
		}
		if _, err := p.Exec(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	run("warm-up")
	return c.count(b, calls, func() { run("") })
}

// kind counts a kind of call. Another Redis makes the notes before it, which is faster.
func (c *counted) kind(b *testing.B, k kind) int {
	b.Helper()
	plain := redistest.Start(b)
	client := redis.NewClient(&redis.Options{Addr: plain.Addr()})
	defer client.Close()
	noteAll(b, open(b, "standalone", plain.URL()), k.has, 0)
	var value string
	if len(k.has) > 0 {
		var err error
		if value, err = client.Get(context.Background(), "noted:{paypal-live I-000000000001}").Result(); err != nil {
			b.Fatal(err)
		}
	}
	plain.Stop()
	series := 0
	prepare := func(calls int) (requests []store.NoteRequest) {
		for range calls {
			series++
			r := k.ask
			r.Donation.SeriesID = fmt.Sprintf("I-%012d", series)
			if value != "" {
				key := "noted:{paypal-live " + r.Donation.SeriesID + "}"
				if err := c.client.Set(context.Background(), key, value, time.Hour).Err(); err != nil {
					b.Fatal(err)
				}
			}
			requests = append(requests, r)
		}
		return requests
	}
	noteAll(b, c.store, prepare(max(1, k.calls/10)), len(k.has))
	requests := prepare(k.calls)
	var replies []store.NoteReply
	count := c.count(b, k.calls, func() { replies = noteAll(b, c.store, requests, len(k.has)) })
	for _, reply := range replies {
		if reply.Verdict != k.want || reply.Evidence != k.why {
			b.Fatalf(
				"%s: verdict %d by evidence %d, want %d by %d", k.name, reply.Verdict, reply.Evidence, k.want, k.why,
			)
		}
	}
	for i := range requests {
		c.client.Del(context.Background(), "noted:{paypal-live "+requests[i].Donation.SeriesID+"}")
	}
	return count
}

// noteAll notes requests about series of that many notes, in pipelines so small that
// Redis answers in time even under callgrind.
func noteAll(b *testing.B, s *store.Store, requests []store.NoteRequest, notes int) (all []store.NoteReply) {
	b.Helper()
	for batch := range slices.Chunk(requests, max(1, 50/(1+notes))) {
		// Callgrind makes Redis so slow that a pipeline often ends in another second than it
		// begins in, which calls rarely do otherwise: begin it early in a second.
		for at := 0; at < int(time.Second)/10 || at > int(time.Second)/2; at = time.Now().Nanosecond() {
			time.Sleep(10 * time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		replies, errs := s.Notes(ctx, batch)
		cancel()
		for _, err := range errs {
			if err != nil {
				b.Fatal(err)
			}
		}
		all = append(all, replies...)
	}
	return all
}
