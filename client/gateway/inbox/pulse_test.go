package inbox_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The inbox knows when each lane last brought a verified message, its pauses, and Noted's
// verdicts. An unverified message does not count.
func TestPulses(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		ctx, begin := t.Context(), now.time()
		if all, err := box.Pulses(ctx); err != nil || len(all) != 0 {
			t.Errorf("an empty inbox has the pulses %v, %v", all, err)
		}
		keep := func(id, ledger, channel string) time.Time {
			a := arrival(id, now.time())
			a.Ledger, a.Channel = ledger, channel
			must(t, box.Keep(ctx, a))
			return now.time()
		}
		keep("1", "live", "ipn")
		now.pass(10 * time.Minute)
		keep("2", "live", "ipn")
		now.pass(3 * time.Hour)
		last := keep("3", "live", "ipn")
		webhook := keep("4", "live", "webhook")
		other := arrival("6", now.time())
		other.Donations = nil // such as a plan that was changed
		must(t, box.Keep(ctx, other))
		sandbox := keep("5", "sandbox", "ipn")
		c := claim(t, box) // of the first, which is due
		d := &c.Donations[0]
		d.DonationID, d.Verdict, d.Outcome = "n1", "FIRST", inbox.Settled
		must(t, box.Decided(ctx, c.Row, d))
		must(t, box.Finish(ctx, c, inbox.Result{State: inbox.Person, Cause: "a test"}))
		now.pass(time.Hour)
		must(t, box.KeepUnverified(ctx, arrival("forged", now.time()), 10, 1<<20))
		foreign := arrival("foreign", now.time())
		foreign.State, foreign.Cause, foreign.Receiver = inbox.Refused, "foreign", "9STRANGER"
		must(t, box.Keep(ctx, foreign))

		ipn := inbox.Lane{Ledger: "live", Channel: "ipn"}
		want := []inbox.Pulse{
			{Lane: ipn, Last: last},
			{Lane: inbox.Lane{Ledger: "live", Channel: "webhook"}, Last: webhook},
			{Lane: inbox.Lane{Ledger: "sandbox", Channel: "ipn"}, Last: sandbox},
		}
		same := func(a, b inbox.Pulse) bool { return a.Lane == b.Lane && a.Last.Equal(b.Last) }
		if got, err := box.Pulses(ctx); err != nil || !slices.EqualFunc(got, want, same) {
			t.Errorf("the pulses are %v, %v, want %v", got, err, want)
		}
		if pause, of, err := box.LongestPause(ctx, ipn, begin); err != nil || pause != 3*time.Hour || of != 4 {
			t.Errorf("the longest pause is %v of %d, %v", pause, of, err)
		}
		if pause, of, err := box.LongestPause(ctx, ipn, last); err != nil || pause != 0 || of != 2 {
			t.Errorf("the longest pause of one message is %v of %d, %v", pause, of, err)
		}
		for limit, want := range map[int]int{1: 1, 5: 2} {
			if n, err := box.Payments(ctx, ipn, begin, limit); err != nil || n != want {
				t.Errorf("payments since the first, of %d at most: %d, %v, want %d", limit, n, err, want)
			}
		}
		var said []string
		must(t, box.Decisions(ctx, begin, last, func(d inbox.Decision) {
			said = append(said, fmt.Sprint(d.Ledger, d.Channel, d.Verdict, d.DonationID, d.ReceivedAt.Equal(begin)))
		}))
		slices.Sort(said)
		if want := []string{"liveipnFIRSTn1true", "liveipnfalse"}; !slices.Equal(said, want) {
			t.Errorf("the decisions are %v, want %v", said, want)
		}
		n, since, err := box.Overdue(ctx, now.time(), inbox.Person)
		if err != nil || n != 1 || !since.Equal(begin) {
			t.Errorf("for a person: %d since %v, %v", n, since, err)
		}
		if n, _, err := box.Overdue(ctx, begin.Add(-time.Second), inbox.Person, inbox.Waiting); err != nil || n != 0 {
			t.Errorf("before the first: %d, %v", n, err)
		}
	})
}

// An alert is raised once, sent by one desk at a time, and gone when people know that it
// is over. An act without a message is kept with its account.
func TestAlerts(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box, other := open(nil), open(nil)
		ctx, begin := t.Context(), now.time()
		first, err := box.Raise(ctx, "silent:ipn")
		must(t, err)
		now.pass(time.Hour)
		again, err := other.Raise(ctx, "silent:ipn")
		must(t, err)
		if first != again || !first.Since.Equal(begin) || first.Told {
			t.Errorf("raised %+v, and again %+v", first, again)
		}
		take := func(box *inbox.Inbox) bool {
			t.Helper()
			taken, err := box.Take(ctx, "silent:ipn", time.Minute)
			must(t, err)
			return taken
		}
		if !take(box) || take(other) {
			t.Error("two desks tell of one alert, or none does")
		}
		now.pass(time.Minute)
		if !take(other) {
			t.Error("an alert that was not told stays with a desk that died")
		}
		must(t, other.Told(ctx, "silent:ipn", false))
		if a, err := box.Alert(ctx, "silent:ipn"); err != nil || !a.Told {
			t.Errorf("the alert is %+v, %v", a, err)
		}
		if causes, err := box.Alerts(ctx); err != nil || !slices.Equal(causes, []string{"silent:ipn"}) {
			t.Errorf("the alerts are %v, %v", causes, err)
		}
		must(t, box.Told(ctx, "silent:ipn", true))
		if a, err := box.Alert(ctx, "silent:ipn"); err != nil || a.Cause != "" || take(box) {
			t.Errorf("after its end the alert is %+v, %v", a, err)
		}

		must(t, box.Record(ctx, inbox.Act{Actor: "ann", Name: "acknowledge", Reason: "restored"}))
		acts, err := box.AllActs(ctx, 10)
		must(t, err)
		if len(acts) != 1 || acts[0].Row != "" || acts[0].Name != "acknowledge" || acts[0].Reason != "restored" {
			t.Errorf("the acts are %+v", acts)
		}
	})
}
