package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// subjects answer the tables of orders. If the model fails a row, the row or the model is
// wrong.
var subjects = []struct {
	name string
	new  newSubject
}{{"model", modelled}, {"store", stored}}

// The four messages: the IPN and the webhook of the payments A and B, 25.00 each, B half
// an hour after A.
var four = []string{"iA", "wA", "iB", "wB"}

// A telling notes the four messages in some order, in a series of its own.
type telling struct {
	subject
	series string
	own    bool // each channel has ids of its own
	rules  store.Rules
	asked  int
	ids    map[string]string // :: message → the donation id of its answer
}

var (
	channelOf    = map[byte]string{'i': "ipn", 'w': "webhook", 'm': "import"}
	evidenceName = map[store.Evidence]string{
		store.SameMessage: "SAME_MESSAGE", store.SameTransaction: "SAME_TRANSACTION", store.Paired: "PAIRED",
	}
)

var (
	tenOClock    = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	elevenOClock = tenOClock.Add(time.Hour)
)

func (o *telling) request(message string) model.Request {
	o.asked++
	payment := message[1:]
	r := model.Request{
		Donation: store.Donation{
			Ledger: "l", SeriesID: o.series, Event: pay, OccurredAt: tenOClock, Amount: "25.00", CurrencyCode: "EUR",
			TransactionID: "T" + payment,
		},
		Message:   store.Message{Channel: channelOf[message[0]], ID: message},
		RequestID: fmt.Sprintf("%s-%d", message, o.asked),
		Rules:     o.rules,
	}
	switch payment {
	case "B":
		r.Donation.OccurredAt = tenOClock.Add(30 * time.Minute)
	case "0": // a payment of the day before
		r.Donation.OccurredAt = tenOClock.Add(-day)
	}
	if message[0] == 'w' && o.own {
		r.Donation.TransactionID = "U" + payment
	}
	return r
}

func (o *telling) ask(t *testing.T, r model.Request) model.Reply {
	t.Helper()
	reply, err := o.note(r)
	if err != nil {
		t.Fatalf("Note(%+v): %v", r, err)
	}
	return reply
}

// tell notes messages in an order, and returns the answers: "iA FIRST wB PAIRED …".
func (o *telling) tell(t *testing.T, order ...string) string {
	t.Helper()
	var said []string
	o.ids = map[string]string{}
	for _, message := range order {
		reply := o.ask(t, o.request(message))
		o.ids[message] = reply.Note.DonationID
		answer := [...]string{"", "FIRST", "DUPLICATE", "HELD"}[reply.Verdict]
		if reply.Verdict == store.Duplicate {
			answer = evidenceName[reply.Evidence]
		}
		said = append(said, message+" "+answer)
	}
	return strings.Join(said, " ")
}

// wrong says what went wrong with the payments: "B lost", "A doubled", or "mixed" if only
// donation ids are wrong.
func wrong(said string, ids map[string]string) string {
	var wrongs []string
	mixed := false
	for _, payment := range []string{"A", "B"} {
		told, firsts, under := 0, 0, map[string]bool{}
		words := strings.Fields(said)
		for i := 0; i < len(words); i += 2 {
			if words[i][1:] != payment {
				continue
			}
			told++
			under[ids[words[i]]] = true
			if words[i+1] == "FIRST" {
				firsts++
			}
		}
		switch {
		case told > 0 && firsts == 0:
			wrongs = append(wrongs, payment+" lost")
		case firsts > 1:
			wrongs = append(wrongs, payment+" doubled")
		case len(under) > 1:
			mixed = true
		}
	}
	if wrongs == nil && mixed {
		return "mixed"
	}
	return strings.Join(wrongs, ", ")
}

// orders are all orders of all subsets of the messages.
func orders(messages []string) (all [][]string) {
	for i, m := range messages {
		all = append(all, []string{m})
		rest := slices.Delete(slices.Clone(messages), i, i+1)
		for _, order := range orders(rest) {
			all = append(all, append([]string{m}, order...))
		}
	}
	return all
}

// The wrong outcomes of an order, by the store's knowledge of the ids.

func nothing([]string) string { return "" }

