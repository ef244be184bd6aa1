package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// firstScripts is the digest of the first release's scripts. They are never edited:
// Redises hold what they wrote, and they run beside today's scripts while a fleet is
// upgraded.
const firstScripts = "f74d779ece7a0412689261ce81a342f98f2b6a9c9890c50a4a73e1a4f90e8942"

// otherRelease has a store run the scripts of another release wherever it would run
// today's. They get today's arguments.
type otherRelease map[string]*wire.Script // :: today's digest and source → the other release's script

// readFirstRelease reads the first release's scripts. Each gets an extra line at its
// head, so that Redis tells it from today's even if both are the same.
func readFirstRelease(t *testing.T) otherRelease {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile("testdata/v1/scripts/" + name + ".lua")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	sum, release, then := sha256.New(), otherRelease{}, read("notes")
	sum.Write([]byte(then))
	for _, today := range scripts {
		if _, err := os.Stat("testdata/v1/scripts/" + today.Name + ".lua"); errors.Is(err, os.ErrNotExist) {
			continue // it is younger than the first release; the digest has those of that release
		}
		body := read(today.Name)
		sum.Write([]byte(body))
		before := then + "\n"
		if today == noteScript {
			arguments, err := os.ReadFile("testdata/v1/arguments.lua")
			if err != nil {
				t.Fatal(err)
			}
			before = string(arguments) + before
		}
		release.add(today, before+body)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != firstScripts {
		t.Fatalf(
			"the first release's scripts have the digest %s and had %s: take them from the history again",
			got,
			firstScripts,
		)
	}
	return release
}

// laterRelease is a release that adds a letter of its own to each note that it writes.
func laterRelease(t *testing.T) otherRelease {
	t.Helper()
	texts := []string{
		"  local extras = note.other or ''\n", // of a note that is changed
		"  local extras = note.other or ''\n  extras = string.find(extras, 'Z7', 1, true) and extras or extras .. 'Z7'\n",
		"if t[1] == string.sub(rules, 1, 10) then", // of a new note, whose text does not do then
		"if false then",
		"local plain, held = noted == now and", // of a new note, whose tail does not do then
		"local plain, held = false and",
		"    local extras = ''\n",
		"    local extras = 'Z7'\n",
	}
	for i := 0; i < len(texts); i += 2 {
		if n := strings.Count(libraryNotes+noteBody, texts[i]); n != 1 {
			t.Fatalf("notes.lua and note.lua have %q %d times, want once; change this test with them", texts[i], n)
		}
	}
	changes := strings.NewReplacer(texts...)
	release := otherRelease{}
	for _, today := range scripts {
		release.add(today, changes.Replace(today.Source))
	}
	return release
}

func (r otherRelease) add(today *wire.Script, source string) {
	other := *today
	other.Source, other.SHA = source, redis.NewScript(source).Hash()
	r[today.SHA], r[today.Source] = &other, &other
}

func (r otherRelease) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r otherRelease) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { r.put(cmd); return next(ctx, cmd) }
}

func (r otherRelease) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			r.put(cmd)
		}
		return next(ctx, cmds)
	}
}

func (r otherRelease) put(cmd redis.Cmder) {
	args := cmd.Args()
	switch name := cmd.Name(); {
	case name != "evalsha" && name != "eval":
	case r[fmt.Sprint(args[1])] == nil:
		panic("the other release lacks the script of this " + name + ": let today's release make the call")
	case name == "evalsha":
		args[1] = r[fmt.Sprint(args[1])].SHA
	default:
		args[1] = r[fmt.Sprint(args[1])].Source
	}
}

// openBoth opens a store with today's scripts and one with another release's, on one
// Redis.
func openBoth(t *testing.T, url string, release otherRelease, ran *Ran) (today, other *Store) {
	t.Helper()
	today, other = openFor(t, url, ran), openFor(t, url, ran)
	other.wire.AddHook(release)
	return today, other
}

// TestSideBySide lets today's release and another, the first or a later one, work on the
// same donations, each call by one of the two at random. Every answer and all data must
// be as if one release had been alone. The letters that the later release adds to a note
// must stay there.
func TestSideBySide(t *testing.T) {
	for name, read := range map[string]func(*testing.T) otherRelease{"first": readFirstRelease, "later": laterRelease} {
		t.Run(name, func(t *testing.T) { sideBySide(t, read(t), name == "later") })
	}
}

