package paypal

import (
	"fmt"
	"strings"
	"time"
)

// AppendJSON appends the lines of notectl identify: a line for each pair, or one line
// with the reason to skip. Each line ends with a newline. The commands of the other
// languages print the same bytes. It is written by hand because encoding/json escapes <,
// > and &, and the other languages do not.
func (id Identified) AppendJSON(dst []byte) []byte {
	if id.Skipped != "" {
		dst = append(dst, `{"skipped":`...)
		dst = appendString(dst, id.Skipped)
		return append(dst, "}\n"...)
	}
	for _, pair := range id.Pairs {
		dst = append(dst, `{"donation":{`...)
		dst = appendDonation(dst, pair.Donation)
		dst = append(dst, `},"message":{`...)
		dst = appendField(dst, "channel", pair.Message.Channel)
		dst = appendField(dst, "id", pair.Message.ID)
		dst = append(dst, "}}\n"...)
	}
	return dst
}

func appendDonation(dst []byte, d Donation) []byte {
	dst = appendField(dst, "ledger", d.Ledger)
	dst = appendField(dst, "series_id", d.SeriesID)
	dst = appendField(dst, "event", d.Event.String())
	dst = appendField(dst, "occurred_at", timestamp(d.OccurredAt))
	dst = appendField(dst, "amount", d.Amount)
	dst = appendField(dst, "currency_code", d.CurrencyCode)
	return appendField(dst, "transaction_id", d.TransactionID)
}

// timestamp writes a time in the JSON form of google.protobuf.Timestamp: UTC without a
// fraction, or with the fewest of 3, 6 and 9 digits that hold it.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	layout := "2006-01-02T15:04:05"
	switch ns := t.Nanosecond(); {
	case ns == 0:
	case ns%1e6 == 0:
		layout += ".000"
	case ns%1e3 == 0:
		layout += ".000000"
	default:
		layout += ".000000000"
	}
	return t.UTC().Format(layout + "Z")
}

// appendField appends a named string, with a comma unless it opens its object. It appends
// nothing for an empty string.
func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return appendString(dst, value)
}

// appendString quotes a string. Strings of this package need an escape only for " and \.
// The other escapes are for a ledger that a caller has set.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, c := range []byte(strings.ToValidUTF8(s, "\uFFFD")) {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
