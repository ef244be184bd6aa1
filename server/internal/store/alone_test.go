package store

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// TestAlone lets note.lua decide with its short way for a series of one note, and without
// it: the answers, the values and their ends must be the same. It changes a note and a
// message that are paired at up to two points.
func TestAlone(t *testing.T) {
	server, err := embedded.StartFrozen(v1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	client, key := clientFor(t, server.URL()), seriesKey("", "I-1")
	const way = "if value and #value < TWO_NOTES then"
	longWay := strings.Replace(noteScript.Source, way, "if false then", 1)
	if longWay == noteScript.Source {
		t.Fatalf("note.lua does not have %q", way)
	}
	taken := map[string]int{}
	for _, c := range aloneCases() {
		value, args := c.value(v1), c.arguments(v1)
		var told [2]string
		for i, source := range []string{longWay, noteScript.Source} {
			if err := client.Set(t.Context(), key, value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if err := client.PExpireAt(t.Context(), key, c.forget(v1)).Err(); err != nil {
				t.Fatal(err)
			}
			reply, err := client.Eval(t.Context(), source, []string{key}, args...).Result()
			if err != nil {
				t.Fatalf("%q %q: %v", value, args, err)
			}
			text := fmt.Sprint(reply)
			if short := withoutVersion.Replace(text); short != text && i == 1 {
				taken[strings.Split(text, "\n")[1]]++
				text = short
			}
			told[i] = fmt.Sprintf(
				"%s\n%s\n%d", text, client.Get(t.Context(), key).Val(), client.PExpireTime(t.Context(), key).Val(),
			)
		}
		if diff := cmp.Diff(told[0], told[1]); diff != "" {
			t.Fatalf("%q %q (-the rules +the short way):\n%s", value, args, diff)
		}
	}
	for _, evidence := range []string{"SAME_MESSAGE", "SAME_TRANSACTION", "PAIRED"} {
		if taken[evidence] < 20 {
			t.Errorf("the short way gave %s %d times, so the test proves little of it", evidence, taken[evidence])
		}
	}
}

// withoutVersion takes the version from a value that stands for its only line.
var withoutVersion = strings.NewReplacer("\n"+FormatVersion+"P", "\nP", "\n"+FormatVersion+"R", "\nR")

// An aloneCase is a note and a message, by the points in which they can differ.
type aloneCase [len(alonePoints)]string

// The points of an aloneCase. Times are milliseconds before now, and that at which the
// donation of the note occurred, before noted; "" is unknown.
const (
	noteEvent = iota
	noteToken
	noted
	noteOccurred
	noteAmount
	noteExtras
	noteMessage
	noteTransaction
	noteSeenAgain
	noteBehind // another note
	askEvent
	askToken
	askMessage
	askTransaction
	askAmount
	askOccurred
	askHold
	askReplicas
	askAgreeing
)

// alonePoints has what each point can be. With the first of each the message is paired.
var alonePoints = [...][]string{
	noteEvent: {"P", "R"},
	noteToken: {"tokentoke", "anothertk"},
	noted: {
		"1000", "0", "1", "-2000", "-1", "3887999999", "3888000000", "3888000001",
	},
	noteOccurred:    {"59000", "", "59001", "0", "-1", "-4000", "3659000", "3659001", "7000000"},
	noteAmount:      {"25.00USD", "25USD", "-", "30.00USD", "25.00EUR"},
	noteExtras:      {"", "*R ", "*H1a ", "*A2 ", "*Z7 ", "*K1w ", "*V5 "},
	noteMessage:     {"Iaaaaaaaaaaaaaaaaaaaa", "Wcccccccccccccccccccccccccccc", "ipn:", "webhook:x", "shop:y"},
	noteTransaction: {"T1", "-", "T2", "Iaaaaaaaaaaaaaaaaaaaa"},
	noteSeenAgain:   {"", " Wcccccccccccccccccccccccccccc = 5a", " Wcccccccccccccccccccccccccccd T3 5a"},
	noteBehind:      {"", "\nRxxxxxxxxxmik5izx7 -1 1USD shop:z T9", "\nno line of ours"},
	askEvent:        {"P", "R"},
	askToken:        {"asktokens", "tokentoke"},
	askMessage: {
		"Wcccccccccccccccccccccccccccc", "Iaaaaaaaaaaaaaaaaaaaa", "Iaaaaaaaaaaaaaaaaaaa", "Iaaaaaaaaaaaaaaaaaaab",
		"ipn:", "webhook:", "shop:y", "shop:Iaaaaaaaaaaaaaaaaaaaa",
	},
	askTransaction: {"T2", "T1", "-", "Iaaaaaaaaaaaaaaaaaaaa"},
	askAmount:      {"25.00USD", "25USD", "-", "30.00USD"},
	askOccurred:    {"60000", "", "60001", "3660000", "3660001", "3659999", "-3540000", "-3540001", "59002000"},
	askHold:        {"0", "1a"},
	askReplicas:    {"0", "1"},
	askAgreeing:    {"+", "*", "-", "+,ipn,webhook,", "+,ipn,", "+,shop,"},
}

// aloneCases are all that differ from the first of each point in no more than two.
func aloneCases() []aloneCase {
	var first aloneCase
	for i, values := range alonePoints {
		first[i] = values[0]
	}
	cases := []aloneCase{first}
	for i, values := range alonePoints {
		for _, value := range values[1:] {
			one := first
			one[i] = value
			cases = append(cases, one)
			for j, others := range alonePoints[:i] {
				for _, other := range others[1:] {
					two := one
					two[j] = other
					cases = append(cases, two)
				}
			}
		}
	}
	return cases
}

// before is a point's time before another, in milliseconds.
func (c aloneCase) before(ms int64, point int) int64 {
	n, err := strconv.ParseInt(c[point], 10, 64)
	if err != nil {
		panic(err)
	}
	return ms - n
}

// value is the series before the message comes.
func (c aloneCase) value(now time.Time) string {
	noted, occurred := c.before(now.UnixMilli(), noted), "?"
	if c[noteOccurred] != "" {
		after := c.before(noted, noteOccurred) - (noted - noted%1000)
		if occurred = strconv.FormatInt(after, 36) + "."; after%1000 == 0 {
			occurred = strconv.FormatInt(after/1000, 36)
		}
	}
	return FormatVersion + c[noteEvent] + c[noteToken] + strconv.FormatInt(noted, 36) + " " + occurred + " " +
		c[noteAmount] + " " + c[noteExtras] + c[noteMessage] + " " + c[noteTransaction] + c[noteSeenAgain] + c[noteBehind]
}

// forget is when Redis forgets the series: with its only note, but after now.
func (c aloneCase) forget(now time.Time) time.Time {
	return time.UnixMilli(max(c.before(now.UnixMilli(), noted)+defaultRetention.Milliseconds(), now.UnixMilli()+1))
}

// arguments are those of note.lua.
func (c aloneCase) arguments(now time.Time) []any {
	occurred, extras := "-", ""
	if c[askOccurred] != "" {
		occurred = strconv.FormatInt(c.before(now.UnixMilli(), askOccurred), 10)
	}
	if c[askHold] != "0" {
		extras = "*H" + c[askHold] + " "
	}
	return []any{
		now.UnixMilli() + 1000,
		FormatVersion + c[askEvent] + c[askToken],
		" ? " + c[askAmount] + " " + extras + c[askMessage] + " " + c[askTransaction],
		"0000000000 " + c[askReplicas] + " " + occurred + " 3600000 60000 86400000 512 " + c[askHold] + " " + c[askAgreeing],
	}
}
