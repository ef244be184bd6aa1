package desk_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// wantAct checks the audit of a row.
func (h *harness) wantAct(row, name, actor, reason string) {
	h.t.Helper()
	acts, err := h.box.Acts(h.t.Context(), row)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, act := range acts {
		if act.Name == name && act.Actor == actor && act.Reason == reason {
			return
		}
	}
	h.t.Errorf("the audit of %s has no %s by %s with the reason %q: %+v", row, name, actor, reason, acts)
}

// A person without a mouse, in a browser without scripts, finds a donation and has it
// tried again.
func TestRedoByKeyboardWithoutScript(t *testing.T) {
	h := newHarness(t)
	before := h.messageOf(week.Waiting)
	b := h.tab()
	b.withoutScript()
	b.open("/")
	b.tabTo("the box", "#q")
	b.typed(h.cases[week.Waiting])
	b.press(kb.Enter)
	b.want("Not yet: received by IPN")
	b.tabTo("the redo", `a[href*="do=redo"]`)
	b.press(kb.Enter)
	b.want(
		"What will change",
		"The message is waiting now. A gateway takes it again at once.",
		"the books get it under donation id",
	)
	b.tabTo("the reason", "#reason")
	b.typed("the books are back")
	b.press(kb.Enter)
	b.want("Done: the message waits", "dev, redo, “the books are back”")
	b.onEveryDevice("done")

	after := h.messageOf(week.Waiting)
	if after.State != inbox.Waiting || after.Tries != 0 || !after.NextAt.Before(before.NextAt) || !after.Redo {
		t.Errorf("the message is %+v", after)
	}
	h.wantAct(after.Row, "redo", "dev", "the books are back")
	wantAll(
		t,
		"the log",
		h.log.String(),
		`"msg":"audit"`,
		`"act":"redo"`,
		`"actor":"dev"`,
		`"reason":"the books are back"`,
	)
}

// A donation that was booked by hand is closed, by keyboard and without scripts. Its
// later messages are then duplicates.
func TestCloseByKeyboardWithoutScript(t *testing.T) {
	h := newHarness(t)
	b := h.tab()
	b.withoutScript()
	b.open("/waiting")
	b.tabTo("the message of the books' refusal", `a[href="/act?do=close&row=`+h.rowOf(week.Rejected)+`"]`)
	b.press(kb.Enter)
	b.want("I have booked it", "is settled in Noted under donation id", "The message is done.")
	b.tabTo("the reason", "#reason")
	b.typed("entry 12")
	b.press(kb.Enter)
	b.want("Done: it is closed.", "dev, close, “entry 12”")

	m := h.messageOf(week.Rejected)
	if m.State != inbox.Done || m.Donations[0].Outcome != inbox.Closed {
		t.Errorf("the message is %+v", m)
	}
	if state := h.noteOf(week.Rejected).GetState(); state != client.StateSettled {
		t.Errorf("the note is %v", state)
	}
	wantAll(t, "the answer", h.visitor().ask(h.cases[week.Rejected]),
		"Yes: ", "booked by hand: dev wrote “entry 12”")
}

// A note is forgotten, the audit of its messages says so, and the answer is no longer
// yes.
func TestForgetByKeyboardWithoutScript(t *testing.T) {
	h := newHarness(t)
	b := h.tab()
	b.withoutScript()
	b.open("/?q=" + h.cases[week.Booked])
	b.tabTo("the forget", `a[href*="do=forget"]`)
	b.press(kb.Enter)
	b.want("You cannot undo this.", "it will be booked twice")
	b.tabTo("the reason", "#reason")
	b.typed("taken out of the books")
	b.press(kb.Enter)
	b.want("Done: Noted has forgotten the note.", "dev, forget, “taken out of the books”")
	if note := h.noteOf(week.Booked); note != nil {
		t.Errorf("the note is still there: %v", note)
	}
	h.wantAct(h.rowOf(week.Booked), "forget", "dev", "taken out of the books")
	wantAll(t, "the answer", h.visitor().ask(h.cases[week.Booked]),
		"It was: received by IPN", "Noted has no note of it any more: dev forgot it on", "“taken out of the books”")
	row := h.rowOf(week.Booked)
	_, plan := h.visitor().get("/act?do=redo&row=" + row)
	wantAll(t, "the plan of a redo", text(plan), "The books get it as a new donation.", "may book it twice")
}

