package inbox_test

import (
	"errors"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// Unverified messages are limited, and later become verified messages.
func TestUnverified(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		ctx := t.Context()
		unverified := func(body string) error {
			a := arrival("ignored", now.time())
			a.Body = []byte(body)
			return box.KeepUnverified(ctx, a, 3, 1<<20)
		}
		must(t, unverified("one"))
		must(t, unverified("one"))
		must(t, unverified("two"))
		must(t, unverified("three"))
		if err := unverified("four"); !errors.Is(err, inbox.ErrNoRoom) {
			t.Errorf("a fourth message: %v, want %v", err, inbox.ErrNoRoom)
		}
		if err := box.KeepUnverified(ctx, arrival("A", now.time()), 10, 10); !errors.Is(err, inbox.ErrNoRoom) {
			t.Errorf("too many bytes: %v, want %v", err, inbox.ErrNoRoom)
		}
		c := claim(t, box)
		if c == nil || c.Verified || string(c.Body) != "one" || c.Copies != 1 {
			t.Fatalf("claimed %+v", c)
		}
		must(t, box.Confirm(ctx, c, arrival("A", c.ReceivedAt)))
		c = claim(t, box)
		must(t, box.Confirm(ctx, c, arrival("A", c.ReceivedAt)))
		must(t, box.Finish(ctx, claim(t, box), inbox.Result{State: inbox.Discarded, Cause: "invalid"}))
		found := list(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
		if len(found) != 1 || found[0].ID != "A" || !found[0].Verified || found[0].Copies != 1 {
			t.Errorf("after the verdicts: %+v", found)
		}
	})
}

// PayPal has called genuine messages invalid. A copy of a discarded message is tried
// again, even if PayPal cannot be asked when the copy comes: PayPal gets 200 and does not
// send it again.
func TestDiscardedMessageComesAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		ctx, first := t.Context(), arrival("ignored", now.time())
		must(t, box.KeepUnverified(ctx, first, 1, 1<<20))
		must(t, box.Finish(ctx, claim(t, box), inbox.Result{State: inbox.Discarded, Cause: "invalid"}))
		now.pass(inbox.DefaultKeep)
		must(t, box.Sweep(ctx))
		must(t, box.KeepUnverified(ctx, arrival("ignored", now.time()), 1, 1<<20))
		c := claim(t, box)
		if c == nil || c.Verified || string(c.Body) != string(first.Body) || c.Copies != 1 || !c.FinishedAt.IsZero() ||
			!c.ReceivedAt.Equal(first.ReceivedAt) {
			t.Fatalf("claimed %+v", c)
		}
		other := arrival("ignored", now.time())
		other.Body = []byte("another")
		if err := box.KeepUnverified(ctx, other, 1, 1<<20); !errors.Is(err, inbox.ErrNoRoom) {
			t.Errorf("a message beside it: %v, want %v", err, inbox.ErrNoRoom)
		}
	})
}

// What a person did to a message that PayPal had not verified yet stays in the audit when the
// verified message takes its place.
func TestActsOutliveTheVerdict(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		ctx := t.Context()
		for _, body := range []string{"one", "two"} { // the second is a copy of a message that is known by then
			a := arrival("ignored", now.time())
			a.Body = []byte(body)
			must(t, box.KeepUnverified(ctx, a, 2, 1<<20))
			row := list(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
			must(t, box.Redo(ctx, row[len(row)-1].Row, now.time(), "ann", "PayPal is back: "+body))
			must(t, box.Confirm(ctx, claim(t, box), arrival("A", a.ReceivedAt)))
			must(t, box.Finish(ctx, claim(t, box), inbox.Result{State: inbox.Done}))
			now.pass(time.Second)
		}
		row := list(t, box, inbox.Filter{})[0].Row
		acts, err := box.Acts(ctx, row)
		must(t, err)
		all, err := box.AllActs(ctx, 10)
		must(t, err)
		if len(acts) != 2 || len(all) != 2 || acts[0].Reason != "PayPal is back: one" || all[0].Row != row {
			t.Errorf("the audit of %s has %+v, and that of all %+v", row, acts, all)
		}
	})
}
