package paypal

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// PayPal writes a time in four ways. IPNs have the two Pacific forms. The second form,
// and the dot after a month, come from a simulator. The JavaScript form comes from the
// other simulator. Webhooks have ISO 8601. Each form is accepted on both channels. A day
// or an hour may have one digit in all forms except ISO 8601, and a run of spaces counts
// as one space.
var spellings = []*regexp.Regexp{
	// 09:05:01 Mar 08, 2021 PST
	regexp.MustCompile(`^(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d) +` +
		`(?P<month>[A-Za-z]{3,9})\.? +(?P<day>\d{1,2}),? +(?P<year>\d{4}) +(?P<zone>PST|PDT)$`),
	// 09:05:01 8 Mar 2021 PST
	regexp.MustCompile(`^(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d) +` +
		`(?P<day>\d{1,2}) +(?P<month>[A-Za-z]{3,9})\.?,? +(?P<year>\d{4}) +(?P<zone>PST|PDT)$`),
	// Mon Mar 08 2021 09:05:01 GMT-0800 (PST); the name in brackets is not read
	regexp.MustCompile(`^[A-Za-z]{3,9} +(?P<month>[A-Za-z]{3,9})\.? +(?P<day>\d{1,2}),? +(?P<year>\d{4}) +` +
		`(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d) +GMT(?P<zone>[+-]\d\d:?\d\d)(?: +\([^()]*\))?$`),
	// 2021-03-08T17:05:01.250Z
	regexp.MustCompile(`^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)` +
		`T(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d+))?(?P<zone>Z|[+-]\d\d:?\d\d)$`),
}

// parseTime reads a time in any of the forms. The label PST or PDT means the offset that
// it names, not Pacific time on that date: in the hour that autumn repeats, only the
// label tells the two times apart.
//
// Years run from 1970 to 9998. So a protobuf Timestamp holds the time with any offset,
// and year 1 is not mistaken for Go's zero time. There are no leap seconds: a second 60
// is unreadable.
func parseTime(s string) (time.Time, bool) {
	for _, spelling := range spellings {
		found := spelling.FindStringSubmatch(s)
		if found == nil {
			continue
		}
		part := func(name string) string {
			if i := spelling.SubexpIndex(name); i >= 0 {
				return found[i]
			}
			return ""
		}
		number := func(name string) int {
			n, _ := strconv.Atoi(part(name)) // digits only, at most four
			return n
		}
		month, offset := monthOf(part("month")), offsetOf(part("zone"))
		year, day := number("year"), number("day")
		hour, minute, second := number("hour"), number("minute"), number("second")
		if month == 0 || offset == noOffset || year < 1970 || year > 9998 || hour > 23 || minute > 59 || second > 59 {
			return time.Time{}, false
		}
		fraction := (part("fraction") + "000000000")[:9]
		nanos, _ := strconv.Atoi(fraction)
		t := time.Date(year, month, day, hour, minute, second, nanos, time.FixedZone("", offset))
		if t.Day() != day { // time.Date turns February 30 into March 2
			return time.Time{}, false
		}
		return t.UTC(), true
	}
	return time.Time{}, false
}

// monthOf reads 01 to 12, or three or more letters that begin an English month
// (Sep, Sept, September). It returns 0 for anything else.
func monthOf(s string) time.Month {
	if n, err := strconv.Atoi(s); err == nil {
		if n > 12 {
			return 0
		}
		return time.Month(n)
	}
	for m := time.January; m <= time.December; m++ {
		if strings.HasPrefix(lower(m.String()), lower(s)) {
			return m
		}
	}
	return 0
}

// noOffset is the result of offsetOf for an offset of a day or more.
const noOffset = 1 << 30

// offsetOf returns the seconds east of UTC of PST, PDT, Z, -07:00 or -0700.
func offsetOf(zone string) int {
	switch zone {
	case "PST":
		return -8 * 3600
	case "PDT":
		return -7 * 3600
	case "Z":
		return 0
	}
	hours, _ := strconv.Atoi(zone[1:3])
	minutes, _ := strconv.Atoi(zone[len(zone)-2:])
	if hours > 23 || minutes > 59 {
		return noOffset
	}
	seconds := hours*3600 + minutes*60
	if zone[0] == '-' {
		return -seconds
	}
	return seconds
}
