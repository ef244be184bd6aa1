package process

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/paypal"
)

// An origin is everything known about a verified message except its contents.
type origin struct {
	account *Account
	whose   Ownership
	ledger  string
	test    bool
}

// judge decides the state of a verified message. The inbox calls it when a message
// arrives, for the journal, and again at every try, because settings and this program may
// have changed.
func judge(c *Channel, header http.Header, body []byte, from origin) (*message, inbox.Arrival) {
	account := from.account
	a := inbox.Arrival{Channel: c.Name, Test: from.test, State: inbox.Waiting, Ledger: from.ledger}
	refuse := func(cause string) { a.State, a.Cause = inbox.Refused, cause }
	m, err := identify(c, header, body, account, a.Ledger)
	a.ID, a.Type, a.IDs = m.ID, m.identified.Type, paypalIDs(c.Name, body, m.identified.Pairs)
	for _, pair := range m.identified.Pairs {
		a.Donations = append(a.Donations, donationOf(pair, m.Ledger))
	}
	switch {
	case from.test && m.Ledger == "" && from.whose != Foreign:
		refuse("sandbox")
	case err != nil:
		refuse("malformed: " + err.Error())
	case m.identified.Skipped != "" && !m.identified.Unknown:
		a.State, a.Cause = inbox.Done, skipped
	case from.whose == Foreign:
		refuse("foreign")
		a.Receiver = receiverName(body)
	case account.Listeners != nil && account.Listeners[c.Name] == nil:
		a.State, a.Cause = inbox.Done, off
	case m.identified.Unknown && !account.ForwardUnknown:
		refuse(unknown)
	}
	a.Header, a.Body = m.Header, body
	return m, a
}

// donationOf is the journal's record of a pair.
func donationOf(pair paypal.Pair, ledger string) inbox.Donation {
	donation, told := downstream.InJSON(pair, ledger)
	text, err := json.Marshal(map[string]json.RawMessage{"donation": donation, "message": told})
	if err != nil {
		panic(err) // both are JSON
	}
	return inbox.Donation{
		SeriesID: pair.Donation.SeriesID, Event: pair.Donation.Event.String(),
		TransactionID: pair.Donation.TransactionID, Pair: text,
	}
}

// idPattern matches PayPal's ids, and neither names nor e-mail addresses.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// firstID returns the first valid id among the values.
func firstID(values ...string) string {
	for _, value := range values {
		if idPattern.MatchString(value) {
			return value
		}
	}
	return ""
}

// paypalIDs finds PayPal's ids in a message, for the filters of the journal. It reads
// them unchanged, without the rules of client/paypal.
func paypalIDs(channel string, body []byte, pairs []paypal.Pair) inbox.IDs {
	var ids inbox.IDs
	if channel == "ipn" {
		field := func(name string) string { return paypal.IPNField(body, name) }
		ids = inbox.IDs{
			Transaction: firstID(field("txn_id")), Parent: firstID(field("parent_txn_id")),
			Series: firstID(field("recurring_payment_id"), field("subscr_id")), Case: firstID(field("case_id")),
		}
	} else {
		var event struct {
			Resource struct {
				Parent    string `json:"parent_payment"`
				Sale      string `json:"sale_id"`
				Agreement string `json:"billing_agreement_id"`
				Dispute   string `json:"dispute_id"`
			}
		}
		_ = json.Unmarshal(body, &event) // a field of another type does not affect the others
		r := event.Resource
		ids = inbox.IDs{Parent: firstID(r.Sale, r.Parent), Series: firstID(r.Agreement), Case: firstID(r.Dispute)}
	}
	for _, pair := range pairs {
		if ids.Transaction == "" {
			ids.Transaction = firstID(pair.Donation.TransactionID)
		}
		if series := pair.Donation.SeriesID; ids.Series == "" && series != pair.Donation.TransactionID {
			ids.Series = firstID(series)
		}
	}
	return ids
}

// receiverName names the receiver of a foreign IPN for the journal: its merchant id, or
// the domain of its e-mail address. The journal never has a whole address.
func receiverName(body []byte) string {
	if id := firstID(paypal.IPNField(body, "receiver_id")); id != "" {
		return id
	}
	for _, name := range []string{"receiver_email", "business"} {
		if _, domain, ok := strings.Cut(paypal.IPNField(body, name), "@"); ok && domainPattern.MatchString(domain) {
			return "…@" + domain
		}
	}
	return "unreadable"
}

var domainPattern = regexp.MustCompile(`^[A-Za-z0-9.-]{1,120}$`)