// unknownAgreeing: the ids agree, and the store does not know it. A second message of the
// other payment on the other channel is paired with the first message. A later message
// whose own id shows the mistake gets FIRST, so that only donation ids are mixed. If no
// such message comes, the payment is lost.
func unknownAgreeing(order []string) string {
	return map[string]string{
		"iA wB": "B lost", "iA wB wA": "B lost",
		"wB iA": "A lost", "wB iA iB": "A lost",
		"iB wA": "A lost", "iB wA wB": "A lost",
		"wA iB": "B lost", "wA iB iA": "B lost",
		"iA wB iB": "mixed", "iA wB iB wA": "mixed", "iA wB wA iB": "mixed",
		"wB iA wA": "mixed", "wB iA wA iB": "mixed", "wB iA iB wA": "mixed",
		"iB wA iA": "mixed", "iB wA iA wB": "mixed", "iB wA wB iA": "mixed",
		"wA iB wB": "mixed", "wA iB wB iA": "mixed", "wA iB iA wB": "mixed",
	}[strings.Join(order, " ")]
}

// unknownDiffering: the ids differ, so no id shows the mistake. This is the known limit.
func unknownDiffering(order []string) string {
	return map[string]string{
		"iA wB": "B lost", "iA wB wA": "A doubled, B lost", "iA wB wA iB": "A doubled, B lost",
		"wB iA": "A lost", "wB iA iB": "A lost, B doubled", "wB iA iB wA": "A lost, B doubled",
		"iB wA": "A lost", "iB wA wB": "A lost, B doubled", "iB wA wB iA": "A lost, B doubled",
		"wA iB": "B lost", "wA iB iA": "A doubled, B lost", "wA iB iA wB": "A doubled, B lost",
		"iA wB iB": "mixed", "iA wB iB wA": "mixed",
		"wB iA wA": "mixed", "wB iA wA iB": "mixed",
		"iB wA iA": "mixed", "iB wA iA wB": "mixed",
		"wA iB wB": "mixed", "wA iB wB iA": "mixed",
	}[strings.Join(order, " ")]
}

// eachDoubled: the ids differ and are taken to agree, so each payment that is told on
// both channels is doubled.
func eachDoubled(order []string) string {
	var doubled []string
	for _, payment := range []string{"A", "B"} {
		if slices.Contains(order, "i"+payment) && slices.Contains(order, "w"+payment) {
			doubled = append(doubled, payment+" doubled")
		}
	}
	return strings.Join(doubled, ", ")
}

// firstDoubled: the ids differ, and the ledger has taught that they agree. The first
// payment that is told on both channels is doubled, and shows that in this series they do
// not.
func firstDoubled(order []string) string {
	for i := range order {
		if doubled := eachDoubled(order[:i+1]); doubled != "" {
			return doubled
		}
	}
	return ""
}

// TestOrders notes the four messages, and each subset of them, in every order. If nothing
// goes wrong, each payment with a message is FIRST once, and all its messages get its
// donation id.
func TestOrders(t *testing.T) {
	all := orders(four)
	if len(all) != 64 {
		t.Fatalf("there are %d orders, want 4 + 12 + 24 + 24", len(all))
	}
	const fresh, agreed, ledger = "fresh", "after a payment under one id", "the ledger knows"
	for _, c := range []struct {
		setting           store.TransactionIDs
		history           string
		agreeing, differs func(order []string) string
	}{
		{store.Auto, fresh, unknownAgreeing, unknownDiffering},
		{store.Auto, agreed, nothing, eachDoubled},
		{store.Auto, ledger, nothing, firstDoubled},
		{store.PerChannel, fresh, unknownAgreeing, unknownDiffering},
		{store.PerChannel, agreed, unknownAgreeing, unknownDiffering},
		{store.PerChannel, ledger, unknownAgreeing, unknownDiffering},
		{store.Shared, fresh, nothing, eachDoubled},
		{store.Shared, agreed, nothing, eachDoubled},
		{store.Shared, ledger, nothing, eachDoubled},
	} {
		for _, s := range subjects {
			check := func(name string, own bool, want func([]string) string) {
				t.Run(fmt.Sprintf("%s/%s, %s, %s", s.name, c.setting, c.history, name), func(t *testing.T) {
					on := s.new(t, elevenOClock)
					wants, got := map[string]string{}, map[string]string{}
					for i, order := range all {
						o := &telling{subject: on, series: fmt.Sprint("I-", i), rules: defaultRules}
						o.rules.TransactionIDs = c.setting
						switch c.history {
						case agreed:
							o.tell(t, "i0", "w0")
						case ledger:
							o.rules.Agreeing = []string{"ipn", "webhook"}
						}
						o.own = own
						said := o.tell(t, order...)
						wants[strings.Join(order, " ")], got[strings.Join(order, " ")] = want(order), wrong(said, o.ids)
					}
					if diff := cmp.Diff(wants, got); diff != "" {
						t.Errorf("what goes wrong, by order (-want +got):\n%s", diff)
					}
				})
			}
			check("ids agree", false, c.agreeing)
			check("ids of each channel its own", true, c.differs)
		}
	}
}

