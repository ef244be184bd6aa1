package inbox_test

import (
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The ages of the oldest waiting message, and of the oldest for a person, count from
// their receipt.
func TestCountOldest(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		want := func(oldest, person time.Duration) {
			t.Helper()
			counts, err := box.Count(t.Context())
			if err != nil || counts.Oldest != oldest || counts.OldestPerson != person {
				t.Errorf("the oldest wait for %v and %v, %v; want %v and %v",
					counts.Oldest, counts.OldestPerson, err, oldest, person)
			}
		}
		want(0, 0)
		must(t, box.Keep(t.Context(), arrival("A", now.time())))
		c := claim(t, box)
		if c == nil {
			t.Fatal("there is nothing to claim")
		}
		must(t, box.Finish(t.Context(), c, inbox.Result{State: inbox.Person, Cause: "a test"}))
		now.pass(time.Hour)
		must(t, box.Keep(t.Context(), arrival("B", now.time())))
		now.pass(time.Minute)
		want(time.Minute, time.Hour+time.Minute)
	})
}
