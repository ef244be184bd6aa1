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
	for name, r := range requests(now) {
		if !r.Message.ReceivedAt.IsZero() {
			continue // its line says so in an extra of its own
		}
		t.Run(name, func(t *testing.T) {
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
