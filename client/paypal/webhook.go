package paypal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// stateEvents are the events of a series itself. They carry no new money: the event of a
// sale tells of the last payment that they repeat.
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

// noDonation are the beginnings of known event types without a donation, and the subject
// of each.
var noDonation = []struct{ prefix, tells string }{
	{"checkout.order.", "an order, not of money"},
	{"payments.payment.", "an order, not of money"},
	{"checkout.payment-approval.", "an approval, not of money"},
	{"payment.authorization.", "an authorization, not of money"},
	{"payment.refund.", "a refund that is not done, not of money"},
	{"payment.payout", "payments made, not of a donation"},
	{"payment.referenced-payout", "payments made, not of a donation"},
	{"billing.plan.", "a plan, not of a donation"},
	{"billing_agreements.", "an agreement, not of a donation"},
	{"vault.", "a means of payment, not of a donation"},
	{"merchant.", "an account, not of a donation"},
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
		return Identified{}, &MalformedError{
			"event_type",
			"is missing or no text; pass the event that PayPal posted, not the resource in it",
		}
	}
	identified, err := identifyWebhook(r, doc, eventType)
	if err != nil {
		return Identified{}, err
	}
	identified.Type = sanitised(eventType)
	identified.Warnings = r.warnings
	identified.Message = Message{Channel: "webhook", ID: r.id("id")}
	if len(identified.Pairs) > 0 { // a skipped message needs no id, and has no warning about it
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
		series, id := r.seriesID("resource.billing_agreement_id"), r.id("resource.id")
		return money(r, paymentEvent(r, kind), cmp.Or(series, id), id, "resource.billing_agreement_id, resource.id")
	case "payment.capture.completed", "payment.capture.pending", "payment.capture.denied", "payment.capture.declined":
		id := r.id("resource.id")
		return money(r, paymentEvent(r, kind), id, id, "resource.id")

	case "payment.sale.refunded", "payment.capture.refunded":
		// Never the parent: PayPal often leaves it out, and two partial refunds of one
		// amount must stay apart.
		id := r.id("resource.id")
		return money(r, EventRefund, id, id, "resource.id")
	case "payment.sale.reversed":
		parent := r.id("resource.sale_id")
		if parent == "" {
			parent = linked(r, doc, []string{"sale"}, "/sale/")
		}
		return reversal(r, parent, "resource.sale_id, resource.links, resource.id")
	case "payment.capture.reversed":
		parent := linked(r, doc, []string{"up", "capture"}, "/capture/", "/captures/")
		if parent == "" {
			parent = r.firstID("resource.capture_id", "resource.supplementary_data.related_ids.capture_id")
		}
		return reversal(r, parent,
			"resource.links, resource.capture_id, resource.supplementary_data.related_ids.capture_id, resource.id")

	case "customer.dispute.created":
		return disputes(r, doc)
	case "customer.dispute.updated", "customer.dispute.resolved":
		return skipped(sanitised(eventType) + " tells of a dispute that is known, not of a donation"), nil
	}
	for _, known := range noDonation {
		if strings.HasPrefix(kind, known.prefix) {
			return skipped(sanitised(eventType) + " tells of " + known.tells), nil
		}
	}
	return unknown("event_type " + sanitised(eventType) + " is not known"), nil
}

// one makes a message of one donation, or an error that names the fields that can hold
// its series.
func one(d Donation, candidates string) (Identified, error) {
	if d.SeriesID == "" {
		return Identified{}, &MalformedError{candidates, "no usable id names the series; check that the body is whole"}
	}
	return Identified{Pairs: []Pair{{Donation: d}}}, nil
}

// money makes a donation from an event that moves money. Its time is the resource's: the
// event's own time can lag by hours, and no IPN has it.
func money(r *reader, event Event, series, transaction, candidates string) (Identified, error) {
	d := Donation{SeriesID: series, Event: event, TransactionID: transaction}
	d.OccurredAt = r.time("resource.create_time")
	d.Amount, d.CurrencyCode = resourceMoney(r)
	return one(d, candidates)
}