func sideBySide(t *testing.T, release otherRelease, adds bool) {
	const seed = 1 // always the same: with it everything happens that the test looks for below
	var told [3][]string
	ran := &Ran{}
	for i, pick := range []func(n int) int{
		func(int) int { return 0 }, func(int) int { return 1 }, func(n int) int { return n % 2 },
	} {
		server, err := embedded.StartFrozen(v1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		today, other := openBoth(t, server.URL(), release, ran)
		client := clientFor(t, server.URL())
		random, turns := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
		calls := &traffic{
			t:         t,
			random:    random,
			advance:   server.Advance,
			now:       server.Now,
			receipts:  []string{""},
			donations: []string{""},
		}
		for range 900 {
			told[i] = append(told[i], calls.step([]*Store{today, other}[pick(turns.IntN(2))]))
		}
		added := 0
		for _, key := range calls.series() {
			value, err := client.Get(t.Context(), key).Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				t.Fatal(err)
			}
			added += strings.Count(value, " *Z7")
			told[i] = append(told[i], key+" "+strings.NewReplacer(" *Z7 ", " ", " *Z7", " *").Replace(value))
		}
		if adds && (added > 0) != (i > 0) {
			t.Errorf("run %d: %d notes have the later letters, want them only where that release ran", i, added)
		}
	}
	for i, name := range []string{"the other alone", "both"} {
		if diff := cmp.Diff(told[0], told[i+1]); diff != "" {
			t.Errorf("(-today's alone +%s):\n%.4000s", name, diff)
		}
	}
	ran.WantAll(t, "beat")
	all := strings.Join(told[0], "\n")
	for _, word := range []string{
		"verdict 1", "verdict 2", "verdict 3", "evidence 1 ", "evidence 2 ", "evidence 3 ", "evidence 4 ", "evidence 5 ", "evidence 6 ", "settle: <nil>", "release: <nil>", "extend: <nil>", "forget: <nil>",
		ErrHoldLost.Error(), ErrHoldReleased.Error(), ErrSettledByAnother.Error(), ErrAlreadySettled.Error(), ErrNotFound.Error(), ErrTooEarly.Error(), ErrTooLate.Error(), ErrSeriesFull.Error(),
		ErrReceivedTooEarly.Error(), ErrRequestReused.Error(), "Against:[{",
	} {
		if !strings.Contains(all, word) {
			t.Errorf("no answer has %q, so the test proves nothing about it", word)
		}
	}
}

// traffic makes random calls about a few donations.
type traffic struct {
	t                   *testing.T
	random              *rand.Rand
	advance             func(time.Duration)
	now                 func() time.Time
	receipts, donations []string
	requests            int
}

func (tr *traffic) series() (keys []string) {
	for i := range 4 {
		keys = append(keys, seriesKey("", fmt.Sprint("I-", i)))
	}
	return keys
}

