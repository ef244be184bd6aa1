package soak_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/paypaltest"
)

// A message is sent by PayPal once or twice, each time until it is answered.
type message struct {
	number   int
	payment  int // the payment that it is really about
	donation *notedv1.Donation
	message  *notedv1.Message
	sent     []time.Duration // since the storm began
}

const (
	ledger   = "paypal-live"
	aSecond  = 10 // payments
	repeated = 0.2
)

// payments makes the messages of as many payments as a storm of some length takes: series
// that are daily, weekly or monthly, some of them with several payments within the last
// weeks. Messages that PayPal would send over days come within seconds here, in any
// order. The ids of the channels agree in all series of a storm or in none. With some of
// each, a server that has learned that ids agree would double one payment of each other
// series, as the design says.
func payments(seed uint64, length time.Duration) (count int, messages []*message) {
	r := rand.New(rand.NewPCG(seed, 1))
	now := time.Now().Truncate(time.Second)
	agree := r.IntN(2) == 0
	for i := 0; count < int(length.Seconds()*aSecond); i++ {
		series := fmt.Sprintf("I-%05X%06d", seed%(1<<20), i)
		every := []time.Duration{1, 7, 30}[r.IntN(3)] * 24 * time.Hour
		amount := paypaltest.Amount(r)
		for k := range 1 + r.IntN(4) {
			at := now.Add(-time.Hour - time.Duration(k)*every - paypaltest.UpTo(r, 3*time.Hour))
			if at.Before(now.Add(-40 * 24 * time.Hour)) {
				break
			}
			transaction := paypaltest.Letters(r, 17)
			tell := func(channel string) {
				said := paypaltest.MessageOn(r, channel)
				begin := paypaltest.UpTo(r, length)
				m := &message{
					number:  len(messages),
					payment: count,
					message: &notedv1.Message{Channel: said.Channel, Id: said.ID},
					sent:    []time.Duration{begin},
					donation: &notedv1.Donation{
						Ledger:        ledger,
						SeriesId:      series,
						OccurredAt:    timestamppb.New(at.Add(paypaltest.UpTo(r, 3*time.Second))),
						Amount:        amount,
						CurrencyCode:  "USD",
						TransactionId: transaction,
					},
				}
				if r.Float64() < repeated {
					m.sent = append(m.sent, begin+paypaltest.UpTo(r, length-begin+time.Second))
				}
				messages = append(messages, m)
			}
			ipn := r.Float64() < paypaltest.ToldByIPN
			if ipn {
				tell("ipn")
			}
			if !ipn || r.Float64() < paypaltest.ToldByWebhook {
				if !agree {
					transaction = paypaltest.Letters(r, 17)
				}
				tell("webhook")
			}
			count++
		}
	}
	return count, messages
}

// A fate is the list of faults that a receiver meets while it handles one try of a
// message. The seed and the try decide it.
type fate struct {
	server     int           // which Noted it asks
	streams    bool          // on a stream
	hold       time.Duration // that it asks for
	work       time.Duration // that processing takes, which may exceed the hold
	extends    bool          // halfway
	refused    bool          // the downstream does not take the donation now
	crash      crash
	asks       int  // how often at most it repeats a call with an unknown outcome
	looksFirst bool // it looks before it notes
	late       bool // it uses its receipt again when it should not
}

// A crash is the point at which a receiver crashes.
type crash int

const (
	noCrash crash = iota
	beforeProcessing
	beforeSettling
	beforeAnswering
)

func fateOf(seed uint64, m *message, try int) fate {
	r := rand.New(rand.NewPCG(seed, uint64(m.number)<<16|uint64(try)))
	f := fate{
		server:     r.IntN(servers),
		streams:    r.IntN(4) == 0,
		hold:       200*time.Millisecond + paypaltest.UpTo(r, 1800*time.Millisecond),
		extends:    r.IntN(4) == 0,
		refused:    r.IntN(12) == 0,
		asks:       1 + r.IntN(3),
		looksFirst: r.IntN(8) == 0,
		late:       r.IntN(10) == 0,
	}
	f.work = paypaltest.UpTo(r, f.hold*9/8)
	if r.IntN(3) > 0 {
		f.work /= 10
	}
	if r.IntN(8) == 0 {
		f.crash = crash(1 + r.IntN(3))
	}
	return f
}
