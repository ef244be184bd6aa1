package paypal_test

import (
	"fmt"

	"github.com/donation-dedupe/noted/client/paypal"
)

// The message of a profile's creation can hold the first payment: two donations, one
// message.
func ExampleIdentifyIPN() {
	identified, err := paypal.IdentifyIPN(
		[]byte("txn_type=recurring_payment_profile_created&recurring_payment_id=I-TESTSERIES01" +
			"&time_created=09%3A05%3A01+Mar+08%2C+2021+PST&currency_code=EUR" +
			"&initial_payment_txn_id=0TESTPAYMENT00001&initial_payment_status=Completed&initial_payment_amount=40.00"),
	)
	if err != nil {
		fmt.Println("answering 400:", err)
		return
	}
	for _, pair := range identified.Pairs {
		d := pair.Donation
		fmt.Printf("%s %s %q\n", d.SeriesID, d.Event, d.TransactionID)
	}
	// Output:
	// I-TESTSERIES01 EVENT_SIGNUP ""
	// I-TESTSERIES01 EVENT_PAYMENT "0TESTPAYMENT00001"
}

func ExampleIdentifyWebhook() {
	identified, err := paypal.IdentifyWebhook([]byte(`{
		"id": "WH-00TESTEVENT000001-00TESTEVENT000002",
		"event_type": "PAYMENT.SALE.COMPLETED",
		"resource": {
			"id": "0TESTPAYMENT00001",
			"state": "completed",
			"billing_agreement_id": "I-TESTSERIES01",
			"amount": {"total": "25.00", "currency": "EUR"},
			"create_time": "2021-03-08T17:05:01Z"
		}
	}`))
	if err != nil {
		fmt.Println("answering 400:", err)
		return
	}
	fmt.Print(string(identified.AppendJSON(nil)))
	// Output:
	// {"donation":{"series_id":"I-TESTSERIES01","event":"EVENT_PAYMENT","occurred_at":"2021-03-08T17:05:01Z","amount":"25.00","currency_code":"EUR","transaction_id":"0TESTPAYMENT00001"},"message":{"channel":"webhook","id":"WH-00TESTEVENT000001-00TESTEVENT000002"}}
}

// A type that is new at PayPal deserves an alarm.
func ExampleIdentified() {
	identified, err := paypal.IdentifyIPN(
		[]byte("txn_type=something_new&txn_id=0TESTPAYMENT00001&payment_status=Completed"),
	)
	fmt.Println(identified.Skipped, identified.Unknown, err)
	// Output: txn_type something_new is not known true <nil>
}
