package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// inboxKey seals the bodies of all tests.
var inboxKey = sync.OnceValue(func() []inbox.Key { return must(inbox.ReadKeys([]byte(inbox.NewKeyLine()))) })

// A movedClock runs, and the test moves it ahead.
type movedClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *movedClock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}
func (c *movedClock) pass(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.ahead += d }

// inboxHarness is a harness whose gateway has an inbox in SQLite and a clock that the test
// moves.
func inboxHarness(t *testing.T, change ...func(*gateway.Config, *servertest.Options)) (*harness, *movedClock) {
	t.Helper()
	now := &movedClock{}
	path := filepath.Join(t.TempDir(), "inbox.db")
	change = append([]func(*gateway.Config, *servertest.Options){func(c *gateway.Config, _ *servertest.Options) {
		c.InboxURL, c.InboxKeys, c.Now = "sqlite://"+path, inboxKey(), now.time
	}}, change...)
	return newHarness(t, change...), now
}

// onBoth runs a test with the inbox in SQLite and with the inbox in PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, in func(*gateway.Config, *servertest.Options))) {
	for name, url := range map[string]func(*testing.T) string{
		"sqlite":     func(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "inbox.db") },
		"postgresql": func(t *testing.T) string { return inboxtest.StartPostgres(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			url := url(t)
			test(t, func(c *gateway.Config, _ *servertest.Options) { c.InboxURL = url })
		})
	}
}

