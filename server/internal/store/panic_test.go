package store

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// TestPanicWhileSending makes the sending of calls panic, in a caller and in a goroutine
// that sends the calls of many. The panic must end those calls, each with the stack, but
// not the process, and later calls must find all lanes free.
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
	s.wire.AddHook(canary{})
	note := func(series string) (raised any, err error) {
		defer func() {
			if raised = recover(); raised != nil {
				raised = fmt.Sprintf("%v\n\n%s", raised, debug.Stack())
			}
		}()
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
	for i := range 30 {
		all.Go(func() {
			raised, err := note(fmt.Sprint("I-panic-", i))
			text := fmt.Sprint(raised)
			if !strings.Contains(text, "the canary") || !strings.Contains(text, "store.sing") {
				t.Errorf("call %d: it panicked with %s and failed with %v, want the canary and its stack", i, text, err)
			}
		})
	}
	all.Wait()
	for i := range 30 {
		if raised, err := note(fmt.Sprint("I-after-", i)); raised != nil || err != nil {
			t.Errorf("a call afterwards: %v, %v", raised, err)
		}
	}
}

// A canary panics where a command of the series I-panic is sent.
type canary struct{}

func (canary) DialHook(next redis.DialHook) redis.DialHook { return next }

func (canary) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { sing(cmd); return next(ctx, cmd) }
}

func (canary) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			sing(cmd)
		}
		return next(ctx, cmds)
	}
}

func sing(cmd redis.Cmder) {
	for _, arg := range cmd.Args() {
		if key, is := arg.(*string); is && strings.Contains(*key, "I-panic") {
			panic("the canary")
		}
	}
}
