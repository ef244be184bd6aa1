package paypal

import (
	"cmp"
	"strings"
)

// typeEvents are the txn_types that alone decide the event.
var typeEvents = map[string]Event{
	"subscr_signup":                     EventSignup,
	"recurring_payment_profile_created": EventSignup,
	"subscr_modify":                     EventChange,
	"subscr_cancel":                     EventCancellation,
	"recurring_payment_profile_cancel":  EventCancellation,
	"subscr_eot":                        EventExpiry,
	"recurring_payment_expired":         EventExpiry,
	"recurring_payment_suspended":       EventSuspension,
	"recurring_payment_suspended_due_to_max_failed_payment": EventSuspension,
	"subscr_failed":                                EventPaymentFailed,
	"recurring_payment_skipped":                    EventPaymentFailed,
	"recurring_payment_failed":                     EventPaymentFailed,
	"recurring_payment_outstanding_payment_failed": EventPaymentFailed,
	"new_case":   EventDispute,
	"adjustment": EventAdjustment,
}

// moneyTypes are the txn_types whose payment_status decides the event. Refunds and
// reversals have an empty type.
var moneyTypes = map[string]bool{
	"":               true,
	"subscr_payment": true, "recurring_payment": true, "recurring_payment_outstanding_payment": true,
	"web_accept": true, "express_checkout": true, "cart": true, "send_money": true, "virtual_terminal": true,
	"merch_pmt": true, "pro_hosted": true, "paypal_here": true, "invoice_payment": true,
}

// skippedTypes are the known txn_types that tell of no donation, with the reason.
var skippedTypes = map[string]string{
	"masspay":         "masspay tells of payments made, not of a donation",
	"payout":          "payout tells of payments made, not of a donation",
	"mp_signup":       "mp_signup tells of an agreement, not of a donation",
	"mp_cancel":       "mp_cancel tells of an agreement, not of a donation",
	"mp_notification": "mp_notification tells of an agreement, not of a donation",
}

// statusEvents are the values of payment_status.
var statusEvents = map[string]Event{
	"completed": EventPayment, "processed": EventPayment,
	"pending": EventPaymentPending, "in-progress": EventPaymentPending, "created": EventPaymentPending,
	"denied": EventPaymentFailed, "declined": EventPaymentFailed, "failed": EventPaymentFailed,
	"expired": EventPaymentFailed, "voided": EventPaymentFailed,
	"refunded": EventRefund, "partially_refunded": EventRefund,
	"reversed": EventReversal, "canceled_reversal": EventReversalCanceled,
}

// IdentifyIPN reads the body of an IPN, exactly as it was posted.
func IdentifyIPN(body []byte) (Identified, error) {
	fields := parseForm(body)
	if len(fields) == 0 {
		return Identified{}, &MalformedError{"body", "holds no field; pass the body of PayPal's POST unchanged"}
	}
	r := &reader{lookup: fields.lookup}
	txnType := r.text("txn_type")
	identified, err := identifyIPN(r, txnType)
	if err != nil {
		return Identified{}, err
	}
	identified.Type = sanitised(txnType)
	identified.Warnings = r.warnings
	identified.Message = Message{Channel: "ipn", ID: fields.digest()}
	for i := range identified.Pairs {
		identified.Pairs[i].Message = identified.Message
	}
	return identified, nil
}

