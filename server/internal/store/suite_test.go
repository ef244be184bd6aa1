package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// base is the time of the tables. It is recent, so that nothing is out of range on a real
// clock.
var base = time.Now().Add(-3 * time.Hour).Truncate(time.Second)

func at(d time.Duration) time.Time { return base.Add(d) }

// said is a message and its answer.
type said struct {
	channel, id, transaction, amount string // amount "25.00USD"
	event                            store.Event
	at                               time.Time
	verdict                          store.Verdict
	evidence                         store.Evidence
	same                             int // the message, from 1, whose donation_id it shares; 0: a new donation_id
}

const pay, refund store.Event = 1, 4

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

// TestFullNote fills a note with IPNs under one transaction id, and checks that it still
// records the first webhook: other webhooks are other donations then. The spared sighting
// is still known by its transaction id.
func TestFullNote(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		say := func(m store.Message, transaction string) store.NoteReply {
			t.Helper()
			return note(t, s, store.NoteRequest{
				Donation: store.Donation{
					Ledger:        ledgerOf(t),
					SeriesID:      "I-1",
					Event:         pay,
					OccurredAt:    at(0),
					Amount:        "25.00",
					CurrencyCode:  "USD",
					TransactionID: transaction,
				},
				Message:   m,
				RequestID: m.Channel + m.ID + transaction,
				Rules:     defaultRules,
			})
		}
		ipn := func(i int) store.Message { return store.Message{Channel: "ipn", ID: fmt.Sprintf("%032x", i)} }
		hook := func(i int) store.Message { return store.Message{Channel: "webhook", ID: fmt.Sprint("w", i)} }
		want := say(ipn(1), "T").Note.Sightings
		for i := 2; i <= 17; i++ {
			reply := say(ipn(i), "T")
			wantVerdict(t, reply, store.Duplicate, store.SameTransaction)
			if reply.Recorded != (i <= 16) || len(reply.Note.Sightings) != min(i, 16) {
				t.Errorf(
					"IPN %d: recorded %v among %d sightings, want the first 16",
					i,
					reply.Recorded,
					len(reply.Note.Sightings),
				)
			}
			if reply.Recorded {
				want = reply.Note.Sightings
			}
		}
		own := say(hook(1), "")
		wantVerdict(t, own, store.Duplicate, store.Paired)
		want = append(want[:15:15], store.Sighting{Message: hook(1), SeenAt: own.Now})
		if diff := cmp.Diff(want, own.Note.Sightings); diff != "" || !own.Recorded {
			t.Errorf("the first webhook: recorded %v, sightings (-want +got):\n%s", own.Recorded, diff)
		}
		for i := 2; i <= 3; i++ {
			wantVerdict(t, say(hook(i), ""), store.First, store.New)
		}
		wantVerdict(t, say(hook(1), "T2"), store.Duplicate, store.SameMessage)
		wantVerdict(t, say(ipn(15), "other"), store.Duplicate, store.SameMessage)
		wantVerdict(t, say(ipn(16), "T"), store.Duplicate, store.SameTransaction)
		third := say(store.Message{Channel: "post", ID: "p1"}, "T")
		wantVerdict(t, third, store.Duplicate, store.SameTransaction)
		want = append(
			append(want[:14:14], want[15]),
			store.Sighting{Message: store.Message{Channel: "post", ID: "p1"}, TransactionID: "T", SeenAt: third.Now},
		)
		if diff := cmp.Diff(want, third.Note.Sightings); diff != "" {
			t.Errorf("a third channel: sightings (-want +got):\n%s", diff)
		}
	})
}

