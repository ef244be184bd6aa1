// Package trial runs Noted inside a program that asks what it would have answered: the
// real service, on a store of its own, at a time that the program sets.
//
//	noted, err := trial.Start(messages[0].at, server.Rules{})
//	…
//	defer noted.Close()
//	asker, err := client.New(noted.Addr(), client.Config{Timeout: trial.Patience})
//	for _, m := range messages { // in the order of their arrival
//		noted.MoveTo(m.at)
//		answer, err := asker.Note(ctx, m.request)
//		…
//	}
//
// Nothing survives the program, and nothing leaves it. It is how notectl replays the
// past. A test uses servertest.
//
// # Design
//
// The rules are one script in the store, and whoever wants to know what they would have
// said must run that script: rules that were written a second time, for a replay, would
// in time say something else. The store and its scripts are internal to the server, so
// the door has to be in here; it is the whole service and not a way around it, so that a
// replayed message passes the checks, the settings and the refusals that the real one
// passed. It costs half as much again as the script alone.
//
// It is not servertest, which needs a testing.TB, and would bring the testing package and
// its flags into notectl.
//
// One trial is as slow as its clock: a store looks at all its keys whenever that moves.
// Who has many series spreads them over several trials, each series in one; no verdict
// depends on another series.
package trial

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// Patience is the timeout that a caller should give its calls. A deadline is by the
// store's clock, as the server last saw it, and this one jumps: after a jump over a
// caller's deadline the server has to ask the store twice. So it lies beyond every jump.
const Patience = 100 * 365 * 24 * time.Hour

// Server is a running trial.
type Server struct {
	store  *embedded.Server
	server *server.Server
	stop   func() error

	mu sync.Mutex // one move at a time
}

// Start starts a server with the given rules, whose zero fields are production's
// defaults, on an empty store whose clock stands at the given time.
func Start(at time.Time, rules server.Rules) (*Server, error) {
	store, err := embedded.StartFrozen(at)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := server.New(ctx, server.Config{
		Listen:      "127.0.0.1:0",
		AdminListen: server.Off,
		Redis:       store.URL(),
		Rules:       rules,
		MaxDeadline: Patience,
		Trial:       true,
		Drain:       time.Second,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		cancel()
		store.Close()
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		err := <-served
		store.Close()
		return err
	})
	return &Server{store: store, server: s, stop: stop}, nil
}

// Addr is where the server listens, on this machine, in plaintext.
func (s *Server) Addr() string { return s.server.Addr() }

// Now is the time of the trial.
func (s *Server) Now() time.Time { return s.store.Now() }

// ErrBackwards is MoveTo's: what has been noted at a later time cannot be taken back.
var ErrBackwards = errors.New("moving the clock backwards")

// MoveTo sets the clock, which stands still until it is moved again: holds run out, and
// notes are forgotten, as if the time had passed.
func (s *Server) MoveTo(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ahead := at.Sub(s.store.Now()); {
	case ahead < 0:
		return ErrBackwards
	case ahead > 0:
		s.store.Advance(ahead)
	}
	return nil
}

// Close stops the server and forgets everything. The caller's connections are best closed
// before, or Close waits a second for them.
func (s *Server) Close() error { return s.stop() }
