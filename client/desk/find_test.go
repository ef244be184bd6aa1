package desk_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// Each case of the week gets the right sentence.
func TestEachCaseGetsItsSentence(t *testing.T) {
	h := newHarness(t)
	v := h.visitor()
	for name, wants := range map[string][]string{
		week.Booked: {
			"Yes: received by IPN on", "again by webhook at 10:16:00, accepted by the books at 10:15:0",
			"(204)", "Accepted (204)", "Payment of 25.00 EUR", "Rule: a new donation", "Rule: same transaction id", "Settled",
			"Duplicate: the webhook tells of a noted donation", "Noted's notes reach back to", "journal begins on",
		},
		week.Late:    {"Yes: received by IPN on", "again by webhook on"},
		week.Differs: {"Yes: ", "Amount differs: this message says 12.00, the note 12.50."},
		week.Copied:  {"Yes: ", "The same message came 2 times more."},
		week.Waiting: {
			"Not yet: received by IPN on", "the books did not accept it (it answered 503)", "It was tried 2 times",
			"the next try is on", "Redo the IPN now", "I have booked it",
		},
		week.Rejected:    {"Not booked: received by IPN on", "waits for a person", "it answered 422"},
		week.Undecided:   {"Undecided: received by IPN on", "older than Noted's notes", "Look in the books"},
		week.UnknownType: {"No: it came by IPN on", "was refused", "does not know messages of this type"},
		week.Foreign:     {"No: it came by IPN on", "that is not ours", "7OTHERACCOUNT"},
		week.Malformed:   {"No: it came by IPN on", "the gateway cannot read it"},
		week.Unverified:  {"Not yet: it came by webhook on", "PayPal has not yet said whether it sent it"},
		week.Forged:      {"No: it came by IPN on", "PayPal says that it did not send it"},
		week.Held:        {"Not yet: ", "somebody is processing it right now", "The hold ends on"},
		week.Crashed: {
			"Not booked: received by IPN on", "its receiver gave up", "Not in this inbox's journal", "I have booked it",
		},
		week.Closed:    {"Yes: ", "booked by hand: clerk wrote “booked by hand, entry 4711”", "closed it by hand"},
		week.TakenOver: {"Yes: ", "Accepted, at attempt 2"},
		week.Refunded:  {"2 answers fit: 2 booked.", "Refund of 60.00 EUR", "Payment of 60.00 EUR"},
		week.Series:    {"6 answers fit: 6 booked.", "Payment of 3.00 EUR"},
	} {
		wantAll(t, name, v.ask(h.cases[name]), wants...)
	}
}

// A message that the gateway finished without asking Noted is not a booked donation.
func TestNoListener(t *testing.T) {
	h := newHarness(t)
	keys, err := inbox.ReadKeys([]byte(inbox.NewKeyLine()))
	if err != nil {
		t.Fatal(err)
	}
	box, err := inbox.Open(t.Context(), inbox.Config{URL: h.inbox, Account: week.Ledger, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	err = box.Keep(t.Context(), inbox.Arrival{
		Ledger: week.Ledger, Channel: "webhook", ID: "WH-OFF", ReceivedAt: time.Now(), State: inbox.Done, Cause: "off",
		Donations: []inbox.Donation{
			{
				SeriesID:      "I-OFF",
				Event:         "EVENT_PAYMENT",
				TransactionID: "OFF",
				Pair:          []byte(`{"donation":{"series_id":"I-OFF"}}`),
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantAll(
		t,
		"the answer",
		h.visitor().ask("I-OFF"),
		"No: received by webhook on",
		"has no listener for messages of its channel",
	)
}

// A donation is found by each of its ids, by its row, and by its amount and day.
func TestEachIDFindsIt(t *testing.T) {
	h := newHarness(t)
	v := h.visitor()
	m, note := h.messageOf(week.Booked), h.noteOf(week.Booked)
	day := note.GetDonation().GetOccurredAt().AsTime()
	for name, question := range map[string]string{
		"transaction": h.cases[week.Booked], "series": note.GetDonation().GetSeriesId(),
		"donation": note.GetDonationId(),
		"message":  m.ID, "row": m.Row, "amount and day": "€25 " + day.Format("2.1.2006"),
		"day and amount": day.Format(time.DateOnly) + " 25,00 eur",
	} {
		answer := v.ask(question)
		if !strings.Contains(answer, h.cases[week.Booked]) ||
			!strings.Contains(answer, "accepted by the books at 10:15:") {
			t.Errorf("%s: %q finds\n%s", name, question, answer)
		}
	}
	const unverified = "Not found so far: one message has come that PayPal could not be asked about yet, and it may be this one."
	for question, want := range map[string]string{
		"25.00 USD " + day.Format(time.DateOnly): unverified,
		"25.00 EUR 2001-01-01":                   "Not known: the day is before the oldest entry of Noted and the inbox.",
		"25.00 EUR 1/2/2026":                     "write one id, or an amount and a day",
		day.Format(time.DateOnly):                "a day needs an amount beside it",
		"<script>alert(1)</script>":              unverified,
		"two words":                              "write one id, or an amount and a day",
	} {
		wantAll(t, question, v.ask(question), want)
	}
	status, page := v.get("/?q=" + url.QueryEscape("<script>alert(1)</script>"))
	if status != http.StatusOK || strings.Contains(page, "<script>") {
		t.Errorf("status %d: the page repeats the typed text without escapes", status)
	}
}

// While PayPal cannot be asked about a message, the journal does not know its ids, so the
// answer must not be no. It may be no once PayPal has said that it did not send the
// message.
func TestUnverifiedMessageMayBeIt(t *testing.T) {
	h := newHarness(t)
	v := h.visitor()
	message := h.messageOf(week.Unverified)
	day := message.ReceivedAt.Format(time.DateOnly)
	for _, question := range []string{"9XX99999XX999999X", "7.77 EUR " + day} {
		status, page := v.get("/?q=" + url.QueryEscape(question))
		wantAll(
			t,
			question,
			text(page),
			"Not found so far: one message has come that PayPal could not be asked about yet, "+
				"and it may be this one.",
			"How to have PayPal send it again",
		)
		if status != http.StatusOK || !strings.Contains(page, `class="answer unclear"`) {
			t.Errorf("%s: status %d, want an answer that is unclear: %s", question, status, page)
		}
	}
	later := message.ReceivedAt.AddDate(0, 0, 1).Format(time.DateOnly)
	wantAll(t, "a day after it", v.ask("7.77 EUR "+later), "No: no donation has this amount and day.")

	for judged := false; !judged; {
		claim, _ := h.box.Claim(t.Context()) // the test has no key, and needs no body
		if claim == nil {
			t.Fatal("the message does not wait for a worker")
		}
		if judged = claim.Row == message.Row; judged {
			if err := h.box.Finish(
				t.Context(),
				claim,
				inbox.Result{State: inbox.Discarded, Cause: "invalid"},
			); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantAll(t, "after PayPal's answer", v.ask("9XX99999XX999999X"), "No: no such message has come.")
}
