package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// dump is the whole content of a Redis: each key with its value as Redis keeps it, and
// when it expires.
func dump(t *testing.T, c *redis.Client) map[string]string {
	t.Helper()
	all := map[string]string{}
	keys, err := c.Keys(ctx(t), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		value, err := c.Dump(ctx(t), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		all[key] = fmt.Sprintf("%x until %v", value, expiry(t, c, key))
	}
	return all
}

// callsAbout are all calls about a series.
func callsAbout(t *testing.T, s *store.Store, series, receipt, donationID string) map[string]func() error {
	d := store.Donation{Ledger: ledgerOf(t), SeriesID: series, Event: pay}
	return map[string]func() error{
		"Note": func() error { _, err := s.Note(ctx(t), holding(t, series, "other")); return err },
		"Notes": func() error {
			_, errs := s.Notes(ctx(t), []store.NoteRequest{holding(t, series, "third")})
			return errs[0]
		},
		"Exists":  func() error { _, err := s.Exists(ctx(t), d, ipn, defaultRules); return err },
		"Settle":  func() error { _, err := s.Settle(ctx(t), receipt); return err },
		"Release": func() error { _, err := s.Release(ctx(t), receipt); return err },
		"Extend":  func() error { _, err := s.Extend(ctx(t), receipt, time.Minute); return err },
		"Forget":  func() error { _, err := s.Forget(ctx(t), d.Ledger, series, donationID); return err },
		"List of the series": func() error {
			_, err := s.List(ctx(t), store.ListRequest{Ledger: d.Ledger, SeriesID: series, PageSize: 10})
			return err
		},
		"List of the ledger": func() error {
			_, err := s.List(ctx(t), store.ListRequest{Ledger: d.Ledger, PageSize: 10})
			return err
		},
	}
}

// TestForeignValues puts values of another program under a key of ours. Every call about
// the series must fail with an error that says so and does not repeat the value, never
// with a verdict. The value must stay, and other series must be answered.
func TestForeignValues(t *testing.T) {
	r := redistest.Start(t)
	ran := &store.Ran{}
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone", Took: ran.Took})
	c := redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer c.Close()
	ledger := ledgerOf(t)
	first := note(t, s, holding(t, "I-1", "r"))
	key := "noted:{" + ledger + " I-1}"
	ours, err := c.Dump(ctx(t), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	const canary = "canary0value"
	for what, write := range map[string][]any{
		"a list":                           {"RPUSH", key, canary},
		"a hash":                           {"HSET", key, canary, "x"},
		"a set":                            {"SADD", key, canary},
		"a stream":                         {"XADD", key, "*", canary, "x"},
		"garbage":                          {"SET", key, canary},
		"an empty text":                    {"SET", key, ""},
		"a newline":                        {"SET", key, "\n"},
		"a version without a note":         {"SET", key, "1"},
		"a version and newlines":           {"SET", key, "1\n\n"},
		"a counter":                        {"SET", key, "17"},
		"a date":                           {"SET", key, "1999-12-31 23:59:59 +0000 UTC " + canary},
		"a text that looks like old notes": {"SET", key, "1abcdefghijklm foo bar baz " + canary},
		"bytes":                            {"SET", key, "\x00\xff\xfe" + canary},
		"JSON":                             {"SET", key, `{"` + canary + `":1}`},
		"a note and garbage":               {"SET", key, c.Get(ctx(t), key).Val() + "\n" + canary},
		"a note that is cut short":         {"SET", key, c.Get(ctx(t), key).Val()[:20]},
		"a note with another kind of token": {
			"SET", key, c.Get(ctx(t), key).Val()[:2] + "!canary!!" + c.Get(ctx(t), key).Val()[11:],
		},
	} {
		c.Del(ctx(t), key)
		if err := c.Do(ctx(t), write...).Err(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		before := dump(t, c)
		for call, ask := range callsAbout(t, s, "I-1", first.Receipt, first.Note.DonationID) {
			switch err := ask(); {
			case !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) ||
				!strings.Contains(err.Error(), "another program"):
				t.Errorf("%s: %s: %v, want %v that names another program", what, call, err, store.ErrUnavailable)
			case strings.Contains(err.Error(), "canary"):
				t.Errorf("%s: %s repeats the value: %v", what, call, err)
			}
		}
		if diff := cmp.Diff(before, dump(t, c)); diff != "" {
			t.Errorf("%s: the calls have changed the store (-before +after):\n%s", what, diff)
		}
		wantVerdict(
			t,
			note(t, s, holding(t, "I-beside-"+strings.ReplaceAll(what, " ", "_"), "r")),
			store.First,
			store.New,
		)
	}
	ran.WantAll(t, "beat")
	c.Del(ctx(t), key)
	if err := c.Restore(ctx(t), key, time.Hour, ours).Err(); err != nil {
		t.Fatal(err)
	}
	wantVerdict(t, note(t, s, holding(t, "I-1", "r")), store.First, store.SameRequest)
}

// TestForeignKeys checks that no call touches a key of another program, however similar
// it is to the series' key.
func TestForeignKeys(t *testing.T) {
	r := redistest.Start(t)
	s := open(t, "standalone", r.URL())
	c := redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer c.Close()
	ledger := ledgerOf(t)
	for _, key := range []string{
		"I-1", "noted", "noted:", "noted:I-1", "noted:{I-1}", "noted:{" + ledger + "}", "noted:{" + ledger + " I-1", "noted:{" + ledger + " I-1}:lock", "noted:{" + ledger + "I-1}",
		"NOTED:{" + ledger + " I-1}", "other:noted:{" + ledger + " I-1}", "noted:{" + strings.ToLower(ledger) + " I-1}", ledger + " I-1",
	} {
		c.Set(ctx(t), key, "theirs", time.Hour)
	}
	c.RPush(ctx(t), "queue", "theirs")
	before := dump(t, c)
	first := note(t, s, holding(t, "I-1", "r"))
	for _, call := range []string{
		"Note", "Notes", "Exists", "List of the series", "List of the ledger", "Extend", "Settle", "Forget",
	} {
		if err := callsAbout(t, s, "I-1", first.Receipt, first.Note.DonationID)[call](); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	after := dump(t, c)
	delete(after, "noted:{"+ledger+" I-1}") // it keeps the floor, the forgotten note's name
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("afterwards, with our note forgotten (-before +after):\n%s", diff)
	}
}