func (tr *traffic) step(s *Store) string {
	c, cancel := context.WithTimeout(tr.t.Context(), time.Minute)
	defer cancel()
	one := func(of ...string) string { return of[tr.random.IntN(len(of))] }
	rules := Rules{
		MatchWindow:    time.Hour,
		ArrivalWindow:  2 * time.Hour,
		Retention:      40 * time.Hour,
		SkewAhead:      24 * time.Hour,
		TransactionIDs: TransactionIDs(tr.random.IntN(3)),
		SeriesLimit:    6,
	}
	series := fmt.Sprint("I-", tr.random.IntN(4))
	d := Donation{
		SeriesID:      series,
		Event:         Event(1 + tr.random.IntN(2)),
		TransactionID: one("", "", "T1", "T2", "-", "=x"),
		Amount:        one("", "1", "1.0", "2"),
	}
	if d.Amount != "" {
		d.CurrencyCode = "EUR"
	}
	if tr.random.IntN(3) > 0 {
		d.OccurredAt = tr.now().Add(time.Duration(tr.random.Int64N(int64(6*time.Hour))) - 3*time.Hour)
	}
	var received time.Time
	if tr.random.IntN(10) == 0 {
		received = tr.now().Add(time.Duration(tr.random.Int64N(int64(3*time.Hour))) - 150*time.Minute)
	}
	if tr.random.IntN(60) == 0 {
		received = tr.now().Add(-41 * time.Hour)
	}
	if x := tr.random.IntN(40); x < 2 {
		d.OccurredAt = tr.now().Add([]time.Duration{-41, 25}[x] * time.Hour)
	}
	m := Message{Channel: one("", "ipn", "webhook", "post"), ReceivedAt: received}
	if tr.random.IntN(4) == 0 {
		rules.Agreeing = []string{one("ipn", "webhook")}
	}
	if m.Channel != "" {
		m.ID = one("", "a", "b", strings.Repeat("c", 32), "WH-12345678901234567-ABCDEFGHIJKLMNOPQ")
	}
	receipt := tr.receipts[max(0, len(tr.receipts)-1-tr.random.IntN(6))]
	switch x := tr.random.IntN(100); {
	case x < 45:
		if tr.requests++; tr.random.IntN(6) == 0 {
			tr.requests -= tr.random.IntN(5)
		}
		r := NoteRequest{
			Donation:  d,
			Message:   m,
			Hold:      []time.Duration{0, time.Minute, 10 * time.Minute}[tr.random.IntN(3)],
			RequestID: fmt.Sprint(tr.requests),
			Rules:     rules,
		}
		reply, err := s.Note(c, r)
		if reply.Receipt != "" {
			tr.receipts = append(tr.receipts, reply.Receipt)
		}
		if err == nil {
			tr.donations = append(tr.donations, series+" "+reply.Note.DonationID)
		}
		return fmt.Sprintf("note: verdict %d by evidence %d : %+v %v", reply.Verdict, reply.Evidence, reply, err)
	case x < 55:
		reply, err := s.Exists(c, d, m, rules)
		return fmt.Sprintf("exists: %+v %v", reply, err)
	case x < 65:
		n, err := s.Settle(c, receipt)
		return fmt.Sprintf("settle: %v %+v", err, n)
	case x < 72:
		n, err := s.Release(c, receipt)
		return fmt.Sprintf("release: %v %+v", err, n)
	case x < 80:
		n, err := s.Extend(c, receipt, 5*time.Minute)
		return fmt.Sprintf("extend: %v %+v", err, n)
	case x < 84:
		list, err := s.List(c, ListRequest{SeriesID: series, PageSize: 100})
		return fmt.Sprintf("list: %+v %v", list, err)
	case x < 86:
		series, donation, _ := strings.Cut(tr.donations[tr.random.IntN(len(tr.donations))], " ")
		n, err := s.Forget(c, "", series, donation)
		return fmt.Sprintf("forget: %v %+v", err, n)
	default:
		tr.advance(
			[]time.Duration{
				time.Millisecond, time.Minute, 10 * time.Minute, time.Hour, 20 * time.Hour,
			}[tr.random.IntN(5)],
		)
		return "time passes"
	}
}

// TestHundredCallersSideBySide lets a hundred callers ask for one donation at once, half
// of them through the first release: one gets FIRST. Neither release may take the other's
// beats for a loss.
func TestHundredCallersSideBySide(t *testing.T) {
	url := redistest.Start(t).URL()
	today, first := openBoth(t, url, readFirstRelease(t), &Ran{})
	releases := []*Store{today, first}
	c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	rules := Rules{
		MatchWindow:   time.Hour,
		ArrivalWindow: time.Hour,
		Retention:     time.Hour,
		SkewAhead:     time.Hour,
		SeriesLimit:   10,
	}
	var mu sync.Mutex
	for round, want := range []map[Verdict]int{{First: 1, Held: 99}, {Duplicate: 100}} {
		got, receipt := map[Verdict]int{}, ""
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				reply, err := releases[i%2].Note(
					c,
					NoteRequest{
						Donation:  Donation{SeriesID: "I-1", Event: 1},
						Message:   Message{Channel: "ipn", ID: "1"},
						Hold:      time.Minute,
						RequestID: fmt.Sprint(round, i),
						Rules:     rules,
					},
				)
				if err != nil {
					t.Errorf("Note: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				if got[reply.Verdict]++; reply.Receipt != "" {
					receipt = reply.Receipt
				}
			})
		}
		all.Wait()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("round %d: verdicts (-want +got):\n%s", round, diff)
		}
		for i := range 6 {
			if found, err := releases[i%2].Beat(c); err != nil || len(found) > 0 {
				t.Errorf("Beat: %v, %v", found, err)
			}
		}
		if round == 0 {
			if _, err := first.Settle(c, receipt); err != nil {
				t.Errorf("Settle: %v", err)
			}
		}
	}
	if today.Epoch() == "" || today.Epoch() != first.Epoch() {
		t.Errorf("the releases have the epochs %q and %q", today.Epoch(), first.Epoch())
	}
	known, err := clientFor(t, url).ScriptExists(c, noteScript.SHA, readFirstRelease(t)[noteScript.SHA].SHA).Result()
	if err != nil || !cmp.Equal(known, []bool{true, true}) {
		t.Errorf("Redis knows today's and the first release's scripts: %v, %v", known, err)
	}
	if noteScript.SHA == readFirstRelease(t)[noteScript.SHA].SHA {
		t.Error("the releases have the same script, so the test proves nothing")
	}
}
