package contract

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// This file translates between the contract's messages and the store's values. Requests
// have been checked before. Enums have the contract's numbers on both sides.

// DonationOf is the store's form of a donation.
func DonationOf(d *notedv1.Donation) store.Donation {
	event := d.GetEvent()
	if event == notedv1.Event_EVENT_UNSPECIFIED {
		event = notedv1.Event_EVENT_PAYMENT
	}
	return store.Donation{
		Ledger:        d.GetLedger(),
		SeriesID:      d.GetSeriesId(),
		Event:         store.Event(event),
		OccurredAt:    TimeOf(d.GetOccurredAt()),
		Amount:        d.GetAmount(),
		CurrencyCode:  d.GetCurrencyCode(),
		TransactionID: d.GetTransactionId(),
	}
}

// MessageOf is the store's form of a message.
func MessageOf(m *notedv1.Message) store.Message {
	return store.Message{Channel: m.GetChannel(), ID: m.GetId(), ReceivedAt: TimeOf(m.GetReceivedAt())}
}

// TimeOf truncates to milliseconds. An absent time is the zero time. The first instant of
// the year 1 is present and absurd; it becomes its neighbour, so that it does not count
// as absent.
func TimeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	at := t.AsTime().Truncate(time.Millisecond)
	if at.IsZero() {
		at = at.Add(time.Millisecond)
	}
	return at
}

// HoldOf rounds up to a millisecond, so that a hold of a nanosecond is still a hold and
// not a note that is final at once.
func HoldOf(d *durationpb.Duration) time.Duration {
	return (d.AsDuration() + time.Millisecond - 1).Truncate(time.Millisecond)
}

// A noteMemory is a note's message with all that it points to, and room for one sighting.
// Every answer has a note, and most notes have one or two sightings.
type noteMemory struct {
	note                                    notedv1.Note
	donation                                notedv1.Donation
	occurredAt, notedAt, heldUntil, forgets timestamppb.Timestamp
	sightings                               [1]*notedv1.Sighting
	sighting                                [1]sightingMemory
}

type sightingMemory struct {
	sighting              notedv1.Sighting
	message               notedv1.Message
	receivedAt, sightedAt timestamppb.Timestamp
}

// NoteMessage is the contract's form of a note.
func NoteMessage(n store.Note) *notedv1.Note { return new(noteMemory).write(n) }

// NoteResponse is an answer to NoteDonation that has only its note, in one piece of memory.
func NoteResponse(n store.Note) *notedv1.NoteDonationResponse {
	of := &struct {
		response notedv1.NoteDonationResponse
		note     noteMemory
	}{}
	of.response.Note = of.note.write(n)
	return &of.response
}

// write writes a note to its memory.
func (of *noteMemory) write(n store.Note) *notedv1.Note {
	note, donation := &of.note, &of.donation
	note.DonationId = n.DonationID
	note.Donation = donation
	donation.Ledger = n.Donation.Ledger
	donation.SeriesId = n.Donation.SeriesID
	donation.Event = notedv1.Event(n.Donation.Event)
	donation.OccurredAt = timeMessage(&of.occurredAt, n.Donation.OccurredAt)
	donation.Amount = n.Donation.Amount
	donation.CurrencyCode = n.Donation.CurrencyCode
	donation.TransactionId = n.Donation.TransactionID
	note.State = notedv1.State(n.State)
	note.NotedAt = timeMessage(&of.notedAt, n.NotedAt)
	note.HeldUntil = timeMessage(&of.heldUntil, n.HeldUntil)
	note.ForgetAt = timeMessage(&of.forgets, n.ForgetAt)
	note.Attempt = int32(n.Attempt)
	sightings := of.sighting[:]
	if note.Sightings = of.sightings[:]; len(n.Sightings) != 1 {
		note.Sightings = make([]*notedv1.Sighting, len(n.Sightings))
		sightings = make([]sightingMemory, len(n.Sightings))
	}
	for i, s := range n.Sightings {
		of := &sightings[i]
		of.message.Channel, of.message.Id = s.Message.Channel, s.Message.ID
		of.message.ReceivedAt = timeMessage(&of.receivedAt, s.Message.ReceivedAt)
		of.sighting.Message = &of.message
		of.sighting.TransactionId = s.TransactionID
		of.sighting.SeenAt = timeMessage(&of.sightedAt, s.SeenAt)
		note.Sightings[i] = &of.sighting
	}
	return note
}

// timeMessage writes a time to a message, and gives it; nil if the time is unknown.
func timeMessage(to *timestamppb.Timestamp, t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	to.Seconds, to.Nanos = t.Unix(), int32(t.Nanosecond())
	return to
}

// Differences names the fields in which a message and the note disagree, in the
// contract's order. A field that only one of them gives is not a difference.
func Differences(message, note store.Donation) []string {
	var names []string
	if message.Amount != "" && note.Amount != "" && canonical(message.Amount) != canonical(note.Amount) {
		names = append(names, "amount")
	}
	if message.CurrencyCode != "" && note.CurrencyCode != "" && message.CurrencyCode != note.CurrencyCode {
		names = append(names, "currency_code")
	}
	if message.TransactionID != "" && note.TransactionID != "" && message.TransactionID != note.TransactionID {
		names = append(names, "transaction_id")
	}
	if !message.OccurredAt.IsZero() && !note.OccurredAt.IsZero() &&
		message.OccurredAt.UnixMilli() != note.OccurredAt.UnixMilli() {
		names = append(names, "occurred_at")
	}
	return names
}

// canonical is the one spelling of a decimal: two decimals are equal as numbers if their
// canonical texts are equal. Money never becomes a float.
func canonical(decimal string) string {
	digits, negative := strings.CutPrefix(decimal, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	if whole == "" && fraction == "" {
		return "0"
	}
	if negative {
		whole = "-" + whole
	}
	return whole + "." + fraction
}
