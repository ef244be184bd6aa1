package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/paypal"
)

// kept is the outcome of a message that is in the inbox.
const kept = "kept"

// averageBody is how many bytes Config.InboxUnverified allows for each message.
const averageBody = 16 << 10

var errNotKept = again("inbox", "the message could not be kept; come again")

// isVerifierAway says whether PayPal could not be asked about a message.
func isVerifierAway(err error) bool {
	refused, ok := errors.AsType[*refusal](err)
	return ok && refused.reason == "verifier"
}

// take keeps a message. PayPal hears 200 after the message is on disk, whatever becomes
// of it later. unverified says why PayPal could not be asked about it, nil for a verified
// message.
func (w *inboxWorkers) take(
	ctx context.Context, c *channel, header http.Header, body []byte, test bool, arrived time.Time, unverified error,
) (outcome, kind string, err error) {
	g := w.gateway
	if unverified != nil {
		if g.config.InboxUnverified < 0 {
			return "", "", unverified
		}
		a := inbox.Arrival{
			Ledger: g.config.Ledger, Channel: c.name, ReceivedAt: arrived, Cause: "PayPal could not be asked",
			Header: paypalHeader(header), Body: body,
		}
		most := g.config.InboxUnverified
		err := w.box.KeepUnverified(ctx, a, most, int64(most)*averageBody)
		if errors.Is(err, inbox.ErrNoRoom) {
			return "", "", unverified
		}
		return kept, "", w.kept(err)
	}
	m, a := g.judge(c, body, test)
	a.ReceivedAt, a.Header, a.Body = arrived, paypalHeader(header), body
	for _, warning := range m.identified.Warnings {
		g.log.warning(c.name, a.Type, warning)
	}
	switch {
	case m.identified.Unknown && a.Cause == unknown:
		g.log.unknown(m)
	case a.State == inbox.Refused:
		g.log.journalled(c.name, a.Type, a.Cause)
	}
	err = w.box.Keep(ctx, a)
	return kept, a.Type, w.kept(err)
}

// kept tells the workers of a message, or PayPal that it is not kept.
func (w *inboxWorkers) kept(err error) error {
	if err != nil {
		w.gateway.log.inbox("a message could not be kept", err)
		return errNotKept
	}
	failpoint("kept")
	select {
	case w.wake <- struct{}{}:
	default: // all workers are awake
	}
	return nil
}

// judge says what is to be done with a verified message. The inbox asks it when a message
// arrives, for the journal, and at every try, since settings and this program may have
// changed in between.
func (g *Gateway) judge(c *channel, body []byte, test bool) (*message, inbox.Arrival) {
	m := &message{channel: c, contentType: c.contentType, body: body, ledger: g.config.Ledger}
	a := inbox.Arrival{Channel: c.name, Test: test, State: inbox.Waiting}
	if test {
		m.ledger = g.config.SandboxLedger
	}
	a.Ledger = m.ledger
	refuse := func(cause string) { a.State, a.Cause = inbox.Refused, cause }
	var err error
	m.identified, err = c.identify(body)
	a.ID, a.Type, a.IDs = m.id(), m.identified.Type, paypalIDs(c.name, body, m.identified.Pairs)
	for _, pair := range m.identified.Pairs {
		a.Donations = append(a.Donations, donationOf(pair, m.ledger))
	}
	whose := ours
	if err == nil {
		whose = c.account(body)
	}
	switch {
	case test && m.ledger == "":
		refuse("sandbox")
	case err != nil:
		refuse("malformed: " + err.Error())
	case m.identified.Skipped != "" && !m.identified.Unknown:
		a.State, a.Cause = inbox.Done, skipped
	case whose == foreign:
		refuse("foreign")
		a.Receiver = receiverName(body)
	case m.identified.Unknown && !g.config.ForwardUnknown:
		refuse(unknown)
	}
	return m, a
}

// donationOf is the journal's record of a pair.
func donationOf(pair paypal.Pair, ledger string) inbox.Donation {
	donation, told := inJSON(pair, ledger)
	text, err := json.Marshal(map[string]json.RawMessage{"donation": donation, "message": told})
	if err != nil {
		panic(err) // both are JSON
	}
	return inbox.Donation{
		SeriesID: pair.Donation.SeriesID, Event: pair.Donation.Event.String(),
		TransactionID: pair.Donation.TransactionID, Pair: text,
	}
}

// paypalHeader keeps the headers that belong to PayPal's message: no cookie, and nothing
// that a proxy added.
func paypalHeader(header http.Header) http.Header {
	own := http.Header{}
	for name, values := range header {
		if strings.HasPrefix(name, "Paypal-") || name == "Content-Type" {
			own[name] = values
		}
	}
	return own
}

// idPattern matches PayPal's ids, and neither names nor e-mail addresses.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// firstID returns the first of the values that is an id.
func firstID(values ...string) string {
	for _, value := range values {
		if idPattern.MatchString(value) {
			return value
		}
	}
	return ""
}

// paypalIDs finds PayPal's ids in a message. They are for the journal's filters, so they
// are read as they stand, without the rules of client/paypal.
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
		_ = json.Unmarshal(body, &event) // a field of another type leaves the others as they are
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
// the domain of its e-mail address. The journal holds no whole address.
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
