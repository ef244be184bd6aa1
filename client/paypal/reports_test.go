package paypal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/paypal"
)

// reported has the donations in the messages of public reports. Two files of one name,
// one for each channel, tell of one donation and have one row.
var reported = map[string]struct {
	series    string
	event     paypal.Event
	amount    string
	unlikeIPN bool // the webhook bears neither transaction id nor time
}{
	"refund_no_parent":             {"REFUND15", paypal.EventRefund, "3.00 GBP", false},
	"refund_capture_id":            {"REFUND16", paypal.EventRefund, "0.20 USD", false},
	"reference_transaction":        {"TXN27", paypal.EventPayment, "10.00 USD", false},
	"sale_reversed_is_the_sale":    {"SALE26", paypal.EventReversal, "20.00 USD", true},
	"completed_partially_refunded": {"I-FAIL00000035", paypal.EventPayment, "4.00 USD", false},
}

// TestReports reads messages written after public reports, if there is a folder of them
// beside this repository.
func TestReports(t *testing.T) {
	paths, err := filepath.Glob("../../../shared/reports/*.*")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skip("no folder of reported messages beside the repository")
	}
	paidAt := time.Date(2026, 11, 20, 16, 0, 0, 0, time.UTC)
	for _, path := range paths {
		name, rest, _ := strings.Cut(filepath.Base(path), ".")
		channel := map[string]string{"ipn.txt": "ipn", "json": "webhook"}[rest]
		if channel == "" {
			continue // the page that explains them
		}
		t.Run(channel+"/"+name, func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, ok := reported[name]
			if !ok {
				t.Fatal("it has no row; add a row with its donations")
			}
			got, err := checkPromises(t, channel, body)
			if err != nil || len(got.Pairs) != 1 || len(got.Warnings) > 0 {
				t.Fatalf("got %+v, %v; want one donation and no warning", got, err)
			}
			d := got.Pairs[0].Donation
			if d.SeriesID != want.series || d.Event != want.event || d.Amount+" "+d.CurrencyCode != want.amount {
				t.Errorf("got %+v, want %+v", d, want)
			}
			if without := want.unlikeIPN && channel == "webhook"; without != (d.TransactionID == "") ||
				without != d.OccurredAt.IsZero() || !without && !d.OccurredAt.Equal(paidAt) {
				t.Errorf("got transaction %q at %v, want both left out: %v", d.TransactionID, d.OccurredAt, without)
			}
		})
	}
}