// identifyIPN decides the event, then builds the donations. The caller adds the message.
func identifyIPN(r *reader, txnType string) (Identified, error) {
	kind := lower(txnType)
	if reason, ok := skippedTypes[kind]; ok {
		return skipped(reason), nil
	}
	event, ok := typeEvents[kind]
	if !ok {
		if !moneyTypes[kind] {
			return unknown("txn_type " + sanitised(txnType) + " is not known"), nil
		}
		status := r.text("payment_status")
		switch event, ok = statusEvents[lower(status)]; {
		case ok:
		case status != "":
			return unknown("payment_status " + sanitised(status) + " is not known"), nil
		case txnType != "":
			return unknown("payment_status is missing"), nil
		default:
			return unknown("neither txn_type nor payment_status is given"), nil
		}
		// PayPal's Completed includes payments that leave the account: the sign tells the
		// direction. Counted as a donation, such a payment would be thanked for.
		if gross := r.text("mc_gross"); event == EventPayment && strings.HasPrefix(gross, "-") {
			if r.id("parent_txn_id") == "" {
				return skipped("money went out and no parent_txn_id says for what"), nil
			}
			event = EventAdjustment
		}
	}

	donation, err := ipnDonation(r, event)
	if err != nil {
		return Identified{}, err
	}
	identified := Identified{Pairs: []Pair{{Donation: donation}}}
	if kind == "recurring_payment_profile_created" {
		if payment, ok := initialPayment(r, donation.SeriesID); ok {
			identified.Pairs = append(identified.Pairs, Pair{Donation: payment})
		}
	}
	return identified, nil
}

// ipnDonation fills in the fields that identify an event of its kind.
func ipnDonation(r *reader, event Event) (Donation, error) {
	d := Donation{Event: event}
	var candidates string
	switch event {
	case EventRefund:
		// Never the parent: the webhook often does not name it, and two partial refunds
		// of one amount must stay apart.
		candidates = "txn_id"
		d.SeriesID = r.id("txn_id")
	case EventReversal, EventReversalCanceled, EventAdjustment:
		candidates = "parent_txn_id, txn_id"
		d.SeriesID = r.firstID("parent_txn_id", "txn_id")
	case EventDispute:
		candidates = "txn_id, case_id"
		d.SeriesID = r.firstID("txn_id", "case_id")
	default:
		candidates = "recurring_payment_id, subscr_id, txn_id, old_subscr_id"
		d.SeriesID = ipnSeries(r)
	}
	if d.SeriesID == "" {
		return d, &MalformedError{candidates, "no usable id names the series; check that the body is whole"}
	}
	switch event {
	case EventSignup, EventChange, EventSuspension, EventReactivation, EventCancellation, EventExpiry:
		// Never time_created: every message of the series has it, with the time when the
		// series began.
	case EventDispute:
		d.TransactionID = r.id("case_id")
	default:
		d.TransactionID = r.id("txn_id")
		d.OccurredAt = r.time("payment_date")
		d.Amount, d.CurrencyCode = r.money("mc_gross", "mc_currency")
	}
	return d, nil
}

// ipnSeries returns the series of incoming money and of a series' state. The I- form
// wins: PayPal renamed S- series to it in 2018, and the webhook channel has only that
// form.
func ipnSeries(r *reader) string {
	profile, button := r.seriesID("recurring_payment_id"), r.seriesID("subscr_id")
	if strings.HasPrefix(button, "I-") && !strings.HasPrefix(profile, "I-") {
		return button
	}
	if series := cmp.Or(profile, button); series != "" {
		return series
	}
	return r.firstID("txn_id", "old_subscr_id")
}

// initialPayment reads the first payment from the message about a new profile. No other
// IPN has it; later messages only repeat the field.
func initialPayment(r *reader, series string) (Donation, bool) {
	if r.text("initial_payment_txn_id") == "" {
		return Donation{}, false
	}
	status := r.text("initial_payment_status")
	event := statusEvents[lower(status)]
	switch event {
	case EventPayment, EventPaymentPending, EventPaymentFailed:
	default:
		r.warn(
			"initial_payment_status",
			"is none that a payment has; the initial payment is left out, look at it by hand",
		)
		return Donation{}, false
	}
	d := Donation{SeriesID: series, Event: event, TransactionID: r.id("initial_payment_txn_id")}
	d.OccurredAt = r.time("time_created")
	d.Amount, d.CurrencyCode = r.money("initial_payment_amount", "currency_code")
	return d, true
}
