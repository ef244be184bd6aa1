package wire

import (
	"sync"
	"time"
)

// A Trip tells a trace how a call got to Redis and back. A call without one costs nothing.
type Trip struct {
	mu  sync.Mutex // a batch may still be on its way when its caller has given up
	leg Leg
}

// A Leg is one round trip to Redis.
type Leg struct {
	Sent, Received time.Time // zero if the call was not sent, or if nothing came back
	Calls          int       // how many calls shared the round trip
	Replicas       int64     // how many replicas had acknowledged it; -1 if none was waited for
}

// Last is the latest round trip.
func (t *Trip) Last() Leg {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leg
}

// note keeps a round trip of a run.
func (t *Trip) note(r *run, leg Leg) {
	leg.Replicas = -1
	if r.wait != nil && r.wait.Err() == nil {
		leg.Replicas = r.wait.Val()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leg = leg
}
