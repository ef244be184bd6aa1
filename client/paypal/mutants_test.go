package paypal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/client/paypal"
)

var (
	mutantsFile = flag.String("mutants", "", "the file for what TestMutants has read, for the other languages")
	mutantsSeed = flag.Uint64("mutants-seed", 1, "makes other mutants")
)

// A mutant is a line of that file: a body, and its outcome in every language.
type mutant struct {
	Channel   string   `json:"channel"`
	Body      []byte   `json:"body"`      // base64
	Malformed string   `json:"malformed"` // the field at fault
	Lines     string   `json:"lines"`
	Warnings  []string `json:"warnings"`
	Type      string   `json:"type"`
	Unknown   bool     `json:"unknown"`
}

// TestMutants changes each of the shared cases in many ways and checks the promises for
// each outcome. The tests of the other languages run it for the mutants, and compare
// their outcomes with these: the cases alone do not show every difference.
func TestMutants(t *testing.T) {
	random := rand.New(rand.NewPCG(*mutantsSeed, 0))
	var out bytes.Buffer
	for _, channel := range []string{"ipn", "webhook"} {
		var bodies [][]byte
		for _, path := range casePaths(t, channel) {
			bodies = append(bodies, readCase(t, path).body)
		}
		for _, body := range bodies {
			for range 20 {
				m := mutant{Channel: channel, Body: body, Warnings: []string{}}
				for range 1 + random.IntN(3) {
					m.Body = mutated(random, channel, m.Body, bodies[random.IntN(len(bodies))])
				}
				got, err := checkPromises(t, channel, m.Body)
				if malformed, ok := errors.AsType[*paypal.MalformedError](err); ok {
					m.Malformed = malformed.Field
				} else {
					m.Lines, m.Type, m.Unknown = string(got.AppendJSON(nil)), got.Type, got.Unknown
					m.Warnings = append(m.Warnings, got.Warnings...)
				}
				m.Body = append([]byte{}, m.Body...) // never null
				line, err := json.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				out.Write(append(line, '\n'))
			}
		}
	}
	if *mutantsFile != "" {
		if err := os.WriteFile(*mutantsFile, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// values are texts that may make a difference in another place.
var values = []string{
	"", " ", "0", "-0", "1", "12.5", "-25.00", "+1", "1e2", "1E+2", ".5", "5.", "00", "123456789012345",
	"1234567890123456", "1.123456789", "1,5", "25.00 ", "EUR", "eur", "EURO",
	"I-TESTSERIES02", "i-x", "S-0TEST", "B-TESTAGREEMENT01", "b-x", "B-", "0TESTPAYMENT00001", "0TESTREFUND000001",
	"no id", "\x7f", "é", "\u2028", "<&>", "\"", "\\", "/",
	"completed", "Completed", "COMPLETED", "partially_refunded", "REFUNDED", "reversed", "denied", "Declined",
	"FAILED", "pending", "Canceled_Reversal", "In-Progress", "Voided",
	"2021-03-08T17:05:01Z", "2021-03-08T17:05:01.1234567891+05:30", "2021-02-29T00:00:00Z", "1969-12-31T23:59:59Z",
	"9998-12-31T23:59:59-23:59", "09:05:01 Mar 08, 2021 PST", "9:05:01 8 Mar. 2021 PDT",
	"Mon Mar 08 2021 09:05:01 GMT-0800 (PST)", "24:00:00 Mar 08, 2021 PST", "N/A",
	"up", "UP", "capture", "sale", "self", "https://api.example.org/v2/payments/captures/0TESTPAYMENT00002",
	"/v1/payments/sale/X?y=/sale/z", "/captures/", "/capture/a/captures/b",
	"web_accept", "recurring_payment", "subscr_signup", "recurring_payment_profile_created", "new_case", "adjustment",
	"masspay", "payout", "mp_notification", "odd",
	"PAYMENT.SALE.COMPLETED", "PAYMENT.SALE.PENDING", "PAYMENT.SALE.REFUNDED", "PAYMENT.SALE.REVERSED",
	"payment.capture.completed", "PAYMENT.CAPTURE.REVERSED", "BILLING.SUBSCRIPTION.CREATED", "BILLING.PLAN.CREATED",
	"CUSTOMER.DISPUTE.CREATED", "PAYMENT.PAYOUTS-ITEM.DENIED", "VAULT.", "Vault", "2.0", "subscription",
}

// noTexts are values that may stand in the place of text.
var noTexts = []any{
	nil, true, json.Number("-25.00"), json.Number("1e2"), json.Number("0"), []any{}, map[string]any{}, []any{"x"},
}

// tokens are bytes at which readers of forms and of JSON part.
var tokens = []string{
	"%", "%00", "%zz", "%0", "+", "&", "=", "&&", "\x00", "\n", "\r\n", "\t", "\x80", "\xff", "\xef\xbb\xbf", "é", "€",
	`"`, `\`, `\u0000`, `\ud83d`, `\ud83d\ude00`, `\udc00\ud800`, `\u00e9`, `\x`, `\/`, "{", "}", "[", "]", ",", ":",
	"null", "true", "NaN", "Infinity", "-", "01", "1.", "1e", "-0.0", "1e999", "12345678901234567890",
	`{"a":1,"a":2}`, `"id":7,`, `"":0,`, `"\u0000":1,`,
}

func mutated(random *rand.Rand, channel string, body, other []byte) []byte {
	if random.IntN(3) == 0 {
		return mutatedBytes(random, body, other)
	}
	if channel == "ipn" {
		return mutatedForm(random, body, other)
	}
	return mutatedDocument(random, body, other)
}

// mutatedBytes changes a body without regard to its form.
func mutatedBytes(random *rand.Rand, body, other []byte) []byte {
	from := random.IntN(len(body) + 1)
	to := min(len(body), from+random.IntN(4))
	switch random.IntN(6) {
	case 0:
		return body[:from]
	case 1: // to the rest of another body
		return slices.Concat(body[:from], other[random.IntN(len(other)+1):])
	case 2:
		return slices.Concat(body[:from], body[to:])
	case 3:
		return slices.Concat(body[:from], []byte{byte(random.IntN(256))}, body[to:])
	default:
		return slices.Concat(body[:from], []byte(tokens[random.IntN(len(tokens))]), body[to:])
	}
}

func mutatedForm(random *rand.Rand, body, other []byte) []byte {
	pieces := strings.Split(string(body), "&")
	i, j := random.IntN(len(pieces)), random.IntN(len(pieces))
	name, _, _ := strings.Cut(pieces[i], "=")
	value := values[random.IntN(len(values))]
	switch random.IntN(5) {
	case 0:
		pieces = slices.Delete(pieces, i, i+1)
	case 1:
		pieces[i], pieces[j] = pieces[j], pieces[i]
	case 2: // a field of another body, before ours of that name
		others := strings.Split(string(other), "&")
		pieces = slices.Insert(pieces, i, others[random.IntN(len(others))])
	case 3: // the value of another field
		_, value, _ = strings.Cut(pieces[j], "=")
		fallthrough
	default:
		pieces[i] = name + "=" + strings.ReplaceAll(value, " ", "+")
	}
	return []byte(strings.Join(pieces, "&"))
}

// mutatedDocument changes one part of a body that is a JSON document.
func mutatedDocument(random *rand.Rand, body, other []byte) []byte {
	root, ok := parsed(body)
	if !ok {
		return mutatedBytes(random, body, other)
	}
	type place struct {
		get    func() any
		set    func(any)
		remove func()
	}
	places := []place{{func() any { return root }, func(v any) { root = v }, func() { root = nil }}}
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				places = append(places, place{
					func() any { return v[name] }, func(x any) { v[name] = x }, func() { delete(v, name) },
				})
				walk(v[name])
			}
		case []any:
			for i := range v {
				places = append(
					places,
					place{func() any { return v[i] }, func(x any) { v[i] = x }, func() { v[i] = nil }},
				)
				walk(v[i])
			}
		}
	}
	walk(root)
	at := places[random.IntN(len(places))]
	switch random.IntN(6) {
	case 0:
		at.remove()
	case 1: // a value from elsewhere; a copy, since a document within itself has no end
		text, _ := json.Marshal(places[random.IntN(len(places))].get())
		value, _ := parsed(text)
		at.set(value)
	case 2: // a part of another document beside our own
		theirs, _ := parsed(other)
		if from, ok := theirs.(map[string]any); ok {
			if resource, ok := from["resource"].(map[string]any); ok && random.IntN(3) > 0 {
				from = resource
			}
			into, _ := root.(map[string]any)
			if resource, ok := into["resource"].(map[string]any); ok && random.IntN(3) > 0 {
				into = resource
			}
			if names := slices.Sorted(maps.Keys(from)); len(names) > 0 && into != nil {
				name := names[random.IntN(len(names))]
				into[name] = from[name]
			}
		}
	case 3:
		at.set(noTexts[random.IntN(len(noTexts))])
	default:
		at.set(values[random.IntN(len(values))])
	}
	text, err := json.Marshal(root)
	if err != nil { // nested too deep
		return mutatedBytes(random, body, other)
	}
	return text
}

func parsed(body []byte) (value any, ok bool) {
	if !json.Valid(body) {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	err := decoder.Decode(&value)
	return value, err == nil
}
