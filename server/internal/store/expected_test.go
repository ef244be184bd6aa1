package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// inExpected is how note.lua asks whether it runs in the second that the caller expects.
const inExpected = "if t[1] == string.sub(rules, 1, 10) then"

// requests are a plain request and others that differ from it in one point each.
func requests(now time.Time) map[string]NoteRequest {
	const month = 30 * 24 * time.Hour
	all := map[string]NoteRequest{}
	for name, change := range map[string]func(*NoteRequest){
		"plain": func(*NoteRequest) {},
		"webhook": func(r *NoteRequest) {
			r.Message = Message{Channel: "webhook", ID: "WH-ABCDEFGHJKLMNPQRS-SRQPNMLKJHGFEDCBA"}
		},
		"another channel":    func(r *NoteRequest) { r.Message = Message{Channel: "till", ID: "7"} },
		"refund":             func(r *NoteRequest) { r.Donation.Event = 3 },
		"no message id":      func(r *NoteRequest) { r.Message.ID = "" },
		"no transaction id":  func(r *NoteRequest) { r.Donation.TransactionID = "" },
		"odd transaction id": func(r *NoteRequest) { r.Donation.TransactionID = "*=" },
		"no amount":          func(r *NoteRequest) { r.Donation.Amount, r.Donation.CurrencyCode = "", "" },
		"no time":            func(r *NoteRequest) { r.Donation.OccurredAt = time.Time{} },
		"in this second":     func(r *NoteRequest) { r.Donation.OccurredAt = now.Truncate(time.Second) },
		"milliseconds":       func(r *NoteRequest) { r.Donation.OccurredAt = now.Add(-61_234 * time.Millisecond) },
		"just now":           func(r *NoteRequest) { r.Donation.OccurredAt = now },
		"in another zone":    func(r *NoteRequest) { r.Donation.OccurredAt = r.Donation.OccurredAt.UTC() },
		"microseconds":       func(r *NoteRequest) { r.Donation.OccurredAt = r.Donation.OccurredAt.Add(-1_500_000) },
		"to come":            func(r *NoteRequest) { r.Donation.OccurredAt = now.Add(time.Hour) },
		"long ago":           func(r *NoteRequest) { r.Donation.OccurredAt = now.Add(-month) },
		"before 1970":        func(r *NoteRequest) { r.Donation.OccurredAt = time.Unix(-1, 0) },
		"too long ago":       func(r *NoteRequest) { r.Donation.OccurredAt = now.Add(-defaultRetention) },
		"hardly too long ago": func(r *NoteRequest) {
			r.Donation.OccurredAt = now.Add(time.Millisecond - defaultRetention)
		},
		"held":                      func(r *NoteRequest) { r.Hold = time.Minute },
		"held for long":             func(r *NoteRequest) { r.Hold = defaultRetention + time.Second },
		"held for longer than kept": func(r *NoteRequest) { r.Hold, r.Rules.Retention = time.Hour, time.Minute },
		"received":                  func(r *NoteRequest) { r.Message.ReceivedAt = now.Add(-time.Hour) },
		"another retention":         func(r *NoteRequest) { r.Rules.Retention = 2 * month },
		"part of a retention":       func(r *NoteRequest) { r.Rules.Retention = time.Hour + time.Millisecond },
	} {
		r := NoteRequest{
			Donation: Donation{
				Ledger: "shop", SeriesID: "I-1", Event: 1, OccurredAt: now.Truncate(time.Second).Add(-time.Minute), Amount: "25.00",
				CurrencyCode: "USD", TransactionID: "8XB30",
			},
			Message:   Message{Channel: "ipn", ID: "00112233445566778899aabbccddeeff"},
			RequestID: "r",
			Rules:     Rules{Retention: defaultRetention, SkewAhead: 24 * time.Hour, SeriesLimit: 512},
		}
		change(&r)
		all[name] = r
	}
	return all
}

// TestExpectedSecond lets note.lua note a request in the second that its caller expects, in
// others, and without one: the replies and the values must be the same. The end of the key
// tells which way it took.
func TestExpectedSecond(t *testing.T) {
	longWay := strings.Replace(noteScript.Source, inExpected, "if false then", 1)
	if longWay == noteScript.Source {
		t.Fatalf("note.lua does not have %q", inExpected)
	}
	// In this millisecond the fifth digit from the end changes, within a second.
	carry := time.UnixMilli(1_068_001 * fourDigits)
	if carry.Nanosecond() == 0 {
		t.Fatal("the digit changes between two seconds")
	}
	for _, now := range []time.Time{v1, v1.Add(987 * time.Millisecond), carry.Add(-time.Millisecond), carry} {
		server, err := embedded.StartFrozen(now)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		client, key := clientFor(t, server.URL()), seriesKey("shop", "I-1")
		note := func(source string, call *wire.Call, before string) (told string, lives time.Duration) {
			client.Del(t.Context(), key)
			if before != "" {
				client.Set(t.Context(), key, before, time.Hour)
			}
			args := append([]any{now.UnixMilli() + 5000}, call.Args...)
			reply, err := client.Eval(t.Context(), source, []string{key}, args...).Result()
			if err != nil {
				t.Fatal(err)
			}
			value, lives := client.Get(t.Context(), key).Val(), client.PTTL(t.Context(), key).Val()
			return fmt.Sprintf("%v\n%s", reply, value), lives
		}
		for name, r := range requests(now) {
			for off := range int64(3) {
				second := now.Unix() + off - 1
				if !takes(r, second) {
					second = 0
				}
				for _, before := range []string{"", FormatVersion + "Ptokentokem89nca1z -1 9.00USD ipn:9 T9"} {
					want, exact := note(longWay, (&Store{}).noteCallIn(0, []byte(key), r), before)
					got, lives := note(noteScript.Source, (&Store{}).noteCallIn(second, []byte(key), r), before)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s, at %v, expected in %d (-long way +short way):\n%s", name, now, second, diff)
					}
					short := before == "" && second == now.Unix() && !now.Equal(carry)
					if short {
						exact += time.Hour
					}
					if lives != exact {
						t.Errorf("%s, at %v, expected in %d, lives %v, want %v", name, now, second, lives, exact)
					}
				}
			}
		}
	}
}

// TestTakes checks which requests may run in an expected second: those that an empty series
// takes as plain notes in all of it.
func TestTakes(t *testing.T) {
	refused := map[string]bool{
		"just now": true, "to come": true, "before 1970": true, "too long ago": true, "hardly too long ago": true,
		"held for long": true, "held for longer than kept": true, "received": true, "another retention": true,
		"part of a retention": true,
	}
	now := v1.Truncate(time.Second).Add(123 * time.Millisecond)
	for name, r := range requests(now) {
		if got := takes(r, now.Unix()); got == refused[name] {
			t.Errorf("%s: %v, want %v", name, got, !got)
		}
		if takes(r, 0) {
			t.Errorf("%s: taken in a second that is not known", name)
		}
	}
}
