package store_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// ledgerOf gives each test a ledger of its own, so that tests never meet in a store and
// need not empty it.
func ledgerOf(t testing.TB) string {
	name := []byte(t.Name())
	for i, c := range name {
		if c <= ' ' || c > '~' {
			name[i] = '_'
		}
	}
	return string(name[max(0, len(name)-64):])
}

func open(t testing.TB, mode, url string) *store.Store {
	t.Helper()
	s, err := store.Open(
		t.Context(),
		store.Config{URL: url, Mode: mode, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
	)
	if err != nil {
		t.Fatalf("Open(%s): %v", mode, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// everywhere runs a test on every kind of store.
func everywhere(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Run("embedded", func(t *testing.T) {
		server, err := embedded.Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		test(t, open(t, "standalone", server.URL()))
	})
	t.Run("redis", func(t *testing.T) { test(t, open(t, "standalone", redistest.Start(t).URL())) })
	t.Run("cluster", func(t *testing.T) { test(t, open(t, "cluster", cluster(t))) })
}

var defaultRules = store.Rules{
	MatchWindow:   2 * time.Hour,
	ArrivalWindow: 96 * time.Hour,
	Retention:     45 * 24 * time.Hour,
	SkewAhead:     24 * time.Hour,
	SeriesLimit:   512,
}

const ids = "ABCDEFGHJKLMNPQRS" // 17 letters, as PayPal's

var (
	ipn     = store.Message{Channel: "ipn", ID: "0123456789abcdef0123456789abcdef"}
	ipn2    = store.Message{Channel: "ipn", ID: "ffffffffffffffffffffffffffffffff"}
	webhook = store.Message{Channel: "webhook", ID: "WH-" + ids + "-" + ids}
)

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return c
}

func note(t testing.TB, s *store.Store, r store.NoteRequest) store.NoteReply {
	t.Helper()
	reply, err := s.Note(ctx(t), r)
	if err != nil {
		t.Fatalf("Note(%+v): %v", r, err)
	}
	return reply
}

func wantVerdict(t testing.TB, got store.NoteReply, verdict store.Verdict, evidence store.Evidence) {
	t.Helper()
	if got.Verdict != verdict || got.Evidence != evidence {
		t.Errorf(
			"got verdict %d by evidence %d, want %d by %d; note %+v",
			got.Verdict,
			got.Evidence,
			verdict,
			evidence,
			got.Note,
		)
	}
}

func TestTwoChannels(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		at := time.Now().Add(-35 * time.Second).Truncate(time.Second)
		d := store.Donation{
			Ledger:        ledgerOf(t),
			SeriesID:      "I-" + ids[:12],
			Event:         1,
			OccurredAt:    at,
			Amount:        "25.00",
			CurrencyCode:  "USD",
			TransactionID: ids,
		}
		first := note(t, s, store.NoteRequest{Donation: d, Message: ipn, RequestID: "a", Rules: defaultRules})
		wantVerdict(t, first, store.First, store.New)
		want := store.Note{
			DonationID: first.Note.DonationID,
			Donation:   d,
			State:      store.StateSettled,
			NotedAt:    first.Now,
			ForgetAt:   first.Now.Add(defaultRules.Retention),
			Attempt:    1,
			Sightings:  []store.Sighting{{Message: ipn, TransactionID: ids, SeenAt: first.Now}},
		}
		if diff := cmp.Diff(want, first.Note); diff != "" {
			t.Errorf("Note(ipn).Note (-want +got):\n%s", diff)
		}
		d2 := d
		d2.Amount, d2.TransactionID = "25.0", ""
		second := note(t, s, store.NoteRequest{Donation: d2, Message: webhook, RequestID: "b", Rules: defaultRules})
		wantVerdict(t, second, store.Duplicate, store.Paired)
		want.Sightings = append(want.Sightings, store.Sighting{Message: webhook, SeenAt: second.Now})
		if diff := cmp.Diff(want, second.Note); diff != "" {
			t.Errorf("Note(webhook).Note (-want +got):\n%s", diff)
		}
	})
}