// TestFullNoteOfManyChannels fills a note from fifteen channels and more, as only made-up
// channels can. For another channel the note must spare a sighting that the rules do not
// need, and it must not grow.
func TestFullNoteOfManyChannels(t *testing.T) {
	one, other, unnamed := store.Message{
		Channel: "c",
		ID:      "1",
	}, store.Message{
		Channel: "c",
		ID:      "2",
	}, store.Message{
		Channel: "c",
	}
	everywhere(t, func(t *testing.T, s *store.Store) {
		for i, c := range []struct {
			first, second store.Message
			transaction   string // both messages have it
			spared        bool
		}{
			{one, other, "T", true},
			{one, unnamed, "T", true},
			{unnamed, one, "T", false}, // only the second bears an id
			{one, store.Message{Channel: "d", ID: "2"}, "T", false},
			{one, unnamed, "", false}, // no transaction id would find the second again
		} {
			say := func(m store.Message, transaction, request string) store.NoteReply {
				t.Helper()
				return note(
					t,
					s,
					store.NoteRequest{
						Donation: store.Donation{
							Ledger:        ledgerOf(t),
							SeriesID:      fmt.Sprint("I-", i),
							Event:         pay,
							TransactionID: transaction,
						},
						Message:   m,
						RequestID: request,
						Rules:     defaultRules,
					},
				)
			}
			say(c.first, c.transaction, "first")
			want := say(c.second, c.transaction, "second").Note.Sightings
			for n := range 20 {
				m := store.Message{Channel: fmt.Sprint("c", n), ID: "1"}
				reply := say(m, "T", fmt.Sprint("r", n))
				recorded := n < 14 || n == 14 && c.spared
				if n == 14 && c.spared {
					want = slices.Delete(slices.Clone(want), 1, 2)
				}
				if recorded {
					want = append(slices.Clone(want), store.Sighting{Message: m, TransactionID: "T", SeenAt: reply.Now})
				}
				if diff := cmp.Diff(want, reply.Note.Sightings); diff != "" || reply.Recorded != recorded {
					t.Fatalf(
						"case %d, channel %d: recorded %v, sightings (-want +got):\n%s",
						i,
						n,
						reply.Recorded,
						diff,
					)
				}
			}
		}
	})
}

// left is the data of a ledger in a store: key, value and expiry.
func left(t *testing.T, addr, ledger string) map[string]string {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	keys, err := c.Keys(ctx(t), "noted:{"+ledger+" *").Result()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, key := range keys {
		value, err := c.Get(ctx(t), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		all[key] = fmt.Sprintf("%s, forgotten at %d", value, expiry(t, c, key))
	}
	return all
}

// expiry is when a key ends, in milliseconds.
func expiry(t testing.TB, c *redis.Client, key string) int64 {
	t.Helper()
	at, err := c.PExpireTime(ctx(t), key).Result()
	if err == nil {
		return at.Milliseconds()
	}
	// Redis 6.2 tells only the time from now on. No millisecond may begin in between.
	const script = `local function now() local t = redis.call('TIME'); return t[1] * 1000 + math.floor(t[2] / 1000) end
		local before, left, after
		repeat before, left, after = now(), redis.call('PTTL', KEYS[1]), now() until before == after
		return left < 0 and left or before + left`
	ends, err := c.Eval(ctx(t), script, []string{key}).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// TestRefusals checks that refused calls, and calls that only look, leave every byte as
// it was.
func TestRefusals(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	ledger := ledgerOf(t)
	d := store.Donation{Ledger: ledger, SeriesID: "I-1", Event: pay, OccurredAt: at(0)}
	few := defaultRules
	few.SeriesLimit = 1

	held := note(
		t,
		s,
		store.NoteRequest{Donation: d, Message: ipn, Hold: time.Minute, RequestID: "r", Rules: defaultRules},
	)
	released := held.Receipt
	if _, err := s.Release(ctx(t), released); err != nil {
		t.Fatal(err)
	}
	taken := note(
		t,
		s,
		store.NoteRequest{Donation: d, Message: ipn, Hold: time.Minute, RequestID: "r2", Rules: defaultRules},
	)
	wantVerdict(t, taken, store.First, store.TakenOver)
	before := left(t, server.Addr(), ledger)
	if len(before) != 1 {
		t.Fatalf("the store holds %v, want one key", before)
	}

	other := d
	other.OccurredAt = at(-10 * time.Hour)
	early, late := d, d
	early.OccurredAt, early.SeriesID = time.Now().Add(-defaultRules.Retention-time.Second), "I-2"
	late.OccurredAt, late.SeriesID = time.Now().Add(defaultRules.SkewAhead+time.Minute), "I-3"
	ask := func(d store.Donation, m store.Message, rules store.Rules) func() error {
		return func() error {
			_, err := s.Note(ctx(t), store.NoteRequest{Donation: d, Message: m, RequestID: "x", Rules: rules})
			return err
		}
	}
	look := func(d store.Donation) func() error {
		return func() error { _, err := s.Exists(ctx(t), d, ipn2, defaultRules); return err }
	}
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"too early", ask(early, ipn, defaultRules), store.ErrTooEarly},
		{"too late", ask(late, ipn, defaultRules), store.ErrTooLate},
		{"a look too early", look(early), store.ErrTooEarly},
		{"a look too late", look(late), store.ErrTooLate},
		{"a look", look(d), nil},
		{"a full series", ask(other, ipn2, few), store.ErrSeriesFull},
		{"held, by a message seen before", ask(d, ipn, defaultRules), nil},
		{"settled with a lost receipt", func() error { _, err := s.Settle(ctx(t), released); return err }, store.ErrHoldLost},
		{"released with a lost receipt", func() error { _, err := s.Release(ctx(t), released); return err }, store.ErrHoldLost},
		{"extended with a lost receipt", func() error { _, err := s.Extend(ctx(t), released, time.Minute); return err }, store.ErrHoldLost},
		{"no receipt", func() error { _, err := s.Settle(ctx(t), taken.Receipt+"A"); return err }, store.ErrBadReceipt},
		{"forget an id of another series", func() error { _, err := s.Forget(ctx(t), ledger, "I-2", taken.Note.DonationID); return err }, store.ErrBadDonationID},
		{"the same request again", func() error {
			reply, err := s.Note(ctx(t), store.NoteRequest{Donation: d, Message: ipn, Hold: time.Minute, RequestID: "r2", Rules: defaultRules})
			if reply.Receipt != taken.Receipt {
				t.Errorf("the receipt is %q, want the same again, %q", reply.Receipt, taken.Receipt)
			}
			return err
		}, nil},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", c.name, err, c.want)
		}
		if diff := cmp.Diff(before, left(t, server.Addr(), ledger)); diff != "" {
			t.Errorf("%s changed the store (-before +after):\n%s", c.name, diff)
		}
	}
	if _, err := s.Forget(ctx(t), ledger, "I-1", taken.Note.DonationID); err != nil {
		t.Errorf("Forget: %v", err)
	}
	// Only the floor is left: no later note may take the forgotten name.
	after := left(t, server.Addr(), ledger)
	if name, _, _ := strings.Cut(
		taken.Note.DonationID,
		"-",
	); len(after) != 1 ||
		!strings.HasPrefix(after["noted:{"+ledger+" I-1}"], "1~"+name+", ") {
		t.Errorf("after the last note was forgotten the store holds %v", after)
	}
	if _, err := s.Forget(ctx(t), ledger, "I-1", taken.Note.DonationID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Forget again: got error %v, want %v", err, store.ErrNotFound)
	}
	if _, err := s.Settle(ctx(t), taken.Receipt); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Settle of a forgotten note: got error %v, want %v", err, store.ErrNotFound)
	}
}

