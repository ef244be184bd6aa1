package desk_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/alive"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// withAdmin lets the desk ask the admin listener of the harness's server.
func (h *harness) withAdmin() func(*desk.Config) {
	h.t.Helper()
	admin, err := alive.NewAdmin("http://" + h.server.AdminAddr())
	if err != nil {
		h.t.Fatal(err)
	}
	return func(c *desk.Config) { c.Admins = []*alive.Admin{admin} }
}

// waitFor loads a page until it says something.
func (v *visitor) waitFor(path, want string) string {
	v.h.t.Helper()
	said := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		status, page := v.get(path)
		if said = text(page); status == http.StatusOK && strings.Contains(said, want) {
			return said
		}
	}
	v.h.t.Fatalf("%s does not say %q:\n%s", path, want, said)
	return ""
}

// The page of the week shows when the channels told, Noted's verdicts, the time between
// the channels and whether their ids agree, as pictures and as text. All roles may see
// it.
func TestAlive(t *testing.T) {
	h := newHarness(t)
	h.open(func(c *desk.Config) { c.Inbox = h.box }, h.withAdmin())
	said := h.visitor().waitFor("/alive", "Counted at")
	wantAll(
		t, "the page", said,
		"Yes: the last message came by IPN", "and by webhook", "Only messages that PayPal has verified count.",
		"IPN of desk-trial: ", "webhook of desk-trial: ", "In numbers", "First Duplicate Held No verdict",
		"IPN first, then webhook: 31", "webhook first, then IPN: 6", "Half of them within a minute",
		"Payment", "They agree.", "has learned that they agree, so that different ids mean two donations: payment, ",
		"Noted answers, and can use its store.", "no known loss", "All verdicts since the servers started",
		"This desk connects to Noted without TLS",
		"PayPal’s own, are not visible from here",
	)
	b := h.tab()
	b.withoutScript()
	b.open("/")
	b.tabTo("the link to the page", `nav a[href="/alive"]`)
	b.press(kb.Enter)
	b.want("Are both channels alive?", "Yes: the last message came")
	b.tabTo("the numbers of a picture", "figure summary")
	b.typed(kb.Enter)
	b.want("No verdict")
	b.onEveryDevice("alive")
}

// The desk does not claim facts that it cannot know.
func TestAliveIsHonest(t *testing.T) {
	h := newHarness(t, func(c *desk.Config) { c.Inbox = nil })
	said := h.visitor().waitFor("/alive", "Counted at")
	wantAll(t, "a desk without an inbox", said,
		"This desk has no inbox, so it knows only messages with a note in Noted.",
		"Noted keeps sixteen messages of a donation.",
		"This desk does not know whether the store has lost notes: it was started without -noted-admin.")

	empty := newEmptyHarness(t, servertest.Options{})
	empty.open(func(c *desk.Config) {
		admin, err := alive.NewAdmin("http://" + processtest.FreeAddress())
		if err != nil {
			t.Fatal(err)
		}
		c.Admins = []*alive.Admin{admin}
	})
	said = empty.visitor().waitFor("/alive", "Counted at")
	wantAll(t, "an empty harness", said,
		"Not known: the notes of the last days have no message by IPN and by webhook",
		"The state of the server http://", "No message tells of a donation in these days.",
		"Not known: no donation of these days was told on two channels")

	empty.server.Stop()
	empty.noted.Close()
	_, page := empty.visitor().get("/alive")
	wantAll(t, "a desk whose Noted is away", text(page), "Noted does not answer: no donation is noted now.")
}

