package shadow_test

import (
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/shadow"
)

var noted = time.Date(2026, 11, 1, 0, 30, 0, 0, time.UTC)

// payment is a note with a sighting for each channel.
func payment(id string, channels ...string) *client.Note {
	note := &client.Note{
		DonationId: id, State: client.StateSettled, NotedAt: timestamppb.New(noted),
		Donation: &client.Donation{Event: client.EventPayment},
	}
	for i, channel := range channels {
		message := &client.Message{Channel: channel, Id: fmt.Sprint(i)}
		note.Sightings = append(note.Sightings, &client.Sighting{Message: message})
	}
	return note
}

func all(notes ...*client.Note) iter.Seq2[*client.Note, error] {
	return func(yield func(*client.Note, error) bool) {
		for _, note := range notes {
			if !yield(note, nil) {
				return
			}
		}
	}
}

func every(string) bool { return true }

// A note that is listed twice counts once. Payments without an amount have their own row,
// messages without a transaction id share no id, and the month is the zone's.
func TestCount(t *testing.T) {
	full := payment("full")
	for i := range shadow.MostSightings {
		full.Sightings = append(full.Sightings, payment("", fmt.Sprint("c", i)).Sightings...)
	}
	refund := payment("refund", "ipn", "webhook")
	refund.Donation.Event = client.EventRefund
	west := time.FixedZone("west", -3600)
	result, err := shadow.Count(
		all(payment("a", "ipn", "webhook"), payment("b", ""), payment("a", "ipn", "webhook"), full, refund), every, west)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Rows) != 1 || result.Rows[0].Month != "2026-10" || result.Rows[0].Currency != "" {
		t.Fatalf("rows %+v, want one of October without a currency", result.Rows)
	}
	total := result.Total
	if total.Payments != 3 || total.Doubles != 1+15 || total.SameID != 0 || total.Unheard != 0 {
		t.Errorf("total %+v", total)
	}
	if result.Others != 1 || result.Full != 1 || !result.Since.Equal(noted) || len(result.Channels) != 19 {
		t.Errorf("result %+v", result)
	}
	row := result.Rows[0]
	if row.DoubleSum.Sign() != 0 || row.UnheardSum.Sign() != 0 {
		t.Errorf("sums of payments without an amount: %v and %v", row.DoubleSum, row.UnheardSum)
	}
}

// A listing that breaks off gives no count.
func TestCountBreaksOff(t *testing.T) {
	broken := errors.New("the server is away")
	notes := func(yield func(*client.Note, error) bool) {
		if yield(payment("a", "ipn"), nil) {
			yield(nil, broken)
		}
	}
	if result, err := shadow.Count(notes, every, time.UTC); result != nil || !errors.Is(err, broken) {
		t.Errorf("Count = %+v, %v, want the error alone", result, err)
	}
}
