package store

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestWrongReceipts reads receipts with a right checksum and wrong content.
func TestWrongReceipts(t *testing.T) {
	right := receipt{ledger: "l", series: "I-1", noted: 1, attempt: 1, token: "abcdefghi"}
	if got, err := parseReceipt(right.String()); err != nil || got != right {
		t.Fatalf("parseReceipt of %+v: %+v, %v", right, got, err)
	}
	for name, change := range map[string]func(r *receipt){
		"no series":             func(r *receipt) { r.series = "" },
		"noted in 1970":         func(r *receipt) { r.noted = 0 },
		"noted before 1970":     func(r *receipt) { r.noted = -1 },
		"no attempt":            func(r *receipt) { r.attempt = 0 },
		"a token too short":     func(r *receipt) { r.token = "abcdefgh" },
		"a token too long":      func(r *receipt) { r.token = "abcdefghij" },
		"a space in the series": func(r *receipt) { r.series = "I 1" },
		"a newline in a name":   func(r *receipt) { r.ledger = "l\n" },
		"no ASCII in the token": func(r *receipt) { r.token = "abcdefgh\x7f" },
	} {
		r := right
		change(&r)
		if got, err := parseReceipt(r.String()); !errors.Is(err, ErrBadReceipt) {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, ErrBadReceipt)
		}
	}
}

// TestNotStorable checks that values that could not be read again are refused, even if
// the service has let them through.
func TestNotStorable(t *testing.T) {
	right := Donation{Ledger: "~", SeriesID: "!", Event: 1, Amount: "1", CurrencyCode: "USD", TransactionID: "T"}
	if err := storable(right, Message{Channel: "ipn", ID: "I"}); err != nil {
		t.Fatal(err)
	}
	last := right
	last.Event = MaxEvent
	if err := storable(last, Message{}); err != nil {
		t.Errorf("the last event: %v", err)
	}
	for name, change := range map[string]func(d *Donation, m *Message){
		"no event":                  func(d *Donation, _ *Message) { d.Event = 0 },
		"an event too many":         func(d *Donation, _ *Message) { d.Event = MaxEvent + 1 },
		"a space in the ledger":     func(d *Donation, _ *Message) { d.Ledger = "a b" },
		"a newline in the series":   func(d *Donation, _ *Message) { d.SeriesID = "I\n" },
		"DEL in a transaction":      func(d *Donation, _ *Message) { d.TransactionID = "T\x7f" },
		"a space in the amount":     func(d *Donation, _ *Message) { d.Amount = " 1" },
		"a tab in the currency":     func(d *Donation, _ *Message) { d.CurrencyCode = "US\t" },
		"a currency of two letters": func(d *Donation, _ *Message) { d.CurrencyCode = "US" },
		"an amount alone":           func(d *Donation, _ *Message) { d.CurrencyCode = "" },
		"a colon in the channel":    func(_ *Donation, m *Message) { m.Channel = "i:pn" },
		"a capital A":               func(_ *Donation, m *Message) { m.Channel = "Apn" },
		"a capital Z":               func(_ *Donation, m *Message) { m.Channel = "ipZ" },
		"a star in the channel":     func(_ *Donation, m *Message) { m.Channel = "*" },
		"a space in an id":          func(_ *Donation, m *Message) { m.ID = "a b" },
	} {
		d, m := right, Message{Channel: "ipn", ID: "I"}
		change(&d, &m)
		if storable(d, m) == nil {
			t.Errorf("%s is storable", name)
		}
	}
}

// TestUnreadable reads messages and lines that no release has written.
func TestUnreadable(t *testing.T) {
	for _, s := range []string{
		"", "ipn", "I", "I" + string(append85(nil, make([]byte, 15))),
		"I" + string(append85(nil, make([]byte, 17))), "Ixx~", "W",
		"W" + string(append85(nil, make([]byte, 2*halfBytes-1))),
	} {
		if m, err := readMessage(s); err == nil {
			t.Errorf("%q is read as %+v", s, m)
		}
	}
	const line = "Pabcdefghimx0us7a2 ? 25.00USD ipn:a T"
	for _, right := range []string{line, strings.Replace(line, "mx0us7a2", "1", 1)} { // in 1970, too
		if _, err := readNote("l", "I-1", right, time.Now()); err != nil {
			t.Fatalf("%q: %v", right, err)
		}
	}
	for name, wrong := range map[string]string{
		"nothing":                      "",
		"four words":                   "Pabcdefghimx0us7a2 ? 25.00USD ipn:a",
		"no time":                      "Pabcdefghi ? 25.00USD ipn:a T",
		"no event's letter":            strings.Replace(line, "P", "Q", 1),
		"noted at no number":           strings.Replace(line, "mx0", "m!0", 1),
		"occurred at no number":        strings.Replace(line, "?", "!", 1),
		"a currency without an amount": strings.Replace(line, "25.00USD", "USD", 1),
		"a sighting of one word":       line + " ipn:b",
		"a sighting of two words":      line + " ipn:b T",
		"a sighting at no number":      line + " ipn:b T !",
		"a sighting of no message":     line + " ipn T 1",
		"a hold until no number":       strings.Replace(line, "ipn", "*H! ipn", 1),
		"an option and no sighting":    "Pabcdefghimx0us7a2 ? 25.00USD *R ipn:a",
	} {
		if n, err := readNote("l", "I-1", wrong, time.Now()); err == nil {
			t.Errorf("%s: %q is read as %+v", name, wrong, n)
		}
	}
}
