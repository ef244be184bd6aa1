package inbox_test

import (
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// Messages of an account without a gateway wait for a person, an hour after it was last
// served. Messages of other accounts are not touched.
func TestDesert(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		live := open(keys(t, inbox.NewKeyLine()))
		ctx, school, unknown := t.Context(), live.Of("school"), live.Of("unknown")
		desert := func(want ...string) {
			t.Helper()
			deserted, err := live.Desert(ctx)
			must(t, err)
			var got []string
			for _, m := range deserted {
				got = append(got, m.Account)
			}
			if len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
				t.Fatalf("deserted are the messages of %q, want %q", got, want)
			}
		}
		for _, box := range []*inbox.Inbox{live, school, unknown} {
			must(t, box.Keep(ctx, arrival("A", now.time())))
		}
		open(nil) // as a program does that finds an inbox of before there were accounts
		must(t, live.Serve(ctx))
		must(t, school.Serve(ctx))
		desert()
		now.pass(inbox.Deserted - time.Minute)
		must(t, live.Serve(ctx))
		must(t, school.Serve(ctx))
		desert()
		now.pass(time.Minute)
		waiting, err := live.Waiting(ctx, map[string]bool{"live": true})
		must(t, err)
		if len(waiting) != 2 || waiting["school"] != 1 || waiting["unknown"] != 1 {
			t.Errorf("waiting are %v", waiting)
		}
		desert("unknown")
		desert()
		m := list(t, unknown, inbox.Filter{})[0]
		if m.State != inbox.Person || m.Cause != inbox.CauseDeserted || !m.HasBody {
			t.Errorf("the message is %+v", m)
		}
		counts, err := live.CountDeserted(ctx)
		if err != nil || counts.Messages[inbox.Person] != 1 || counts.OldestPerson != inbox.Deserted {
			t.Errorf("counted %+v, %v", counts, err)
		}
		c := claim(t, school) // a worker that dies with its gateway
		now.pass(inbox.Deserted)
		must(t, live.Serve(ctx))
		desert("school")
		if err := school.Finish(ctx, c, inbox.Result{State: inbox.Done}); err == nil {
			t.Error("the lease of a message that is left to a person still holds")
		}
		at, err := live.Served(ctx, "school")
		if want := now.time().Add(-inbox.Deserted - time.Minute); err != nil || !at.Equal(want) {
			t.Errorf("served at %v, %v, want %v", at, err, want)
		}
		if m := list(t, live, inbox.Filter{})[0]; m.State != inbox.Waiting {
			t.Errorf("of the account that is served: %+v", m)
		}
		must(t, unknown.Serve(ctx)) // it is back
		if m := list(t, unknown, inbox.Filter{})[0]; m.State != inbox.Waiting || m.Cause != "" || !m.Since.Equal(now.time()) {
			t.Errorf("of the account that is back: %+v", m)
		}
		if m := list(t, school, inbox.Filter{})[0]; m.State != inbox.Person {
			t.Errorf("of the account that is still gone: %+v", m)
		}
	})
}

// A key is changed while an account has no gateway: its bodies are sealed with the new key
// too, since the old one goes when none is counted any more. Those of an account that a
// gateway beside has, perhaps without the new key yet, are left to that gateway.
func TestKeysOfADesertedAccount(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		ctx, oldLine, newLine := t.Context(), inbox.NewKeyLine(), inbox.NewKeyLine()
		before := open(keys(t, oldLine))
		for _, name := range []string{"school", "beside"} {
			must(t, before.Of(name).Serve(ctx))
			must(t, before.Of(name).Keep(ctx, arrival("A", now.time())))
		}
		now.pass(inbox.Deserted)
		must(t, before.Of("beside").Serve(ctx))
		both := open(keys(t, newLine, oldLine))
		oldKeys := func(want int64) {
			t.Helper()
			counts, err := both.CountDeserted(ctx)
			beside, err2 := both.Of("beside").Count(ctx)
			if err != nil || err2 != nil || counts.OldKeys != want || beside.OldKeys != 1 {
				t.Errorf("counted %+v, and beside %+v, %v, %v; want %d and 1 under the old key", counts, beside, err, err2, want)
			}
		}
		oldKeys(1)
		if _, err := both.Desert(ctx); err != nil {
			t.Fatal(err)
		}
		oldKeys(0)
		after := open(keys(t, newLine)).Of("school")
		must(t, after.Serve(ctx)) // it is back
		if c := claim(t, after); c == nil || string(c.Body) != "body of A" {
			t.Errorf("claimed %+v", c)
		}
	})
}

