package gateway_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// A gateway that delivers PayPal's own messages is killed with SIGKILL at every step of a
// message of two donations. The listener gets the message once, unless the gateway dies
// between its acceptance and the record of it, and both donations are settled.
func TestListenerOfAKilledGateway(t *testing.T) {
	h, l := newHarness(t), newListener(t)
	keyFile, line := filepath.Join(t.TempDir(), "key"), inbox.NewKeyLine()
	if err := os.WriteFile(keyFile, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "sqlite://" + filepath.Join(t.TempDir(), "inbox.db")
	h.config.InboxURL, h.config.InboxKeys = url, must(inbox.ReadKeys([]byte(line)))
	box := h.box()
	gate := h.bareProgram(killable(t), h.config.Noted, "-forward-as", "original", "-forward-ipn-to", l.URL+"/ipn",
		"-forward-webhook-to", "off", "-forward-timeout", "1s", "-hold", "2s", "-inbox", url, "-inbox-key-file", keyFile)
	for _, step := range killSteps {
		message := signup(h, payment("I-"+step.name))
		killAt(t, gate, step.name, message)
		drained(t, box)
		gate.End(syscall.SIGTERM)
		times := 0
		for _, got := range l.got() {
			if bytes.Equal(got.Body, message.Body) {
				times++
			}
		}
		if want := map[bool]int{true: 1, false: 2}[step.exact]; times != want {
			t.Errorf("%s: the listener got the message %d times, want %d", step.name, times, want)
		}
	}
	notes := h.notes("paypal-live")
	for _, note := range notes {
		if note.GetState() != client.StateSettled {
			t.Errorf("Noted holds %v, want it settled", note)
		}
	}
	if len(notes) != 2*len(killSteps) {
		t.Errorf("Noted holds %d notes, want %d", len(notes), 2*len(killSteps))
	}
	inState(t, box, inbox.Done, len(killSteps))
}
