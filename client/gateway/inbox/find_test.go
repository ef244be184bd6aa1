package inbox_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// An inbox that kept no answers of the downstream keeps them once it is opened again, and
// has lost nothing.
func TestInboxWithoutAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		all, ctx := keys(t, inbox.NewKeyLine()), t.Context()
		before := open(all)
		for _, id := range []string{"OLD", "NEW"} {
			must(t, before.Keep(ctx, arrival(id, now.time())))
			now.pass(time.Second)
		}
		c := claim(t, before)
		d := &c.Donations[0]
		d.AcceptedID, d.AcceptedAnswer = "note-1", "204"
		must(t, before.Accepted(ctx, c, d))
		must(t, before.Finish(ctx, c, inbox.Result{State: inbox.Done}))
		must(t, before.ForgetAnswers())
		must(t, before.Close())

		box := open(all)
		c = claim(t, box)
		d = &c.Donations[0]
		d.AcceptedID, d.AcceptedAnswer = "note-2", "202"
		must(t, box.Accepted(ctx, c, d))
		got := map[string]string{}
		for _, m := range list(t, box, inbox.Filter{}) {
			got[m.Donations[0].AcceptedID] = m.Donations[0].AcceptedAnswer
		}
		if want := map[string]string{"note-1": "", "note-2": "202"}; !maps.Equal(got, want) {
			t.Errorf("the answers are %v, want %v", got, want)
		}
	})
}

// A message is found by each of its ids, and not by part of an id.
func TestFind(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		ctx := t.Context()
		if at, err := box.Oldest(ctx); err != nil || !at.IsZero() {
			t.Errorf("Oldest of an empty inbox is %v, %v", at, err)
		}
		first := now.time()
		payment := arrival("PAID", first)
		must(t, box.Keep(ctx, payment))
		c := claim(t, box)
		d := &c.Donations[0]
		d.DonationID, d.AcceptedID, d.Outcome = "note-1", "note-0", inbox.Settled
		must(t, box.Accepted(ctx, c, d))
		must(t, box.Decided(ctx, c.Row, d))
		must(t, box.Finish(ctx, c, inbox.Result{State: inbox.Done}))

		now.pass(time.Hour)
		refund := arrival("REFUND", now.time())
		refund.IDs = inbox.IDs{Transaction: "TREFUND", Parent: "TPAID", Case: "PP-D-1"}
		refund.Donations = nil // it never became a donation
		must(t, box.Keep(ctx, refund))

		ids := func(id string, limit int) (found []string) {
			t.Helper()
			messages, err := box.Find(ctx, id, limit)
			must(t, err)
			for _, m := range messages {
				found = append(found, m.ID)
			}
			return found
		}
		for id, want := range map[string][]string{
			"PAID": {"PAID"}, c.Row: {"PAID"}, "I-PAID": {"PAID"}, "note-1": {"PAID"}, "note-0": {"PAID"},
			"TPAID":   {"REFUND", "PAID"}, // the newest first
			"TREFUND": {"REFUND"}, "PP-D-1": {"REFUND"}, "REFUND": {"REFUND"},
			"TPA": nil, "": nil, "note": nil,
		} {
			if got := ids(id, 10); !slices.Equal(got, want) {
				t.Errorf("Find(%q) found %v, want %v", id, got, want)
			}
		}
		if got := ids("TPAID", 1); !slices.Equal(got, []string{"REFUND"}) {
			t.Errorf("Find with a limit found %v", got)
		}
		if at, err := box.Oldest(ctx); err != nil || !at.Equal(first) {
			t.Errorf("Oldest is %v, %v, want %v", at, err, first)
		}

		must(t, box.Record(ctx, inbox.Act{Actor: "ann", Name: "forget", Row: c.Row, Reason: "twice"}))
		acts, err := box.Acts(ctx, c.Row)
		must(t, err)
		if len(acts) != 1 || acts[0].Name != "forget" || acts[0].Actor != "ann" || !acts[0].At.Equal(now.time()) {
			t.Errorf("the acts are %+v", acts)
		}
		now.pass(time.Second)
		must(t, box.Record(ctx, inbox.Act{Actor: "ben", Name: "redo", Row: c.Row, Reason: "again"}))
		all, err := box.AllActs(ctx, 1)
		must(t, err)
		if len(all) != 1 || all[0].Actor != "ben" || all[0].Reason != "again" || all[0].Row != c.Row {
			t.Errorf("the newest act is %+v", all)
		}
		must(t, box.Record(ctx, inbox.Act{Actor: "ben", Name: "redo", Row: "of another account", Reason: "x"}))
		if all, err = box.AllActs(ctx, 10); err != nil || len(all) != 2 || all[1].Actor != "ann" {
			t.Errorf("all acts are %+v, %v", all, err)
		}
	})
}
