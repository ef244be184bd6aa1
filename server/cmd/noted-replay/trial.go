package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// patience is the timeout of calls to a trial. A deadline follows the store's clock as
// the server last saw it, and this clock jumps. After a jump over a deadline the server
// has to ask the store twice, so the deadline is beyond every jump.
const patience = 100 * 365 * 24 * time.Hour

// A trial is the real service with its own store, at a time that moves only by moveTo.
// Nothing survives the program, and nothing leaves it.
//
// The rules are one script in the store. A trial runs the whole service, so that a
// replayed message passes the same checks, settings and refusals as the real message.
// That costs half as much again as the script alone.
//
// A trial is as slow as its clock: the store scans all its keys whenever the clock moves.
// So many series are spread over several trials, each series in one of them. No verdict
// depends on another series.
type trial struct {
	store  *embedded.Server
	server *server.Server
	stop   func() error // forgets everything; waits a second for open connections

	mu sync.Mutex // one move at a time
}

// startTrial starts a service with the given rules on an empty store whose clock stands
// at the given time. Zero fields of the rules are production's defaults.
func startTrial(at time.Time, rules server.Rules) (*trial, error) {
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
		MaxDeadline: patience,
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
	return &trial{store: store, server: s, stop: stop}, nil
}

// errBackwards is an error of moveTo: a store cannot forget notes of a later time.
var errBackwards = errors.New("moving the clock backwards")

// moveTo sets the clock, which then stands still until the next move. Holds run out and
// notes are forgotten as if the time had passed.
func (t *trial) moveTo(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch ahead := at.Sub(t.store.Now()); {
	case ahead < 0:
		return errBackwards
	case ahead > 0:
		t.store.Advance(ahead)
	}
	return nil
}
