package store

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// defaultRetention is how long a note lives if its line does not say; notes.lua has the
// same.
const defaultRetention = 45 * 24 * time.Hour

// readNote reads a line as notes.lua writes it; notes.lua describes the format. It does
// not say which part of a line is wrong, since errors are logged.
func readNote(ledger, series, line string, now time.Time) (Note, error) {
	n, extras, err := readLine(ledger, series, line)
	if err != nil {
		return Note{}, wire.Unreadable()
	}
	// A clock that was set back does not make a hold longer than was asked for.
	if longest := now.Add(extras.length); !n.HeldUntil.IsZero() && n.HeldUntil.After(longest) {
		n.HeldUntil = longest
	}
	switch {
	case !n.HeldUntil.IsZero() && now.Before(n.HeldUntil):
		n.State = StateHeld
	case !n.HeldUntil.IsZero() || n.State == StateOpen:
		n.State = StateOpen
	default:
		n.State = StateSettled
	}
	return n, nil
}

// readLine sets State only for a released note; readNote sets it for the others.
func readLine(ledger, series, line string) (Note, extras, error) {
	f := make([]string, 0, 16) // enough for most notes
	for field := range strings.FieldsSeq(line) {
		f = append(f, field)
	}
	if len(f) < 5 || len(f[0]) < 11 {
		return Note{}, extras{}, fmt.Errorf("it has too few fields")
	}
	event := strings.IndexByte(events, f[0][0]) + 1
	if event == 0 {
		return Note{}, extras{}, fmt.Errorf("no event has the letter %q", f[0][0])
	}
	noted, err := strconv.ParseInt(f[0][10:], 36, 64)
	if err != nil {
		return Note{}, extras{}, err
	}
	n := Note{
		DonationID: donationID(ledger, series, noted),
		Donation:   Donation{Ledger: ledger, SeriesID: series, Event: Event(event)},
		NotedAt:    time.UnixMilli(noted),
		Attempt:    1,
	}
	if n.Donation.OccurredAt, err = readOccurred(f[1], noted); err != nil {
		return Note{}, extras{}, err
	}
	if f[2] != "-" {
		if len(f[2]) < 4 {
			return Note{}, extras{}, fmt.Errorf("the amount %q has no currency", f[2])
		}
		n.Donation.Amount, n.Donation.CurrencyCode = f[2][:len(f[2])-3], f[2][len(f[2])-3:]
	}
	e := extras{retention: defaultRetention}
	rest := f[3:]
	if rest[0][0] == '*' {
		if e, err = readExtras(&n, rest[0][1:]); err != nil {
			return Note{}, extras{}, err
		}
		rest = rest[1:]
	}
	n.ForgetAt = forgetAt(n, e.retention)
	if err := readSightings(&n, rest); err != nil {
		return Note{}, extras{}, err
	}
	n.Donation.TransactionID = n.Sightings[0].TransactionID
	n.Sightings[0].Message.ReceivedAt = e.received
	return n, e, nil
}

// forgetAt is when a note is forgotten.
func forgetAt(n Note, retention time.Duration) time.Time {
	at := n.NotedAt
	if n.Donation.OccurredAt.After(at) {
		at = n.Donation.OccurredAt
	}
	if at = at.Add(retention); n.HeldUntil.After(at) {
		return n.HeldUntil
	}
	return at
}

// appendTail writes how the line of a request's note ends if it is made and arrives at the
// same time: the amount, the extras, and the first sighting.
func appendTail(to []byte, r NoteRequest, retention time.Duration) []byte {
	to = appendMoney(to, r.Donation.Amount, r.Donation.CurrencyCode)
	hold := r.Hold.Milliseconds()
	if hold != 0 || retention != defaultRetention {
		to = append(to, " *"...)
	}
	if hold != 0 {
		to = strconv.AppendInt(append(to, 'H'), hold, 36)
	}
	if retention != defaultRetention {
		to = strconv.AppendInt(append(to, 'K'), int64(retention/time.Second), 36)
	}
	to = append(appendMessage(append(to, ' '), r.Message), ' ')
	return appendTransaction(to, r.Donation.TransactionID)
}

