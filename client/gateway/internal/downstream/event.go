package downstream

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
)

// source is the same for both channels and all gateways. Together with the id it names an
// event, so a donation that the other channel repeats is the same event.
const source = "noted-gateway"

// A Message is a verified message from PayPal.
type Message struct {
	Channel string // as in the contract
	ID      string // the same in every redelivery
	Ledger  string
	Header  http.Header // PayPal's own, Content-Type included
	Body    []byte
}

// An Event is an event for the downstream.
type Event struct {
	ID      string // the downstream's idempotency key: the donation id
	Kind    string // such as "noted.donation.payment"
	Subject string // the series, if there is one
	At      time.Time
	data    eventData
}

// Ping makes the event of a ping. No donation id begins like its id.
func Ping(now time.Time) *Event {
	return &Event{ID: "ping-" + rand.Text(), Kind: KindPing, At: now}
}

// The kinds of events that a person must handle: a donation that Noted cannot decide, and
// a message of an unknown type.
const (
	KindUndecided = "noted.undecided"
	KindUnknown   = "noted.unknown"
)

// KindPing is the type of an event without content. noted-gateway check sends it to learn
// whether the downstream accepts this gateway's signature.
const KindPing = "noted.ping"

// An OpenDonation is a donation for a person, and the reason.
type OpenDonation struct {
	paypal.Pair
	Reason      string
	Explanation string
}

// eventData is the data of an event; README.md shows an example.
type eventData struct {
	Donation json.RawMessage `json:"donation,omitempty"` // as printed by notectl identify
	Message  json.RawMessage `json:"message"`
	Attempt  int32           `json:"attempt"`
	Open     []openData      `json:"open,omitempty"` // only in events for a person
	Original original        `json:"original"`
}

// openData is a donation that a person should check, and the reason.
type openData struct {
	Donation    json.RawMessage `json:"donation,omitempty"`
	Reason      string          `json:"reason"`
	Explanation string          `json:"explanation"`
}

// original is the message as PayPal sent it. Body has the exact bytes if they are UTF-8,
// otherwise BodyBase64 has them.
type original struct {
	ContentType string `json:"content_type"`
	Body        string `json:"body,omitempty"`
	BodyBase64  []byte `json:"body_base64,omitempty"`
}

// Donation makes the event of a donation that must be processed.
func Donation(m *Message, pair paypal.Pair, note *client.Note) *Event {
	donation, told := InJSON(pair, m.Ledger)
	return &Event{
		ID:      note.GetDonationId(),
		Kind:    "noted.donation." + strings.ToLower(strings.TrimPrefix(pair.Donation.Event.String(), "EVENT_")),
		Subject: pair.Donation.SeriesID,
		At:      note.GetNotedAt().AsTime(),
		data:    eventData{Donation: donation, Message: told, Attempt: note.GetAttempt(), Original: originalOf(m)},
	}
}

// ForPerson makes the event of a message that a person must handle.
func ForPerson(m *Message, kind, id string, open []OpenDonation, note *client.Note) *Event {
	e := &Event{
		ID:   id,
		Kind: kind,
		At:   note.GetNotedAt().AsTime(),
		data: eventData{Attempt: note.GetAttempt(), Original: originalOf(m)},
	}
	_, e.data.Message = InJSON(paypal.Pair{Message: paypal.Message{Channel: m.Channel, ID: m.ID}}, "")
	for _, p := range open {
		o := openData{Reason: p.Reason, Explanation: p.Explanation}
		if p.Donation.SeriesID != "" {
			o.Donation, e.data.Message = InJSON(p.Pair, m.Ledger)
		}
		e.data.Open = append(e.data.Open, o)
	}
	return e
}

// InJSON writes a pair like notectl identify, so that a pair has one spelling.
func InJSON(pair paypal.Pair, ledger string) (donation, message json.RawMessage) {
	pair.Donation.Ledger = ledger
	var line struct{ Donation, Message json.RawMessage }
	if err := json.Unmarshal(paypal.Identified{Pairs: []paypal.Pair{pair}}.AppendJSON(nil), &line); err != nil {
		panic(err) // AppendJSON writes JSON
	}
	return line.Donation, line.Message
}

func originalOf(m *Message) original {
	o := original{ContentType: m.Header.Get("Content-Type")}
	if utf8.Valid(m.Body) {
		o.Body = string(m.Body)
	} else {
		o.BodyBase64 = m.Body
	}
	return o
}

// JSON writes the event as CloudEvents 1.0 in structured mode.
func (e *Event) JSON() ([]byte, error) {
	out := event.New()
	out.SetID(e.ID)
	out.SetSource(source)
	out.SetType(e.Kind)
	out.SetTime(e.At)
	if e.Subject != "" {
		out.SetSubject(e.Subject)
	}
	var data any = e.data
	if e.Kind == KindPing {
		data = struct{}{}
	}
	if err := out.SetData(event.ApplicationJSON, data); err != nil {
		return nil, fmt.Errorf("writing event %s: %w", e.ID, err)
	}
	body, err := out.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("writing event %s: %w", e.ID, err)
	}
	return body, nil
}
