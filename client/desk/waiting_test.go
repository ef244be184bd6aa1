package desk_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A payment that only one channel told of is on the waiting page, if the other channel
// had a day.
func TestToldOnOneChannel(t *testing.T) {
	h := newEmptyHarness(t, servertest.Options{Frozen: time.Now().Add(-50 * time.Hour)})
	note := func(series, channel, message string) {
		t.Helper()
		_, err := h.noted.Note(t.Context(), &client.NoteRequest{
			Donation: &client.Donation{Ledger: week.Ledger, SeriesId: series, Amount: "7.00", CurrencyCode: "EUR"},
			Message:  &client.Message{Channel: channel, Id: message},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	note("I-BOTH", "ipn", "1")
	note("I-BOTH", "webhook", "2")
	note("I-ONLY", "ipn", "3")
	h.server.Advance(40 * time.Hour)
	note("I-YOUNG", "webhook", "4") // ten hours ago
	h.open()
	v := h.visitor()
	v.waitFor("/alive", "Counted at")
	_, page := v.get("/waiting")
	wantAll(t, "the page", text(page), "Told by IPN only: 1", "Told by webhook only: 0", "The other channel did not tell",
		"Payment of 7.00 EUR")
	if !strings.Contains(page, `href="/?q=I-ONLY"`) || strings.Contains(page, "I-BOTH") || strings.Contains(page, "I-YOUNG") {
		t.Errorf("the page shows\n%s", text(page))
	}
}

// A person who does not wait for a walk learns that it goes on, not that there is
// nothing. The page shows the results when it is loaded again.
func TestWalkGoesOn(t *testing.T) {
	h := newHarness(t, func(c *desk.Config) { c.Patience = time.Millisecond })
	v := h.visitor()
	h.store.Signal(syscall.SIGSTOP)
	_, page := v.get("/waiting")
	h.store.Signal(syscall.SIGCONT)
	wantAll(t, "what waits", text(page), "The search of Noted's ledger goes on; there may be more.", "Given up: not known",
		"Held: not known")
	v.waitFor("/waiting", "Given up: 1 ")
	v.waitFor("/?q=9XX99999XX999999X", "Not found so far: one message has come that PayPal could not be asked")
}
