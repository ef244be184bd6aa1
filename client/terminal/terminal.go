// Package terminal writes for people, in notectl and noted-replay: coloured answers,
// progress, and the contract's names, times and amounts in plain form.
//
// It is for the project's own programs, and promises nothing to others.
package terminal

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
)

// A Printer writes answers, for a person or for a program.
type Printer struct {
	Out   *bufio.Writer
	JSON  bool
	color bool
}

// NewPrinter writes to standard output. Colours appear only on a terminal, and not if the
// environment has NO_COLOR.
func NewPrinter(stdout io.Writer, json bool, env func(string) (string, bool)) Printer {
	noColor, _ := env("NO_COLOR")
	kind, _ := env("TERM")
	return Printer{
		Out:   bufio.NewWriter(stdout),
		JSON:  json,
		color: isTerminal(stdout) && noColor == "" && kind != "dumb",
	}
}

// Paint colours a text.
func (p Printer) Paint(color text.Color, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + fmt.Sprint(int(color)) + "m" + s + "\x1b[0m"
}

// A Fact is a line of an answer: a name and its value.
type Fact [2]string

// Facts writes the end of an answer.
func (p Printer) Facts(facts []Fact) error {
	for _, f := range facts {
		fmt.Fprintf(p.Out, "  %-11s %s\n", f[0], f[1])
	}
	return p.Out.Flush()
}

// Printable replaces control characters, which could control the terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Spoken is a name of the contract in plain form.
func Spoken(name, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, prefix), "_", "-"))
}

// EventName is an event in plain form: payment-pending for EVENT_PAYMENT_PENDING.
func EventName(event client.Event) string { return Spoken(event.String(), "EVENT_") }

// EventOf is the event of a donation. Without an event it is a payment.
func EventOf(donation *client.Donation) client.Event {
	return cmp.Or(donation.GetEvent(), client.EventPayment)
}

// Amount is the amount of a donation with its currency.
func Amount(donation *client.Donation) string {
	return strings.TrimSpace(donation.GetAmount() + " " + donation.GetCurrencyCode())
}

// Local shows a time in the local zone.
func Local(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05 MST")
}

// timeLayouts are the forms of a time without a zone. Such a time is local.
var timeLayouts = []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

// ParseTime reads a time with a zone, or a local time in one of the shorter forms.
func ParseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf(
		`%q is not a time: write 2026-03-01T14:05:00+01:00, or "2026-03-01 14:05" in the local zone`,
		s,
	)
}
