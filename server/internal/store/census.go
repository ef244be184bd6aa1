package store

import (
	"context"
	"fmt"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// A Census counts all notes of all ledgers, a step at a time. Each step is one SCAN and
// one round trip for the keys that it found, so its cost is bounded, however many notes
// there are. It is not exact: notes change while it goes on, and Redis may give a key
// twice while it grows its table.
type Census struct {
	store *Store
	at    cursor
	found Counts
}

// Counts are what a census has found.
type Counts struct {
	States     map[CountedState]int
	OldestOpen map[string]time.Time // :: ledger → when its oldest open donation was noted
	OneChannel map[Counted]int      // notes that only this channel told of, for longer than a day; of each channel
}

// Counted is a ledger and a channel.
type Counted struct{ Ledger, Channel string }

// CountedState is a ledger and the state of a note.
type CountedState struct {
	Ledger string
	State  State
}

// lonely is how long a note waits for a message on another channel before it counts as
// told by one channel only.
const lonely = 24 * time.Hour

// mostLedgers is how many ledgers are counted by name; callers choose the names.
const mostLedgers = 1000

// NewCensus makes a Census that has counted nothing yet.
func (s *Store) NewCensus() *Census {
	return &Census{store: s, at: cursor{More: true}, found: newCounts()}
}

func newCounts() Counts {
	return Counts{
		States: map[CountedState]int{}, OldestOpen: map[string]time.Time{}, OneChannel: map[Counted]int{},
	}
}

// Step takes the next step. After the last note it returns the counts. The step after
// that, or after an error, begins a new walk.
func (c *Census) Step(ctx context.Context) (counts Counts, whole bool, err error) {
	defer func() {
		if err != nil || whole {
			c.at, c.found = cursor{More: true}, newCounts()
		}
	}()
	if err := c.store.trusted(); err != nil {
		return counts, false, err
	}
	if len(c.at.Wait) == 0 {
		nodes, err := c.store.wire.Nodes(ctx)
		if err != nil {
			return counts, false, err
		}
		if err := scan(ctx, nodes, &c.at, everyLedger); err != nil {
			return counts, false, err
		}
	}
	if err := c.count(ctx); err != nil {
		return counts, false, err
	}
	if len(c.at.Wait) > 0 || c.at.More {
		return counts, false, nil
	}
	return c.found, true, nil
}

// count counts the notes of the waiting keys.
func (c *Census) count(ctx context.Context) error {
	calls := make([]*wire.Call, min(len(c.at.Wait), scanCount))
	if len(calls) == 0 {
		return nil
	}
	for i := range calls {
		calls[i] = &wire.Call{Script: listScript, Key: c.at.Wait[i], Args: []any{writeTransaction("")}}
	}
	c.store.ask(ctx, calls) // not run: no caller asked, so there is nothing to trace
	for i, call := range calls {
		switch {
		case call.Err != nil:
			return call.Err
		case call.Words[0] != "NOTES":
			return unexpected(listScript, call.Words)
		}
		now, err := wire.Millis(call.Words[1])
		if err != nil {
			return err
		}
		notes, err := readNotes(c.at.Wait[i], call.Words[2:], now)
		if err != nil {
			return fmt.Errorf("counting: %w", err)
		}
		for _, n := range notes {
			c.found.add(n, now)
		}
	}
	c.at.Wait = c.at.Wait[len(calls):]
	return nil
}

// add counts a note.
func (c *Counts) add(n Note, now time.Time) {
	ledger := n.Donation.Ledger
	state := CountedState{ledger, n.State}
	if c.States[state] == 0 && len(c.States) >= mostLedgers {
		return
	}
	c.States[state]++
	if oldest, ok := c.OldestOpen[ledger]; n.State == StateOpen && (!ok || n.NotedAt.Before(oldest)) {
		c.OldestOpen[ledger] = n.NotedAt
	}
	if len(n.Sightings) == 0 {
		return
	}
	only := Counted{ledger, n.Sightings[0].Message.Channel}
	if _, known := c.OneChannel[only]; only.Channel == "" || !known && len(c.OneChannel) >= mostLedgers {
		return
	}
	alone := now.Sub(n.NotedAt) >= lonely
	for _, s := range n.Sightings[1:] {
		alone = alone && s.Message.Channel == only.Channel
	}
	if alone {
		c.OneChannel[only]++
	} else {
		c.OneChannel[only] += 0 // the channel is there
	}
}
