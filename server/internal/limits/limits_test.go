package limits

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A flood of addresses takes a bounded memory, and does not use up a caller's rate.
func TestRatesAreBounded(t *testing.T) {
	r := NewRates(1, 2)
	for i := range 2 * maxRates {
		r.take(ofAddress(fmt.Sprint(i)))
	}
	if len(r.of) > maxRates+1 {
		t.Errorf("%d rates are kept, want at most %d", len(r.of), maxRates+1)
	}
	var waits []bool
	for i := range 5 {
		waits = append(waits, r.take(ofAddress(fmt.Sprint("one more ", i))) > 0)
	}
	if !waits[4] {
		t.Error("each address beyond the bound has a rate of its own")
	}
	if wait := r.take(ofCaller("a")); wait != 0 {
		t.Error("a caller has no rate of its own")
	}

	// The CA decides how many names callers have, so their rates must not pile up.
	quick := NewRates(1_000_000, 1)
	for i := range 2 * maxRates {
		quick.take(ofCaller(fmt.Sprint(i)))
		if i == maxRates {
			quick.cleaned = time.Time{}
		}
	}
	if len(quick.of) > maxRates+maxRates/2 {
		t.Errorf("%d rates of callers that have saved up a full burst are kept", len(quick.of))
	}
}

func TestRates(t *testing.T) {
	r := NewRates(10, 3)
	for i := range 3 {
		if wait := r.take(ofCaller("a")); wait != 0 {
			t.Fatalf("call %d waits %v, want none", i, wait)
		}
	}
	for range 5 { // a refused call takes nothing from the rate
		if wait := r.take(ofCaller("a")); wait <= 0 || wait > 100*time.Millisecond {
			t.Fatalf("the call after them waits %v, want up to 100ms", wait)
		}
	}
	if wait := r.take(ofCaller("b")); wait != 0 {
		t.Errorf("another caller waits %v, want none", wait)
	}
	if wait := NewRates(0, 0).take(ofCaller("a")); wait != 0 {
		t.Errorf("without a limit a call waits %v", wait)
	}
}

func TestHost(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:4711": "192.0.2.7", "[::ffff:192.0.2.7]:4711": "192.0.2.7", "[2001:db8:1:2:3:4:5:6]:4711": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64",
	} {
		if got := host(text(address)); got != want {
			t.Errorf("host(%s) = %s, want %s", address, got, want)
		}
	}
}

// Of many calls that a caller makes at once, no more pass than its rate grants.
func TestRateOfManyAtOnce(t *testing.T) {
	for _, callers := range []int{1, 64, 512} {
		r := NewRates(2000, 500)
		var passed atomic.Int64
		var crowd sync.WaitGroup
		began := time.Now()
		goOn := func() bool { // a busy machine needs more than a second for so many calls
			since := time.Since(began)
			return since < time.Second || passed.Load() < 0.9*(500+2000) && since < time.Minute
		}
		for range callers {
			crowd.Go(func() {
				for goOn() {
					if r.take("caller x") == 0 {
						passed.Add(1)
					}
				}
			})
		}
		crowd.Wait()
		granted := 500 + 2000*time.Since(began).Seconds()
		if got := float64(passed.Load()); got > granted+1 || got < 0.9*(500+2000) {
			t.Errorf("%v calls of %d at once passed, want %.0f", got, callers, granted)
		}
	}
}

// And no fewer: refused calls take nothing from the rate. The clock stands while callers
// work, so that a busy machine grants no less.
func TestRateIsGrantedWhole(t *testing.T) {
	for _, callers := range []int{1, 64, 512} {
		synctest.Test(t, func(t *testing.T) {
			r := NewRates(2000, 500)
			var passed atomic.Int64
			var crowd sync.WaitGroup
			began := time.Now()
			for range callers {
				crowd.Go(func() {
					for time.Since(began) < time.Second {
						for r.take("caller x") == 0 {
							passed.Add(1)
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			crowd.Wait()
			const granted = 500 + 2000
			if got := passed.Load(); got > granted || got < granted-3 { // the last millisecond grants two
				t.Errorf("%d calls of %d callers passed in a second, want %d", got, callers, granted)
			}
		})
	}
}

type text string

func (text) Network() string  { return "tcp" }
func (t text) String() string { return string(t) }

var _ net.Addr = text("")