// TestCrosswise checks each answer for the orders in which a payment would be lost if an
// equal id decided before anything else. The series is fresh.
func TestCrosswise(t *testing.T) {
	for _, want := range []string{
		"iA FIRST wB PAIRED iB FIRST wA SAME_TRANSACTION",
		"iA FIRST wB PAIRED iB FIRST",
		"wB FIRST iA PAIRED wA FIRST iB SAME_TRANSACTION",
		"iB FIRST wA PAIRED iA FIRST wB SAME_TRANSACTION",
		"iA FIRST wB PAIRED wA SAME_TRANSACTION iB FIRST",
	} {
		for _, s := range subjects {
			t.Run(s.name+"/"+want, func(t *testing.T) {
				var order []string
				for i, word := range strings.Fields(want) {
					if i%2 == 0 {
						order = append(order, word)
					}
				}
				o := &telling{subject: s.new(t, elevenOClock), series: "I-1", rules: defaultRules}
				if said := o.tell(t, order...); said != want {
					t.Errorf("said %s\nwant %s", said, want)
				}
			})
		}
	}
}

// TestOneTimePaymentsTeachNothing checks that the ledger does not learn from one-time
// payments: their series are named by the transaction, so unequal ids never meet there.
// If it did, the series whose ids differ would be doubled.
func TestOneTimePaymentsTeachNothing(t *testing.T) {
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			o := &telling{subject: s.new(t, elevenOClock).learning(&model.Learner{}), rules: defaultRules}
			for i := range 10 {
				o.series = fmt.Sprint("ONE-TIME-", i)
				for _, message := range []string{"iA", "wA"} {
					r := o.request(message)
					r.Donation.TransactionID = o.series
					o.ask(t, r)
				}
			}
			o.series, o.own = "I-1", true
			if got, want := o.tell(t, "iA", "wA"), "iA FIRST wA PAIRED"; got != want {
				t.Errorf("said %s, want %s", got, want)
			}
		})
	}
}

// TestEachPairOfChannelsIsLearned checks that an import that repeats the IPN's ids
// teaches nothing about the webhook's ids, neither in the series nor in the ledger.
func TestEachPairOfChannelsIsLearned(t *testing.T) {
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			o := &telling{subject: s.new(t, elevenOClock).learning(&model.Learner{}), rules: defaultRules}
			o.own = true
			for i := range 6 {
				o.series = fmt.Sprint("I-", i)
				if got, want := o.tell(t, "iA", "mA", "wA"), "iA FIRST mA SAME_TRANSACTION wA PAIRED"; got != want {
					t.Errorf("%s: said %s, want %s", o.series, got, want)
				}
			}
		})
	}
}

// TestOwnIDFollowsTheTakeover checks that a takeover gives the note the id of its
// message, since that payment is the one processed. If the note kept the id of its first
// sighting, B would be doubled and A lost.
func TestOwnIDFollowsTheTakeover(t *testing.T) {
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			o := &telling{subject: s.new(t, elevenOClock), series: "I-1", rules: defaultRules}
			r := o.request("iA")
			r.Hold = time.Minute
			if err := o.release(o.ask(t, r).Receipt); err != nil {
				t.Fatal(err)
			}
			wantVerdict(t, o.ask(t, o.request("wB")).NoteReply, store.First, store.TakenOver)
			wantVerdict(t, o.ask(t, o.request("iB")).NoteReply, store.Duplicate, store.SameTransaction)
			wantVerdict(t, o.ask(t, o.request("wA")).NoteReply, store.First, store.New)
		})
	}
}
