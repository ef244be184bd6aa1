package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
	"github.com/donation-dedupe/noted/server/servertest"
	"google.golang.org/protobuf/types/known/durationpb"
)

// example runs f with the address of a server. A program of yours has the address in its
// settings instead.
func example(f func(addr string)) {
	tb := &exampleTB{}
	defer tb.end()
	f(servertest.New(tb).Addr())
}

// exampleTB has the methods of testing.TB that servertest calls. An example has no
// testing.TB.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (*exampleTB) Helper()                      {}
func (tb *exampleTB) Cleanup(f func())          { tb.cleanups = append(tb.cleanups, f) }
func (*exampleTB) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (*exampleTB) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (*exampleTB) Errorf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (tb *exampleTB) end() {
	for _, f := range slices.Backward(tb.cleanups) {
		f()
	}
}

func ExampleClient_Once() {
	example(func(addr string) {
		noted, err := client.New(addr, client.Config{})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer noted.Close()

		// PayPal tells of one payment twice: by IPN, and by webhook.
		donation := &client.Donation{SeriesId: "I-EXAMPLE", Amount: "25.00", CurrencyCode: "EUR"}
		for _, message := range []*client.Message{{Channel: "ipn", Id: "1"}, {Channel: "webhook", Id: "WH-1"}} {
			verdict, err := noted.Once(
				context.Background(),
				donation,
				message,
				func(ctx context.Context, note *client.Note) error {
					fmt.Println(
						"booking",
						note.GetDonation().GetAmount(),
					) // with note.GetDonationId() as the idempotency key
					return nil
				},
			)
			isGone := errors.Is(err, client.ErrNotSettled) && errors.Is(err, client.ErrNoteGone)
			switch {
			case isGone, verdict == client.Undecided && errors.Is(err, client.ErrUndecidable):
				fmt.Println("200, for a person:", err) // PayPal's repeats would not help
			case err != nil, verdict == client.Held:
				fmt.Println("503: PayPal comes again")
			default:
				fmt.Println("200:", verdict)
			}
		}
	})
	// Output:
	// booking 25.00
	// 200: VERDICT_FIRST
	// 200: VERDICT_DUPLICATE
}

func ExampleClient_Note() {
	example(func(addr string) {
		noted, _ := client.New(addr, client.Config{})
		defer noted.Close()
		ctx := context.Background()

		request := &client.NoteRequest{
			Donation: &client.Donation{SeriesId: "I-EXAMPLE"},
			Hold:     durationpb.New(time.Minute),
		}
		for range 2 {
			answer, err := noted.Note(ctx, request)
			if err != nil {
				fmt.Println("nothing is known:", err)
				return
			}
			fmt.Println(answer.GetVerdict())
			if answer.GetVerdict() == client.First {
				// Process it; then Settle, or Release if that failed.
				defer noted.Settle(ctx, answer.GetReceipt(), "")
			}
		}
	})
	// Output:
	// VERDICT_FIRST
	// VERDICT_HELD
}

func ExampleClient_Notes() {
	example(func(addr string) {
		noted, _ := client.New(addr, client.Config{})
		defer noted.Close()

		requests := []*client.NoteRequest{
			{Donation: &client.Donation{SeriesId: "I-EXAMPLE1"}},
			{Donation: &client.Donation{SeriesId: "I-EXAMPLE2"}},
			{Donation: &client.Donation{SeriesId: "I-EXAMPLE1"}},
		}
		for result, err := range noted.Notes(context.Background(), slices.Values(requests)) {
			fmt.Println(result.Request.GetDonation().GetSeriesId(), result.Response.GetVerdict(), err)
		}
	})
	// Output:
	// I-EXAMPLE1 VERDICT_FIRST <nil>
	// I-EXAMPLE2 VERDICT_FIRST <nil>
	// I-EXAMPLE1 VERDICT_DUPLICATE <nil>
}

func ExampleFromPayPal() {
	body := "txn_type=subscr_payment&subscr_id=I-EXAMPLE&txn_id=T1&payment_status=Completed&mc_gross=25.00&mc_currency=EUR"
	identified, err := paypal.IdentifyIPN([]byte(body))
	if err != nil {
		fmt.Println("400: no message of PayPal's:", err)
		return
	}
	for _, pair := range identified.Pairs {
		donation, message := client.FromPayPal(pair, "paypal-live")
		fmt.Println(
			donation.GetLedger(),
			donation.GetSeriesId(),
			donation.GetEvent(),
			donation.GetAmount(),
			message.GetChannel(),
		)
	}
	// Output: paypal-live I-EXAMPLE EVENT_PAYMENT 25.00 ipn
}

func ExampleReason() {
	example(func(addr string) {
		noted, _ := client.New(addr, client.Config{})
		defer noted.Close()
		_, err := noted.Note(context.Background(), &client.NoteRequest{Donation: &client.Donation{}})
		fmt.Println(client.Reason(err), errors.Is(err, client.ErrInvalidRequest))
		for _, v := range client.Violations(err) {
			fmt.Println(v.Field)
		}
	})
	// Output:
	// INVALID_REQUEST true
	// donation.series_id
}
