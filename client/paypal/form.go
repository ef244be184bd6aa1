package paypal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// A form is the fields of an IPN in the order of its body, as bytes. PayPal's charset
// field has no effect: all fields here are ASCII.
type form []formField

type formField struct{ name, value string }

// parseForm reads a body. url.ParseQuery refuses a bad percent sign and a semicolon, and
// a donor's comment with either must not lose a genuine message. PayPal adds resend=true
// to a repeated message. The field is dropped here, so that no rule and no id depends on
// it.
func parseForm(body []byte) form {
	var fields form
	for piece := range strings.SplitSeq(string(bytes.TrimRight(body, "\r\n")), "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		if name = unescape(name); name != "resend" {
			fields = append(fields, formField{name, unescape(value)})
		}
	}
	return fields
}

// IPNField returns a field of an IPN's body, the first of its name, without the spaces
// around it. It returns "" for an absent field and for resend. It is for fields that a
// receiver needs besides the donations, such as receiver_id and test_ipn.
func IPNField(body []byte, name string) string {
	text, _ := parseForm(body).lookup(name)
	return strings.Trim(text, " ")
}

// lookup returns the first field of that name. Every field of an IPN is text.
func (f form) lookup(name string) (text, problem string) {
	for _, field := range f {
		if field.name == name {
			return field.value, ""
		}
	}
	return "", ""
}

// digest returns an id for the whole message, because an IPN has no id (different
// payments share an ipn_track_id). It covers sorted, decoded fields, so a body that was
// parsed and written again has the same id.
func (f form) digest() string {
	sorted := slices.Clone(f)
	slices.SortStableFunc(sorted, func(a, b formField) int { return strings.Compare(a.name, b.name) })
	hash := sha256.New()
	for _, field := range sorted {
		hash.Write([]byte(field.name + "=" + field.value + "\n"))
	}
	return hex.EncodeToString(hash.Sum(nil))[:32]
}

// unescape turns + into a space and %XX into a byte, and leaves any other
// percent sign alone.
func unescape(s string) string {
	if !strings.ContainsAny(s, "+%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			var b [1]byte
			_, _ = hex.Decode(b[:], []byte(s[i+1:i+3])) // the condition has checked both digits
			out = append(out, b[0])
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
