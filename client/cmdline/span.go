package cmdline

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

const day = 24 * time.Hour

// SpanFlag is a time that people think of in days: 30s, 2h or 45d.
type SpanFlag = cli.FlagBase[time.Duration, cli.NoConfig, spanValue]

type spanValue time.Duration

// Create and ToString belong to cli.ValueCreator, the other methods to cli.Value.
func (spanValue) Create(value time.Duration, to *time.Duration, _ cli.NoConfig) cli.Value {
	*to = value
	return (*spanValue)(to)
}

func (spanValue) ToString(d time.Duration) string { return FormatSpan(d) }

func (v *spanValue) Set(text string) error {
	d, err := ParseSpan(text)
	if err == nil {
		*v = spanValue(d)
	}
	return err
}

func (v *spanValue) Get() any       { return time.Duration(*v) }
func (v *spanValue) String() string { return FormatSpan(time.Duration(*v)) }

// ParseSpan reads the format of time.ParseDuration, with days before it. It refuses a
// negative time.
func ParseSpan(text string) (time.Duration, error) {
	days, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		days, rest = "0", text
	}
	if hasDays && rest == "" {
		rest = "0s"
	}
	n, err := strconv.ParseUint(days, 10, 16)
	part, wrong := time.ParseDuration(rest)
	if err != nil || wrong != nil || part < 0 {
		return 0, fmt.Errorf("%q is not a time: write 30s, 2h or 45d", text)
	}
	return time.Duration(n)*day + part, nil
}

// FormatSpan writes a time in the form that ParseSpan reads.
func FormatSpan(d time.Duration) string {
	if d > day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
