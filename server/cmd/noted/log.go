package main

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// handler writes the log: for a person in a trial, for machines else.
func (s *settings) handler(w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: s.level, ReplaceAttr: printable}
	if s.dev {
		return slog.NewTextHandler(w, options)
	}
	return slog.NewJSONHandler(w, options)
}

// printable writes out what a terminal would obey or hide: callers choose some of what is
// logged, such as the reason of a forgetting. The handlers see to the ASCII of it, and to
// the ends of lines; the JSON one leaves the rest as it is, among it 0x9b, with which
// some terminals begin a command as with ESC and "[".
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
