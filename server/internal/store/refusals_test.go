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

// left is the data of a ledger in a store: key, value and expiry.
func left(t *testing.T, addr, ledger string) map[string]string {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	keys, err := c.Keys(ctx(t), "noted:{"+ledger+" *").Result()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, key := range keys {
		value, err := c.Get(ctx(t), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		all[key] = fmt.Sprintf("%s, forgotten at %d", value, expiry(t, c, key))
	}
	return all
}

// expiry is when a key ends, in milliseconds.
func expiry(t testing.TB, c *redis.Client, key string) int64 {
	t.Helper()
	at, err := c.PExpireTime(ctx(t), key).Result()
	if err == nil {
		return at.Milliseconds()
	}
	// Redis 6.2 tells only the time from now on. No millisecond may begin in between.
	const script = `local function now() local t = redis.call('TIME'); return t[1] * 1000 + math.floor(t[2] / 1000) end
		local before, left, after
		repeat before, left, after = now(), redis.call('PTTL', KEYS[1]), now() until before == after
		return left < 0 and left or before + left`
	ends, err := c.Eval(ctx(t), script, []string{key}).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// TestRefusals checks that refused calls, and calls that only look, leave every byte as
// it was.
func TestRefusals(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	ledger := ledgerOf(t)
	d := store.Donation{Ledger: ledger, SeriesID: "I-1", Event: pay, OccurredAt: at(0)}
	few := defaultRules
	few.SeriesLimit = 1

	held := note(
		t,
		s,
		store.NoteRequest{Donation: d, Message: ipn, Hold: time.Minute, RequestID: "r", Rules: defaultRules},
	)
	released := held.Receipt
	if _, err := s.Release(ctx(t), released); err != nil {
		t.Fatal(err)
	}
	taken := note(
		t,
		s,
		store.NoteRequest{Donation: d, Message: ipn, Hold: time.Minute, RequestID: "r2", Rules: defaultRules},
	)
	wantVerdict(t, taken, store.First, store.TakenOver)
	before := left(t, server.Addr(), ledger)
	if len(before) != 1 {
		t.Fatalf("the store holds %v, want one key", before)
	}

	other := d
	other.OccurredAt = at(-10 * time.Hour)
	early, late := d, d
	early.OccurredAt, early.SeriesID = time.Now().Add(-defaultRules.Retention-time.Second), "I-2"
	late.OccurredAt, late.SeriesID = time.Now().Add(defaultRules.SkewAhead+time.Minute), "I-3"
	ask := func(d store.Donation, m store.Message, rules store.Rules) func() error {
		return func() error {
			_, err := s.Note(ctx(t), store.NoteRequest{Donation: d, Message: m, RequestID: "x", Rules: rules})
			return err
		}
	}
	look := func(d store.Donation) func() error {
		return func() error { _, err := s.Exists(ctx(t), d, ipn2, defaultRules); return err }
	}
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"too early", ask(early, ipn, defaultRules), store.ErrTooEarly},
		{"too late", ask(late, ipn, defaultRules), store.ErrTooLate},
		{"a look too early", look(early), store.ErrTooEarly},
		{"a look too late", look(late), store.ErrTooLate},
		{"a look", look(d), nil},
		{"a full series", ask(other, ipn2, few), store.ErrSeriesFull},
		{"held, by a message seen before", ask(d, ipn, defaultRules), nil},
		{"settled with a lost receipt", func() error { _, err := s.Settle(ctx(t), released); return err }, store.ErrHoldLost},
		{"released with a lost receipt", func() error { _, err := s.Release(ctx(t), released); return err }, store.ErrHoldLost},
		{"extended with a lost receipt", func() error { _, err := s.Extend(ctx(t), released, time.Minute); return err }, store.ErrHoldLost},
		{"no receipt", func() error { _, err := s.Settle(ctx(t), taken.Receipt+"A"); return err }, store.ErrBadReceipt},
		{"forget an id of another series", func() error { _, err := s.Forget(ctx(t), ledger, "I-2", taken.Note.DonationID); return err }, store.ErrBadDonationID},
		{"the same request again", func() error {
			reply, err := s.Note(ctx(t), store.NoteRequest{Donation: d, Message: ipn, Hold: time.Minute, RequestID: "r2", Rules: defaultRules})
			if reply.Receipt != taken.Receipt {
				t.Errorf("the receipt is %q, want the same again, %q", reply.Receipt, taken.Receipt)
			}
			return err
		}, nil},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", c.name, err, c.want)
		}
		if diff := cmp.Diff(before, left(t, server.Addr(), ledger)); diff != "" {
			t.Errorf("%s changed the store (-before +after):\n%s", c.name, diff)
		}
	}
	if _, err := s.Forget(ctx(t), ledger, "I-1", taken.Note.DonationID); err != nil {
		t.Errorf("Forget: %v", err)
	}
	// Only the floor is left: no later note may take the forgotten name.
	after := left(t, server.Addr(), ledger)
	if name, _, _ := strings.Cut(
		taken.Note.DonationID,
		"-",
	); len(after) != 1 ||
		!strings.HasPrefix(after["noted:{"+ledger+" I-1}"], "1~"+name+", ") {
		t.Errorf("after the last note was forgotten the store holds %v", after)
	}
	if _, err := s.Forget(ctx(t), ledger, "I-1", taken.Note.DonationID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Forget again: got error %v, want %v", err, store.ErrNotFound)
	}
	if _, err := s.Settle(ctx(t), taken.Receipt); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Settle of a forgotten note: got error %v, want %v", err, store.ErrNotFound)
	}
}
