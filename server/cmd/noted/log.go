package main

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// handler writes the log: as text in a trial, as JSON otherwise.
func (s *settings) handler(w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: s.level, ReplaceAttr: printable}
	if s.dev {
		return slog.NewTextHandler(w, options)
	}
	return slog.NewJSONHandler(w, options)
}

// printable escapes characters that a terminal would obey or hide. Callers choose parts of
// the log, such as the reason for forgetting a note. The handlers escape ASCII and the ends
// of lines. The JSON handler leaves the rest, and some terminals take 0x9b for ESC and "[".
func printable(_ []string, a slog.Attr) slog.Attr {
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
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
