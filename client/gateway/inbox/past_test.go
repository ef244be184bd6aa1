package inbox_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
)

// A Past shows an inbox at one moment: all accounts, in the order of receipt, with their
// bodies. Later changes of the gateway do not show, and the gateway is not delayed.
func TestPast(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		line := inbox.NewKeyLine()
		box := open(keys(t, line))
		ctx := t.Context()
		must(t, box.Keep(ctx, arrival("OLD", now.time())))
		must(t, box.Finish(ctx, claim(t, box), inbox.Result{State: inbox.Done}))
		now.pass(10 * 24 * time.Hour)
		must(t, box.Keep(ctx, arrival("LATE", now.time())))
		must(t, box.Keep(ctx, arrival("EARLY", now.time().Add(-time.Hour))))
		must(t, box.Keep(ctx, arrival("EARLY", now.time())))
		must(t, box.KeepUnverified(ctx, arrival("UNSURE", now.time().Add(time.Minute)), 9, 1<<20))
		now.pass(10 * 24 * time.Hour)
		must(t, box.Sweep(ctx))

		past, err := inbox.OpenPast(ctx, inbox.Config{URL: box.URL(), Keys: keys(t, inbox.NewKeyLine(), line)})
		must(t, err)
		defer past.Close()
		all, err := past.Messages()
		must(t, err)
		var got []string
		for _, m := range all {
			text := string(m.State) + " " + m.Ledger + " " + m.Channel
			if m.Verified {
				text += " verified"
			}
			if m.Size > 0 {
				body, err := past.Body(m.Row)
				must(t, err)
				text += " " + string(body)
			}
			if m.Copies > 0 {
				text += " copied"
			}
			got = append(got, text)
		}
		want := []string{
			"done live ipn verified", "waiting live ipn verified body of EARLY copied",
			"waiting live ipn verified body of LATE", "waiting live ipn body of UNSURE",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the past (-want +got):\n%s", diff)
		}

		must(t, box.Keep(ctx, arrival("NEW", now.time())))
		for c := claim(t, box); c != nil; c = claim(t, box) {
			must(t, box.Finish(ctx, c, inbox.Result{State: inbox.Done}))
		}
		now.pass(20 * 24 * time.Hour)
		must(t, box.Sweep(ctx))
		for _, m := range list(t, box, inbox.Filter{}) {
			if m.HasBody {
				t.Fatalf("the inbox has kept the body of %+v", m)
			}
		}
		again, err := past.Messages()
		must(t, err)
		if diff := cmp.Diff(all, again); diff != "" {
			t.Errorf("the past has changed (-before +after):\n%s", diff)
		}
		if body, err := past.Body(all[1].Row); err != nil || string(body) != "body of EARLY" {
			t.Errorf("a body that was wiped meanwhile: %q, %v", body, err)
		}
	})
}

// A body under a missing key is an error, and so is an unknown message.
func TestPastWithoutTheKey(t *testing.T) {
	onBoth(t, func(t *testing.T, now *clock, open func([]inbox.Key) *inbox.Inbox) {
		box := open(keys(t, inbox.NewKeyLine()))
		must(t, box.Keep(t.Context(), arrival("A", now.time())))
		past, err := inbox.OpenPast(t.Context(), inbox.Config{URL: box.URL(), Keys: keys(t, inbox.NewKeyLine())})
		must(t, err)
		defer past.Close()
		all, err := past.Messages()
		must(t, err)
		if body, err := past.Body(all[0].Row); err == nil || !strings.Contains(err.Error(), "not in the key file") {
			t.Errorf("without its key the body is %q, %v", body, err)
		}
		if _, err := past.Body("no such row"); err == nil {
			t.Error("a row that is not there has a body")
		}
	})
}

