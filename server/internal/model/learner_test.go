package model_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/store"
)

var rules = store.Rules{
	MatchWindow: 2 * time.Hour, ArrivalWindow: 96 * time.Hour, Retention: 1000 * time.Hour,
	SkewAhead: time.Hour, SeriesLimit: 512,
}

// TestLearner notes messages, each written as "series channel id", and checks what the
// Learner has counted. An "i" comes by IPN, a "w" by webhook. Payments of one series have
// one amount and time.
func TestLearner(t *testing.T) {
	for _, c := range []struct {
		name                       string
		say                        string
		agreements, contradictions int
		known                      bool
	}{
		{"one channel", "1iA 2iB 3iC", 0, 0, false},
		{"two agreements", "1iA 1wA 2wB 2iB", 2, 0, false},
		{"three", "1iA 1wA 2wB 2iB 3iC 3wC", 3, 0, true},
		{"each donation counts once", "1iA 1wA 1wA 1iA 1wA 1iA", 1, 0, false},
		{"one-time payments are no agreement", "Ai=A Aw=A Bi=B Bw=B Ci=C Cw=C", 0, 0, false},
		{"a message without an id says nothing", "1iA 1w 2i 2wB", 0, 0, false},
		{"a pairing with another id", "1iA 1wB", 0, 1, false},
		{"four agreements outweigh one contradiction", "1iA 1wA 2iB 2wB 3iC 3wC 4iD 4wE 5iF 5wF", 4, 1, true},
		{"the other payment's IPN takes a contradiction back", "1iA 1wB 1iB", 0, 0, false},
		{"the first payment's webhook takes it back, and agrees", "1iA 1wB 1wA", 1, 0, false},
		{"a new note contradicts channels that are known to agree", "1iA 1wA 2iB 2wB 3iC 3wC 4iD 4wE", 3, 1, false},
		{"the other channel takes that back", "1iA 1wA 2iB 2wB 3iC 3wC 4iD 4wE 4iE", 4, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, l := model.New(time.Now()), &model.Learner{}
			for i, said := range strings.Fields(c.say) {
				said = strings.Replace(said, "=", "", 1)
				d := store.Donation{Ledger: "l", SeriesID: said[:1], Event: 1, TransactionID: said[2:]}
				channel := map[byte]string{'i': "ipn", 'w': "webhook"}[said[1]]
				message := store.Message{Channel: channel, ID: fmt.Sprint(i)}
				r := model.Request{Donation: d, Message: message, RequestID: fmt.Sprint(i), Rules: rules}
				r.Rules.Agreeing = l.Agreeing(d, message.Channel)
				reply, _, err := m.Note(r)
				if err != nil {
					t.Fatal(err)
				}
				l.Observe(d, message, reply)
			}
			d := store.Donation{Ledger: "l", Event: 1}
			agreements, contradictions := l.Counts(d, "ipn", "webhook")
			if agreements != c.agreements || contradictions != c.contradictions {
				t.Errorf("%d agreements and %d contradictions, want %d and %d",
					agreements, contradictions, c.agreements, c.contradictions)
			}
			known := slices.Equal(l.Agreeing(d, "webhook"), []string{"ipn"})
			if known != c.known {
				t.Errorf("known to agree: %v, want %v", known, c.known)
			}
			d.Ledger = "other"
			if others := l.Agreeing(d, "webhook"); others != nil {
				t.Errorf("another ledger knows that %v agree, want nothing known", others)
			}
		})
	}
}
