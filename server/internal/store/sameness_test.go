package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// said is a message and its answer.
type said struct {
	channel, id, transaction, amount string // amount "25.00USD"
	event                            store.Event
	at                               time.Time
	verdict                          store.Verdict
	evidence                         store.Evidence
	same                             int // the message, from 1, whose donation_id it shares; 0: a new donation_id
}

// A sameness is messages of one series, noted one after the other under some rules.
type sameness struct {
	name  string
	rules store.Rules
	say   []said
}

var (
	saidByIPN     = said{channel: "ipn", id: ipn.ID, transaction: "TXNIPN", amount: "25.00USD", event: pay, at: at(0)}
	saidByWebhook = said{
		channel: "webhook", id: webhook.ID, transaction: "TXNHOOK", amount: "25.00USD", event: pay,
		at: at(30 * time.Second),
	}
)

// first is a message of a new donation.
func first(m said) said { m.verdict, m.evidence = store.First, store.New; return m }

// again is a message of the same donation as message number same.
func again(m said, evidence store.Evidence, same int) said {
	m.verdict, m.evidence, m.same = store.Duplicate, evidence, same
	return m
}

// with is a message with a change.
func with(m said, change func(*said)) said { change(&m); return m }

// TestSameness notes messages, and checks which of them the store takes for one donation.
func TestSameness(t *testing.T) {
	cases := slices.Concat(samenessByIDs(), samenessByMoney(), samenessByTimes(), samenessOfTheRest())
	everywhere(t, func(t *testing.T, s *store.Store) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				var donations []string
				for i, m := range c.say {
					amount, currency := "", ""
					if m.amount != "" {
						amount, currency = m.amount[:len(m.amount)-3], m.amount[len(m.amount)-3:]
					}
					r := store.NoteRequest{
						Donation: store.Donation{
							Ledger:        ledgerOf(t),
							SeriesID:      "I-1",
							Event:         m.event,
							OccurredAt:    m.at,
							Amount:        amount,
							CurrencyCode:  currency,
							TransactionID: m.transaction,
						},
						Message:   store.Message{Channel: m.channel, ID: m.id},
						RequestID: fmt.Sprint(i),
						Rules:     c.rules,
					}
					seen, err := s.Exists(ctx(t), r.Donation, r.Message, r.Rules)
					if err != nil {
						t.Fatalf("Exists(message %d): %v", i+1, err)
					}
					reply := note(t, s, r)
					wantVerdict(t, reply, m.verdict, m.evidence)
					if m.same > 0 && reply.Note.DonationID != donations[m.same-1] {
						t.Errorf(
							"message %d: donation id %s, want that of message %d in %v",
							i+1,
							reply.Note.DonationID,
							m.same,
							donations,
						)
					}
					if m.same == 0 && strings.Contains(strings.Join(donations, " "), reply.Note.DonationID) {
						t.Errorf(
							"message %d: donation id %s is not new among %v",
							i+1,
							reply.Note.DonationID,
							donations,
						)
					}
					if m.verdict == store.First && seen.Evidence != 0 ||
						m.verdict != store.First &&
							(seen.Evidence != m.evidence || seen.Note.DonationID != reply.Note.DonationID) {
						t.Errorf("message %d: a look before said %+v, the note %+v", i+1, seen, reply)
					}
					donations = append(donations, reply.Note.DonationID)
				}
			})
		}
	})
}

// samenessByIDs shows message ids and transaction ids.
func samenessByIDs() []sameness {
	idsShared := defaultRules
	idsShared.TransactionIDs = store.Shared
	ipn, hook := saidByIPN, saidByWebhook
	return []sameness{
		{
			"a redelivery, whatever else changed",
			defaultRules,
			[]said{
				first(ipn),
				again(
					with(ipn, func(m *said) { m.amount, m.transaction, m.at = "9.99EUR", "OTHER", at(-50*time.Hour) }),
					store.SameMessage,
					1,
				),
			},
		},
		{
			"equal transaction ids on one channel under two message ids",
			defaultRules,
			[]said{
				first(
					ipn,
				),
				again(
					with(ipn, func(m *said) { m.id = ipn2.ID; m.at = at(50 * time.Minute) }),
					store.SameTransaction,
					1,
				),
			},
		},
		{
			"equal transaction ids on two channels, a day apart",
			defaultRules,
			[]said{
				first(
					ipn,
				),
				again(
					with(hook, func(m *said) { m.transaction, m.at = "TXNIPN", at(-24*time.Hour) }),
					store.SameTransaction,
					1,
				),
			},
		},
		{"unequal transaction ids on one channel", defaultRules, []said{
			first(ipn), first(with(ipn, func(m *said) { m.id, m.transaction = ipn2.ID, "OTHER" })),
		}},
		{
			"unequal transaction ids on one channel, without message ids",
			defaultRules,
			[]said{
				first(
					with(ipn, func(m *said) { m.id = "" }),
				),
				first(with(ipn, func(m *said) { m.id, m.transaction = "", "OTHER" })),
			},
		},
		{
			"unequal transaction ids on two channels say nothing",
			defaultRules,
			[]said{first(ipn), again(hook, store.Paired, 1)},
		},
		{"unequal transaction ids on two channels, where they are shared", idsShared, []said{first(ipn), first(hook)}},
		{"no transaction id on one side, where they are shared", idsShared, []said{
			first(ipn), again(with(hook, func(m *said) { m.transaction = "" }), store.Paired, 1),
		}},
		{
			"one channel does not tell of a donation under two ids",
			defaultRules,
			[]said{
				first(
					with(ipn, func(m *said) { m.transaction = "" }),
				),
				first(with(ipn, func(m *said) { m.id, m.transaction = ipn2.ID, "" })),
			},
		},
		{
			"nor after the other channel has told of it",
			defaultRules,
			[]said{
				first(
					ipn,
				),
				again(hook, store.Paired, 1),
				first(with(hook, func(m *said) { m.id, m.transaction = "WH-2", "" })),
			},
		},
	}
}

