package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// The log warns of windows in which two payments of a frequent series can be taken for
// one, in any ledger. It does not warn of the default windows.
func TestAdviceOnRules(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name   string
		config Config
		want   []string // a line each
	}{
		{"the defaults", Config{Ledgers: map[string]LedgerRules{"a": {Retention: 60 * day}}}, nil},
		{"windows that are just short enough", Config{Rules: Rules{MatchWindow: day - 1, ArrivalWindow: 7*day - 1}}, nil},
		{"a match window of days", Config{Rules: Rules{MatchWindow: 2 * day}}, []string{"msg=\"the match window is a " +
			"day or longer, so of a daily series", "match_window_hours=48"}},
		{"an arrival window of weeks", Config{Rules: Rules{ArrivalWindow: 14 * day}}, []string{"msg=\"the arrival window is a week or longer, so of a weekly series", "arrival_window_hours=336"}},
		{"of one ledger", Config{Ledgers: map[string]LedgerRules{"a": {MatchWindow: day}, "b": {}}}, []string{"msg=\"the match window", "ledger=a match_window_hours=24"}},
	} {
		var log bytes.Buffer
		adviseOnRules(c.config.withDefaults(), slog.New(slog.NewTextHandler(&log, nil)))
		lines := min(1, len(c.want))
		for _, want := range c.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: the log lacks %q:\n%s", c.name, want, log.String())
			}
		}
		if got := strings.Count(log.String(), "level=WARN"); got != lines {
			t.Errorf("%s: the log has %d lines, want %d:\n%s", c.name, got, lines, log.String())
		}
	}
}
