package gateway_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A vault backs up the database of an inbox and brings it back. The gateway is closed
// meanwhile.
type vault struct {
	url             string
	backup, restore func() error
}

func sqliteVault(t *testing.T) vault {
	file := filepath.Join(t.TempDir(), "inbox.db")
	return vault{
		url:    "sqlite://" + file,
		backup: func() error { return os.WriteFile(file+".backup", must(os.ReadFile(file)), 0o600) },
		restore: func() error {
			for _, log := range []string{file + "-wal", file + "-shm"} {
				os.Remove(log)
			}
			return os.WriteFile(file, must(os.ReadFile(file+".backup")), 0o600)
		},
	}
}

func postgresVault(t *testing.T) vault {
	postgres, file := inboxtest.StartPostgres(t), filepath.Join(t.TempDir(), "inbox.dump")
	return vault{
		url:     postgres.URL(),
		backup:  func() error { return postgres.Dump(file) },
		restore: func() error { return postgres.Restore(file) },
	}
}

// A database is restored from a backup. Messages that were processed since are tried
// again and doubled by nothing, and the program names the donations that the restored
// journal lacks: a settled one, and one that is open.
func TestInboxIsRestored(t *testing.T) {
	for name, open := range map[string]func(*testing.T) vault{"sqlite": sqliteVault, "postgresql": postgresVault} {
		t.Run(name, func(t *testing.T) { isRestored(t, open(t)) })
	}
}

func isRestored(t *testing.T, v vault) {
	h, now := inboxHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.InboxURL = v.url })
	h.downstream.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
		if e.Subject() == "I-WAITS" || e.Subject() == "I-OPEN" {
			w.WriteHeader(500)
		}
		return e.Subject() == "I-WAITS" || e.Subject() == "I-OPEN"
	})
	closed := func(do func() error) { // closing writes the log of SQLite back into its file
		t.Helper()
		h.front.Close()
		h.gateway.Close()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		h.gateway, h.front = h.open()
	}
	done := func(n int) []inbox.Message {
		t.Helper()
		box := h.box()
		defer box.Close()
		return inState(t, box, inbox.Done, n)
	}
	h.mustTake(h.payPal.IPN(payment("I-BEFORE").fields()))
	h.mustTake(h.payPal.IPN(payment("I-WAITS").fields()))
	done(1)
	closed(v.backup)
	backedUp := time.Now()

	h.downstream.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
		if e.Subject() == "I-OPEN" {
			w.WriteHeader(500)
		}
		return e.Subject() == "I-OPEN"
	})
	since := h.payPal.IPN(payment("I-SINCE").fields())
	h.mustTake(since)
	h.mustTake(h.payPal.IPN(payment("I-OPEN").fields()))
	now.pass(time.Hour)
	done(3)
	eventually(t, "the open donation is noted", func() bool { return len(h.notes("paypal-live")) == 4 })
	closed(v.restore)

	command := exec.Command(processtest.Built(t, "noted-gateway"), "inbox", "unknown", "-since", backedUp.UTC().Format(time.RFC3339),
		"-inbox", h.config.InboxURL, "-ledger", "paypal-live", "-noted", h.config.Noted)
	output, err := command.CombinedOutput()
	for series, want := range map[string]bool{"I-BEFORE": false, "I-SINCE": true, "I-OPEN": true} {
		if strings.Contains(string(output), series) != want {
			t.Errorf("unknown names %s: %v, want %v", series, !want, want)
		}
	}
	if err != nil || t.Failed() {
		t.Fatalf("%v\n%s", err, output)
	}
	now.pass(time.Hour)
	done(2) // I-BEFORE and I-WAITS
	h.mustTake(since)
	done(3)
	got := map[string]int{}
	for _, e := range h.downstream.got() {
		got[e.Subject()]++
	}
	if got["I-BEFORE"] != 1 || got["I-WAITS"] != 1 || got["I-SINCE"] != 1 || len(got) != 3 {
		t.Errorf("the downstream got %v, want each donation once", got)
	}
}