// reversal makes a donation from a payment's reversal. A resource that names no parent,
// or itself, may be the payment: reports differ. Its id serves as a series in either
// case. As a transaction id, the payment's id would contradict the IPN's, and its time
// can be months old.
func reversal(r *reader, parent, candidates string) (Identified, error) {
	id := r.id("resource.id")
	if parent != "" && parent != id {
		return money(r, EventReversal, parent, id, candidates)
	}
	d := Donation{SeriesID: id, Event: EventReversal}
	d.Amount, d.CurrencyCode = resourceMoney(r)
	return one(d, candidates)
}

// resourceMoney reads an amount by the field names of the first API, else of the second.
func resourceMoney(r *reader) (amount, currency string) {
	if r.text("resource.amount.total") != "" {
		return r.money("resource.amount.total", "resource.amount.currency")
	}
	return r.money("resource.amount.value", "resource.amount.currency_code")
}

// paymentEvent says whether a payment is completed, pending or failed. The name of the
// event is not enough: PayPal sends COMPLETED for sales that are still pending. A payment
// remains a payment when its state becomes refunded or reversed: the money came.
func paymentEvent(r *reader, kind string) Event {
	if strings.HasSuffix(kind, ".denied") || strings.HasSuffix(kind, ".declined") {
		return EventPaymentFailed
	}
	state := r.text("resource.state")
	if state == "" {
		state = r.text("resource.status")
	}
	switch lower(state) {
	case "denied", "declined", "failed":
		return EventPaymentFailed
	case "", "completed", "partially_refunded", "refunded", "reversed":
		if strings.HasSuffix(kind, ".completed") {
			return EventPayment
		}
	}
	return EventPaymentPending
}

// isVersion2 distinguishes a subscription of today's API, which exists before the donor
// agrees to it, from an agreement of the first API.
func isVersion2(r *reader) bool {
	version := r.text("resource_version")
	resource := r.text("resource_type")
	return strings.HasPrefix(version, "2") || lower(resource) == "subscription"
}

// linked returns the id of the payment that a link of one of the rels leads to, or "".
// The id comes after the last of the paths in the link.
func linked(r *reader, doc document, rels []string, paths ...string) string {
	count, problem := doc.length("resource.links")
	if problem != "" {
		r.warn("resource.links", problem+"; taken as absent")
	}
	for i := range count {
		link := fmt.Sprintf("resource.links.%d", i)
		if !slices.Contains(rels, lower(r.text(link+".rel"))) {
			continue
		}
		href := r.text(link + ".href")
		start := -1
		for _, path := range paths {
			if i := strings.LastIndex(href, path); i >= 0 {
				start = max(start, i+len(path))
			}
		}
		if start < 0 {
			continue
		}
		id := href[start:]
		if end := strings.IndexAny(id, "/?#"); end >= 0 {
			id = id[:end]
		}
		if fits(id) {
			return id
		}
		r.warn(link+".href", "names no payment by a usable id; taken as absent")
	}
	return ""
}

// disputes makes a donation for each disputed transaction, in the message's order, or one
// donation for the dispute itself if it names no transaction.
func disputes(r *reader, doc document) (Identified, error) {
	const list = "resource.disputed_transactions"
	count, problem := doc.length(list)
	if problem != "" {
		r.warn(list, problem+"; taken as absent")
	}
	var identified Identified
	seen := make(map[string]bool) // series id → it has its pair
	for i := range count {
		field := fmt.Sprintf("%s.%d.seller_transaction_id", list, i)
		series := r.id(field)
		if series == "" {
			r.warn(field, "is missing; this transaction is left out")
			continue
		}
		if !seen[series] {
			seen[series] = true
			d := Donation{SeriesID: series, Event: EventDispute, TransactionID: r.id("resource.dispute_id")}
			identified.Pairs = append(identified.Pairs, Pair{Donation: d})
		}
	}
	if len(identified.Pairs) == 0 {
		id := r.id("resource.dispute_id")
		return one(Donation{SeriesID: id, Event: EventDispute, TransactionID: id}, list+", resource.dispute_id")
	}
	return identified, nil
}