// TestLife follows a note through every arrow of the design's picture.
func TestLife(t *testing.T) {
	server, err := embedded.StartFrozen(time.Now().Truncate(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL())
	d := store.Donation{Ledger: ledgerOf(t), SeriesID: "I-1", Event: pay, OccurredAt: server.Now().Add(-time.Minute)}
	ask := func(request string, hold time.Duration) store.NoteReply {
		t.Helper()
		return note(
			t,
			s,
			store.NoteRequest{Donation: d, Message: ipn, Hold: hold, RequestID: request, Rules: defaultRules},
		)
	}
	is := func(n store.Note, err error, state store.State, want error) {
		t.Helper()
		if !errors.Is(err, want) || err == nil && n.State != state {
			t.Errorf("got state %d and error %v, want %d and %v", n.State, err, state, want)
		}
	}
	const minute = time.Minute

	one := ask("1", minute)
	wantVerdict(t, one, store.First, store.New)
	wantVerdict(t, ask("2", minute), store.Held, store.SameMessage)
	server.Advance(minute) // the hold runs out
	n, err := s.Extend(ctx(t), one.Receipt, minute)
	is(n, err, store.StateHeld, nil) // no other request has taken over
	server.Advance(minute)
	repeat := ask("1", minute) // the same request, its hold run out: given again
	wantVerdict(t, repeat, store.First, store.SameRequest)
	if repeat.Receipt != one.Receipt || repeat.Note.State != store.StateHeld {
		t.Errorf(
			"the same request got receipt %q in state %d, want its own %q, held",
			repeat.Receipt,
			repeat.Note.State,
			one.Receipt,
		)
	}
	n, err = s.Release(ctx(t), one.Receipt)
	is(n, err, store.StateOpen, nil)
	n, err = s.Release(ctx(t), one.Receipt)
	is(n, err, store.StateOpen, nil) // twice is as good as once
	n, err = s.Settle(ctx(t), one.Receipt)
	is(n, err, 0, store.ErrHoldReleased)
	n, err = s.Extend(ctx(t), one.Receipt, minute)
	is(n, err, 0, store.ErrHoldReleased)
	look, err := s.Exists(ctx(t), d, ipn, defaultRules)
	if err != nil || look.Evidence != store.SameMessage || look.Note.State != store.StateOpen {
		t.Errorf("Exists of a released note: %+v, %v", look, err)
	}

	two := ask("1", minute) // the same request, but it was released
	wantVerdict(t, two, store.First, store.TakenOver)
	if two.Note.Attempt != 2 || two.Receipt == one.Receipt || two.Note.DonationID != one.Note.DonationID {
		t.Errorf(
			"the takeover got attempt %d, receipt %q, donation %s; want 2, another than %q, %s",
			two.Note.Attempt,
			two.Receipt,
			two.Note.DonationID,
			one.Receipt,
			one.Note.DonationID,
		)
	}
	server.Advance(2 * minute)
	three := ask("3", minute)
	wantVerdict(t, three, store.First, store.TakenOver)
	for _, old := range []string{one.Receipt, two.Receipt} {
		n, err = s.Settle(ctx(t), old)
		is(n, err, 0, store.ErrHoldLost)
	}
	server.Advance(2 * minute)
	n, err = s.Settle(ctx(t), three.Receipt) // late, but no other request has taken over
	is(n, err, store.StateSettled, nil)
	n, err = s.Settle(ctx(t), three.Receipt)
	is(n, err, store.StateSettled, nil)
	n, err = s.Settle(ctx(t), two.Receipt)
	is(n, err, 0, store.ErrSettledByAnother)
	n, err = s.Release(ctx(t), three.Receipt)
	is(n, err, 0, store.ErrAlreadySettled)
	n, err = s.Extend(ctx(t), three.Receipt, minute)
	is(n, err, 0, store.ErrAlreadySettled)
	wantVerdict(t, ask("4", minute), store.Duplicate, store.SameMessage)
	wantVerdict(t, ask("3", minute), store.First, store.SameRequest) // never DUPLICATE

	server.Advance(one.Note.ForgetAt.Sub(server.Now()) - time.Millisecond)
	wantVerdict(t, ask("5", 0), store.Duplicate, store.SameMessage)
	d.OccurredAt = time.Time{}
	server.Advance(time.Millisecond)
	last := ask("6", 0)
	wantVerdict(t, last, store.First, store.New)
	if last.Note.DonationID == one.Note.DonationID || last.Receipt != "" {
		t.Errorf(
			"the new donation got id %s and receipt %q, want another than %s and none",
			last.Note.DonationID,
			last.Receipt,
			one.Note.DonationID,
		)
	}
}

// TestHoldOutlastsRetention checks that a note held beyond its retention is still there
// when it is settled, and that its retention then counts from the end of the hold:
// callers who were told HELD return then.
func TestHoldOutlastsRetention(t *testing.T) {
	server, err := embedded.StartFrozen(time.Now().Truncate(time.Second).Add(300 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL())
	const second = time.Second
	for name, settled := range map[string]time.Duration{
		"before": 30 * second, "at": 60 * second, "after": 90 * second,
	} {
		r := holding(t, name, "r")
		r.Hold, r.Rules.Retention = 90*second, 60*second
		first := note(t, s, r)
		server.Advance(20 * second)
		if _, err := s.Extend(ctx(t), first.Receipt, 100*second); err != nil { // until 120
			t.Fatal(err)
		}
		server.Advance(settled - 20*second)
		n, err := s.Settle(ctx(t), first.Receipt)
		end := first.Note.NotedAt.Add(180 * second)
		if err != nil || n.State != store.StateSettled || !n.ForgetAt.Equal(end) {
			t.Errorf(
				"%s its retention has passed: Settle: state %d, forgotten at %v, %v; want it settled until %v",
				name,
				n.State,
				n.ForgetAt,
				err,
				end,
			)
		}
		if again, err := s.Settle(ctx(t), first.Receipt); err != nil || !again.ForgetAt.Equal(n.ForgetAt) {
			t.Errorf("%s: Settle again: %+v, %v; want the same", name, again, err)
		}
		r.RequestID = "other"
		server.Advance(end.Sub(server.Now()) - time.Millisecond)
		wantVerdict(t, note(t, s, r), store.Duplicate, store.SameMessage)
		server.Advance(time.Millisecond)
		wantVerdict(t, note(t, s, r), store.First, store.New)
	}
}

// TestFull checks that a Redis without memory still answers known donations, and lets
// holders finish.
func TestFull(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	ask := func(series string, request string) store.NoteRequest {
		return store.NoteRequest{
			Donation:  store.Donation{Ledger: ledgerOf(t), SeriesID: series, Event: pay},
			Message:   ipn,
			Hold:      time.Minute,
			RequestID: request,
			Rules:     defaultRules,
		}
	}
	var held [3]store.NoteReply
	for i := range held {
		held[i] = note(t, s, ask(fmt.Sprint("I-", i), "r"))
	}
	server.Do("CONFIG SET maxmemory 1")

	if _, err := s.Note(ctx(t), ask("I-new", "r")); !errors.Is(err, store.ErrStoreFull) {
		t.Errorf("a new donation: got error %v, want %v", err, store.ErrStoreFull)
	}
	again := note(t, s, ask("I-0", "other"))
	wantVerdict(t, again, store.Held, store.SameMessage)
	new := ask("I-0", "other")
	new.Message = webhook
	unrecorded := note(t, s, new)
	wantVerdict(t, unrecorded, store.Held, store.Paired)
	if unrecorded.Recorded || len(unrecorded.Note.Sightings) != 1 {
		t.Errorf(
			"a sighting that found no room: got recorded %v and sightings %v",
			unrecorded.Recorded,
			unrecorded.Note.Sightings,
		)
	}
	if _, err := s.Extend(ctx(t), held[0].Receipt, time.Minute); err != nil {
		t.Errorf("Extend: %v", err)
	}
	if n, err := s.Settle(ctx(t), held[0].Receipt); err != nil || n.State != store.StateSettled {
		t.Errorf("Settle: %+v, %v", n, err)
	}
	wantVerdict(t, note(t, s, ask("I-0", "other")), store.Duplicate, store.SameMessage)
	// A message that was paired but not recorded would let the next one be paired too,
	// and that may be another donation.
	if _, err := s.Note(ctx(t), new); !errors.Is(err, store.ErrStoreFull) {
		t.Errorf("another channel's message of a settled donation: got error %v, want %v", err, store.ErrStoreFull)
	}
	server.Do("CONFIG SET maxmemory 0")
	wantVerdict(t, note(t, s, new), store.Duplicate, store.Paired)
	third := new
	third.Message.ID, third.RequestID = "WH-another", "third"
	wantVerdict(t, note(t, s, third), store.First, store.New)
	server.Do("CONFIG SET maxmemory 1")
	wantVerdict(t, note(t, s, new), store.Duplicate, store.SameMessage)
	if _, err := s.Release(ctx(t), held[1].Receipt); err != nil {
		t.Errorf("Release: %v", err)
	}
	if _, err := s.Forget(ctx(t), ledgerOf(t), "I-2", held[2].Note.DonationID); err != nil {
		t.Errorf("Forget: %v", err)
	}
}

// TestClockSetForward checks that a store whose clock jumps does not refuse calls that
// are in time.
func TestClockSetForward(t *testing.T) {
	server, err := embedded.StartFrozen(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL())
	for i := range 3 {
		wantVerdict(
			t,
			note(
				t,
				s,
				store.NoteRequest{
					Donation:  store.Donation{Ledger: ledgerOf(t), SeriesID: fmt.Sprint(i), Event: pay},
					RequestID: "r",
					Rules:     defaultRules,
				},
			),
			store.First,
			store.New,
		)
		server.Advance(time.Hour)
	}
}

// TestNewerRelease checks that a series written by a later release is left alone.
func TestNewerRelease(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	server.Do(`SET "noted:{` + ledgerOf(t) + ` I-1}" 2whatever`)
	_, err := s.Note(
		ctx(t),
		store.NoteRequest{
			Donation:  store.Donation{Ledger: ledgerOf(t), SeriesID: "I-1", Event: pay},
			RequestID: "r",
			Rules:     defaultRules,
		},
	)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "later release") {
		t.Errorf("got error %v, want %v that names a later release", err, store.ErrUnavailable)
	}
	before := scriptsRun(t, server)
	note(t, s, holding(t, "I-2", "r"))
	if n := scriptsRun(t, server) - before; n != 1 {
		t.Errorf("the next call ran %d scripts, want 1: the version was taken for Redis's time", n)
	}
}

// TestListMany lists a ledger of many series: page tokens must stay small, and each note
// must be listed once.
func TestListMany(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		const many = 3000
		requests := make([]store.NoteRequest, many)
		for i := range requests {
			requests[i] = store.NoteRequest{
				Donation:  store.Donation{Ledger: "many", SeriesID: fmt.Sprintf("I-%012d", i), Event: pay},
				RequestID: "r",
				Rules:     defaultRules,
			}
		}
		for from := 0; from < many; from += 500 {
			if _, errs := s.Notes(ctx(t), requests[from:from+500]); errors.Join(errs...) != nil {
				t.Fatal(errors.Join(errs...))
			}
		}
		r := store.ListRequest{Ledger: "many", PageSize: 70}
		seen := map[string]int{}
		for pages := 0; ; pages++ {
			reply, err := s.List(ctx(t), r)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range reply.Notes {
				seen[n.DonationID]++
			}
			if r.PageToken = reply.NextPageToken; r.PageToken == "" {
				break
			}
			if len(r.PageToken) > 16<<10 || pages > many {
				t.Fatalf("page %d has a token of %d bytes", pages, len(r.PageToken))
			}
		}
		if len(seen) != many {
			t.Errorf("listed %d notes, want %d", len(seen), many)
		}
	})
}

