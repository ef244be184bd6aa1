package desk_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A shadowHarness is a harness whose ledger is in shadow, with a receiver that books every
// message.
type shadowHarness struct {
	*harness
	booked map[string]int // :: series → how often it was booked
}

func newShadowHarness(t *testing.T) *shadowHarness {
	h := newEmptyHarness(t, servertest.Options{
		Redis: "redis://" + processtest.Redis(t).Addr, ShadowLedgers: []string{week.Ledger},
	})
	return &shadowHarness{h.open(), map[string]int{}}
}

var errBooksClosed = errors.New("the books are closed")

// tell gives the receiver a message: "ipn 1 T1" is message 1 on channel ipn with
// transaction id T1. With "fails" at the end the books refuse.
func (d *shadowHarness) tell(
	series, amount, currency string, occurred time.Time, event client.Event, messages ...string,
) {
	d.t.Helper()
	for _, message := range messages {
		words := strings.Fields(message)
		donation := &client.Donation{
			Ledger: week.Ledger, SeriesId: series, Event: event, OccurredAt: timestamppb.New(occurred),
			Amount: amount, CurrencyCode: currency, TransactionId: words[2],
		}
		told := &client.Message{Channel: words[0], Id: series + "-" + words[1]}
		var refuses error
		if len(words) > 3 {
			refuses = errBooksClosed
		}
		verdict, err := d.noted.Once(d.t.Context(), donation, told, func(context.Context, *client.Note) error {
			if refuses == nil {
				d.booked[series]++
			}
			return refuses
		})
		if verdict != client.First || !errors.Is(err, refuses) {
			d.t.Fatalf("%s of %s in shadow: %s, %v", message, series, verdict, err)
		}
	}
}

// fill tells of five payments and a refund.
func (d *shadowHarness) fill() (now time.Time) {
	d.t.Helper()
	now = time.Now().Add(-time.Hour)
	d.tell("I-BOTH", "25.00", "EUR", now, client.EventPayment, "ipn 1 T1", "webhook 1 T1")
	d.tell("I-OWN", "10.50", "EUR", now, client.EventPayment, "ipn 1 T2", "webhook 1 T3", "ipn 2 T2")
	d.tell("I-WEBHOOK", "7.00", "EUR", now, client.EventPayment, "webhook 1 T4")
	d.tell("I-FAILS", "3.00", "EUR", now, client.EventPayment, "ipn 1 T5 fails")
	d.tell("I-USD", "4.00", "USD", now.AddDate(0, 0, -20), client.EventPayment, "webhook 1 T6", "webhook 2 T6")
	d.tell("I-REFUND", "25.00", "EUR", now, client.EventRefund, "ipn 1 T7", "webhook 1 T7")
	return now
}