// freshNote is the note that readNote would read from the line with a request's tail.
func freshNote(r NoteRequest, now time.Time) Note {
	n := Note{
		DonationID: donationID(r.Donation.Ledger, r.Donation.SeriesID, now.UnixMilli()),
		Donation:   r.Donation,
		State:      StateSettled,
		NotedAt:    now,
		Attempt:    1,
		Sightings: []Sighting{{
			Message:       Message{Channel: r.Message.Channel, ID: r.Message.ID},
			TransactionID: r.Donation.TransactionID,
			SeenAt:        now,
		}},
	}
	if at := r.Donation.OccurredAt; !at.IsZero() {
		n.Donation.OccurredAt = time.UnixMilli(at.UnixMilli())
	}
	if hold := r.Hold.Milliseconds(); hold != 0 {
		n.State, n.HeldUntil = StateHeld, now.Add(time.Duration(hold)*time.Millisecond)
	}
	n.ForgetAt = forgetAt(n, wholeSeconds(r.Rules.Retention))
	return n
}

// appendOccurred writes when a donation occurred, as the line of a note has it that was made
// in this second. If the second is 0, it is as for an unknown time.
func appendOccurred(to []byte, occurred time.Time, second int64) []byte {
	if occurred.IsZero() || second == 0 {
		return append(to, '?')
	}
	after := occurred.UnixMilli() - second*1000
	if after%1000 == 0 {
		return strconv.AppendInt(to, after/1000, 36)
	}
	return append(strconv.AppendInt(to, after, 36), '.')
}

func readOccurred(s string, noted int64) (time.Time, error) {
	if s == "?" {
		return time.Time{}, nil
	}
	digits, exact := strings.CutSuffix(s, ".")
	after, err := strconv.ParseInt(digits, 36, 64)
	if err != nil {
		return time.Time{}, err
	}
	if !exact {
		after *= 1000
	}
	return time.UnixMilli(noted - noted%1000 + after), nil
}

// extras are the extras of a note's line that a Note does not show itself.
type extras struct {
	retention time.Duration
	received  time.Time     // zero where the first message arrived as it was noted
	length    time.Duration // of the hold, as it was asked for
}

// readExtras skips the letters that only the scripts need, and those of later releases.
func readExtras(n *Note, s string) (extras, error) {
	e := extras{retention: defaultRetention}
	for s != "" {
		letter := s[0]
		end := 1
		for end < len(s) && (s[end] < 'A' || s[end] > 'Z') {
			end++
		}
		var value int64
		if end > 1 {
			var err error
			if value, err = strconv.ParseInt(s[1:end], 36, 64); err != nil {
				return e, err
			}
		}
		switch letter {
		case 'H':
			n.HeldUntil = n.NotedAt.Add(time.Duration(value) * time.Millisecond)
			e.length = cmp.Or(e.length, time.Duration(value)*time.Millisecond)
		case 'L':
			e.length = time.Duration(value) * time.Millisecond
		case 'R':
			n.State = StateOpen
		case 'A':
			n.Attempt = int(value)
		case 'K':
			e.retention = time.Duration(value) * time.Second
		case 'V':
			e.received = n.NotedAt.Add(-time.Duration(value) * time.Millisecond)
		}
		s = s[end:]
	}
	return e, nil
}

func readSightings(n *Note, f []string) error {
	if len(f) < 2 || (len(f)-2)%3 != 0 {
		return fmt.Errorf("a sighting is cut short")
	}
	first, err := readMessage(f[0])
	if err != nil {
		return err
	}
	n.Sightings = []Sighting{{Message: first, TransactionID: readTransaction(f[1]), SeenAt: n.NotedAt}}
	for f = f[2:]; len(f) > 0; f = f[3:] {
		m, err := readMessage(f[0])
		if err != nil {
			return err
		}
		after, err := strconv.ParseInt(f[2], 36, 64)
		if err != nil {
			return err
		}
		s := Sighting{
			Message:       m,
			TransactionID: readTransaction(f[1]),
			SeenAt:        n.NotedAt.Add(time.Duration(after) * time.Millisecond),
		}
		if f[1] == "=" {
			s.TransactionID = n.Sightings[0].TransactionID
		}
		n.Sightings = append(n.Sightings, s)
	}
	return nil
}
