package closing_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/closing"
	"github.com/donation-dedupe/noted/server/servertest"
)

// open notes a donation and gives it up.
func open(t *testing.T, noted *client.Client, request *client.NoteRequest) *client.Note {
	t.Helper()
	request.Hold = durationpb.New(time.Minute)
	answer, err := noted.Note(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	note, err := noted.Release(t.Context(), answer.GetReceipt(), "a test")
	if err != nil {
		t.Fatal(err)
	}
	return note
}

func payment(series, transaction, channel, message string) *client.NoteRequest {
	return &client.NoteRequest{
		Donation: &client.Donation{SeriesId: series, TransactionId: transaction, Amount: "5.00", CurrencyCode: "EUR"},
		Message:  &client.Message{Channel: channel, Id: message},
	}
}

// An open donation is closed once. A second close finds it settled. A held donation and
// another donation stay unchanged.
func TestSettle(t *testing.T) {
	noted, err := client.New(servertest.New(t).Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	ctx := t.Context()
	note := open(t, noted, payment("I-ONE", "T1", "ipn", "1"))
	request, err := closing.Request(ctx, noted, note)
	if err != nil {
		t.Fatal(err)
	}
	var other *closing.OtherError
	if _, err := closing.Settle(ctx, noted, request, "another", "entry 12"); !errors.As(err, &other) ||
		other.Meant != "another" || other.Found != note.GetDonationId() || other.Release != nil {
		t.Errorf("closing another: %v", err)
	}
	for _, want := range []client.Verdict{client.First, client.Duplicate} {
		done, err := closing.Settle(ctx, noted, request, note.GetDonationId(), "entry 12")
		if err != nil || done.Verdict != want || done.ID() != note.GetDonationId() ||
			done.Note.GetState() != client.StateSettled {
			t.Errorf("closing: %+v, %v, want %v", done, err, want)
		}
	}
	held := payment("I-TWO", "T2", "ipn", "2")
	held.Hold = durationpb.New(time.Minute)
	if _, err := noted.Note(ctx, held); err != nil {
		t.Fatal(err)
	}
	var busy *closing.HeldError
	if _, err := closing.Settle(ctx, noted, payment("I-TWO", "T2", "ipn", "2"), "", "x"); !errors.As(err, &busy) ||
		busy.After <= 0 || busy.Note.GetState() != client.StateHeld {
		t.Errorf("closing a held donation: %v", err)
	}
	old := payment("I-THREE", "T3", "ipn", "3")
	old.Donation.SeriesId = "not a series"
	if _, err := closing.Settle(ctx, noted, old, "", "x"); !errors.Is(err, client.ErrUndecidable) {
		t.Errorf("closing what Noted refuses: %v", err)
	}
}

// A request leads to the intended note, by its message, its transaction or all its
// fields, and changes nothing on the way.
func TestRequest(t *testing.T) {
	noted, err := client.New(servertest.New(t).Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	for _, request := range []*client.NoteRequest{
		payment("I-A", "T1", "ipn", "1"), payment("I-A", "T2", "ipn", "2"), payment("I-B", "T3", "", ""),
		payment("I-C", "", "", ""),
	} {
		note := open(t, noted, request)
		found, err := closing.Request(t.Context(), noted, note)
		if err != nil {
			t.Errorf("%v: %v", request, err)
			continue
		}
		done, err := closing.Settle(t.Context(), noted, found, note.GetDonationId(), "entry 12")
		if err != nil || done.Verdict != client.First {
			t.Errorf("%v: %+v, %v", request, done, err)
		}
	}
	gone := &client.Note{DonationId: "gone", Donation: &client.Donation{SeriesId: "I-D"}, Sightings: []*client.Sighting{{}}}
	if _, err := closing.Request(t.Context(), noted, gone); !errors.Is(err, closing.ErrNoWay) {
		t.Errorf("a note that is gone: %v", err)
	}
}