// TestList pages through a ledger in the smallest pages, on every kind of store.
func TestList(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		want := map[string]bool{}
		for _, ledger := range []string{"", "a", "a*", ledgerOf(t)} {
			for i := range 7 {
				for j := range 3 {
					r := store.NoteRequest{
						Donation: store.Donation{
							Ledger:     ledger,
							SeriesID:   fmt.Sprint("I-", i),
							Event:      pay,
							OccurredAt: at(-time.Duration(j) * 24 * time.Hour),
						},
						Message:   ipn,
						RequestID: fmt.Sprint(j),
						Rules:     defaultRules,
					}
					r.Message.ID = fmt.Sprintf("%032x", j)
					if j == 1 {
						r.Hold = time.Minute
					}
					if j == 2 {
						r.Message.Channel = "webhook"
					}
					reply := note(t, s, r)
					if ledger == "a*" {
						want[reply.Note.DonationID] = true
					}
				}
			}
		}
		pages := func(r store.ListRequest) (all []store.Note) {
			t.Helper()
			for range 1000 {
				reply, err := s.List(ctx(t), r)
				if err != nil {
					t.Fatalf("List(%+v): %v", r, err)
				}
				if len(reply.Notes) > r.PageSize {
					t.Errorf("a page of %d holds %d", r.PageSize, len(reply.Notes))
				}
				all = append(all, reply.Notes...)
				if r.PageToken = reply.NextPageToken; r.PageToken == "" {
					return all
				}
			}
			t.Fatal("the listing does not end")
			return nil
		}
		for _, size := range []int{1, 2, 5, 1000} {
			got := map[string]bool{}
			for _, n := range pages(store.ListRequest{Ledger: "a*", PageSize: size}) {
				got[n.DonationID] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pages of %d (-want +got):\n%s", size, diff)
			}
		}
		for _, c := range []struct {
			name string
			r    store.ListRequest
			want int
		}{
			{"one series", store.ListRequest{Ledger: "a", SeriesID: "I-3"}, 3},
			{"no such series", store.ListRequest{Ledger: "a", SeriesID: "I-9"}, 0},
			{"held", store.ListRequest{Ledger: "a", State: store.StateHeld}, 7},
			{"open", store.ListRequest{Ledger: "a", State: store.StateOpen}, 0},
			{"seen on one channel only", store.ListRequest{Ledger: "a", SeenOnlyOn: "webhook"}, 7},
			{"noted before", store.ListRequest{Ledger: "a", NotedBefore: base}, 0},
			{"noted after", store.ListRequest{Ledger: "a", NotedAfter: base}, 21},
		} {
			c.r.PageSize = 2
			if got := pages(c.r); len(got) != c.want {
				t.Errorf("%s: got %d notes, want %d", c.name, len(got), c.want)
			}
		}
		token, err := s.List(ctx(t), store.ListRequest{Ledger: "a", PageSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []store.ListRequest{
			{Ledger: "", PageToken: token.NextPageToken},
			{Ledger: "a", SeriesID: "I-1", PageToken: token.NextPageToken},
			{Ledger: "a", PageToken: "?"},
		} {
			bad.PageSize = 1
			if _, err := s.List(ctx(t), bad); !errors.Is(err, store.ErrBadPageToken) {
				t.Errorf("List(%+v): got error %v, want %v", bad, err, store.ErrBadPageToken)
			}
		}
	})
}
