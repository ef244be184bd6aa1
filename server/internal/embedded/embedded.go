// Package embedded is the store of `noted -dev` and of tests: a Redis-compatible server
// in this process, so that trying the project needs nothing but Go and still runs the
// scripts that production runs.
//
// It is not for production. Nothing survives the process, there is no limit on its
// memory, and a script costs it ten times what it costs Redis. Other differences from a
// real Redis, for the author of a script or a test:
//
//   - An error that leaves a script has lost its code (WRONGTYPE, OOM); scripts must
//     answer with words, not with errors.
//   - tostring(1e15) is exact here and "1e+15" there; cjson differs; cmsgpack, bit,
//     struct, shebangs and functions are missing.
//   - A script that does not end blocks the process: there is no BUSY.
//   - CONFIG, ACL, ROLE, WAITAOF and most of INFO are missing; WAIT always counts 0 replicas.
//   - Time to live is kept by a ticker, to the second: a key may go up to a second before
//     its time, and notes with it, which is forgetting
//     them early. Else no verdict depends on it: scripts compare times of their own.
//
// # Design
//
// The library behind it, miniredis, lets neither a key's time to live nor a clock that
// was set run by itself. It can be told to look at every key's time to live before each
// access (ClockTTL), which costs 6 ms a call at 20,000 keys; so a ticker lets them age
// once a second instead. A clock that Advance has moved is set anew every millisecond,
// and so ticks on.
package embedded

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

const (
	ageEvery  = time.Second      // how often keys lose the time that has passed
	tickEvery = time.Millisecond // how often a moved clock is set
)

// Server is a running store.
type Server struct {
	redis *miniredis.Miniredis
	stop  chan struct{}
	done  sync.WaitGroup
	once  sync.Once

	mu     sync.Mutex
	frozen bool
	ahead  time.Duration // how far Advance has moved the clock
	at     time.Time     // a frozen clock's time
	aged   time.Time     // when keys last lost time, by this process's clock
}

// Start starts a store whose clock is this machine's, on a free port of 127.0.0.1.
func Start() (*Server, error) { return start(time.Time{}) }

// StartFrozen starts a store whose clock stands at the given time and moves by Advance
// only: what a test does on it is the same on every run.
func StartFrozen(at time.Time) (*Server, error) { return start(at) }

func start(at time.Time) (*Server, error) {
	s := &Server{
		redis:  miniredis.NewMiniRedis(),
		stop:   make(chan struct{}),
		frozen: !at.IsZero(),
		at:     at,
		aged:   time.Now(),
	}
	if s.frozen {
		s.redis.SetTime(at)
	}
	if err := s.redis.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("starting the embedded store: %w", err)
	}
	if !s.frozen {
		s.done.Go(s.run)
	}
	return s, nil
}

// URL is where the store listens, as Redis clients take it.
func (s *Server) URL() string { return "redis://" + s.redis.Addr() }

// Close stops the store and forgets everything. Closing it again does nothing.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.stop)
		s.done.Wait()
		s.redis.Close()
	})
}

// Now is the store's clock.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// Advance moves the store's clock forward, and shortens every key's time to live by as
// much.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen {
		s.at = s.at.Add(d)
	} else {
		s.ahead += d
	}
	// The clock moves first: a key that outlives its time does no harm, but a key that
	// ends too early is a donation forgotten.
	s.redis.SetTime(s.now())
	s.redis.FastForward(d)
}

func (s *Server) now() time.Time {
	if s.frozen {
		return s.at
	}
	return time.Now().Add(s.ahead)
}

// run lets time pass.
func (s *Server) run() {
	age, tick := time.NewTicker(ageEvery), time.NewTicker(tickEvery)
	defer age.Stop()
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-age.C:
			s.mu.Lock()
			now := time.Now()
			s.redis.FastForward(now.Sub(s.aged))
			s.aged = now
			s.mu.Unlock()
		case <-tick.C:
			s.mu.Lock()
			if s.ahead != 0 { // before any Advance the clock is the machine's, and exact
				s.redis.SetTime(s.now())
			}
			s.mu.Unlock()
		}
	}
}