// The page counts the payments that a receiver without a memory books twice, and the
// payments that it does not hear of. The real receiver has the same books.
func TestShadowReport(t *testing.T) {
	d := newShadowHarness(t)
	now := d.fill()
	v := d.visitor()
	month, before := now.UTC().Format("2006-01"), now.UTC().AddDate(0, 0, -20).Format("2006-01")

	status, page := v.get("/shadow")
	if got := text(page); status != http.StatusOK || strings.Contains(got, "Currency") {
		t.Errorf("without a choice: status %d, %s, want the form alone", status, got)
	}
	doubles := 0
	for series, times := range d.booked {
		if series != "I-REFUND" {
			doubles += times - 1
		}
	}
	for hears, wants := range map[string][]string{
		"every": {
			fmt.Sprintf("Of 5 payments since %s", now.UTC().AddDate(0, 0, -2).Format("2 January 2006")),
			fmt.Sprintf("books %d messages too many, and never hears of 0 payments.", doubles),
			month + " EUR 4 3 46.00 2 0 0.00 1", before + " USD 1 1 4.00 1 0 0.00 0",
			"Doubles with the transaction id of an earlier message that the code hears: 3.",
			"Not counted: 1 note of other events, such as refunds.", "Messages came over: ipn, webhook.",
		},
		"ipn": {
			"books 1 message too many, and never hears of 2 payments.",
			month + " EUR 4 1 10.50 1 1 7.00 1", before + " USD 1 0 0.00 0 1 4.00 0",
		},
		"webhook": {
			"books 1 message too many, and never hears of 1 payment.",
			month + " EUR 4 0 0.00 0 1 3.00 1", before + " USD 1 1 4.00 1 0 0.00 0",
		},
	} {
		status, page := v.get("/shadow?hears=" + hears + "&since=" + now.UTC().AddDate(0, 0, -2).Format(time.DateOnly))
		if status != http.StatusOK {
			t.Errorf("%s: status %d", hears, status)
		}
		wantAll(t, "what it makes of "+hears, text(page), wants...)
	}

	// PayPal's repeat of one message is booked, but is in no note: the page says so.
	d.tell("I-BOTH", "25.00", "EUR", now, client.EventPayment, "ipn 1 T1")
	if d.booked["I-BOTH"] != 3 {
		t.Errorf("the receiver has booked I-BOTH %d times, want 3", d.booked["I-BOTH"])
	}
	_, page = v.get("/shadow?hears=every")
	wantAll(t, "the page", text(page), month+" EUR 4 3 46.00", "The notes do not record PayPal's repeats of one message")

	status, page = v.get("/shadow?hears=every&since=yesterday")
	if status != http.StatusBadRequest {
		t.Errorf("a day that cannot be read: status %d", status)
	}
	wantAll(t, "the page", text(page), "The day cannot be read. Write it as 2026-03-01.")
	_, page = v.get("/shadow?hears=every&since=" + time.Now().UTC().AddDate(0, 0, 2).Format(time.DateOnly))
	wantAll(t, "the page", text(page), "Noted has no note of a payment since")

	d.server.Stop()
	status, page = v.get("/shadow?hears=every")
	if status != http.StatusBadGateway {
		t.Errorf("without Noted: status %d", status)
	}
	wantAll(t, "the page", text(page), "could not be listed to its end", "there is no count")
}

// A person counts by keyboard and without scripts. All roles may use the page.
func TestShadowReportByKeyboardWithoutScript(t *testing.T) {
	d := newShadowHarness(t)
	d.fill()
	b := d.tab()
	b.open("/shadow")
	b.onEveryDevice("shadow")
	b.withoutScript()
	b.open("/shadow")
	b.tabTo("the choice", "#hears")
	b.do(chromedp.KeyEvent(kb.ArrowDown))
	b.tabTo("the button", "form.ask button")
	b.press(kb.Enter)
	b.want("What would change?", "never hears of 2 payments", "What is counted, and what the notes cannot tell")
	b.onEveryDevice("shadow-answer")
}

// A person closes an open donation of a ledger in shadow like any other.
func TestCloseInShadow(t *testing.T) {
	d := newShadowHarness(t)
	d.fill()
	find := func() *client.Note {
		for note, err := range d.noted.List(t.Context(), &client.ListRequest{Ledger: week.Ledger, SeriesId: "I-FAILS"}) {
			if err != nil {
				t.Fatal(err)
			}
			return note
		}
		return nil
	}
	path := "/act?do=close&ledger=" + week.Ledger + "&series=I-FAILS&id=" + find().GetDonationId()
	v := d.visitor()
	_, plan := v.get(path)
	_, page := v.do(http.MethodPost, "/act", fill(plan, "reason", "entry 12"))
	wantAll(t, "the receipt", text(page), "Done: it is closed.")
	if note := find(); note.GetState() != client.StateSettled {
		t.Errorf("the note is %v", note)
	}
	d.tell("I-FAILS", "3.00", "EUR", time.Now().Add(-time.Hour), client.EventPayment, "webhook 1 T5")
	_, page = v.get(path)
	wantAll(t, "a second close", text(page), "It was settled meanwhile.")
}
