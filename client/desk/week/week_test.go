package week_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/server/servertest"
)

// The week has a message in every state that needs no worker, and each case is found by
// its id.
func TestFill(t *testing.T) {
	noted, err := client.New(servertest.New(t).Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer noted.Close()
	config := inbox.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "inbox.db")}
	cases, err := week.Fill(t.Context(), noted, config, time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	config.Account = week.Ledger
	box, err := inbox.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	seen := map[inbox.State]int{}
	if err := box.List(
		t.Context(),
		inbox.Filter{},
		func(m inbox.Message) error { seen[m.State]++; return nil },
	); err != nil {
		t.Fatal(err)
	}
	for _, state := range []inbox.State{inbox.Waiting, inbox.Done, inbox.Person, inbox.Refused, inbox.Discarded} {
		if seen[state] == 0 {
			t.Errorf("no message is %s", state)
		}
	}
	if seen[inbox.Working] != 0 {
		t.Errorf("%d messages have a worker", seen[inbox.Working])
	}
	for _, c := range cases {
		found, err := box.Find(t.Context(), c.ID, 50)
		if err != nil {
			t.Fatal(err)
		}
		if known := len(
			found,
		) > 0; known == slices.Contains([]string{week.Crashed, week.Malformed}, c.Name) &&
			c.Name != week.Malformed {
			t.Errorf("%s: %q found %d messages", c.Name, c.ID, len(found))
		}
	}
	if len(cases) < 17 {
		t.Errorf("the week has %d cases", len(cases))
	}
}
