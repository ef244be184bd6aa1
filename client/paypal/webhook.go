package paypal

import (
	"fmt"
	"strings"
)

// stateEvents are the events of a series itself. There is no money in them:
// what they repeat of the last payment is told by a sale's own event.
var stateEvents = map[string]Event{
	"billing.subscription.created":        EventSignup, // of a v1 agreement only, see identifyWebhook
	"billing.subscription.activated":      EventSignup,
	"billing.subscription.updated":        EventChange,
	"billing.subscription.re-activated":   EventReactivation,
	"billing.subscription.suspended":      EventSuspension,
	"billing.subscription.cancelled":      EventCancellation,
	"billing.subscription.expired":        EventExpiry,
	"billing.subscription.payment.failed": EventPaymentFailed,
}

// IdentifyWebhook reads the body of a webhook event, exactly as it was posted.
func IdentifyWebhook(body []byte) (Identified, error) {
	doc, err := parseDocument(body)
	if err != nil {
		return Identified{}, err
	}
	r := &reader{lookup: doc.lookup}
	eventType := r.text("event_type")
	if eventType == "" {
		return Identified{}, &MalformedError{"event_type", "is missing or no text; pass the event that PayPal posted, not the resource in it"}
	}
	identified, err := identifyWebhook(r, doc, eventType)
	if err != nil {
		return Identified{}, err
	}
	identified.Type = sanitised(eventType)
	identified.Warnings = r.warnings
	identified.Message = Message{Channel: "webhook", ID: r.id("id")}
	if len(identified.Pairs) > 0 { // what is skipped needs no id, and warns of none
		if identified.Message.ID == "" {
			r.warn("id", "is missing; the message is told without an id")
		}
		identified.Warnings = r.warnings
	}
	for i := range identified.Pairs {
		identified.Pairs[i].Message = identified.Message
	}
	return identified, nil
}

func identifyWebhook(r *reader, doc document, eventType string) (Identified, error) {
	kind := lower(eventType)
	if event, ok := stateEvents[kind]; ok {
		if kind == "billing.subscription.created" && isVersion2(r) {
			return skipped("a subscription was created but is not agreed to yet"), nil
		}
		return one(Donation{Event: event, SeriesID: r.id("resource.id")}, "resource.id")
	}
	switch kind {
	case "payment.sale.completed", "payment.sale.pending", "payment.sale.denied":
		series := r.firstID("resource.billing_agreement_id", "resource.id")
		return money(r, paymentEvent(r, kind), series, r.id("resource.id"), "resource.billing_agreement_id, resource.id")
	case "payment.capture.completed", "payment.capture.pending", "payment.capture.denied", "payment.capture.declined":
		id := r.id("resource.id")
		return money(r, paymentEvent(r, kind), id, id, "resource.id")

	case "payment.sale.refunded":
		series := r.firstID("resource.sale_id", "resource.id")
		return money(r, EventRefund, series, r.id("resource.id"), "resource.sale_id, resource.id")
	case "payment.sale.reversed":
		// Without a sale_id the resource may be the sale itself or its reversal:
		// reports differ. As a series either will do; as a transaction it would
		// contradict the IPN's.
		series, transaction := r.id("resource.sale_id"), r.id("resource.id")
		if series == "" {
			series, transaction = transaction, ""
		}
		return money(r, EventReversal, series, transaction, "resource.sale_id, resource.id")
	case "payment.capture.refunded", "payment.capture.reversed":
		event := EventRefund
		if kind == "payment.capture.reversed" {
			event = EventReversal
		}
		series, transaction := linkedCapture(r, doc), r.id("resource.id")
		if series == "" {
			series = transaction
		}
		return money(r, event, series, transaction, "resource.links, resource.id")

	case "customer.dispute.created":
		return disputes(r, doc)
	case "customer.dispute.updated", "customer.dispute.resolved":
		return skipped(sanitised(eventType) + " tells of a dispute that is known, not of a donation"), nil
	}
	if strings.HasPrefix(kind, "checkout.order.") || strings.HasPrefix(kind, "payments.payment.") {
		return skipped(sanitised(eventType) + " tells of an order, not of money"), nil
	}
	return unknown("event_type " + sanitised(eventType) + " is not known"), nil
}

