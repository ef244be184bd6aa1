package server

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"
)

var discard = slog.New(slog.DiscardHandler)

// A flood of addresses takes a bounded memory, and no caller's rate.
func TestRatesAreBounded(t *testing.T) {
	r := newRates(1, 2)
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
		t.Error("addresses beyond the bound have each a rate of its own")
	}
	if wait := r.take(ofCaller("a")); wait != 0 {
		t.Error("a caller has no rate of its own")
	}
}

func TestRates(t *testing.T) {
	r := newRates(10, 3)
	for i := range 3 {
		if wait := r.take(ofCaller("a")); wait != 0 {
			t.Fatalf("call %d waits %v, want none", i, wait)
		}
	}
	for range 5 { // what is refused costs nothing
		if wait := r.take(ofCaller("a")); wait <= 0 || wait > 100*time.Millisecond {
			t.Fatalf("the call after them waits %v, want up to 100ms", wait)
		}
	}
	if wait := r.take(ofCaller("b")); wait != 0 {
		t.Errorf("another caller waits %v, want none", wait)
	}
	if wait := newRates(0, 0).take(ofCaller("a")); wait != 0 {
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

type text string

func (text) Network() string  { return "tcp" }
func (t text) String() string { return string(t) }

var _ net.Addr = text("")
