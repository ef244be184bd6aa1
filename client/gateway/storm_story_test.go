package gateway_test

import (
	"fmt"
	"time"

	"github.com/donation-dedupe/noted/client/internal/paypaltest"
)

// write writes the messages, and the expected events.
func (s *storm) write() {
	day := 24 * time.Hour
	expect := func(kind, series string, at time.Time) {
		when := ""
		if !at.IsZero() {
			when = at.UTC().Format(time.RFC3339)
		}
		s.want["noted.donation."+kind+"|"+series+"|"+when] = true
	}
	// PayPal's ids agree across the channels, or they do not. In a ledger where some did and
	// others did not, Noted would learn that they agree and take the others for two donations.
	own := s.into == "http" || s.into == "sqlite"
	for i := range 40 { // monthly series, each with two payments
		for month := range 2 {
			g := payment(fmt.Sprintf("I-MONTHLY%02d", i))
			g.at = time.Now().Add(-time.Duration(month)*30*day - time.Minute)
			g.ipnTxn = fmt.Sprintf("%sT%d", g.series, month)
			g.saleID = g.ipnTxn
			if own {
				g.saleID += "W"
			}
			g.eventID += g.ipnTxn
			s.letters = append(s.letters, s.payPal.IPN(g.fields()), s.payPal.Webhook(g.event()))
			expect("payment", g.series, g.at)
		}
	}
	for i := range 10 { // a first payment in disguise: two donations in one IPN, and the signup by webhook too
		g := payment(fmt.Sprintf("I-SIGNUP%02d", i))
		fields := g.fields()
		for name, value := range map[string]string{
			"txn_type": "recurring_payment_profile_created", "initial_payment_txn_id": g.ipnTxn,
			"initial_payment_status": "Completed",
			"initial_payment_amount": "5.00", "currency_code": "EUR",
			"time_created": paypaltest.Pacific(g.at),
		} {
			fields.Set(name, value)
		}
		s.letters = append(
			s.letters,
			s.payPal.IPN(fields),
			s.payPal.Webhook(
				fmt.Sprintf(
					`{"id":"WH-A%s","event_type":"BILLING.SUBSCRIPTION.ACTIVATED","resource":{"id":%q}}`,
					g.series,
					g.series,
				),
			),
		)
		expect("signup", g.series, time.Time{})
		expect("payment", g.series, g.at)
	}
	for i := range 10 { // refunds
		g := payment(fmt.Sprintf("9SALE%02d", i))
		fields := g.fields()
		for name, value := range map[string]string{"txn_type": "", "payment_status": "Refunded", "parent_txn_id": g.series, "mc_gross": "-25.00"} {
			fields.Set(name, value)
		}
		s.letters = append(
			s.letters,
			s.payPal.IPN(fields),
			s.payPal.Webhook(
				fmt.Sprintf(
					`{"id":"WH-R%s","event_type":"PAYMENT.SALE.REFUNDED","resource":{"id":%q,"sale_id":%q,"create_time":%q,"amount":{"total":"-25.00","currency":"EUR"}}}`,
					g.series,
					g.saleID,
					g.series,
					g.at.UTC().Format(time.RFC3339),
				),
			),
		)
		expect("refund", g.saleID, g.at)
	}
	for i := range 4 { // a dispute about two payments, and a payment that is too old for Noted
		one, other := fmt.Sprintf("9DISPUTED%02dA", i), fmt.Sprintf("9DISPUTED%02dB", i)
		s.letters = append(s.letters, s.payPal.Webhook(fmt.Sprintf(
			`{"id":"WH-D%d","event_type":"CUSTOMER.DISPUTE.CREATED","resource":{"dispute_id":"PP-D-%d","disputed_transactions":[{"seller_transaction_id":%q},{"seller_transaction_id":%q}]}}`,
			i,
			i,
			one,
			other,
		)))
		expect("dispute", one, time.Time{})
		expect("dispute", other, time.Time{})
		g := payment(fmt.Sprintf("I-OLD%02d", i))
		g.at = time.Now().Add(-60 * day)
		s.letters = append(s.letters, s.payPal.IPN(g.fields()), s.payPal.Webhook(g.event()))
		s.want["noted.undecided|ipn|"+g.series], s.want["noted.undecided|webhook|"+g.series] = true, true
		s.forged = append(
			s.forged,
			s.payPal.IPN(payment("I-FORGED").fields()).Flipped("25.00"),
			s.payPal.Webhook(payment("I-FORGED").event()).Flipped("25.00"),
		)
	}
	for _, i := range s.random.Perm(len(s.letters))[:len(s.letters)/3] { // repeats, of which PayPal marks some
		again := s.letters[i]
		if again.Channel == "ipn" && i%2 == 0 {
			again = s.payPal.IPNBody("resend=true&" + string(again.Body))
		}
		s.letters = append(s.letters, again)
	}
}
