package store

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/ascii85"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// seriesKey is the key of a series' notes, a string. Neither ledger nor series can have a
// space, so no two series share a key. The braces keep a series on one node of a cluster.
func seriesKey(ledger, series string) string { return wire.Prefix + "{" + ledger + " " + series + "}" }

func appendSeriesKey(to []byte, ledger, series string) []byte {
	to = append(append(to, wire.Prefix+"{"...), ledger...)
	return append(append(append(to, ' '), series...), '}')
}

// ledgerPattern matches the keys of a ledger's series, for SCAN.
func ledgerPattern(ledger string) string {
	return wire.Prefix + "{" + globEscape.Replace(ledger) + " *"
}

// everyPattern matches the keys of every ledger's series.
const everyPattern = wire.Prefix + "{* *"

var globEscape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`)

// seriesOf reads a key that seriesKey wrote.
func seriesOf(key string) (ledger, series string, ok bool) {
	inner, ok := strings.CutPrefix(key, wire.Prefix+"{")
	if !ok {
		return "", "", false
	}
	inner, ok = strings.CutSuffix(inner, "}")
	if !ok {
		return "", "", false
	}
	return strings.Cut(inner, " ")
}

// A Token is what a note keeps of the request that it last answered FIRST: 54 bits of its
// hash, as text. The ids of requests have any length, and a note is small.
type Token [9]byte

func tokenOf(requestID string) Token {
	sum := sha256.Sum256([]byte(requestID))
	return writeToken([7]byte(sum[:7]))
}

// NewToken is the token of a request without an id: as many random bits.
func NewToken() Token {
	var random [7]byte
	rand.Read(random[:]) // it never fails
	return writeToken(random)
}

func writeToken(raw [7]byte) Token {
	var text [10]byte
	base64.RawURLEncoding.Encode(text[:], raw[:])
	return Token(text[:9])
}

// token is the request's own, or that of its id.
func (r NoteRequest) token() Token {
	if r.Token != (Token{}) {
		return r.Token
	}
	return tokenOf(r.RequestID)
}

// donationID is the permanent name of a note: the time at which the note was made, which
// is unique in its series, and a hash of that time and the series. It is not stored, and
// still leads back to its note.
func donationID(ledger, series string, noted int64) string {
	var memory [256]byte // enough for most keys
	key := appendSeriesKey(memory[:0], ledger, series)
	end := len(key)
	key = strconv.AppendInt(key, noted, 36)
	sum := sha256.Sum256(key)
	id := append(key[end:], '-')
	return string(lowerBase32.AppendEncode(id, sum[:10]))
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567")

// notedOf reads a donation id of this series.
func notedOf(ledger, series, id string) (int64, error) {
	at, _, _ := strings.Cut(id, "-")
	noted, err := strconv.ParseInt(at, 36, 64)
	if err != nil || donationID(ledger, series, noted) != id {
		return 0, ErrBadDonationID
	}
	return noted, nil
}

// receipt lets a holder find its note again and prove that it is the holder. Only the
// note decides. The checksum tells a receipt that was cut short or mistyped from a
// receipt whose note is forgotten.
type receipt struct {
	ledger, series string
	noted          int64
	attempt        int
	token          string
	shadow         bool // of a duplicate in shadow: it holds nothing, whatever the note says
}

// The forms of a receipt. A release without shadows refuses the second: it could not know
// that such a receipt holds nothing.
const (
	realForm   = "1"
	shadowForm = "S"
)

func (r receipt) String() string {
	form := realForm
	if r.shadow {
		form = shadowForm
	}
	s := fmt.Sprintf("%s %s %s %s %d %s",
		form, r.ledger, r.series, strconv.FormatInt(r.noted, 36), r.attempt, r.token)
	sum := crc32.ChecksumIEEE([]byte(s))
	return base64.RawURLEncoding.EncodeToString(
		append([]byte(s), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)),
	)
}

func parseReceipt(s string) (receipt, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) < 4 {
		return receipt{}, ErrBadReceipt
	}
	body, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	if crc32.ChecksumIEEE(body) != uint32(sum[0])<<24|uint32(sum[1])<<16|uint32(sum[2])<<8|uint32(sum[3]) {
		return receipt{}, ErrBadReceipt
	}
	f := strings.Split(string(body), " ")
	if len(f) != 6 || f[0] != realForm && f[0] != shadowForm || !printable(f[1]) ||
		f[2] == "" || !printable(f[2]) || len(f[5]) != 9 || !printable(f[5]) {
		return receipt{}, ErrBadReceipt
	}
	r := receipt{ledger: f[1], series: f[2], token: f[5], shadow: f[0] == shadowForm}
	var errNoted, errAttempt error
	r.noted, errNoted = strconv.ParseInt(f[3], 36, 64)
	r.attempt, errAttempt = strconv.Atoi(f[4])
	if errNoted != nil || errAttempt != nil || r.noted <= 0 || r.attempt < 1 || r.String() != s {
		return receipt{}, ErrBadReceipt
	}
	return r, nil
}

// LedgerOf is the ledger of a receipt. It does not ask the store.
func LedgerOf(s string) (string, error) {
	r, err := parseReceipt(s)
	return r.ledger, err
}

// IsShadow tells whether a receipt is that of a duplicate in shadow, which holds nothing.
// It does not ask the store.
func IsShadow(s string) bool {
	r, err := parseReceipt(s)
	return err == nil && r.shadow
}

// printable tells whether s can be part of a key or a note as it is: printable ASCII
// without spaces.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// writeMessage writes PayPal's messages so that they take little room. An IPN's 32 hex
// digits become "I" and their 16 bytes in base 85. A webhook's "WH-17-17" becomes "W" and
// its two halves, numbers in base 36, as 22 bytes in base 85. All other messages are the
// channel, a colon and the id. A channel has no capital letters and no colon, so the
// three forms are never confused, and each message has only one form.
func writeMessage(m Message) string { return string(appendMessage(nil, m)) }

func appendMessage(to []byte, m Message) []byte {
	switch {
	case m.Channel == "ipn" && len(m.ID) == 32:
		var raw [16]byte
		_, err := hex.Decode(raw[:], []byte(m.ID))
		if err == nil && strings.Trim(m.ID, "0123456789abcdef") == "" {
			return append85(append(to, 'I'), raw[:])
		}
	case m.Channel == "webhook" && len(m.ID) == len("WH-")+2*halfDigits+1 && m.ID[:3] == "WH-" && m.ID[20] == '-':
		var raw [2 * halfBytes]byte
		if fromBase36(raw[:halfBytes], m.ID[3:20]) && fromBase36(raw[halfBytes:], m.ID[21:]) {
			return append85(append(to, 'W'), raw[:])
		}
	}
	return append(append(append(to, m.Channel...), ':'), m.ID...)
}

// Half of a webhook's id: 17 digits in base 36 are 88 bits.
const (
	halfDigits = 17
	halfBytes  = 11
)

const base36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// fromBase36 writes the number that digits show to half, and tells whether they do.
func fromBase36(half []byte, digits string) bool {
	var high, low uint64
	for i := range len(digits) {
		digit := strings.IndexByte(base36, digits[i])
		if digit < 0 {
			return false
		}
		carry, product := bits.Mul64(low, 36)
		sum, more := bits.Add64(product, uint64(digit), 0)
		high, low = high*36+carry+more, sum
	}
	for i := len(half) - 1; i >= 0; i-- {
		half[i] = byte(low)
		high, low = high>>8, low>>8|high<<56
	}
	return true
}

// toBase36 writes half as base-36 digits. It is false if half is too large for them.
func toBase36(digits, half []byte) bool {
	var high, low uint64
	for _, b := range half {
		high, low = high<<8|low>>56, low<<8|uint64(b)
	}
	for i := len(digits) - 1; i >= 0; i-- {
		var rest uint64
		high, rest = high/36, high%36
		low, rest = bits.Div64(rest, low, 36)
		digits[i] = base36[rest]
	}
	return high == 0 && low == 0
}

// append85 writes raw, at most two halves, in base 85.
func append85(to, raw []byte) []byte {
	var text [(2*halfBytes + 3) / 4 * 5]byte
	return append(to, text[:ascii85.Encode(text[:], raw)]...)
}

// fromBase85 reads exactly as many bytes as raw has.
func fromBase85(raw []byte, s string) error {
	var memory [4 * 64]byte // a "z" is four bytes
	if len(s) >= 64 {
		return fmt.Errorf("it is too long")
	}
	n, _, err := ascii85.Decode(memory[:], []byte(s), true)
	if err == nil && n != len(raw) {
		err = fmt.Errorf("it has %d bytes, not %d", n, len(raw))
	}
	copy(raw, memory[:n])
	return err
}

func readMessage(s string) (Message, error) {
	switch {
	case s == "":
		return Message{}, fmt.Errorf("reading a message: it is empty")
	case s[0] == 'I':
		var raw [16]byte
		if err := fromBase85(raw[:], s[1:]); err != nil {
			return Message{}, fmt.Errorf("reading message %q: %w", s, err)
		}
		var id [32]byte
		hex.Encode(id[:], raw[:])
		return Message{Channel: "ipn", ID: string(id[:])}, nil
	case s[0] == 'W':
		var raw [2 * halfBytes]byte
		if err := fromBase85(raw[:], s[1:]); err != nil {
			return Message{}, fmt.Errorf("reading message %q: %w", s, err)
		}
		id := [3 + 2*halfDigits + 1]byte{'W', 'H', '-', 20: '-'}
		if !toBase36(id[3:20], raw[:halfBytes]) || !toBase36(id[21:], raw[halfBytes:]) {
			return Message{}, fmt.Errorf("reading message %q: it is too large for an id", s)
		}
		return Message{Channel: "webhook", ID: string(id[:])}, nil
	}
	channel, id, ok := strings.Cut(s, ":")
	if !ok {
		return Message{}, fmt.Errorf("reading message %q: it names no channel", s)
	}
	return Message{Channel: channel, ID: id}, nil
}

// writeTransaction writes a transaction id as it is. An id that could be taken for "-"
// (unknown), "=" (the id of the first sighting) or the extras gets a point before it.
func writeTransaction(id string) string { return string(appendTransaction(nil, id)) }

func appendTransaction(to []byte, id string) []byte {
	switch {
	case id == "":
		return append(to, '-')
	case id[0] == '-' || id[0] == '=' || id[0] == '.' || id[0] == '*':
		to = append(to, '.')
	}
	return append(to, id...)
}

func readTransaction(s string) string {
	if s == "-" {
		return ""
	}
	return strings.TrimPrefix(s, ".")
}

func appendMoney(to []byte, amount, currency string) []byte {
	if amount == "" {
		return append(to, '-')
	}
	return append(append(to, amount...), currency...)
}

func appendTime(to []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(to, '-')
	}
	return strconv.AppendInt(to, t.UnixMilli(), 10)
}

// writeAgreeing writes the channels whose transaction ids agree with the asking
// message's, as rules.lua reads it.
func writeAgreeing(rules Rules) string {
	switch rules.TransactionIDs {
	case Shared:
		return "*"
	case PerChannel:
		return "-"
	case Auto:
	}
	if len(rules.Agreeing) == 0 {
		return "+"
	}
	return "+," + strings.Join(rules.Agreeing, ",") + "," // so that the empty channel is ",,"
}

// events are the letters of the events, in the order of the contract's numbers.
const events = "PpFRVCJSHUEXYD"

// MaxEvent is the highest Event.
const MaxEvent = Event(len(events))
