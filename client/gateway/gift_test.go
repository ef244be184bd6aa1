package gateway_test

import (
	"fmt"
	"net/url"
	"time"

	"github.com/donation-dedupe/noted/client/internal/paypaltest"
)

// A gift is a donation as the test knows it.
type gift struct {
	series, ipnTxn, saleID, eventID, amount string
	at                                      time.Time
}

// payment is a gift of a series, told by both channels under one transaction id.
func payment(series string) gift {
	return gift{
		series:  series,
		ipnTxn:  series + "T",
		saleID:  series + "T",
		eventID: "WH-" + series,
		amount:  "25.00",
		at:      time.Now().Add(-time.Minute),
	}
}

func (g gift) fields() url.Values {
	return url.Values{
		"txn_type":             {"recurring_payment"},
		"payment_status":       {"Completed"},
		"recurring_payment_id": {g.series},
		"txn_id":               {g.ipnTxn},
		"payment_date":         {paypaltest.Pacific(g.at)},
		"mc_gross":             {g.amount},
		"mc_currency":          {"EUR"},
		"receiver_email":       {paypaltest.Account},
		"payer_email":          {"donor-canary@example.net"},
		"first_name":           {"Zoë Canary"},
		"charset":              {"UTF-8"},
	}
}

func (g gift) event() string {
	return fmt.Sprintf(
		`{"id":%q,"event_type":"PAYMENT.SALE.COMPLETED","resource_type":"sale","create_time":%q,"summary":"donor-canary <&>","resource":{"id":%q,"billing_agreement_id":%q,"state":"completed","create_time":%q,"amount":{"total":%q,"currency":"EUR"}}}`,
		g.eventID,
		time.Now().UTC().Format(time.RFC3339),
		g.saleID,
		g.series,
		g.at.UTC().Format(time.RFC3339),
		g.amount,
	)
}
