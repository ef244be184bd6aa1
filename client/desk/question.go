package desk

import (
	"errors"
	"math/big"
	"regexp"
	"strings"
	"time"
)

// A question is the typed text: an id, or an amount and a day.
type question struct {
	id string

	amount   *big.Rat
	currency string // empty for any currency
	day      time.Time
}

var (
	amountPattern   = regexp.MustCompile(`^\d{1,15}([.,]\d{1,8})?$`)
	currencyPattern = regexp.MustCompile(`^[A-Za-z]{3}$`)
	idPattern       = regexp.MustCompile(`^[!-~]{1,128}$`)
)

var signs = map[string]string{"€": "EUR", "$": "USD", "£": "GBP"}

// dayLayouts are the accepted forms of a day. 1/2/2026 is not accepted: half the world
// reads it as January, the other half as February.
var dayLayouts = []string{"2006-01-02", "2.1.2006"}

var errQuestion = errors.New("write one id, or an amount and a day, such as 25.00 EUR 2026-03-01")

// parseQuestion reads the typed text.
func parseQuestion(text string, zone *time.Location) (q question, err error) {
	for sign, code := range signs {
		text = strings.ReplaceAll(text, sign, " "+code+" ")
	}
	words := strings.Fields(text)
	var rest []string
	for _, word := range words {
		day, isDay := parseDay(word, zone)
		switch {
		case isDay && q.day.IsZero():
			q.day = day
		case amountPattern.MatchString(word) && q.amount == nil && len(words) > 1:
			q.amount, _ = new(big.Rat).SetString(strings.Replace(word, ",", ".", 1))
		case currencyPattern.MatchString(word) && q.currency == "" && len(words) > 1:
			q.currency = strings.ToUpper(word)
		default:
			rest = append(rest, word)
		}
	}
	switch {
	case len(words) == 1 && len(rest) == 1 && idPattern.MatchString(rest[0]):
		return question{id: rest[0]}, nil
	case len(words) == 1 && len(rest) == 0:
		return q, errors.New("a day needs an amount beside it, such as 25.00 EUR 2026-03-01")
	case len(rest) > 0 || q.amount == nil || q.day.IsZero():
		return q, errQuestion
	}
	return q, nil
}

func parseDay(word string, zone *time.Location) (day time.Time, ok bool) {
	for _, layout := range dayLayouts {
		if day, err := time.ParseInLocation(layout, word, zone); err == nil {
			return day, true
		}
	}
	return day, false
}

// bySum reports whether the question is an amount and a day.
func (q question) bySum() bool { return q.amount != nil }

// until is the end of the day.
func (q question) until() time.Time { return q.day.AddDate(0, 0, 1) }

// fits reports whether a donation has the amount and the day. For a donation without a
// time, the time of receipt counts.
func (q question) fits(amount, currency string, occurred, received time.Time) bool {
	if q.currency != "" && q.currency != currency || !equalAmounts(amount, q.amount) {
		return false
	}
	if occurred.IsZero() {
		occurred = received
	}
	return !occurred.Before(q.day) && occurred.Before(q.until())
}

func equalAmounts(amount string, other *big.Rat) bool {
	n, ok := new(big.Rat).SetString(amount)
	return ok && n.Cmp(other) == 0
}
