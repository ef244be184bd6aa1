package server

import (
	"bytes"
	"sync"
	"time"
)

// Age sets how old connections get, and how long their calls may take after that.
func (c *Config) Age(age, grace time.Duration) { c.age, c.grace = age, grace }

// CensusRest sets how long the server waits between two walks through all notes.
func (c *Config) CensusRest(rest time.Duration) { c.censusRest = rest }

// LockedBuffer is a log that can be read while it is written.
type LockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *LockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *LockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
