package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// TestPanicWhileSending checks that a panic in the goroutine that sends calls of many
// ends those calls where they were made, with its stack, and neither the process nor what
// comes after: no lane is lost.
func TestPanicWhileSending(t *testing.T) {
	s, err := Open(
		t.Context(),
		Config{
			URL:    redistest.Start(t).URL(),
			Mode:   "standalone",
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	send := s.batch.send
	s.batch.send = func(ctx context.Context, calls []call) []result {
		for _, c := range calls {
			if strings.Contains(c.key, "I-panic") {
				panic("the canary")
			}
		}
		return send(ctx, calls)
	}
	note := func(series string) (raised any, err error) {
		defer func() { raised = recover() }()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err = s.Note(ctx, NoteRequest{
			Donation: Donation{SeriesID: series, Event: 1}, RequestID: series,
			Rules: Rules{MatchWindow: time.Hour, ArrivalWindow: time.Hour, Retention: time.Hour, SeriesLimit: 10},
		})
		return nil, err
	}
	if _, err := note("I-before"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 10 * lanes {
		all.Go(func() {
			raised, err := note(fmt.Sprint("I-panic-", i))
			if text := fmt.Sprint(
				raised,
			); !strings.Contains(text, "the canary") ||
				!strings.Contains(text, "(*batcher).drain") {
				t.Errorf("call %d: it panicked with %s and failed with %v, want the canary and its stack", i, text, err)
			}
		})
	}
	all.Wait()
	for i := range 10 * lanes {
		if raised, err := note(fmt.Sprint("I-after-", i)); raised != nil || err != nil {
			t.Errorf("a call afterwards: %v, %v", raised, err)
		}
	}
}
