package cmdline

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// The formats of a log.
const (
	TextLog = "text" // for a person
	JSONLog = "json" // for machines
)

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{TextLog, JSONLog}
)

// Log has the log settings, which are the same in all programs.
type Log struct {
	Format string
	level  string
}

// Flags are -log-level and -log-format. about is a sentence about the levels of the
// program's log lines.
func (l *Log) Flags(about string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name:        "log-level",
			Destination: &l.level,
			Value:       "info",
			Validator:   OneOf(logLevels...),
			Usage: "`LEVEL`The lowest level that goes to standard error: " + strings.Join(logLevels, ", ") + ". " +
				about,
		},
		&cli.StringFlag{
			Name:        "log-format",
			Destination: &l.Format,
			Value:       JSONLog,
			Validator:   OneOf(logFormats...),
			Usage: "`FORMAT`The format of each line of the log: " + JSONLog + " for machines, " + TextLog +
				" for people.",
		},
	}
}

// Logger is the program's log.
func (l *Log) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.level)) // the flag's validator has checked the name
	return NewLogger(w, l.Format, level)
}

// NewLogger is a logger that writes a line at a time. A duration is a number, with its
// unit at the end of its name: took becomes took_ms. No part of a line can control a
// terminal.
func NewLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: replaceAttr}
	if format == TextLog {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// replaceAttr escapes characters that a terminal would obey or hide. Callers choose parts
// of a log, such as the reason for a forgotten note. The handlers escape ASCII and the
// ends of lines. The JSON handler leaves the rest, and some terminals take 0x9b for ESC
// and "[".
func replaceAttr(_ []string, a slog.Attr) slog.Attr {
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	case time.Duration:
		return slog.Float64(a.Key+"_ms", float64(v.Microseconds())/1000)
	default:
		return a
	}
	if strings.IndexFunc(text, hidden) < 0 {
		return a
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	a.Value = slog.StringValue(b.String())
	return a
}

func hidden(r rune) bool { return r >= 0x7f && !strconv.IsPrint(r) }