// A channel is silent when the other channel tells and it does not, and when it pauses
// longer than ever before. Few donations alone never make it silent.
func TestSilence(t *testing.T) {
	h := newHarness(t)
	ipn, webhook := inbox.Lane{Ledger: "quiet", Channel: "ipn"}, inbox.Lane{Ledger: "quiet", Channel: "webhook"}
	begin := time.Now().Add(-20 * 24 * time.Hour)
	keys, err := inbox.ReadKeys([]byte(inbox.NewKeyLine()))
	if err != nil {
		t.Fatal(err)
	}
	box, err := inbox.Open(t.Context(), inbox.Config{URL: h.inbox, Account: week.Ledger, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	sent := 0
	send := func(l inbox.Lane, at time.Time) {
		t.Helper()
		sent++
		err := box.Keep(t.Context(), inbox.Arrival{
			Ledger: l.Ledger, Channel: l.Channel, ID: fmt.Sprint("quiet", sent), ReceivedAt: at, State: inbox.Done,
			Cause: "skipped", Donations: []inbox.Donation{{SeriesID: "I-1", Event: "EVENT_PAYMENT", Pair: []byte("{}")}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	judge := func(now time.Time) map[string]alive.Channel {
		t.Helper()
		all, err := alive.Channels(t.Context(), h.box, "quiet", 24*time.Hour, now)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]alive.Channel{}
		for _, c := range all {
			if c.Ledger == "quiet" {
				found[c.Channel] = c
			}
		}
		return found
	}
	last := begin
	for i := range 12 { // one in 30 hours
		last = begin.Add(time.Duration(i) * 30 * time.Hour)
		send(ipn, last)
	}
	if c := judge(last.Add(50 * time.Hour))["ipn"]; c.Silent || c.Pause != 30*time.Hour {
		t.Errorf("a pause of 50 hours after pauses of 30: %+v", c)
	}
	if c := judge(last.Add(61 * time.Hour))["ipn"]; !c.Silent {
		t.Errorf("a pause of 61 hours after pauses of 30: %+v", c)
	}
	for i := range 3 {
		if c := judge(last.Add(40 * time.Hour))["ipn"]; c.Silent {
			t.Errorf("the other channel has brought %d messages: %+v", i, c)
		}
		send(webhook, last.Add(time.Duration(i+1)*time.Hour))
	}
	all := judge(last.Add(40 * time.Hour))
	if c := all["ipn"]; !c.Silent || c.Others != 3 {
		t.Errorf("the other channel has brought three messages: %+v", c)
	}
	if c := all["webhook"]; c.Silent {
		t.Errorf("three messages say nothing about pauses: %+v", c)
	}
	if c := judge(last.Add(20 * time.Hour))["ipn"]; c.Silent {
		t.Errorf("a pause of 20 hours: %+v", c)
	}
}

// An admin acknowledges a loss of notes, by keyboard and without scripts. The audit keeps
// the act. A clerk may not do it.
func TestAcknowledge(t *testing.T) {
	redis := processtest.Redis(t)
	h := newEmptyHarness(t, servertest.Options{Redis: "redis://" + redis.Addr})
	config := inbox.Config{URL: "sqlite://" + t.TempDir() + "/inbox.db", Account: week.Ledger}
	var err error
	if h.box, err = inbox.Open(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.box.Close() })
	withBox := func(c *desk.Config) { c.Inbox = h.box }
	h.open(withBox, h.withAdmin())
	v := h.visitor()
	v.waitFor("/alive", "no known loss")
	note := &client.NoteRequest{Donation: &client.Donation{Ledger: week.Ledger, SeriesId: "I-LOST"}}
	if _, err := h.noted.Note(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	flush(t, redis.Addr)
	said := v.waitFor("/alive", "Noted's store has lost notes")
	wantAll(t, "the page", said, "A loss at http://"+h.server.AdminAddr(), "Then acknowledge the loss, epoch")

	b := h.tab()
	b.withoutScript()
	b.open("/alive")
	b.onEveryDevice("alive-lost")
	b.withoutScript()
	b.open("/alive")
	b.tabTo("the acknowledgement", `a[href*="do=acknowledge"]`)
	b.press(kb.Enter)
	b.want("Acknowledge the loss", "accepts the store as it is", "Start each server with -epoch")
	b.onEveryDevice("acknowledge")
	b.withoutScript()
	b.tabTo("the reason", "#reason")
	b.typed("notes were noted again")
	b.press(kb.Enter)
	b.want("Done: the loss is acknowledged.")
	v.waitFor("/alive", "no known loss")
	_, page := v.get("/audit")
	wantAll(t, "the audit", text(page), "dev acknowledged that the store lost notes notes were noted again none")
	wantAll(t, "the log", h.log.String(), `"act":"acknowledge"`, `"reason":"notes were noted again"`)

	users := usersFile(t)
	h.open(withBox, h.withAdmin(), withUsers(users))
	clerk := h.visitor()
	clerk.login("clerk1", password, "/alive")
	if status, page := clerk.get("/act?do=acknowledge&id=x"); status != http.StatusForbidden ||
		!strings.Contains(page, "It needs the role admin.") {
		t.Errorf("a clerk may acknowledge: status %d, %s", status, text(page))
	}
	form := fill(page)
	form.Set("do", "acknowledge")
	form.Set("id", "x")
	if status, _ := clerk.do(http.MethodPost, "/act", form); status != http.StatusForbidden {
		t.Errorf("a clerk's form is taken: status %d", status)
	}
}
