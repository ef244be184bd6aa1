// Package alive finds out whether the channels tell: when each last did, what Noted said
// over the last days, how far apart the channels arrive, whether their ids agree, and
// what the servers of Noted say of their store.
//
//	channels, err := alive.Channels(ctx, box, "paypal-live", 24*time.Hour, time.Now())
//	count := alive.NewCounter(…).Count(ctx, patience)
//	views := admin.Look(ctx)
//
// client/desk shows it as a page, and client/desk/alert tells people who do not look.
//
// # Design
//
// The inbox knows every message, and when it came. A note knows the ids of both channels.
// So the journal tells of times and verdicts, the notes tell of ids, and where there is no
// inbox the notes tell of both, as far as they know.
//
// A ledger may have a million notes, and a person does not wait for them: a Counter counts
// in the background and shows how far it is.
package alive

import (
	"context"
	"slices"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// How a silence is judged.
const (
	history   = 30 * 24 * time.Hour // how far back the longest pause is looked for
	enough    = 10                  // messages without which a pause says nothing
	othersSay = 3                   // payments on other channels that show that donations come
)

// A Channel is a lane, and how long it has been silent.
type Channel struct {
	inbox.Lane
	Last   time.Time     // its last message that PayPal has verified; zero for none
	Pause  time.Duration // its longest pause of the 30 days before; 0 where that is not known
	Others int           // messages of payments on the ledger's other channels since then, at most 3
	Silent bool
}

// Channels returns the channels of an inbox, those of the ledger first.
//
// A channel of the ledger is silent when nothing has come over it for a time, and either
// that is twice as long as its longest pause of the 30 days before, or the other channels
// have told of three payments since. Of other ledgers, such as a sandbox's, a silence is
// no news.
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

// judge finds out whether a channel that has been quiet is silent.
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