// An open note without a message in the journal is closed with the note's own fields.
func TestCloseANoteWithoutAMessage(t *testing.T) {
	h := newHarness(t)
	v := h.visitor()
	note := h.noteOf(week.Crashed)
	path := "/act?" + url.Values{
		"do": {
			"close",
		},
		"ledger": {week.Ledger},
		"series": {note.GetDonation().GetSeriesId()},
		"id":     {note.GetDonationId()},
	}.Encode()
	_, page := v.get(path)
	status, page := v.do(http.MethodPost, "/act", fill(page, "reason", "entry 13"))
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text(page))
	}
	wantAll(t, "the receipt", text(page), "Done: it is closed.")
	after := h.noteOf(week.Crashed)
	if after.GetState() != client.StateSettled || after.GetDonationId() != note.GetDonationId() {
		t.Errorf("the note is %v", after)
	}
	_, page = v.get(path)
	wantAll(t, "a second close", text(page), "It was settled meanwhile.")

	_, page = v.get(strings.Replace(path, "close", "forget", 1))
	if status, page := v.do(
		http.MethodPost,
		"/act",
		fill(page, "reason", "entry 13 was wrong"),
	); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text(page))
	}
	_, page = v.get("/audit")
	donation := " (donation id " + note.GetDonationId() + ") none "
	wantAll(t, "the audit", text(page), "dev closed it by hand entry 13"+donation,
		"dev forgot Noted's note entry 13 was wrong"+donation)
}

// An impossible act gets a reason and changes nothing.
func TestRefusals(t *testing.T) {
	h := newHarness(t)
	v := h.visitor()
	row := h.rowOf(week.Waiting)
	_, page := v.get("/act?do=redo&row=" + row)

	post := func(page string, want int, wants []string, fields ...string) {
		t.Helper()
		status, answer := v.do(http.MethodPost, "/act", fill(page, fields...))
		if status != want {
			t.Errorf("status %d, want %d", status, want)
		}
		wantAll(t, "the answer", text(answer), wants...)
	}
	post(page, http.StatusConflict, []string{"Write a reason."}, "reason", " ")
	post(page, http.StatusConflict, []string{"The reason is longer"}, "reason", strings.Repeat("x", 161))
	post(page, http.StatusForbidden, []string{"This form is no longer valid."}, "reason", "mine", "token", "another")
	v.header.Set("Sec-Fetch-Site", "cross-site")
	post(page, http.StatusForbidden, []string{"This form is no longer valid."}, "reason", "mine")
	v.header.Del("Sec-Fetch-Site")
	if acts, _ := h.box.Acts(t.Context(), row); len(acts) != 0 {
		t.Fatalf("refused acts have left %+v", acts)
	}

	// Another person acts between the plan and the form.
	if err := h.box.Redo(t.Context(), row, time.Now().Add(time.Hour), "ben", "earlier"); err != nil {
		t.Fatal(err)
	}
	post(page, http.StatusConflict, []string{"Something has changed since you opened this page"}, "reason", "mine")

	// A donation that is held cannot be closed, and its message stays for a person.
	held := h.rowOf(week.Held)
	_, page = v.get("/act?do=close&row=" + held)
	wantAll(t, "the plan", text(page), "closing fails until then")
	post(
		page,
		http.StatusConflict,
		[]string{"It was not done:", "somebody is processing it; try again in"},
		"reason",
		"mine",
	)
	if m := h.messageOf(week.Held); m.State != inbox.Person || m.Donations[0].Outcome != "" {
		t.Errorf("the message is %+v", m)
	}

	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/act?do=redo&row=0":                                        {http.StatusNotFound, "It is not there any more."},
		"/act?do=burn&row=" + row:                                   {http.StatusBadRequest, "This cannot be done."},
		"/act?do=close&row=" + h.rowOf(week.Booked):                 {http.StatusOK, "There is nothing to close"},
		"/act?do=close&row=" + h.messageOf(week.Forged).Row:         {http.StatusOK, "PayPal has not confirmed this message yet"},
		"/act?do=forget&ledger=" + week.Ledger + "&series=I-X&id=x": {http.StatusNotFound, "It is not there any more."},
	} {
		status, page := v.get(path)
		if status != want.status || !strings.Contains(text(page), want.text) {
			t.Errorf("%s: status %d, want %d and %q:\n%s", path, status, want.status, want.text, text(page))
		}
	}
}

