package gateway_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/processtest"
)

// A database is restored from a backup. Messages that were processed since the backup are
// tried again, and none is doubled. The program names the donations that the restored
// journal lacks: a settled donation and an open one.
func TestInboxIsRestored(t *testing.T) {
	h, now := inboxHouse(t)
	file := strings.TrimPrefix(h.config.InboxURL, "sqlite://")
	h.shop.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
		if e.Subject() == "I-WAITS" || e.Subject() == "I-OPEN" {
			w.WriteHeader(500)
		}
		return e.Subject() == "I-WAITS" || e.Subject() == "I-OPEN"
	})
	reopen := func() {
		t.Helper()
		h.front.Close()
		h.gateway.Close() // writes the log of SQLite back into its file
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
	reopen()
	backup, backedUp := must(os.ReadFile(file)), time.Now()

	h.shop.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
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
	h.front.Close()
	h.gateway.Close()
	for _, log := range []string{file + "-wal", file + "-shm"} {
		os.Remove(log)
	}
	if err := os.WriteFile(file, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	h.gateway, h.front = h.open()

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
	for _, e := range h.shop.got() {
		got[e.Subject()]++
	}
	if got["I-BEFORE"] != 1 || got["I-WAITS"] != 1 || got["I-SINCE"] != 1 || len(got) != 3 {
		t.Errorf("the downstream got %v, want each donation once", got)
	}
}