// one makes a message of one donation, or an error naming the fields that
// should have named its series.
func one(d Donation, candidates string) (Identified, error) {
	if d.SeriesID == "" {
		return Identified{}, &MalformedError{candidates, "no usable id names the series; check that the body is whole"}
	}
	return Identified{Pairs: []Pair{{Donation: d}}}, nil
}

// money makes a donation of an event that moves money. Its time is the
// resource's: the event's own can lag by hours, and an IPN knows nothing of it.
func money(r *reader, event Event, series, transaction, candidates string) (Identified, error) {
	d := Donation{SeriesID: series, Event: event, TransactionID: transaction}
	d.OccurredAt = r.time("resource.create_time")
	if r.text("resource.amount.total") != "" {
		d.Amount, d.CurrencyCode = r.money("resource.amount.total", "resource.amount.currency")
	} else {
		d.Amount, d.CurrencyCode = r.money("resource.amount.value", "resource.amount.currency_code")
	}
	return one(d, candidates)
}

// paymentEvent tells a payment from one that is pending or failed. The name of
// the event is not enough: PayPal sends COMPLETED for sales that are still pending.
func paymentEvent(r *reader, kind string) Event {
	if strings.HasSuffix(kind, ".denied") || strings.HasSuffix(kind, ".declined") {
		return EventPaymentFailed
	}
	state := r.text("resource.state")
	if state == "" {
		state = r.text("resource.status")
	}
	if strings.HasSuffix(kind, ".completed") && (state == "" || lower(state) == "completed") {
		return EventPayment
	}
	return EventPaymentPending
}

// isVersion2 tells a subscription of today's API, which is created before the
// donor agrees to it, from an agreement of the first one.
func isVersion2(r *reader) bool {
	version := r.text("resource_version")
	resource := r.text("resource_type")
	return strings.HasPrefix(version, "2") || lower(resource) == "subscription"
}

// linkedCapture returns the capture that a refund belongs to, or "". A refund
// names it nowhere but in its links.
func linkedCapture(r *reader, doc document) string {
	count, problem := doc.length("resource.links")
	if problem != "" {
		r.warn("resource.links", problem+"; taken as absent")
	}
	for i := range count {
		link := fmt.Sprintf("resource.links.%d", i)
		if rel := r.text(link + ".rel"); lower(rel) != "up" {
			continue
		}
		href := r.text(link + ".href")
		start := strings.LastIndex(href, "/captures/")
		if start < 0 {
			continue
		}
		id := href[start+len("/captures/"):]
		if end := strings.IndexAny(id, "/?#"); end >= 0 {
			id = id[:end]
		}
		if fits(id) {
			return id
		}
		r.warn(link+".href", "names no capture by a usable id; taken as absent")
		return ""
	}
	return ""
}

// disputes makes a donation of each disputed transaction, in the message's order.
func disputes(r *reader, doc document) (Identified, error) {
	const list = "resource.disputed_transactions"
	count, problem := doc.length(list)
	if problem != "" {
		r.warn(list, problem+"; taken as absent")
	}
	var identified Identified
	seen := make(map[string]bool) // series id → has its pair
	for i := range count {
		field := fmt.Sprintf("%s.%d.seller_transaction_id", list, i)
		series := r.id(field)
		if series == "" {
			r.warn(field, "is missing; the dispute of this transaction is left out")
			continue
		}
		if !seen[series] {
			seen[series] = true
			d := Donation{SeriesID: series, Event: EventDispute, TransactionID: r.id("resource.dispute_id")}
			identified.Pairs = append(identified.Pairs, Pair{Donation: d})
		}
	}
	if len(identified.Pairs) == 0 {
		return identified, &MalformedError{list, "no seller_transaction_id names a disputed donation; check that the body is whole"}
	}
	return identified, nil
}
