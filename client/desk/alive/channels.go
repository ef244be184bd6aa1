// Package alive reports on the channels and the store: the last message of each channel,
// Noted's verdicts over the last days, the time between the channels, whether their ids
// agree, and the state of Noted's store as its servers see it.
//
//	channels, err := alive.Channels(ctx, box, "paypal-live", 24*time.Hour, time.Now())
//	count := alive.NewCounter(…).Count(ctx, patience)
//	views := admin.Look(ctx)
//
// client/desk shows the results as a page, and client/desk/alert sends messages about
// them.
//
// # Design
//
// The inbox has every message and its time. A note has the ids of both channels. So times
// and verdicts come from the journal, and ids from the notes. Without an inbox everything
// comes from the notes, as far as they know.
//
// A ledger may have a million notes, and a person does not wait for them. A Counter
// counts in the background and shows its progress.
package alive

import (
	"context"
	"slices"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The rules for a silence.
const (
	history   = 30 * 24 * time.Hour // the span in which to find the longest pause
	enough    = 10                  // the fewest messages that make a pause meaningful
	othersSay = 3                   // payments on other channels that prove a silence
)

// A Channel is a lane, and the length of its silence.
type Channel struct {
	inbox.Lane
	Last   time.Time     // its last message that PayPal has verified; zero without any
	Pause  time.Duration // its longest pause of the 30 days before; 0 if unknown
	Others int           // messages of payments on the ledger's other channels since then, at most 3
	Silent bool
}

// Channels returns the channels of an inbox, those of the ledger first.
//
// A channel of the ledger is silent if it has had no message for a given time, and either
// that is twice as long as its longest pause of the 30 days before, or the other channels
// have told of three payments since. The silence of another ledger, such as a sandbox's,
// means nothing.
func Channels(
	ctx context.Context, box *inbox.Inbox, ledger string, after time.Duration, now time.Time,
) (all []Channel, err error) {
	pulses, err := box.Pulses(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pulses {
		all = append(all, Channel{Lane: p.Lane, Last: p.Last})
	}
	for _, name := range []string{"ipn", "webhook"} {
		lane := inbox.Lane{Ledger: ledger, Channel: name}
		if !slices.ContainsFunc(all, func(c Channel) bool { return c.Lane == lane }) {
			all = append(all, Channel{Lane: lane})
		}
	}
	slices.SortStableFunc(all, func(a, b Channel) int {
		switch {
		case a.Ledger == b.Ledger:
			return 0
		case a.Ledger == ledger:
			return -1
		case b.Ledger == ledger:
			return 1
		}
		return 0
	})
	for i := range all {
		if c := &all[i]; c.Ledger == ledger && !c.Last.IsZero() && now.Sub(c.Last) >= after {
			if err := c.judge(ctx, box, all, now); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// judge decides whether a quiet channel is silent.
func (c *Channel) judge(ctx context.Context, box *inbox.Inbox, all []Channel, now time.Time) error {
	for _, other := range all {
		if other.Ledger != c.Ledger || other.Channel == c.Channel {
			continue
		}
		n, err := box.Payments(ctx, other.Lane, c.Last, othersSay)
		if err != nil {
			return err
		}
		c.Others = min(c.Others+n, othersSay)
	}
	pause, of, err := box.LongestPause(ctx, c.Lane, c.Last.Add(-history))
	if err != nil {
		return err
	}
	if of >= enough {
		c.Pause = pause
	}
	c.Silent = c.Others == othersSay || c.Pause > 0 && now.Sub(c.Last) >= 2*c.Pause
	return nil
}