// While a worker has the message, people cannot act on it.
func TestBusy(t *testing.T) {
	h := newHarness(t)
	note := h.noteOf(week.Held)
	if note.GetState() != client.StateHeld {
		t.Fatalf("the note is %v", note.GetState())
	}
	path := "/act?" + url.Values{
		"do": {
			"forget",
		},
		"ledger": {week.Ledger},
		"series": {note.GetDonation().GetSeriesId()},
		"id":     {note.GetDonationId()},
	}.Encode()
	_, page := h.visitor().get(path)
	wantAll(t, "the plan", text(page), "Somebody is processing the donation until")
}

// Without an inbox the desk shows Noted's notes, and names the facts that it does not
// know.
func TestWithoutInbox(t *testing.T) {
	h := newHarness(t, func(c *desk.Config) { c.Inbox = nil })
	v := h.visitor()
	wantAll(
		t,
		"the answer",
		v.ask(h.cases[week.Booked]),
		"Yes: received by IPN on",
		"the journal does not say when the books accepted it",
		"Rule: same transaction id",
		"This desk has no inbox",
	)
	id := h.noteOf(week.Booked).GetDonationId()
	wantAll(t, "the answer to a donation id", v.ask(id), "Yes: received by IPN on")
	wantAll(
		t,
		"no answer",
		v.ask("9XX99999XX999999X"),
		"No: Noted has no such donation.",
		"How to have PayPal send it again",
	)
	_, page := v.get("/waiting")
	wantAll(t, "what waits", text(page), "This desk has no inbox", "Given up", "Held")
	status, page := v.get("/act?do=redo&row=1")
	if status != http.StatusBadRequest {
		t.Errorf("status %d: %s", status, text(page))
	}
}

// While Noted does not answer, nothing counts as missing.
func TestNotedIsAway(t *testing.T) {
	h := newHarness(t)
	h.server.Stop()
	v := h.visitor()
	wantAll(
		t,
		"the answer",
		v.ask(h.cases[week.Booked]),
		"The inbox says: received by IPN on",
		"Noted could not be asked",
	)
	missing := v.ask("9XX99999XX999999X")
	wantAll(t, "no answer", missing, "Not found so far, but a source does not answer.")
	if strings.Contains(missing, "No: ") {
		t.Errorf("what could not be asked is taken for missing: %s", missing)
	}
	_, page := v.get("/waiting")
	wantAll(t, "what waits", text(page), "For a person: 2", "Noted could not be asked")
	status, page := v.get("/act?do=close&row=" + h.rowOf(week.Waiting))
	if status != http.StatusBadGateway {
		t.Errorf("status %d: %s", status, text(page))
	}
}

// The page reports one transaction in two settled donations.
func TestTwice(t *testing.T) {
	h := newHarness(t)
	_, err := h.noted.Note(t.Context(), &client.NoteRequest{
		Donation: &client.Donation{
			Ledger:        week.Ledger,
			SeriesId:      "I-ANOTHER",
			TransactionId: h.cases[week.Booked],
			Amount:        "25.00",
			CurrencyCode:  "EUR",
		},
		Message: &client.Message{Channel: "webhook", Id: "WH-ANOTHER"}, Hold: durationpb.New(0),
	})
	if err != nil {
		t.Fatal(err)
	}
	v := h.visitor()
	before := v.ask(h.cases[week.Booked])
	wantAll(t, "the answer", before, "Yes: ", "Look for it in every other series too")
	status, page := v.get("/?all=1&q=" + h.cases[week.Booked])
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	wantAll(t, "the whole answer", text(page), "2 answers fit: 2 booked.", "is in two donations that are both settled")
	if strings.Contains(text(page), "every other series") {
		t.Error("the act is offered again")
	}
}
