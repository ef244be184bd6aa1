package reconcile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
)

// This file reads the JSON of PayPal's Transaction Search API, GET
// /v1/reporting/transactions. The input is one answer, or all pages one after the other,
// or an array of them. Names and formats follow PayPal's reference,
// developer.paypal.com/docs/api/transaction-search/v1. The codes follow
// developer.paypal.com/docs/transaction-search/transaction-event-codes.

// A detail is the kept part of a transaction.
type detail struct {
	Info struct {
		ID        string `json:"transaction_id"`
		Code      string `json:"transaction_event_code"`
		Initiated string `json:"transaction_initiation_date"`
		Status    string `json:"transaction_status"`
		Amount    struct {
			Currency string `json:"currency_code"`
			Value    string `json:"value"`
		} `json:"transaction_amount"`
	} `json:"transaction_info"`
}

// otherGroups are the groups of event codes that are neither a donation nor a refund:
// fees, conversions, deposits, withdrawals, authorizations, holds, reserves and
// transfers. All other groups count.
var otherGroups = words("T01, T02, T03, T04, T05, T06, T07, T10, T13, T14, T15, T16, T17, T18, T20, T21, T22, T98")

// otherCodes are the codes in the group of reversals that move no donation: holds and
// their release, fees, and mass payments.
var otherCodes = words("T1105, T1108, T1109, T1110, T1111, T1114, T1115")

// startsJSON reports whether a report is JSON.
func startsJSON(report *bufio.Reader) bool {
	start, _ := report.Peek(64)
	start = bytes.TrimLeft(start, " \t\r\n")
	return len(start) > 0 && (start[0] == '{' || start[0] == '[')
}

// A search reads answers of the API.
type search struct {
	decoder *json.Decoder
	yield   func(row) error
	count   int
	pages   map[string][]int // of each span of days: the pages read
	of      map[string]int   // the number of pages
}

func readJSON(report io.Reader, yield func(row) error) error {
	s := &search{json.NewDecoder(report), yield, 0, map[string][]int{}, map[string]int{}}
	for {
		token, err := s.decoder.Token()
		switch {
		case errors.Is(err, io.EOF):
			return s.complete()
		case err != nil:
			return notJSON(err)
		case token == json.Delim('{'):
			err = s.answer()
		case token == json.Delim('['), token == json.Delim(']'): // an array of answers
		default:
			err = errors.New("the report is JSON, but not from PayPal's Transaction Search API")
		}
		if err != nil {
			return err
		}
	}
}

func notJSON(err error) error {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, kind := errors.AsType[*json.UnmarshalTypeError](err)
	if syntax || kind || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("the report's JSON is truncated or damaged: %w; download it again", err)
	}
	return fmt.Errorf("reading the report: %w", err)
}

// answer reads an answer after its brace, and keeps only the needed fields.
func (s *search) answer() error {
	var page, of int
	var from, to string
	found := false
	for s.decoder.More() {
		token, err := s.decoder.Token()
		if err != nil {
			return notJSON(err)
		}
		switch token {
		case "transaction_details":
			found = true
			err = s.details()
		case "page":
			err = s.decode(&page)
		case "total_pages":
			err = s.decode(&of)
		case "start_date":
			err = s.decode(&from)
		case "end_date":
			err = s.decode(&to)
		default:
			err = s.decode(&json.RawMessage{})
		}
		if err != nil {
			return err
		}
	}
	if _, err := s.decoder.Token(); err != nil { // the closing brace
		return notJSON(err)
	}
	if !found {
		return errors.New("the report is JSON without transaction_details; " +
			"save the answer of PayPal's Transaction Search API, with fields=transaction_info")
	}
	span := from + " to " + to
	if !slices.Contains(s.pages[span], page) {
		s.pages[span] = append(s.pages[span], page)
	}
	s.of[span] = max(s.of[span], of)
	return nil
}

func (s *search) decode(to any) error {
	if err := s.decoder.Decode(to); err != nil {
		return notJSON(err)
	}
	return nil
}

func (s *search) details() error {
	switch token, err := s.decoder.Token(); {
	case err != nil:
		return notJSON(err)
	case token != json.Delim('['):
		return errors.New("the report's transaction_details is not a list")
	}
	for s.decoder.More() {
		var d detail
		if err := s.decode(&d); err != nil {
			return err
		}
		s.count++
		r, ok, err := d.row(s.count)
		if err == nil && ok {
			err = s.yield(r)
		}
		if err != nil {
			return err
		}
	}
	if _, err := s.decoder.Token(); err != nil { // the closing bracket
		return notJSON(err)
	}
	return nil
}

// row returns the needed fields of a transaction. A transaction without an amount or an
// id is not a row.
func (d *detail) row(line int) (r row, ok bool, err error) {
	info := d.Info
	if info.ID == "" || info.Amount.Value == "" {
		return r, false, nil
	}
	r = row{
		line: line, transaction: info.ID, kind: info.Code, currency: info.Amount.Currency,
		status: map[string]string{"P": "pending", "D": "denied"}[info.Status],
	}
	r.date, _, _ = strings.Cut(info.Initiated, "T")
	if strings.ContainsAny(info.Amount.Value, "eE/_xX") {
		return r, false, fmt.Errorf("transaction %d of the report: %q is not an amount", line, info.Amount.Value)
	}
	if r.gross, ok = new(big.Rat).SetString(info.Amount.Value); !ok {
		return r, false, fmt.Errorf("transaction %d of the report: %q is not an amount", line, info.Amount.Value)
	}
	group := info.Code[:min(3, len(info.Code))]
	givenBack := group == "T11" || group == "T12"
	r.counts = !otherGroups[group] && !otherCodes[info.Code] && (r.gross.Sign() > 0 || givenBack)
	return r, true, nil
}

// complete refuses a report without all its pages. A missing page would look like
// transactions that are missing at PayPal.
func (s *search) complete() error {
	for span, pages := range s.pages {
		if len(pages) < s.of[span] {
			return fmt.Errorf("the report has %d of %d pages of the transactions from %s; put all pages into one file",
				len(pages), s.of[span], span)
		}
	}
	return nil
}
