package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
)

// A clock stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time      { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// keys makes n keys, as lines and read.
func keys(t *testing.T, lines ...string) []inbox.Key {
	t.Helper()
	read, err := inbox.ReadKeys([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// onBoth runs a test on SQLite and on PostgreSQL. open opens the same inbox each time.
func onBoth(t *testing.T, test func(t *testing.T, now *clock, open func(keys []inbox.Key) *inbox.Inbox)) {
	for name, address := range map[string]func(*testing.T) string{
		"sqlite":     func(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "in box.db") },
		"postgresql": func(t *testing.T) string { return inboxtest.StartPostgres(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			address := address(t)
			now := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
			test(t, now, func(keys []inbox.Key) *inbox.Inbox {
				t.Helper()
				box, err := inbox.Open(t.Context(), inbox.Config{
					URL: address, Account: "live", Keys: keys, Now: now.time, Lease: time.Minute,
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { box.Close() })
				return box
			})
		})
	}
}

func arrival(id string, at time.Time) inbox.Arrival {
	return inbox.Arrival{
		Ledger:     "live",
		Channel:    "ipn",
		ID:         id,
		Type:       "web_accept",
		IDs:        inbox.IDs{Transaction: "T" + id, Series: "I-" + id},
		ReceivedAt: at,
		State:      inbox.Waiting,
		Header:     http.Header{"Content-Type": {"text/plain"}},
		Body:       []byte("body of " + id),
		Donations: []inbox.Donation{
			{SeriesID: "I-" + id, Event: "EVENT_PAYMENT", TransactionID: "T" + id, Pair: []byte("{}")},
		},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, box *inbox.Inbox, f inbox.Filter) (found []inbox.Message) {
	t.Helper()
	must(t, box.List(t.Context(), f, func(m inbox.Message) error { found = append(found, m); return nil }))
	return found
}

func claim(t *testing.T, box *inbox.Inbox) *inbox.Claim {
	t.Helper()
	c, err := box.Claim(t.Context())
	must(t, err)
	return c
}

// A message goes from hand to hand: kept, claimed, finished, brought back by a copy,
// wiped, deleted.
func TestLifeOfAMessage(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		ctx := t.Context()
		must(t, box.Keep(ctx, arrival("A", now.time())))
		must(t, box.Keep(ctx, arrival("A", now.time())))
		c := claim(t, box)
		if c == nil || string(c.Body) != "body of A" || c.Header.Get("Content-Type") != "text/plain" || c.Copies != 1 ||
			len(c.Donations) != 1 || c.State != inbox.Working {
			t.Fatalf("claimed %+v", c)
		}
		if again := claim(t, box); again != nil {
			t.Fatalf("claimed twice: %+v", again)
		}
		must(t, box.Finish(ctx, c, inbox.Result{State: inbox.Waiting, After: time.Hour, Cause: "away"}))
		if early := claim(t, box); early != nil {
			t.Fatalf("claimed before its time: %+v", early)
		}
		now.pass(time.Hour)
		c = claim(t, box)
		if c == nil || c.Tries != 1 || c.Cause != "away" {
			t.Fatalf("claimed %+v", c)
		}
		must(t, box.Finish(ctx, c, inbox.Result{State: inbox.Done}))
		if err := box.Finish(ctx, c, inbox.Result{State: inbox.Person}); !errors.Is(err, inbox.ErrLeaseLost) {
			t.Errorf("finishing twice: %v, want %v", err, inbox.ErrLeaseLost)
		}
		must(t, box.Keep(ctx, arrival("A", now.time())))
		if c = claim(t, box); c == nil || c.Copies != 2 {
			t.Fatalf("a copy of a finished message was not claimed: %+v", c)
		}
		must(t, box.Finish(ctx, c, inbox.Result{State: inbox.Done}))
		now.pass(inbox.DefaultKeep - time.Second)
		must(t, box.Sweep(ctx))
		if m := list(t, box, inbox.Filter{})[0]; !m.HasBody {
			t.Error("the body was wiped too early")
		}
		now.pass(time.Second)
		must(t, box.Sweep(ctx))
		if m := list(t, box, inbox.Filter{})[0]; m.HasBody || len(m.Donations) != 1 {
			t.Errorf("after InboxKeep the row is %+v", m)
		}
		must(t, box.Keep(ctx, arrival("A", now.time()))) // PayPal sends it again by hand
		c = claim(t, box)
		if c == nil || string(c.Body) != "body of A" {
			t.Fatalf("a copy of a wiped message: %+v", c)
		}
		must(t, box.Finish(ctx, c, inbox.Result{State: inbox.Done}))
		now.pass(inbox.DefaultJournal)
		must(t, box.Sweep(ctx))
		if left := list(t, box, inbox.Filter{}); len(left) != 0 {
			t.Errorf("after InboxJournal the journal has %+v", left)
		}
	})
}

// A worker that dies loses its lease; a worker that renews it does not. Fifty workers on
// two connections claim each message once.
func TestLeases(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		key := keys(t, inbox.NewKeyLine())
		one, other := open(key), open(key)
		ctx := t.Context()
		must(t, one.Keep(ctx, arrival("A", now.time())))
		dead := claim(t, one)
		now.pass(40 * time.Second)
		must(t, one.Renew(ctx, dead))
		now.pass(40 * time.Second)
		if early := claim(t, other); early != nil {
			t.Fatal("a renewed lease was taken over")
		}
		now.pass(21 * time.Second)
		second := claim(t, other)
		if second == nil || second.Row != dead.Row {
			t.Fatalf("claimed %+v, want the row of the dead worker", second)
		}
		for name, err := range map[string]error{
			"renewing":  one.Renew(ctx, dead),
			"finishing": one.Finish(ctx, dead, inbox.Result{State: inbox.Done}),
		} {
			if !errors.Is(err, inbox.ErrLeaseLost) {
				t.Errorf("%s a lost lease: %v", name, err)
			}
		}
		must(t, other.Finish(ctx, second, inbox.Result{State: inbox.Done}))

		for i := range 40 {
			must(t, one.Keep(ctx, arrival(fmt.Sprintf("N%d", i), now.time())))
		}
		var mu sync.Mutex
		claimed := map[string]int{}
		var all sync.WaitGroup
		for i := range 50 {
			box := []*inbox.Inbox{one, other}[i%2]
			all.Go(func() {
				c, err := box.Claim(ctx)
				if err != nil {
					t.Error(err)
				}
				if c != nil {
					mu.Lock()
					claimed[c.Row]++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		for row, times := range claimed {
			if times != 1 {
				t.Errorf("%s was claimed %d times", row, times)
			}
		}
		// On PostgreSQL a worker may find every row locked by others for a moment.
		for c := claim(t, one); c != nil; c = claim(t, one) {
			claimed[c.Row]++
		}
		if len(claimed) != 40 {
			t.Errorf("%d messages were claimed, want 40", len(claimed))
		}
	})
}

// A hundred copies of a message at once, at two gateways, are one row.
func TestCopiesAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		key := keys(t, inbox.NewKeyLine())
		boxes := []*inbox.Inbox{open(key), open(key)}
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				if err := boxes[i%2].Keep(context.Background(), arrival("A", now.time())); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if found := list(t, boxes[0], inbox.Filter{}); len(found) != 1 || found[0].Copies != 99 {
			t.Errorf("the journal has %+v, want one row with 99 copies", found)
		}
	})
}

// A key is changed while messages wait: the new key seals, both open, and a sweep seals
// with the new key, after which the old one can go.
func TestKeysAreChanged(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		oldLine, newLine := inbox.NewKeyLine(), inbox.NewKeyLine()
		ctx := t.Context()
		must(t, open(keys(t, oldLine)).Keep(ctx, arrival("A", now.time())))

		stranger := open(keys(t, newLine))
		c, err := stranger.Claim(ctx)
		if c == nil || err == nil || !strings.Contains(err.Error(), "not in the key file") {
			t.Fatalf("without its key: %+v, %v", c, err)
		}
		must(t, stranger.Finish(ctx, c, inbox.Result{State: inbox.Waiting}))

		both := open(keys(t, newLine, oldLine))
		if counts, err := both.Count(ctx); err != nil || counts.OldKeys != 1 {
			t.Errorf("counted %+v, %v, want one body under the old key", counts, err)
		}
		must(t, both.Sweep(ctx))
		if counts, err := both.Count(ctx); err != nil || counts.OldKeys != 0 || counts.Messages[inbox.Waiting] != 1 {
			t.Errorf("counted %+v, %v", counts, err)
		}
		if c := claim(t, stranger); c == nil || string(c.Body) != "body of A" {
			t.Errorf("claimed %+v", c)
		}
	})
	for name, content := range map[string]string{
		"no key": "# nothing\n", "three keys": strings.Join([]string{inbox.NewKeyLine(), inbox.NewKeyLine(), inbox.NewKeyLine()}, "\n"),
		"short": "inboxkey_c2hvcnQ=", "another secret": strings.Replace(inbox.NewKeyLine(), "inboxkey_", "whsec_", 1),
	} {
		if _, err := inbox.ReadKeys([]byte(content)); err == nil || strings.Contains(err.Error(), "c2hvcnQ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No column except the sealed body has a donor's text, and no body can be moved to
// another row.
func TestSealed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inbox.db")
	box, err := inbox.Open(t.Context(), inbox.Config{URL: "sqlite://" + path, Keys: keys(t, inbox.NewKeyLine())})
	must(t, err)
	a := arrival("A", time.Now())
	a.Body = []byte("payer_email=canary@example.net")
	must(t, box.Keep(t.Context(), a))
	must(t, box.Close())
	files, _ := filepath.Glob(path + "*")
	for _, name := range files {
		content, err := os.ReadFile(name)
		must(t, err)
		if strings.Contains(string(content), "canary") {
			t.Errorf("%s holds the body in the clear", name)
		}
		if info, _ := os.Stat(name); info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", name, info.Mode())
		}
	}
}

