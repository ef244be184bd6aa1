package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
)

// source is the same for both channels and all gateways. With the id it names an event,
// so a donation that the other channel tells of again is the same event.
const source = "noted-gateway"

// outgoing is an event on its way to the downstream.
type outgoing struct {
	id      string // the downstream's idempotency key: the donation id
	kind    string // "noted.donation.payment"
	subject string // the series, where there is one
	at      time.Time
	data    eventData
}

// eventData is what the downstream gets; README.md shows one.
type eventData struct {
	Donation json.RawMessage `json:"donation,omitempty"` // as notectl identify prints it
	Message  json.RawMessage `json:"message"`
	Attempt  int32           `json:"attempt"`
	Open     []openData      `json:"open,omitempty"` // only in what is for a person
	Original original        `json:"original"`
}

// openData is a donation that a person should look at, and why.
type openData struct {
	Donation    json.RawMessage `json:"donation,omitempty"`
	Reason      string          `json:"reason"`
	Explanation string          `json:"explanation"`
}

// original is the message as PayPal sent it. Body holds the exact bytes where they are
// UTF-8, BodyBase64 otherwise.
type original struct {
	ContentType string `json:"content_type"`
	Body        string `json:"body,omitempty"`
	BodyBase64  []byte `json:"body_base64,omitempty"`
}

// donationEvent makes the event of a donation that must be processed.
func donationEvent(m *message, pair paypal.Pair, note *client.Note) *outgoing {
	donation, told := inJSON(pair, m.ledger)
	return &outgoing{
		id:      note.GetDonationId(),
		kind:    "noted.donation." + strings.ToLower(strings.TrimPrefix(pair.Donation.Event.String(), "EVENT_")),
		subject: pair.Donation.SeriesID,
		at:      note.GetNotedAt().AsTime(),
		data:    eventData{Donation: donation, Message: told, Attempt: note.GetAttempt(), Original: originalOf(m)},
	}
}

// personEvent makes the event of a message that a person must look at.
func personEvent(m *message, kind, id string, open []openPair, note *client.Note) *outgoing {
	e := &outgoing{
		id:   id,
		kind: kind,
		at:   note.GetNotedAt().AsTime(),
		data: eventData{Attempt: note.GetAttempt(), Original: originalOf(m)},
	}
	_, e.data.Message = inJSON(paypal.Pair{Message: paypal.Message{Channel: m.channel.name, ID: m.id()}}, "")
	for _, p := range open {
		o := openData{Reason: p.reason, Explanation: p.explanation}
		if p.Donation.SeriesID != "" {
			o.Donation, e.data.Message = inJSON(p.Pair, m.ledger)
		}
		e.data.Open = append(e.data.Open, o)
	}
	return e
}

// inJSON writes a pair as notectl identify does, so that a pair has one spelling.
func inJSON(pair paypal.Pair, ledger string) (donation, message json.RawMessage) {
	pair.Donation.Ledger = ledger
	var line struct{ Donation, Message json.RawMessage }
	if err := json.Unmarshal(paypal.Identified{Pairs: []paypal.Pair{pair}}.AppendJSON(nil), &line); err != nil {
		panic(err) // AppendJSON writes JSON
	}
	return line.Donation, line.Message
}

func originalOf(m *message) original {
	o := original{ContentType: m.contentType}
	if utf8.Valid(m.body) {
		o.Body = string(m.body)
	} else {
		o.BodyBase64 = m.body
	}
	return o
}

// json writes the event as CloudEvents 1.0 in structured mode.
func (e *outgoing) json() ([]byte, error) {
	out := event.New()
	out.SetID(e.id)
	out.SetSource(source)
	out.SetType(e.kind)
	out.SetTime(e.at)
	if e.subject != "" {
		out.SetSubject(e.subject)
	}
	if err := out.SetData(event.ApplicationJSON, e.data); err != nil {
		return nil, fmt.Errorf("writing event %s: %w", e.id, err)
	}
	body, err := out.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("writing event %s: %w", e.id, err)
	}
	return body, nil
}