// A message moves with its row, its acts and its donations. If the other account has it
// already, one of the two is processed.
func TestMove(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		live := open(keys(t, inbox.NewKeyLine()))
		ctx, school := t.Context(), live.Of("school")
		for _, id := range []string{"A", "B"} {
			must(t, live.Keep(ctx, arrival(id, now.time())))
		}
		must(t, school.Keep(ctx, arrival("B", now.time())))
		rows := map[string]string{}
		for range 2 {
			c := claim(t, live)
			rows[c.ID] = c.Row
			must(t, live.Move(ctx, c, "school"))
			if err := live.Finish(ctx, c, inbox.Result{State: inbox.Done}); err == nil {
				t.Error("the claim still holds after the move")
			}
		}
		moved := list(t, school, inbox.Filter{})
		if len(moved) != 2 {
			t.Fatalf("the school has %+v", moved)
		}
		for _, m := range moved {
			if m.State != inbox.Waiting || m.Account != "school" || len(m.Donations) != 1 || (m.ID == "A") != (m.Row == rows["A"]) {
				t.Errorf("the school has %+v", m)
			}
		}
		left := list(t, live, inbox.Filter{})
		if len(left) != 1 || left[0].Row != rows["B"] || left[0].State != inbox.Done || left[0].FinishedAt.IsZero() {
			t.Errorf("left are %+v", left)
		}
		c := claim(t, school)
		if c == nil || string(c.Body) != "body of "+c.ID {
			t.Errorf("claimed %+v", c)
		}
	})
}

// The pair of a donation follows the ledger until the first request to Noted. Later it
// stays: closing by hand must use the ledger of that request.
func TestLedgerStays(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		ctx := t.Context()
		a := arrival("A", now.time())
		a.State, a.Ledger, a.Donations[0].Pair = inbox.Refused, "", []byte(`{"ledger":""}`)
		must(t, box.Keep(ctx, a))
		a.State, a.Ledger, a.Donations[0].Pair = inbox.Waiting, "one", []byte(`{"ledger":"one"}`)
		must(t, box.Keep(ctx, a))
		c := claim(t, box)
		if c == nil || c.Ledger != "one" || string(c.Donations[0].Pair) != `{"ledger":"one"}` {
			t.Fatalf("claimed %+v", c)
		}
		a.Donations[0].Pair = []byte(`{"ledger":"two"}`)
		must(t, box.Donate(ctx, c, "two", a.Donations))
		if m := list(t, box, inbox.Filter{})[0]; m.Ledger != "two" || string(m.Donations[0].Pair) != `{"ledger":"two"}` {
			t.Errorf("before Noted was asked: %+v", m)
		}
		c.Donations[0].Verdict, c.Donations[0].Outcome = "FIRST", inbox.Settled
		must(t, box.Decided(ctx, c.Row, &c.Donations[0]))
		must(t, box.Finish(ctx, c, inbox.Result{State: inbox.Done}))
		a.Ledger, a.Donations[0].Pair = "three", []byte(`{"ledger":"three"}`)
		must(t, box.Keep(ctx, a))
		if m := list(t, box, inbox.Filter{})[0]; m.Ledger != "two" || string(m.Donations[0].Pair) != `{"ledger":"two"}` {
			t.Errorf("after Noted was asked: %+v", m)
		}
	})
}

// A tool sees the messages of all accounts, and acts on them.
func TestAllAccounts(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		live := open(keys(t, inbox.NewKeyLine()))
		ctx, all := t.Context(), live.All()
		must(t, live.Keep(ctx, arrival("A", now.time())))
		must(t, live.Of("school").Keep(ctx, arrival("B", now.time())))
		messages := list(t, all, inbox.Filter{})
		if len(messages) != 2 || len(list(t, live, inbox.Filter{})) != 1 {
			t.Fatalf("all are %+v", messages)
		}
		for _, m := range messages {
			must(t, all.Redo(ctx, m.Row, now.time(), "test", "why"))
			if err := live.Redo(ctx, m.Row, now.time(), "test", "why"); (err == nil) != (m.Account == "live") {
				t.Errorf("redoing a message of %s as live: %v", m.Account, err)
			}
			found, err := all.Find(ctx, "T"+m.ID, 10)
			if err != nil || len(found) != 1 {
				t.Errorf("found %+v, %v", found, err)
			}
		}
		if acts, err := all.AllActs(ctx, 10); err != nil || len(acts) != 3 {
			t.Errorf("acts %+v, %v", acts, err)
		}
		if at, err := all.Oldest(ctx); err != nil || !at.Equal(now.time()) {
			t.Errorf("oldest %v, %v", at, err)
		}
		if c := claim(t, all); c == nil || c.Account != "live" {
			t.Errorf("claimed %+v", c)
		}
	})
}
