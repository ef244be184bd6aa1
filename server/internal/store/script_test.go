package store

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestHeaders compares what each script's header promises with what its body does.
func TestHeaders(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	scripts := 0
	for _, f := range files {
		name := f.Name()
		if !strings.HasSuffix(name, ".lua") || name == "notes.lua" {
			continue
		}
		scripts++
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			header, body, ok := strings.Cut(string(source), "\nlocal ")
			if !ok || !strings.HasPrefix(header, "-- "+name+": ") {
				t.Fatalf("the header does not begin with %q", "-- "+name+": ")
			}
			body = "local " + body

			// Arguments: named in the header as they are bound in the body, and none left
			// over.
			for _, m := range regexp.MustCompile(`(?m)^-- ARGV\[(\d+)\]\s+(\w+)`).FindAllStringSubmatch(header, -1) {
				if !regexp.MustCompile(`\b` + m[2] + `\b[^\n]*ARGV\[` + m[1] + `\]`).MatchString(body) {
					t.Errorf("the header calls ARGV[%s] %s, the body does not", m[1], m[2])
				}
			}
			if want, got := found(header, `ARGV\[\d+\]`), found(body, `ARGV\[\d+\]`); !slices.Equal(want, got) {
				t.Errorf("the header has %v, the body %v", want, got)
			}
			if want, got := found(header, `KEYS\[\d+\]`), found(body, `KEYS\[\d+\]`); !slices.Equal(want, got) {
				t.Errorf("the header has %v, the body %v", want, got)
			}

			// Replies: every word of the body and of the functions that it calls is in
			// the header, and the other way round.
			words := found(body, `(?:\{|verdict(?:, \w+)? =|verdict, changed, recorded =) '([A-Z_]{4,})'`)
			for function, replies := range map[string][]string{
				"open(":         {"PAST_DEADLINE", "VERSION"},
				"holder(":       {"HOLD_LOST", "NOT_FOUND", "SETTLED_BY_ANOTHER"},
				"out_of_range(": {"RECEIVED_TOO_EARLY", "TOO_EARLY", "TOO_LATE"},
			} {
				if strings.Contains(body, function) {
					words = append(words, replies...)
				}
			}
			_, replies, _ := strings.Cut(header, "-- Replies")
			replies, writes, ok := strings.Cut(replies, "-- Writes ")
			if !ok {
				t.Error("the header does not say what is written")
			}
			promised := found(replies, `\b([A-Z]+(?:_[A-Z]+)*) (?:evidence|line|now|version)\b`)
			slices.Sort(words)
			words = slices.Compact(words)
			if !slices.Equal(words, promised) {
				t.Errorf("the header promises the replies %v, the body gives %v", promised, words)
			}
			if strings.HasPrefix(writes, "nothing.") == regexp.MustCompile(`\b(re)?save\(|'SET'`).MatchString(body) {
				t.Errorf("the header says that it writes %s", writes)
			}
		})
	}
	if scripts != 8 {
		t.Errorf("found %d scripts, want 8", scripts)
	}
}

// found are the distinct matches in s, sorted: of the first group, or of the whole.
func found(s, pattern string) []string {
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(s, -1) {
		all = append(all, m[len(m)-1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestConstants compares what stands in Lua and in Go.
func TestConstants(t *testing.T) {
	want := fmt.Sprintf("local DEFAULT_RETENTION = %d\n", defaultRetention.Milliseconds())
	if !strings.Contains(library, want) {
		t.Errorf("notes.lua does not have %q", want)
	}
	for _, forbidden := range []string{"%s'", "cjson", "tostring("} {
		for name, source := range map[string]string{"notes": library, "note": noteBody, "exists": existsBody, "settle": settleBody, "release": releaseBody, "extend": extendBody, "list": listBody, "forget": forgetBody, "beat": beatBody} {
			for line := range strings.Lines(source) {
				if code, _, _ := strings.Cut(line, "--"); strings.Contains(code, forbidden) {
					t.Errorf("%s.lua uses %s: %s", name, forbidden, line)
				}
			}
		}
	}
}
