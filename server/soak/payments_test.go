package soak_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// A message is one that PayPal sends, once or twice, each time until it is answered.
type message struct {
	number   int
	payment  int // of which it tells, in truth
	donation *notedv1.Donation
	message  *notedv1.Message
	sent     []time.Duration // since the storm began
}

const (
	ledger        = "paypal-live"
	aSecond       = 10 // payments
	repeated      = 0.2
	toldByIPN     = 0.98
	toldByWebhook = 0.90
	sharedIDs     = 0.5 // of the series have one transaction id for both channels
)

// payments makes the messages of as many payments as a storm of some length takes: series that are daily, weekly or monthly, some of them with several payments within
// the last weeks. What PayPal tells of days comes within seconds here, in any order.
func payments(seed uint64, length time.Duration) (count int, messages []*message) {
	r := rand.New(rand.NewPCG(seed, 1))
	now := time.Now().Truncate(time.Second)
	for i := 0; count < int(length.Seconds()*aSecond); i++ {
		series := fmt.Sprintf("I-%05X%06d", seed%(1<<20), i)
		every := []time.Duration{1, 7, 30}[r.IntN(3)] * 24 * time.Hour
		amount := []string{"5.00", "10.00", "25.00"}[r.IntN(3)]
		shared := r.Float64() < sharedIDs
		for k := range 1 + r.IntN(4) {
			at := now.Add(-time.Hour - time.Duration(k)*every - upTo(r, 3*time.Hour))
			if at.Before(now.Add(-40 * 24 * time.Hour)) {
				break
			}
			transaction := letters(r, 17)
			tell := func(channel, id string) {
				begin := upTo(r, length)
				m := &message{number: len(messages), payment: count, message: &notedv1.Message{Channel: channel, Id: id}, sent: []time.Duration{begin}, donation: &notedv1.Donation{
					Ledger: ledger, SeriesId: series, OccurredAt: timestamppb.New(at.Add(upTo(r, 3*time.Second))), Amount: amount, CurrencyCode: "USD", TransactionId: transaction}}
				if r.Float64() < repeated {
					m.sent = append(m.sent, begin+upTo(r, length-begin+time.Second))
				}
				messages = append(messages, m)
			}
			ipn := r.Float64() < toldByIPN
			if ipn {
				tell("ipn", fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()))
			}
			if !ipn || r.Float64() < toldByWebhook {
				if !shared {
					transaction = letters(r, 17)
				}
				tell("webhook", "WH-"+letters(r, 17)+"-"+letters(r, 17))
			}
			count++
		}
	}
	return count, messages
}

func letters(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[r.IntN(36)]
	}
	return string(b)
}

func upTo(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most)))
}

// A fate is what befalls a receiver while it handles one try of a message. It follows from the seed and the try.
type fate struct {
	server  int           // which Noted it asks
	streams bool          // on a stream
	hold    time.Duration // that it asks for
	work    time.Duration // that processing takes, which may be more
	extends bool          // halfway
	refused bool          // the downstream does not take it now
	crash   crash
	asks    int  // how often at most, where it does not know the outcome
	looks   bool // before it notes
	late    bool // it uses its receipt once more when it should not
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
		server:  r.IntN(servers),
		streams: r.IntN(4) == 0,
		hold:    200*time.Millisecond + upTo(r, 1800*time.Millisecond),
		extends: r.IntN(4) == 0,
		refused: r.IntN(12) == 0,
		asks:    1 + r.IntN(3),
		looks:   r.IntN(8) == 0,
		late:    r.IntN(10) == 0,
	}
	f.work = upTo(r, f.hold*9/8)
	if r.IntN(3) > 0 {
		f.work /= 10
	}
	if r.IntN(8) == 0 {
		f.crash = crash(1 + r.IntN(3))
	}
	return f
}
