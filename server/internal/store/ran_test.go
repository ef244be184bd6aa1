package store

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// Ran counts the scripts that stores run, for tests that promise something of each call.
type Ran struct {
	mu    sync.Mutex
	times map[string]int // :: script → how often it ran
}

// Took is for Config.Took.
func (r *Ran) Took(script string, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.times == nil {
		r.times = map[string]int{}
	}
	r.times[script]++
}

// Forget forgets what has run, such as the preparations of a test.
func (r *Ran) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.times)
}

// WantAll fails the test if a script of a server has not run, except those left out.
func (r *Ran) WantAll(t testing.TB, but ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, script := range Scripts() {
		if r.times[script] == 0 && !slices.Contains(but, script) {
			t.Errorf("no call here has run %s.lua: add the call, since this test is about all calls", script)
		}
	}
}
