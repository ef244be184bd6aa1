package wire

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// A batcher lets calls that wait at the same time share a round trip. A call never waits
// for others to join it: a call that finds a free lane is sent at once, and calls that
// arrive while all lanes are busy are sent together by the first lane that is free.
type batcher struct {
	send func(ctx context.Context, runs []*run) []reply
	mu   sync.Mutex
	busy int // lanes in use
	wait []waiting
}

type waiting struct {
	ctx  context.Context
	run  *run
	done chan answer // buffered for one, so that a lane never waits for a caller that has gone
}

// An answer is a reply, or the panic of the lane that sent the run.
type answer struct {
	reply
	panicked *caughtPanic // nil if there was none
}

// Few lanes make large batches: a batch costs Redis and this process one read and one
// write. The size is bounded so that a batch that fails does not take every call along.
const (
	lanes     = 3
	mostCalls = 128
)

// do sends a run, or gives up with its context. A run that was given up may still run,
// but not after its deadline by Redis's clock.
func (b *batcher) do(ctx context.Context, r *run) reply {
	w := waiting{ctx: ctx, run: r, done: make(chan answer, 1)}
	b.mu.Lock()
	b.wait = append(b.wait, w)
	start := b.busy < lanes
	if start {
		b.busy++
	}
	b.mu.Unlock()
	if start {
		go b.drain()
	}
	select {
	case a := <-w.done:
		if a.panicked != nil {
			a.panicked.raise()
		}
		return a.reply
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
}

// drain sends what waits until the queue is empty.
func (b *batcher) drain() {
	for {
		batch := b.next()
		if len(batch) == 0 {
			return
		}
		ctx, cancel := together(batch)
		runs := make([]*run, len(batch))
		for i, w := range batch {
			runs[i] = w.run
		}
		var p caughtPanic
		var replies []reply
		p.catch(func() { replies = b.send(ctx, runs) })
		for i := range batch {
			if p.raised != nil {
				batch[i].done <- answer{panicked: &p}
				continue
			}
			batch[i].done <- answer{reply: replies[i]}
		}
		cancel()
	}
}

// next takes the runs that wait and whose callers have not given up. It frees the lane
// when there are no more.
func (b *batcher) next() []waiting {
	b.mu.Lock()
	defer b.mu.Unlock()
	var batch []waiting
	for len(batch) == 0 && len(b.wait) > 0 {
		n := min(len(b.wait), mostCalls)
		for _, w := range b.wait[:n] {
			if w.ctx.Err() == nil {
				batch = append(batch, w)
			}
		}
		if b.wait = b.wait[n:]; len(b.wait) == 0 {
			b.wait = nil // so that its memory is not held
		}
	}
	if len(batch) == 0 {
		b.busy--
	}
	return batch
}

// together is the context of a batch: it lasts as long as the most patient caller's.
func together(batch []waiting) (context.Context, context.CancelFunc) {
	if len(batch) == 1 {
		return context.WithCancel(batch[0].ctx)
	}
	var latest time.Time
	for _, w := range batch {
		deadline, has := w.ctx.Deadline()
		if !has {
			return context.WithCancel(context.Background())
		}
		if deadline.After(latest) {
			latest = deadline
		}
	}
	return context.WithDeadline(context.Background(), latest)
}

// caughtPanic carries a panic from a goroutine of ours to the caller that waits for it.
// There it ends one call; in the goroutine it would end the process and every call.
type caughtPanic struct {
	mu     sync.Mutex
	raised any // with the stack it came from; nil if there was no panic
}

// catch runs f and keeps its panic.
func (c *caughtPanic) catch(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.raised = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
		}
	}()
	f()
}

// raise panics as f did.
func (c *caughtPanic) raise() {
	if c.raised != nil {
		panic(c.raised)
	}
}
