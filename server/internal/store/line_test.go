package store

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFreshNote compares the note that a caller knows without its line with the note that
// is read from the line.
func TestFreshNote(t *testing.T) {
	now := time.UnixMilli(1_793_534_400_123)
	plain := NoteRequest{
		Donation: Donation{
			Ledger: "shop", SeriesID: "I-1", Event: 3, OccurredAt: now.Add(-time.Minute), Amount: "25.00",
			CurrencyCode: "USD", TransactionID: "8XB30",
		},
		Message:   Message{Channel: "ipn", ID: "00112233445566778899aabbccddeeff"},
		RequestID: "r",
		Rules:     Rules{Retention: defaultRetention},
	}
	for name, change := range map[string]func(*NoteRequest){
		"plain": func(*NoteRequest) {},
		"webhook": func(r *NoteRequest) {
			r.Message = Message{Channel: "webhook", ID: "WH-ABCDEFGHJKLMNPQRS-SRQPNMLKJHGFEDCBA"}
		},
		"another channel":     func(r *NoteRequest) { r.Message = Message{Channel: "till", ID: "7"} },
		"no message id":       func(r *NoteRequest) { r.Message.ID = "" },
		"no transaction id":   func(r *NoteRequest) { r.Donation.TransactionID = "" },
		"odd transaction id":  func(r *NoteRequest) { r.Donation.TransactionID = "*=" },
		"no amount":           func(r *NoteRequest) { r.Donation.Amount, r.Donation.CurrencyCode = "", "" },
		"no time":             func(r *NoteRequest) { r.Donation.OccurredAt = time.Time{} },
		"a time in the zone":  func(r *NoteRequest) { r.Donation.OccurredAt = r.Donation.OccurredAt.UTC() },
		"a part of a second":  func(r *NoteRequest) { r.Donation.OccurredAt = r.Donation.OccurredAt.Add(-1_500_000) },
		"a time to come":      func(r *NoteRequest) { r.Donation.OccurredAt = now.Add(time.Hour) },
		"held":                func(r *NoteRequest) { r.Hold = time.Minute },
		"another retention":   func(r *NoteRequest) { r.Rules.Retention = 90 * 24 * time.Hour },
		"part of a retention": func(r *NoteRequest) { r.Rules.Retention = time.Hour + time.Millisecond },
		"held for longer": func(r *NoteRequest) {
			r.Hold, r.Rules.Retention = time.Hour, time.Minute
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := plain
			change(&r)
			occurred := "?"
			if at := r.Donation.OccurredAt; !at.IsZero() {
				occurred = strconv.FormatInt(at.UnixMilli()-now.Truncate(time.Second).UnixMilli(), 36) + "."
			}
			token := tokenOf("r")
			line := events[r.Donation.Event-1:r.Donation.Event] + string(token[:]) +
				strconv.FormatInt(now.UnixMilli(), 36) + " " + occurred + " "
			line += string(appendTail(nil, r, wholeSeconds(r.Rules.Retention)))
			want, err := readNote(r.Donation.Ledger, r.Donation.SeriesID, line, now)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if diff := cmp.Diff(want, freshNote(r, now)); diff != "" {
				t.Errorf("%q (-as read +fresh):\n%s", line, diff)
			}
		})
	}
}