// samenessByMoney shows amounts and currencies.
func samenessByMoney() []sameness {
	ipn, hook := saidByIPN, saidByWebhook
	return []sameness{
		{
			"amounts are numbers",
			defaultRules,
			[]said{first(ipn), again(with(hook, func(m *said) { m.amount = "025.0USD" }), store.Paired, 1)},
		},
		{
			"zeros are numbers, too",
			defaultRules,
			[]said{
				first(
					with(ipn, func(m *said) { m.amount = "-0.00JPY" }),
				),
				again(with(hook, func(m *said) { m.amount = "0JPY" }), store.Paired, 1),
			},
		},
		{
			"a sign is part of the number",
			defaultRules,
			[]said{first(ipn), first(with(hook, func(m *said) { m.amount = "-25.00USD" }))},
		},
		{
			"ten is not one",
			defaultRules,
			[]said{
				first(
					with(ipn, func(m *said) { m.amount = "10USD" }),
				),
				first(with(hook, func(m *said) { m.amount = "1USD" })),
			},
		},
		{"other amounts", defaultRules, []said{first(ipn), first(with(hook, func(m *said) { m.amount = "25.01USD" }))}},
		{
			"other currencies",
			defaultRules,
			[]said{first(ipn), first(with(hook, func(m *said) { m.amount = "25.00EUR" }))},
		},
		{
			"an amount on one side only",
			defaultRules,
			[]said{first(ipn), again(with(hook, func(m *said) { m.amount = "" }), store.Paired, 1)},
		},
	}
}

// samenessByTimes shows the windows.
func samenessByTimes() []sameness {
	ipn, hook := saidByIPN, saidByWebhook
	return []sameness{
		{"times at the edge of the match window", defaultRules, []said{
			first(ipn), again(with(hook, func(m *said) { m.at = at(-2 * time.Hour) }), store.Paired, 1),
		}},
		{"times past the edge of the match window", defaultRules, []said{
			first(ipn), first(with(hook, func(m *said) { m.at = at(-2*time.Hour - time.Millisecond) })),
		}},
		{"a time on one side only: arrivals decide", defaultRules, []said{
			first(ipn), again(with(hook, func(m *said) { m.at = time.Time{} }), store.Paired, 1),
		}},
		{"the nearest in time", defaultRules, []said{
			first(with(ipn, func(m *said) { m.at = at(-100 * time.Minute) })),
			first(with(ipn, func(m *said) { m.id, m.transaction = ipn2.ID, "OTHER" })),
			again(with(hook, func(m *said) { m.at = at(-20 * time.Minute) }), store.Paired, 2),
		}},
		{"the stronger evidence before the nearer time", defaultRules, []said{
			first(with(ipn, func(m *said) { m.at = at(-100 * time.Minute) })),
			first(with(ipn, func(m *said) { m.id, m.transaction = ipn2.ID, "OTHER" })),
			again(with(hook, func(m *said) { m.transaction = "TXNIPN" }), store.SameTransaction, 1),
		}},
	}
}

// samenessOfTheRest shows events, missing ids and odd letters.
func samenessOfTheRest() []sameness {
	ipn := saidByIPN
	return []sameness{
		{"events are apart", defaultRules, []said{first(ipn), first(with(ipn, func(m *said) { m.event = refund }))}},
		{
			"a series id and nothing else",
			defaultRules,
			[]said{first(said{event: pay}), again(said{event: pay}, store.Paired, 1)},
		},
		{"a channel without an id", defaultRules, []said{
			first(ipn), again(said{channel: "ipn", event: pay, at: at(time.Minute)}, store.Paired, 1),
		}},
		{
			"ids with the letters of the format",
			defaultRules,
			[]said{
				first(said{channel: "a.b", id: "*:=-", transaction: "=", amount: "1USD", event: pay, at: at(0)}),
				again(
					said{channel: "a.c", id: "x:", transaction: "-", amount: "1USD", event: pay, at: at(0)},
					store.Paired,
					1,
				),
				again(said{channel: "a.d", id: "I", transaction: ".", event: pay, at: at(0)}, store.Paired, 1),
				again(said{channel: "a.c", id: "x:", event: pay}, store.SameMessage, 1),
				again(said{channel: "a.e", id: "W", transaction: "=", event: pay}, store.SameTransaction, 1),
				again(said{channel: "a.f", id: ":", transaction: ".", event: pay}, store.SameTransaction, 1),
			},
		},
	}
}
