package cmdline

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "500ms": 500 * time.Millisecond, "2h": 2 * time.Hour, "1h30m": 90 * time.Minute,
		"24h": 24 * time.Hour, "45d": 45 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0,
	} {
		got, err := ParseSpan(s)
		if err != nil || got != want {
			t.Errorf("ParseSpan(%q) = %v, %v; want %v", s, got, err, want)
		}
		if again, err := ParseSpan(FormatSpan(got)); err != nil || again != got {
			t.Errorf("ParseSpan(FormatSpan(%v)) = ParseSpan(%q) = %v, %v", got, FormatSpan(got), again, err)
		}
	}
	for _, s := range []string{
		"", "soon", "d", "-2h", "-1d", "1d-30h", "2", "99999d", "45", "1.5d", "1dd", "1d-1h", "45 d", "1w",
	} {
		if got, err := ParseSpan(s); err == nil {
			t.Errorf("ParseSpan(%q) = %v; want an error", s, got)
		}
	}
	if Lasting(time.Millisecond)(0) == nil {
		t.Error("Lasting takes no time at all as a millisecond; want an error")
	}
}
