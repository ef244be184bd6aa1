package limits

import (
	"cmp"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxRates is how many addresses have a rate of their own at a time: clients without a
// name choose their addresses, and each costs memory. Named callers always have a rate of
// their own; the callers file or the CA bounds their number.
const maxRates = 16384

// Rates bound how often each caller may call: this many calls per second, and a burst of
// calls that it has saved up. A nil *Rates limits nothing.
type Rates struct {
	perSecond rate.Limit
	burst     int

	mu      sync.Mutex
	of      map[string]*rate.Limiter // :: key → its rate
	cleaned time.Time
}

// NewRates makes rates; 0 calls per second means no limit.
func NewRates(perSecond, burst int) *Rates {
	if perSecond == 0 {
		return nil
	}
	return &Rates{perSecond: rate.Limit(perSecond), burst: burst, of: map[string]*rate.Limiter{}}
}

// The keys of rates.
func ofCaller(name string) string  { return "caller " + name }
func ofAddress(host string) string { return "address " + host }

// Take takes one call from the rate of a caller, or of the address if the caller has no
// name. It gives 0, or takes nothing and gives the time after which there is a call to
// take.
func (r *Rates) Take(caller string, from net.Addr) time.Duration {
	switch {
	case caller != "":
		return r.take(ofCaller(caller))
	case from != nil:
		return r.take(ofAddress(host(from)))
	}
	return r.take(ofAddress(""))
}

// take holds the lock for the whole reservation: a reservation that is canceled after
// others were made gives nothing back.
func (r *Rates) take(key string) time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	reservation := r.limiter(key, now).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (r *Rates) limiter(key string, now time.Time) *rate.Limiter {
	if found := r.of[key]; found != nil {
		return found
	}
	if len(r.of) >= maxRates {
		r.clean(now)
		if len(r.of) >= maxRates && strings.HasPrefix(key, ofAddress("")) {
			key = ofAddress("others") // a flood from many addresses shares one rate
			if found := r.of[key]; found != nil {
				return found
			}
		}
	}
	made := rate.NewLimiter(r.perSecond, r.burst)
	r.of[key] = made
	return made
}

// clean drops the rates that are full again, since a new rate is full too. It runs at
// most once per second because it takes long.
func (r *Rates) clean(now time.Time) {
	if now.Sub(r.cleaned) < time.Second {
		return
	}
	r.cleaned = now
	for key, limiter := range r.of {
		if limiter.TokensAt(now) >= float64(r.burst) {
			delete(r.of, key)
		}
	}
}

// The rate of denied calls of one caller, unless Config allows fewer calls in all. Each
// denial is logged, so a client that guesses or is misconfigured must not fill the disk.
const (
	DenialsRate  = 10
	denialsBurst = 50
)

// NewDenials makes the rates of denied calls for a server with these rates of calls.
func NewDenials(perSecond, burst int) *Rates {
	return NewRates(min(cmp.Or(perSecond, DenialsRate), DenialsRate), min(cmp.Or(burst, denialsBurst), denialsBurst))
}
