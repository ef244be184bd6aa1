package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store"
)

func TestZZProbe(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	server, err := embedded.StartFrozen(at)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	s := open(t, "standalone", server.URL())
	ctx := context.Background()
	for _, n := range []int{1, 12, 45} {
		start := time.Now()
		const series = 40
		var last time.Duration
		for k := range n {
			l := time.Now()
			for i := range series {
				d := store.Donation{Ledger: "p", SeriesID: fmt.Sprintf("I-%d-%d", n, i), Event: 1, OccurredAt: server.Now(), Amount: "25.00", CurrencyCode: "USD", TransactionID: fmt.Sprintf("%017d", k)}
				r, err := s.Note(ctx, store.NoteRequest{Donation: d, Message: store.Message{Channel: "ipn", ID: fmt.Sprintf("%032x", k)}, RequestID: fmt.Sprint(n, i, k), Hold: time.Minute, Rules: usual})
				if err != nil || r.Verdict != store.First {
					t.Fatal(err, r)
				}
			}
			last = time.Since(l) / series
			server.Advance(24 * time.Hour)
		}
		t.Logf("%d notes: %v a call, last %v", n, time.Since(start)/time.Duration(n*series), last)
	}
}
