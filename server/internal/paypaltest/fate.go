package paypaltest

import (
	"math/rand/v2"
	"time"
)

// A Fate is the list of faults that a receiver meets while it handles one try of a
// message. It depends on nothing but the seed and the try, so that every design meets the
// same.
type Fate struct {
	Asks, Works, Settles time.Duration // how long until it asks, then works, then settles
	Crash                Crash
	Refused              bool // the downstream does not take the donation now
	Asking, Settling     Loss
	Again                bool // where a reply is lost, it asks again as the same request; else it answers 503
}

// Fates returns the fate of one try of one sending of a message.
type Fates func(m *Message, sending, try int) Fate

// A Crash is the point at which a receiver crashes.
type Crash int

// The points.
const (
	Never Crash = iota
	BeforeNoting
	BeforeProcessing
	Halfway
	BeforeSettling
	BeforeAnswering
	Crashes // the number of points
)

func (c Crash) String() string {
	return [...]string{
		"never", "before the note", "after the note, before processing", "halfway", "after processing, before settling",
		"after settling, before answering PayPal",
	}[c]
}

// A Loss is what becomes of a request to the store and its reply.
type Loss int

// The losses.
const (
	Arrives Loss = iota
	RequestLost
	ReplyLost // the store has carried the request out
)

// How often something goes wrong at a receiver. No source gives a figure. These are far
// higher than at any real receiver, so that every combination comes up.
const (
	crashesAtEach = 0.01 // at each of the five points
	losesRequest  = 0.01
	losesReply    = 0.01
	asksAgain     = 0.5
	refuses       = 0.01
	hangs         = 0.01 // works for longer than its hold lasts, and does not extend it
)

// AllWell is the fate of receivers that never fail.
func AllWell(*Message, int, int) Fate {
	return Fate{Asks: 200 * time.Millisecond, Works: 2 * time.Second, Settles: 50 * time.Millisecond}
}

// Misfortunes are the fates of receivers that fail in every way.
func Misfortunes(seed uint64) Fates {
	pcg := rand.NewPCG(0, 0)
	r := rand.New(pcg)
	return func(m *Message, sending, try int) Fate {
		pcg.Seed(seed, uint64(m.Number)<<16|uint64(sending)<<8|uint64(try))
		f := Fate{
			Asks:    20*time.Millisecond + UpTo(r, 480*time.Millisecond),
			Works:   100*time.Millisecond + UpTo(r, 5*time.Second),
			Settles: 5*time.Millisecond + UpTo(r, 100*time.Millisecond),
			Refused: r.Float64() < refuses,
			Again:   r.Float64() < asksAgain,
		}
		if at := Crash(r.Float64() / crashesAtEach); at+1 < Crashes {
			f.Crash = at + 1
		}
		if r.Float64() < hangs {
			f.Works = time.Minute + UpTo(r, 4*time.Minute)
		}
		for _, loss := range []*Loss{&f.Asking, &f.Settling} {
			switch x := r.Float64(); {
			case x < losesRequest:
				*loss = RequestLost
			case x < losesRequest+losesReply:
				*loss = ReplyLost
			}
		}
		return f
	}
}
