package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
	"google.golang.org/protobuf/encoding/protojson"
)

// The lines of -o json: one for each donation and aside, then one for the sums. Each is
// an object with one name, which is its kind.
type (
	jsonMessage struct {
		At          string `json:"at"`
		From        string `json:"from"` // file, file:line, or inbox and row
		Channel     string `json:"channel"`
		MessageID   string `json:"message_id,omitempty"`
		Transaction string `json:"transaction_id,omitempty"`
		Verdict     string `json:"verdict"`
		Evidence    string `json:"evidence"`
		Before      bool   `json:"processed_by_old_design"`
	}
	jsonDonation struct {
		Donation  json.RawMessage `json:"donation"` // of the contract
		SeenOn    []string        `json:"seen_on"`
		Messages  []jsonMessage   `json:"messages"`
		Processed int             `json:"processed_by_old_design"`
	}
	jsonAside struct {
		Kind    string `json:"kind"`
		At      string `json:"at"`
		From    string `json:"from"`
		Channel string `json:"channel"`
		Type    string `json:"type,omitempty"`
		Why     string `json:"why"`
	}
	jsonSummary struct {
		Messages   int    `json:"messages"`
		ByChannel  count  `json:"messages_by_channel"`
		From       string `json:"first_at,omitempty"`
		To         string `json:"last_at,omitempty"`
		Donations  int    `json:"donations"`
		ByEvent    count  `json:"donations_by_event"`
		Duplicates int    `json:"duplicates"`
		ByEvidence count  `json:"duplicates_by_evidence"`
		OnlyOn     count  `json:"donations_seen_only_on"`
		Asides     count  `json:"asides_by_kind"`
		Undecided  int    `json:"undecided"`
		Lost       int    `json:"lost_by_old_design"`
		LostBy     count  `json:"lost_by_old_design_by_event"`
		Doubled    int    `json:"doubled_by_old_design"`
		DoubledBy  count  `json:"doubled_by_old_design_by_event"`
		BadLines   int    `json:"lines_without_message"`
		LeftOut    count  `json:"left_out_of_inbox_by_reason,omitempty"`
		Copies     int    `json:"copies_left_out_of_inbox,omitempty"`
	}
)

func (r *report) jsonDonation(t told, donation *client.Donation) error {
	d := jsonDonation{SeenOn: t.channels, Processed: t.processed}
	var err error
	if d.Donation, err = contractJSON(donation); err != nil {
		return err
	}
	for _, at := range t.items {
		pair, err := r.pair(r.items[at])
		if err != nil {
			return err
		}
		d.Messages = append(d.Messages, r.jsonMessage(0, at, pair))
	}
	return r.object("donation", d)
}

func (r *report) jsonMessage(window int, at int32, pair paypal.Pair) jsonMessage {
	m, answer := r.past.arrivals[r.items[at].arrival], r.answers[window][at]
	return jsonMessage{
		At: jsonTime(
			m.time(),
		),
		From:        r.past.place(m),
		Channel:     channels[m.channel].name,
		MessageID:   pair.Message.ID,
		Transaction: pair.Donation.TransactionID,
		Verdict:     answer.verdict(at).String(),
		Evidence:    answer.evidence.String(),
		Before:      r.processed[at],
	}
}

func (r *report) jsonEnd(s *sums) error {
	kinds := count{}
	for _, a := range r.orderedAsides() {
		of := a.remark.Value()
		kinds[of.kind]++
		if !r.rows {
			continue
		}
		m := r.past.arrivals[a.arrival]
		if err := r.object(
			"aside",
			jsonAside{of.kind, jsonTime(m.time()), r.past.place(m), channels[m.channel].name, of.what, of.why},
		); err != nil {
			return err
		}
	}
	return r.object("summary", jsonSummary{
		Messages:   s.messages.total(),
		ByChannel:  s.messages,
		From:       jsonTime(s.from),
		To:         jsonTime(s.to),
		Donations:  s.donations.total(),
		ByEvent:    s.donations,
		Duplicates: s.duplicates.total(),
		ByEvidence: s.duplicates,
		OnlyOn:     s.onlyOn,
		Asides:     kinds,
		Undecided:  s.undecided,
		Lost:       s.lost.total(),
		LostBy:     s.lost,
		Doubled:    s.doubled.total(),
		DoubledBy:  s.doubled,
		BadLines:   len(r.past.bad) + r.past.more,
		LeftOut:    r.past.left,
		Copies:     r.past.copied,
	})
}

// contractJSON writes a donation with the names of the contract.
func contractJSON(donation *client.Donation) (json.RawMessage, error) {
	written, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(donation)
	if err != nil {
		return nil, fmt.Errorf("printing a donation: %w", err)
	}
	return written, nil
}

// object writes a line {"name":…}.
func (r *report) object(name string, value any) error {
	line, err := json.Marshal(map[string]any{name: value})
	if err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	r.out.Out.Write(append(line, '\n'))
	if name == "summary" {
		return r.out.Out.Flush()
	}
	return nil
}

// jsonTime writes a time in the contract's JSON form; an unknown time is empty.
func jsonTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
