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

// TestPanicWhileSending makes the sending of calls panic: in a goroutine that sends the
// calls of many while another call is on its way, and in a caller that is alone. The panic
// must end those calls, each with the stack, but not the process, and later calls must
// find all lanes free.
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
	sent, reply := make(chan struct{}), make(chan struct{})
	s.wire.AddHook(canary{sent, reply})
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
	panics := func(series string) (drained bool) {
		raised, err := note(series)
		text := fmt.Sprint(raised)
		if !strings.Contains(text, "the canary") || !strings.Contains(text, "canary.sing") {
			t.Errorf("%s: it panicked with %s and failed with %v, want the canary and its stack", series, text, err)
		}
		return strings.Contains(text, "(*batcher).drain")
	}
	slow := make(chan struct{})
	go func() {
		defer close(slow)
		if raised, err := note("I-slow"); raised != nil || err != nil {
			t.Errorf("the call meanwhile: %v, %v", raised, err)
		}
	}()
	select {
	case <-sent:
	case <-slow:
		t.Fatal("the slow call was over before the others came")
	}
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			if !panics(fmt.Sprint("I-panic-", i)) {
				t.Errorf("call %d was not sent by a goroutine for many", i)
			}
		})
	}
	all.Wait()
	close(reply)
	<-slow
	for alone, end := 0, time.Now().Add(30*time.Second); alone < 3; { // the goroutine may still have its lane
		if !panics("I-panic-alone") {
			alone++
		}
		if time.Now().After(end) {
			t.Fatalf("%d calls in half a minute found all lanes free, want 3", alone)
		}
	}
	for i := range 30 {
		if raised, err := note(fmt.Sprint("I-after-", i)); raised != nil || err != nil {
			t.Errorf("a call afterwards: %v, %v", raised, err)
		}
	}
}

// A canary panics where a command of a series I-panic is sent. It says when the command of
// I-slow is sent, and holds it back until there may be a reply.
type canary struct{ sent, reply chan struct{} }

func (canary) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c canary) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.sing(cmd); return next(ctx, cmd) }
}

func (c canary) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			c.sing(cmd)
		}
		return next(ctx, cmds)
	}
}

func (c canary) sing(cmd redis.Cmder) {
	for _, arg := range cmd.Args() {
		switch key, is := arg.(*string); {
		case is && strings.Contains(*key, "I-panic"):
			panic("the canary")
		case is && strings.Contains(*key, "I-slow"):
			close(c.sent)
			<-c.reply
		}
	}
}
