package server

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// This file translates between the contract's messages and the store's values. Requests have been checked before they come here. Enums have
// the contract's numbers on both sides.

func donationOf(d *notedv1.Donation) store.Donation {
	event := d.GetEvent()
	if event == notedv1.Event_EVENT_UNSPECIFIED {
		event = notedv1.Event_EVENT_PAYMENT
	}
	return store.Donation{
		Ledger:        d.GetLedger(),
		SeriesID:      d.GetSeriesId(),
		Event:         store.Event(event),
		OccurredAt:    timeOf(d.GetOccurredAt()),
		Amount:        d.GetAmount(),
		CurrencyCode:  d.GetCurrencyCode(),
		TransactionID: d.GetTransactionId(),
	}
}

func messageOf(m *notedv1.Message) store.Message {
	return store.Message{Channel: m.GetChannel(), ID: m.GetId(), ReceivedAt: timeOf(m.GetReceivedAt())}
}

// timeOf drops what is finer than a millisecond. An absent time is the zero time; so the first instant of the year 1, which is present and absurd,
// becomes its neighbour, lest it be taken for unknown.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	at := t.AsTime().Truncate(time.Millisecond)
	if at.IsZero() {
		at = at.Add(time.Millisecond)
	}
	return at
}

// holdOf rounds up to a millisecond: a hold of a nanosecond is still a hold, not a note that is final at once.
func holdOf(d *durationpb.Duration) time.Duration {
	return (d.AsDuration() + time.Millisecond - 1).Truncate(time.Millisecond)
}

func noteMessage(n store.Note) *notedv1.Note {
	note := &notedv1.Note{
		DonationId: n.DonationID,
		Donation: &notedv1.Donation{
			Ledger:        n.Donation.Ledger,
			SeriesId:      n.Donation.SeriesID,
			Event:         notedv1.Event(n.Donation.Event),
			OccurredAt:    timeMessage(n.Donation.OccurredAt),
			Amount:        n.Donation.Amount,
			CurrencyCode:  n.Donation.CurrencyCode,
			TransactionId: n.Donation.TransactionID,
		},
		Sightings: make([]*notedv1.Sighting, len(n.Sightings)),
		State:     notedv1.State(n.State),
		NotedAt:   timeMessage(n.NotedAt),
		HeldUntil: timeMessage(n.HeldUntil),
		ForgetAt:  timeMessage(n.ForgetAt),
		Attempt:   int32(n.Attempt),
	}
	for i, s := range n.Sightings {
		note.Sightings[i] = &notedv1.Sighting{
			Message: &notedv1.Message{Channel: s.Message.Channel, Id: s.Message.ID,
				ReceivedAt: timeMessage(s.Message.ReceivedAt)},
			TransactionId: s.TransactionID,
			SeenAt:        timeMessage(s.SeenAt),
		}
	}
	return note
}

func timeMessage(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// differences names the fields in which a message and the note disagree, in the contract's order. What only one of them gives is no
// difference.
func differences(message, note store.Donation) []string {
	var names []string
	if message.Amount != "" && note.Amount != "" && number(message.Amount) != number(note.Amount) {
		names = append(names, "amount")
	}
	if message.CurrencyCode != "" && note.CurrencyCode != "" && message.CurrencyCode != note.CurrencyCode {
		names = append(names, "currency_code")
	}
	if message.TransactionID != "" && note.TransactionID != "" && message.TransactionID != note.TransactionID {
		names = append(names, "transaction_id")
	}
	if !message.OccurredAt.IsZero() && !note.OccurredAt.IsZero() && message.OccurredAt.UnixMilli() != note.OccurredAt.UnixMilli() {
		names = append(names, "occurred_at")
	}
	return names
}

// number is the one way to write a decimal: two decimals are equal as numbers when these are equal as text. Money never becomes a float.
func number(decimal string) string {
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
