package desk_test

import (
	"testing"

	"github.com/donation-dedupe/noted/client/desk/week"
)

// Each case of the week gets the sentence that a person needs.
func TestEachCaseGetsItsSentence(t *testing.T) {
	h := newHouse(t)
	v := h.visitor()
	for name, wants := range map[string][]string{
		week.Booked: {
			"Yes: received by IPN on", "again by webhook at 10:16:00, accepted by the books at 10:15:0",
			"Payment of 25.00 EUR", "Rule: a new donation", "Rule: same transaction id", "Settled",
			"Duplicate: the webhook tells of what is noted", "Noted's notes reach back to", "journal begins on",
		},
		week.Late:    {"Yes: received by IPN on", "again by webhook on"},
		week.Differs: {"Yes: ", "Amount differs: this message says 12.00, the note 12.50."},
		week.Copied:  {"Yes: ", "It came 2 times more: the same message."},
		week.Waiting: {
			"Not yet: received by IPN on", "the books did not accept it (it answered 503)", "It was tried 2 times",
			"the next try is on", "Redo the IPN now", "I have booked it",
		},
		week.Rejected:    {"Not booked: received by IPN on", "waits for a person", "it answered 422"},
		week.Undecided:   {"Undecided: received by IPN on", "older than Noted's notes reach back", "Look in the books"},
		week.UnknownType: {"No: it came by IPN on", "was refused", "does not know messages of this type"},
		week.Foreign:     {"No: it came by IPN on", "not one of ours", "7OTHERACCOUNT"},
		week.Malformed:   {"No: it came by IPN on", "the gateway cannot read it"},
		week.Unverified:  {"Not yet: it came by webhook on", "PayPal could not be asked yet"},
		week.Forged:      {"No: it came by IPN on", "PayPal says that it has not sent it"},
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
