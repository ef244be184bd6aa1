package store

import (
	"context"
	"sync"
	"time"
)

// A batcher lets calls that wait at the same time share a round trip. Nobody waits for
// company: a call that finds a free lane is sent at once, and those that come while all
// lanes are busy are sent together by the first lane that is free again.
type batcher struct {
	send func(ctx context.Context, calls []call) []result
	mu   sync.Mutex
	busy int // lanes in use
	wait []waiting
}

type waiting struct {
	ctx  context.Context
	call call
	done chan result // of one, so that a lane never waits for a caller that has gone
}

// Few lanes make large batches: each costs Redis and this process one read and one write.
// A batch is bounded so that one that fails does not take everybody along.
const (
	lanes     = 3
	mostCalls = 128
)

// do runs a call, or gives up with its context. A call that was given up runs, if at all,
// before its deadline has passed by the store's clock.
func (b *batcher) do(ctx context.Context, c call) result {
	w := waiting{ctx: ctx, call: c, done: make(chan result, 1)}
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
	case r := <-w.done:
		if r.panicked != nil {
			r.panicked.raise()
		}
		return r
	case <-ctx.Done():
		return result{err: ctx.Err()}
	}
}

// drain sends what waits until nothing does.
func (b *batcher) drain() {
	for {
		batch := b.next()
		if len(batch) == 0 {
			return
		}
		ctx, cancel := together(batch)
		calls := make([]call, len(batch))
		for i, w := range batch {
			calls[i] = w.call
		}
		var p carried
		var results []result
		p.run(func() { results = b.send(ctx, calls) })
		for i := range batch {
			if p.raised != nil {
				batch[i].done <- result{panicked: &p}
				continue
			}
			batch[i].done <- results[i]
		}
		cancel()
	}
}

// next takes what waits and is still waited for. It gives the lane up when there is
// nothing.
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