// box opens the inbox of a harness beside its gateway.
func (h *harness) box() *inbox.Inbox {
	h.t.Helper()
	box, err := inbox.Open(h.t.Context(), inbox.Config{
		URL: h.config.InboxURL, Account: h.config.Ledger, Keys: h.config.InboxKeys, Now: h.config.Now,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { box.Close() })
	return box
}

func messages(t testing.TB, box *inbox.Inbox, f inbox.Filter) (all []inbox.Message) {
	t.Helper()
	err := box.List(context.Background(), f, func(m inbox.Message) error { all = append(all, m); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// drained waits until no message waits or is being processed.
func drained(t testing.TB, box *inbox.Inbox) {
	t.Helper()
	eventually(t, "the inbox is worked off", func() bool {
		return len(messages(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting, inbox.Working}})) == 0
	})
}

// inState waits until all messages are in one state, and returns them.
func inState(t testing.TB, box *inbox.Inbox, state inbox.State, n int) []inbox.Message {
	t.Helper()
	var all []inbox.Message
	eventually(t, fmt.Sprintf("%d messages are %s", n, state), func() bool {
		all = messages(t, box, inbox.Filter{States: []inbox.State{state}})
		return len(all) == n
	})
	return all
}

// Both channels' messages of one donation, with copies, are kept, and the donation is
// delivered once. The journal has the outcome of each message.
func TestInboxDeliversOnce(t *testing.T) { onBoth(t, deliversOnce) }

func deliversOnce(t *testing.T, in func(*gateway.Config, *servertest.Options)) {
	h, _ := inboxHarness(t, in)
	box := h.box()
	gift := payment("I-ONCE")
	for range 2 {
		h.mustTake(h.payPal.IPN(gift.fields()))
		h.mustTake(h.payPal.Webhook(gift.event()))
	}
	drained(t, box)
	events := h.downstream.got()
	if len(events) != 1 {
		t.Fatalf("the downstream got %d events, want 1", len(events))
	}
	note := h.notes("paypal-live")[0]
	if note.GetState() != client.StateSettled || events[0].ID() != note.GetDonationId() {
		t.Errorf("got event %s, Noted holds %v", events[0].ID(), note)
	}
	all := messages(t, box, inbox.Filter{})
	if len(all) != 2 {
		t.Fatalf("the journal has %+v, want two messages", all)
	}
	settled := 0
	for _, m := range all {
		if m.State != inbox.Done || m.Copies != 1 || !m.Verified || !m.HasBody || m.FinishedAt.IsZero() ||
			m.IDs.Transaction != "I-ONCET" || m.IDs.Series != "I-ONCE" || len(m.Donations) != 1 {
			t.Errorf("the journal has %+v", m)
			continue
		}
		d := m.Donations[0]
		if d.DonationID != note.GetDonationId() || !strings.Contains(string(d.Pair), `"series_id":"I-ONCE"`) ||
			!strings.Contains(string(d.Pair), `"message":{"channel":"`+m.Channel) {
			t.Errorf("the journal has the donation %+v", d)
		}
		if d.Outcome == inbox.Settled {
			settled++
			if d.AcceptedID != note.GetDonationId() || d.AcceptedAt.IsZero() || d.AcceptedAnswer != "202" {
				t.Errorf("settled without an acceptance: %+v", d)
			}
		}
	}
	if settled != 1 {
		t.Errorf("%d messages settled the donation, want 1", settled)
	}
	h.counts(`noted_gateway_messages_total{channel="ipn",outcome="kept"} 2`)
}

// PayPal gets 200 while Noted and the downstream do not answer. The message waits, and
// Noted uses its arrival, not the time of the try.
func TestInboxOutlivesAnOutage(t *testing.T) { onBoth(t, outlivesAnOutage) }

func outlivesAnOutage(t *testing.T, in func(*gateway.Config, *servertest.Options)) {
	h, now := inboxHarness(t, in)
	box := h.box()
	h.downstream.refusing(
		func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
	)
	arrived := now.time()
	fields := payment("I-DAYS").fields()
	fields.Set("txn_type", "subscr_signup") // which bears no time
	fields.Set("subscr_id", "I-DAYS")
	h.mustTake(h.payPal.IPN(fields))
	for range 5 {
		tries := 0
		eventually(t, "a try fails", func() bool {
			m := messages(t, box, inbox.Filter{})[0]
			tries = m.Tries
			return m.State == inbox.Waiting && m.Tries > 0 && m.Cause == "downstream: it answered 500" &&
				m.NextAt.After(now.time())
		})
		now.pass(34 * time.Hour) // five of them are a week
		eventually(t, "it is tried again", func() bool { return messages(t, box, inbox.Filter{})[0].Tries > tries })
	}
	h.downstream.refusing(nil)
	now.pass(time.Hour)
	m := inState(t, box, inbox.Done, 1)[0]
	if len(h.downstream.got()) != 1 || m.Tries < 6 {
		t.Errorf("the downstream got %v after %d tries", h.downstream.got(), m.Tries)
	}
	sighting := h.notes("paypal-live")[0].GetSightings()[0]
	if got := sighting.GetMessage().GetReceivedAt().AsTime(); got.Sub(arrived).Abs() > time.Second {
		t.Errorf("Noted was told that it arrived at %v, want %v", got, arrived)
	}
}

// A redo of a settled donation delivers nothing. After the note is forgotten it does,
// under a new donation id.
func TestInboxRedoOfASettledDonation(t *testing.T) { onBoth(t, redoOfASettledDonation) }

func redoOfASettledDonation(t *testing.T, in func(*gateway.Config, *servertest.Options)) {
	h, now := inboxHarness(t, in)
	box := h.box()
	h.mustTake(h.payPal.IPN(payment("I-REDONE").fields()))
	m := inState(t, box, inbox.Done, 1)[0]
	redo := func() inbox.Message {
		t.Helper()
		if err := box.Redo(t.Context(), m.Row, now.time(), "test", ""); err != nil {
			t.Fatal(err)
		}
		return inState(t, box, inbox.Done, 1)[0]
	}
	if d := redo().Donations[0]; d.Outcome != inbox.Settled || d.Verdict != "DUPLICATE" || len(h.downstream.got()) != 1 {
		t.Errorf("after a redo the journal has %+v, the downstream %v", d, h.downstream.got())
	}
	forget := func() {
		t.Helper()
		_, err := h.noted.Forget(t.Context(), &client.ForgetRequest{
			Ledger:     "paypal-live",
			SeriesId:   "I-REDONE",
			DonationId: h.notes("paypal-live")[0].GetDonationId(),
			Reason:     "test",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// PayPal's own copy, after Noted has lost the note, does not double the donation: the
	// inbox knows that the downstream has accepted it.
	forget()
	h.mustTake(h.payPal.IPN(payment("I-REDONE").fields()))
	drained(t, box)
	forget()
	if redo(); len(h.downstream.got()) != 2 || h.downstream.got()[0].ID() == h.downstream.got()[1].ID() {
		t.Errorf("after forget and redo the downstream got %v, want a second event under a new id", h.downstream.got())
	}
}

// One transaction under two series is one donation, in either order of the messages. A
// second named series stays a separate donation.
func TestInboxJoinsTwoSeriesOfOneTransaction(t *testing.T) { onBoth(t, joinsTwoSeries) }

func joinsTwoSeries(t *testing.T, in func(*gateway.Config, *servertest.Options)) {
	h, _ := inboxHarness(t, in)
	box := h.box()
	named := func(series, transaction string) paypaltest.Delivery {
		gift := payment(series)
		gift.ipnTxn, gift.saleID, gift.eventID = transaction, transaction, "WH-"+series+transaction
		return h.payPal.Webhook(gift.event())
	}
	unnamed := func(transaction string) paypaltest.Delivery {
		gift := payment(transaction)
		gift.ipnTxn = transaction
		fields := gift.fields()
		fields.Set("txn_type", "merch_pmt")
		fields.Del("recurring_payment_id")
		return h.payPal.IPN(fields)
	}
	for i, pair := range [][]paypaltest.Delivery{
		{named("I-FIRST", "9A"), unnamed("9A")},
		{unnamed("9B"), named("I-LATER", "9B"), named("I-LATER", "9B")},
		{named("I-ONE", "9C"), named("I-TWO", "9C"), unnamed("9C")},
	} {
		before := len(h.downstream.got())
		for _, d := range pair {
			h.mustTake(d)
			drained(t, box)
		}
		want := 1
		if i == 2 {
			want = 2
		}
		if got := len(h.downstream.got()) - before; got != want {
			t.Errorf("case %d: the downstream got %d events, want %d", i, got, want)
		}
	}
}

// The file of an inbox has no name, address or e-mail, in any state of a message: bodies
// and headers are sealed, and the other columns are ids, times and fixed words.
func TestInboxRowsHoldNothingPersonal(t *testing.T) {
	h, _ := inboxHarness(t)
	box := h.box()
	h.downstream.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
		if e.Subject() == "I-REJECTED" {
			w.WriteHeader(422)
			fmt.Fprint(w, `{"reason":"canary@example.net"}`)
		}
		return e.Subject() == "I-REJECTED"
	})
	old, foreign, odd := payment("I-OLD"), payment("I-FOREIGN").fields(), payment("I-ODD").fields()
	old.at = time.Now().Add(-60 * 24 * time.Hour)
	foreign.Set("receiver_email", "canary@receiver.example")
	foreign.Del("txn_id")
	odd.Set("recurring_payment_id", "Zoë Canary")
	odd.Set("parent_txn_id", "canary@example.net")
	odd.Set("case_id", "canary@example.net")
	odd.Set("payment_date", "canary")
	odd.Set("mc_gross", "canary")
	malformed := payment("I-BAD").fields()
	malformed.Del("txn_id")
	malformed.Del("recurring_payment_id")
	h.mustTake(h.payPal.Webhook(payment("I-DONE").event()))
	for _, fields := range []map[string][]string{
		payment("I-DONE").fields(), payment("I-REJECTED").fields(), old.fields(), foreign, odd, malformed,
	} {
		h.mustTake(h.payPal.IPN(fields))
	}
	drained(t, box)
	if all := messages(t, box, inbox.Filter{}); len(all) != 7 {
		t.Errorf("the journal has %d messages, want 7", len(all))
	}
	for _, file := range must(filepath.Glob(strings.TrimPrefix(h.config.InboxURL, "sqlite://") + "*")) {
		content := strings.ToLower(string(must(os.ReadFile(file))))
		for _, personal := range []string{"canary", paypaltest.Account, "zoë", "zo%c3"} {
			if at := strings.Index(content, personal); at >= 0 {
				t.Errorf("%s holds %q: %q", filepath.Base(file), personal, content[max(0, at-60):at+40])
			}
		}
	}
}

// A donation that the downstream accepted through one message is settled and not
// delivered again when another of its messages comes first after a crash.
func TestInboxAcceptanceCountsForAllMessages(t *testing.T) {
	h, now := inboxHarness(t)
	gift := payment("I-CRASHED")
	answer, err := h.noted.Note(t.Context(), &client.NoteRequest{
		Donation:  &client.Donation{Ledger: "paypal-live", SeriesId: gift.series, TransactionId: gift.ipnTxn},
		Hold:      durationpb.New(time.Minute),
		RequestId: client.NewRequestID(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.noted.Release(t.Context(), answer.GetReceipt(), "test"); err != nil {
		t.Fatal(err)
	}
	// Another gateway's message, kept and accepted. Its own account keeps workers away.
	id := answer.GetNote().GetDonationId()
	other := must(inbox.Open(t.Context(), inbox.Config{URL: h.config.InboxURL, Account: "other", Keys: inboxKey()}))
	defer other.Close()
	arrival := inbox.Arrival{
		Channel: "webhook", ID: "WH-OTHER", ReceivedAt: now.time(), State: inbox.Waiting,
		Donations: []inbox.Donation{{SeriesID: gift.series, Event: "EVENT_PAYMENT", Pair: []byte("{}")}},
	}
	if err := other.Keep(t.Context(), arrival); err != nil {
		t.Fatal(err)
	}
	claim := must(other.Claim(t.Context()))
	if err := other.Accepted(t.Context(), claim, &inbox.Donation{AcceptedID: id, DonationID: id}); err != nil {
		t.Fatal(err)
	}
	h.mustTake(h.payPal.IPN(gift.fields()))
	m := inState(t, h.box(), inbox.Done, 1)[0]
	note := h.notes("paypal-live")[0]
	if m.Donations[0].DonationID != id || note.GetState() != client.StateSettled || len(h.downstream.got()) != 0 {
		t.Errorf("the journal has %+v, Noted %v, the downstream %v", m.Donations, note, h.downstream.got())
	}
}
