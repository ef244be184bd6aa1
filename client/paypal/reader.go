package paypal

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// maxID is the contract's limit of an id, in bytes.
const maxID = 128

// A reader reads the fields of one message by the rules that both channels share, and
// collects the warnings.
type reader struct {
	// lookup returns a field's text unchanged. If the value is not text, problem says
	// what is wrong.
	lookup func(field string) (text, problem string)

	warnings []string
	warned   map[string]bool // field name → a warning exists
}

// warn records a field's problem and its treatment. It does so once for a field, however
// many rules read it, so that all languages count the same warnings.
func (r *reader) warn(field, problem string) {
	if r.warned[field] {
		return
	}
	if r.warned == nil {
		r.warned = make(map[string]bool)
	}
	r.warned[field] = true
	r.warnings = append(r.warnings, field+": "+problem)
}

// text returns a field without the spaces around it, or "" if it is absent or not text.
func (r *reader) text(field string) string {
	text, problem := r.lookup(field)
	if problem != "" {
		r.warn(field, problem+"; taken as absent")
		return ""
	}
	return strings.Trim(text, " ")
}

// id returns a field if it is a valid id by the contract, else "".
func (r *reader) id(field string) string {
	text := r.text(field)
	if text != "" && !fits(text) {
		r.warn(field, fmt.Sprintf("is not an id: more than %d bytes, or bytes that are not printable ASCII; taken as absent",
			maxID))
		return ""
	}
	return text
}

// firstID returns the first valid id among the fields, or "". It does not read the fields
// after it.
func (r *reader) firstID(fields ...string) string {
	for _, field := range fields {
		if id := r.id(field); id != "" {
			return id
		}
	}
	return ""
}

// seriesID returns a field that can name a series, or "". An id that begins with B- names
// a means of payment.
func (r *reader) seriesID(field string) string {
	id := r.id(field)
	if strings.HasPrefix(id, "B-") {
		return ""
	}
	return id
}

// time returns a field as a time: zero if it is absent or cannot be read.
func (r *reader) time(field string) time.Time {
	text := r.text(field)
	if text == "" {
		return time.Time{}
	}
	t, ok := parseTime(text)
	if !ok {
		r.warn(field, "is not a time in a known format; left out")
	}
	return t
}

// Both are limits of the contract. The amount has lost its sign before the match.
var (
	amountPattern   = regexp.MustCompile(`^\d{1,15}(\.\d{1,8})?$`)
	currencyPattern = regexp.MustCompile(`^[A-Z]{3}$`)
)

// money returns an amount without its sign, and its currency. It returns both or neither,
// because Noted cannot compare them alone.
func (r *reader) money(amountField, currencyField string) (amount, currency string) {
	amount = r.text(amountField)
	if amount == "" {
		return "", ""
	}
	if amount[0] == '-' || amount[0] == '+' {
		amount = amount[1:]
	}
	if !amountPattern.MatchString(amount) {
		r.warn(amountField, "is no plain decimal number; left out, and the currency with it")
		return "", ""
	}
	currency = r.text(currencyField)
	if !currencyPattern.MatchString(currency) {
		r.warn(currencyField, "is not three capital letters; left out, and the amount with it")
		return "", ""
	}
	return amount, currency
}

// fits reports whether the text is a valid id by the contract.
func fits(text string) bool {
	if len(text) < 1 || len(text) > maxID {
		return false
	}
	for i := range len(text) {
		if text[i] < 0x21 || text[i] > 0x7e {
			return false
		}
	}
	return true
}

// sanitised makes text of a message harmless in a log line and in a skip reason: the same
// bytes in every language, without an escape.
func sanitised(text string) string {
	clean := []byte(text)
	for i, c := range clean {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			clean[i] = '?'
		}
	}
	return string(clean[:min(len(clean), 64)])
}

// lower is strings.ToLower for A to Z alone. Unicode has other letters that become ASCII,
// and languages disagree about them.
func lower(s string) string {
	bytes := []byte(s)
	for i, c := range bytes {
		if 'A' <= c && c <= 'Z' {
			bytes[i] = c + ('a' - 'A')
		}
	}
	return string(bytes)
}