// An error about a wrong address does not contain the address.
func TestAddresses(t *testing.T) {
	for _, address := range []string{
		"", "mysql://u:hush@h/d", "sqlite://relative-hush.db", "sqlite:///tmp/x.db?mode=hush", "postgres://u:hush%@h/d",
		"sqlite:///no/such/folder/inbox.db",
	} {
		if _, err := inbox.Open(
			t.Context(),
			inbox.Config{URL: address},
		); err == nil ||
			strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// However many messages about one transaction ask at once, with and without a named
// series, they all ask under one series.
func TestSeries(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		boxes := []*inbox.Inbox{open(nil), open(nil)}
		for round := range 10 {
			transaction := fmt.Sprintf("T%d", round)
			var mu sync.Mutex
			asked := map[string]bool{}
			var all sync.WaitGroup
			for i := range 20 {
				d := inbox.Donation{
					SeriesID:      []string{"I-NAMED", transaction}[i%2],
					Event:         "EVENT_PAYMENT",
					TransactionID: transaction,
				}
				all.Go(func() {
					series, err := boxes[i/10].Series(context.Background(), "live", d)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					asked[series] = true
					mu.Unlock()
				})
			}
			all.Wait()
			if len(asked) != 1 {
				t.Errorf("round %d: asked under %v, want one series", round, asked)
			}
		}
		for name, d := range map[string]struct {
			ledger   string
			donation inbox.Donation
			want     string
		}{
			"another ledger":       {"sandbox", inbox.Donation{SeriesID: "T0", Event: "EVENT_PAYMENT", TransactionID: "T0"}, "T0"},
			"another event":        {"live", inbox.Donation{SeriesID: "T0", Event: "EVENT_REFUND", TransactionID: "T0"}, "T0"},
			"another named series": {"live", inbox.Donation{SeriesID: "I-OTHER", Event: "EVENT_PAYMENT", TransactionID: "T0"}, "I-OTHER"},
			"no transaction":       {"live", inbox.Donation{SeriesID: "I-X", Event: "EVENT_SIGNUP"}, "I-X"},
		} {
			if got, err := boxes[0].Series(t.Context(), d.ledger, d.donation); err != nil || got != d.want {
				t.Errorf("%s: %s, %v, want %s", name, got, err, d.want)
			}
		}
	})
}
