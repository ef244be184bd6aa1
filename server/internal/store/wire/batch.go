package wire

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// A batcher lets calls that wait at the same time share a round trip. A call never waits
// for others to join it: a call that finds a free lane is sent at once, and calls that
// arrive while all lanes are busy are sent together by the first lane that is free.
type batcher struct {
	send func(ctx context.Context, runs []*run) // fills in their replies
	mu   sync.Mutex
	busy int // lanes in use
	wait []*run
}

// Few lanes make large batches: a batch costs Redis and this process one read and one
// write. The size is bounded so that a batch that fails does not take every call along.
const (
	lanes     = 2
	mostCalls = 128
	fewCalls  = 16 // of which a queue has the memory from the start
)

// letGo has channels with room for one word. The channel of a run whose caller gave up
// does not come back: the word may still be on its way.
var letGo = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

// do sends one run, or gives up with its context. A run that was given up may still run,
// but not after its deadline by Redis's clock.
//
// A call that finds all lanes free takes one, and sends itself: waking another goroutine
// and being woken by it would cost a lone caller more than all the rest. It cannot give
// up before its deadline, which its connection has too, so at most one call for each lane
// notices late that its caller has gone. If another lane is busy, a goroutine sends the
// call, together with the calls that come before it runs.
func (b *batcher) do(ctx context.Context, one []*run) reply {
	r := one[0]
	b.mu.Lock()
	if b.busy == 0 { // so nothing waits
		b.busy++
		b.mu.Unlock()
		defer b.pass()
		b.send(ctx, one)
		return r.reply
	}
	r.ctx, r.done = ctx, letGo.Get().(chan struct{})
	if b.wait == nil {
		b.wait = make([]*run, 0, fewCalls)
	}
	b.wait = append(b.wait, r)
	start := b.busy < lanes
	if start {
		b.busy++
	}
	b.mu.Unlock()
	if start {
		go b.drain()
	}
	select {
	case <-r.done:
		letGo.Put(r.done)
		if r.panicked != nil {
			r.panicked.raise()
		}
		return r.reply
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
}

// pass gives a lane to the runs that have come to wait meanwhile, or frees it.
func (b *batcher) pass() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.wait) > 0 {
		go b.drain()
	} else {
		b.busy--
	}
}

// drain sends the waiting runs until the queue is empty. Before each batch it lets the
// goroutines that can run at this moment do so: their calls join the batch.
func (b *batcher) drain() {
	for {
		runtime.Gosched()
		batch := b.next()
		if len(batch) == 0 {
			return
		}
		ctx, cancel := together(batch)
		var p caughtPanic
		p.catch(func() { b.send(ctx, batch) })
		for _, r := range batch {
			if p.raised != nil {
				r.panicked = &p
			}
			r.done <- struct{}{} // it has room: this never waits
		}
		cancel()
	}
}

// next takes the runs that wait and whose callers have not given up. It frees the lane
// when there are no more.
func (b *batcher) next() []*run {
	b.mu.Lock()
	defer b.mu.Unlock()
	var batch []*run
	for len(batch) == 0 && len(b.wait) > 0 {
		n := min(len(b.wait), mostCalls)
		batch, b.wait = b.wait[:n:n], b.wait[n:]
		batch = slices.DeleteFunc(batch, func(r *run) bool { return r.ctx.Err() != nil })
		if len(b.wait) == 0 {
			b.wait = nil // its memory is the batch's now
		}
	}
	if len(batch) == 0 {
		b.busy--
	}
	return batch
}

// together is the context of a batch: it lasts as long as the most patient caller's.
func together(batch []*run) (context.Context, context.CancelFunc) {
	if len(batch) == 1 {
		return batch[0].ctx, func() {}
	}
	var latest time.Time
	for _, r := range batch {
		deadline, has := r.ctx.Deadline()
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
