// Package limits bounds how much callers may take of the server: how often each may call,
// how many calls are under way, how many connections there are, and how much memory all
// that can need.
package limits

import (
	"time"
)

// The limits of connections.
const (
	Handshake     = 5 * time.Second
	PingEvery     = time.Minute      // the server asks whether a silent peer is alive
	PingPatience  = 20 * time.Second // and waits this long for its answer
	PingAtMost    = 10 * time.Second // a peer may not ask the server more often
	ConnectionAge = 30 * time.Minute // spreads callers over servers, and bounds slow attacks
	AgeGrace      = 30 * time.Second // for the calls on a connection that has become old
)

// Workers is how many goroutines stay alive with the stack that a call has grown. Calls
// beyond get a goroutine of their own.
const Workers = 128

// Batch is how many requests of a stream go to the store together, and how many may wait
// for the batch before them.
const Batch = 128
