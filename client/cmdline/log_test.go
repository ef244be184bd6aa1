package cmdline

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v3"
)

// TestLogger writes a line in each format. A duration is a number in milliseconds, and no
// part of the line controls a terminal.
func TestLogger(t *testing.T) {
	for format, wants := range map[string][]string{
		JSONLog: {`"msg":"done"`, `"took_ms":1.5`, `"wait_ms":60000`, `"reason":"\\u009b31m\\u202e"`, `"error":"\\u2028"`},
		TextLog: {`msg=done`, `took_ms=1.5`, `wait_ms=60000`, `\u009b31m\u202e`, `\u2028`},
	} {
		var out strings.Builder
		l := Log{Format: format, level: "info"}
		logger := l.Logger(&out)
		logger.Debug("not at this level")
		logger.Info("done", "took", 1500*time.Microsecond, "wait", time.Minute, "reason", "\u009b31m\u202e",
			"error", errors.New("\u2028"))
		for _, want := range wants {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %s in %s", format, want, out.String())
			}
		}
		if strings.Count(out.String(), "\n") != 1 || strings.ContainsFunc(out.String(), hidden) {
			t.Errorf("%s: want one line that a terminal only shows: %q", format, out.String())
		}
		if got := json.Valid([]byte(out.String())); got != (format == JSONLog) {
			t.Errorf("%s: that it is JSON is %v: %s", format, got, out.String())
		}
	}
}

// TestLogFlags checks that the flags choose level and format, and refuse other values.
func TestLogFlags(t *testing.T) {
	parse := func(env Environ, args ...string) (l Log, mistakes []error) {
		settings := Prefix("TEST_").Settings(env.Lookup, l.Flags("A sentence.")...)
		err := Run(t.Context(), "test", "", settings, append([]string{"test"}, args...), io.Discard,
			func(context.Context, *cli.Command) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return l, settings.Mistakes()
	}
	l, mistakes := parse(Environ{"TEST_LOG_FORMAT=text"}, "-log-level", "warn")
	if mistakes != nil || l.Format != TextLog {
		t.Errorf("%v, and the format is %q, want that of the environment", mistakes, l.Format)
	}
	logger := l.Logger(io.Discard)
	if logger.Enabled(t.Context(), slog.LevelInfo) || !logger.Enabled(t.Context(), slog.LevelWarn) {
		t.Error("-log-level warn is another level")
	}
	for _, wrong := range []string{"-log-format=xml", "-log-level=loud"} {
		if _, mistakes := parse(nil, wrong); len(mistakes) != 1 || !strings.Contains(mistakes[0].Error(), "must be one of") {
			t.Errorf("%s: %v, want the choices", wrong, mistakes)
		}
	}
}
