package store

import (
	"errors"
	"strings"
	"testing"
)

// FuzzKeys checks that no two series share a key, and that a key leads back to its
// series.
func FuzzKeys(f *testing.F) {
	f.Add("a", "b:c", "a:b", "c")
	f.Add("", "x", "x", "")
	f.Add("}", "{", "}{", "x")
	f.Fuzz(func(t *testing.T, l1, s1, l2, s2 string) {
		if !printable(l1) || !printable(s1) || !printable(l2) || !printable(s2) {
			t.Skip("the service refuses it")
		}
		k1, k2 := seriesKey(l1, s1), seriesKey(l2, s2)
		if (k1 == k2) != (l1 == l2 && s1 == s2) {
			t.Errorf("(%q, %q) and (%q, %q) have the keys %q and %q", l1, s1, l2, s2, k1, k2)
		}
		if l, s, ok := seriesOf(k1); !ok || l != l1 || s != s1 {
			t.Errorf("seriesOf(%q) = %q, %q, %v; want %q, %q", k1, l, s, ok, l1, s1)
		}
	})
}

// FuzzMessage checks that each message is written in one way, and read back from it.
func FuzzMessage(f *testing.F) {
	f.Add("ipn", "0123456789abcdef0123456789abcdef")
	f.Add("ipn", "00000000000000000000000000000000")
	f.Add("ipn", "0123456789ABCDEF0123456789abcdef")
	f.Add("webhook", "WH-00000000000000000-ZZZZZZZZZZZZZZZZZ")
	f.Add("webhook", "WH-7KQ19350TB4821966-30B85172NM6649021")
	f.Add("webhook", "WH-00003W5E11264SGSZ-00003W5E11264SGSZ") // its last digit needs a carry
	f.Add("", "")
	f.Add("a", ":")
	f.Fuzz(func(t *testing.T, channel, id string) {
		if !printable(channel) || !printable(id) || strings.ContainsAny(channel, ":ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			t.Skip("the service refuses it")
		}
		m := Message{Channel: channel, ID: id}
		s := writeMessage(m)
		if got, err := readMessage(s); err != nil || got != m || !printable(s) {
			t.Errorf("%+v is written %q and read %+v, %v", m, s, got, err)
		}
	})
}

// FuzzTransaction checks that transaction ids are not taken for the marks of the format.
func FuzzTransaction(f *testing.F) {
	for _, s := range []string{"", "-", "=", ".", "..", "*a", "8XB3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		s := writeTransaction(id)
		if got := readTransaction(s); got != id || s == "=" || (s == "-") != (id == "") {
			t.Errorf("%q is written %q and read %q", id, s, got)
		}
	})
}

// FuzzReceipt checks that only a text that String wrote is taken for a receipt.
func FuzzReceipt(f *testing.F) {
	f.Add(receipt{"paypal-live", "I-1", 1795297950000, 1, "abcdefghi", false}.String())
	f.Add(receipt{"", "}", 1, 9, "abcdefghi", true}.String())
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseReceipt(s)
		if err == nil && r.String() != s {
			t.Errorf("%q is taken for the receipt %q", s, r)
		}
		if err != nil && !errors.Is(err, ErrBadReceipt) {
			t.Errorf("parseReceipt(%q): %v", s, err)
		}
	})
}

// FuzzPageToken checks that a made-up page token never panics, and never leads out of its
// ledger.
func FuzzPageToken(f *testing.F) {
	f.Add("eyJsIjoiYSIsInMiOiIiLCJ3IjpbIm5vdGVkOnthIEktMX0iXX0")
	f.Fuzz(func(t *testing.T, token string) {
		at, err := start(ListRequest{Ledger: "a", PageToken: token, PageSize: 1})
		if err != nil {
			return
		}
		for _, key := range at.Wait {
			if ledger, _, _ := seriesOf(key); ledger != "a" {
				t.Errorf("the token %q leads to %q", token, key)
			}
		}
	})
}

// TestWriteAgreeing checks how the channels are written that agree with a message's.
func TestWriteAgreeing(t *testing.T) {
	for want, rules := range map[string]Rules{
		"*":              {TransactionIDs: Shared, Agreeing: []string{"ipn"}},
		"-":              {TransactionIDs: PerChannel, Agreeing: []string{"ipn"}},
		"+":              {},
		"+,,":            {Agreeing: []string{""}},
		"+,ipn,webhook,": {Agreeing: []string{"ipn", "webhook"}},
	} {
		if got := writeAgreeing(rules); got != want {
			t.Errorf("%+v is written %q, want %q", rules, got, want)
		}
	}
}
