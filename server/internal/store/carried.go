package store

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// carried brings a panic of a goroutine of ours to whoever waits for that goroutine:
// there it ends one call, here it would end the process and every call with it.
type carried struct {
	mu     sync.Mutex
	raised any // with the stack it came from; nil where all went well
}

// run runs f and keeps what it panics with.
func (c *carried) run(f func()) {
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
func (c *carried) raise() {
	if c.raised != nil {
		panic(c.raised)
	}
}