// A Past changes not a byte of SQLite's files: while a gateway has the inbox open, after
// its end, and after it was killed. It creates no inbox.
func TestPastWritesNothing(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "inbox.db")
	key := keys(t, inbox.NewKeyLine())
	open := func() *inbox.Inbox {
		t.Helper()
		box, err := inbox.Open(t.Context(), inbox.Config{URL: "sqlite://" + file, Keys: key})
		must(t, err)
		return box
	}
	box := open()
	must(t, box.Keep(t.Context(), arrival("A", time.Now())))
	lookWithoutATrace(t, file, key, 1)
	must(t, box.Close())
	lookWithoutATrace(t, file, key, 1)
	box = open()
	defer box.Close()
	must(t, box.Keep(t.Context(), arrival("B", time.Now())))
	lookWithoutATrace(t, file, key, 2)
	killed := filepath.Join(folder, "killed.db") // its log is not written back
	for _, end := range []string{"", "-wal"} {
		text, err := os.ReadFile(file + end)
		must(t, err)
		must(t, os.WriteFile(killed+end, text, 0o600))
	}
	lookWithoutATrace(t, killed, key, 2)

	none := filepath.Join(folder, "none.db")
	if _, err := inbox.OpenPast(t.Context(), inbox.Config{URL: "sqlite://" + none}); err == nil {
		t.Error("an inbox that is not there could be opened")
	}
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Errorf("a file was made: %v", err)
	}
	must(t, os.WriteFile(none, nil, 0o600))
	past, err := inbox.OpenPast(t.Context(), inbox.Config{URL: "sqlite://" + none})
	must(t, err)
	defer past.Close()
	if _, err := past.Messages(); err == nil || !strings.Contains(err.Error(), "the database of the gateway's -inbox") {
		t.Errorf("a database without an inbox: %v", err)
	}
}

// lookWithoutATrace opens a Past on a file of SQLite, and compares the files before and after.
func lookWithoutATrace(t *testing.T, file string, key []inbox.Key, want int) {
	t.Helper()
	content := func() (both string) {
		for _, name := range []string{file, file + "-wal"} {
			text, err := os.ReadFile(name)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			both += name + "\n" + string(text)
		}
		return both
	}
	before := content()
	past, err := inbox.OpenPast(t.Context(), inbox.Config{URL: "sqlite://" + file, Keys: key})
	must(t, err)
	all, err := past.Messages()
	if err != nil || len(all) != want {
		t.Errorf("the past has %v, %v, want %d messages", all, err, want)
	}
	if err := past.TryToWrite(); err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Errorf("writing: %v, want it refused since the database is read-only", err)
	}
	must(t, past.Close())
	if content() != before {
		t.Error("the files have changed")
	}
}

// On PostgreSQL a user with SELECT alone can open a Past, and its transactions cannot
// write, whatever the user's rights.
func TestPastNeedsNoRights(t *testing.T) {
	postgres := inboxtest.StartPostgres(t)
	key := keys(t, inbox.NewKeyLine())
	box, err := inbox.Open(t.Context(), inbox.Config{URL: postgres.URL(), Keys: key})
	must(t, err)
	defer box.Close()
	must(t, box.Keep(t.Context(), arrival("A", time.Now())))
	db, err := sql.Open("pgx", postgres.URL())
	must(t, err)
	defer db.Close()
	_, err = db.ExecContext(context.Background(), "CREATE ROLE reader LOGIN; GRANT SELECT ON inbox_messages TO reader")
	must(t, err)
	for _, url := range []string{strings.Replace(postgres.URL(), "noted@", "reader@", 1), postgres.URL()} {
		past, err := inbox.OpenPast(t.Context(), inbox.Config{URL: url, Keys: key})
		must(t, err)
		all, err := past.Messages()
		if err != nil || len(all) != 1 {
			t.Errorf("the past has %v, %v, want a message", all, err)
		}
		if err := past.TryToWrite(); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("writing: %v, want it refused since the transaction is read-only", err)
		}
		must(t, past.Close())
	}
	if _, err := inbox.OpenPast(t.Context(), inbox.Config{URL: "postgres://u:hush@127.0.0.1:1/d"}); err == nil ||
		strings.Contains(err.Error(), "hush") {
		t.Errorf("a server that is not there: %v", err)
	}
}
