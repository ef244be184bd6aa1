package client

import (
	"github.com/donation-dedupe/noted/client/paypal"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// FromPayPal turns a pair of client/paypal into a donation and a message for Noted, in
// the given ledger: only the receiver knows its ledgers.
func FromPayPal(pair paypal.Pair, ledger string) (*Donation, *Message) {
	donation := &Donation{
		Ledger:        ledger,
		SeriesId:      pair.Donation.SeriesID,
		Event:         Event(pair.Donation.Event),
		Amount:        pair.Donation.Amount,
		CurrencyCode:  pair.Donation.CurrencyCode,
		TransactionId: pair.Donation.TransactionID,
	}
	if !pair.Donation.OccurredAt.IsZero() {
		donation.OccurredAt = timestamppb.New(pair.Donation.OccurredAt)
	}
	return donation, &Message{Channel: pair.Message.Channel, Id: pair.Message.ID}
}
