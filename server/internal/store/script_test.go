package store

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// libraryFiles are the files of the library.
var libraryFiles = []string{"notes.lua", "series.lua", "rules.lua"}

// TestHeaders compares each script's header with its body.
func TestHeaders(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	readers := goSources(t, ".", "wire", "epoch")
	for _, f := range files {
		name := f.Name()
		if !strings.HasSuffix(name, ".lua") || slices.Contains(libraryFiles, name) {
			continue
		}
		names = append(names, strings.TrimSuffix(name, ".lua"))
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

			// Arguments: the header and the body have the same, under the same names.
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

			// Replies: the header has exactly the words of the body and of the functions
			// that it calls.
			words := found(body, `(?:\{|verdict(?:, \w+)? =|verdict, changed, recorded =) '([A-Z_]{4,})'`)
			for function, replies := range map[string][]string{
				"look(":         {"PAST_DEADLINE"},
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
			for _, word := range promised {
				if word != "BEAT" && !strings.Contains(readers, `"`+word+`"`) { // the beat that is left needs no name
					t.Errorf("no Go code reads the reply %s", word)
				}
			}
			if bodies[strings.TrimSuffix(name, ".lua")] != string(source) {
				t.Errorf("the tests' bodies do not have %s", name)
			}
			if strings.HasPrefix(writes, "nothing.") == regexp.MustCompile(`\b(re)?save\(|'SET'`).MatchString(body) {
				t.Errorf("the header says that it writes %s, the body does not", writes)
			}
		})
	}
	want := append(Scripts(), exportScript.Name, importScript.Name)
	if slices.Sort(want); !slices.Equal(names, want) {
		t.Errorf("found the scripts %v, want %v, which scripts.go has", names, want)
	}
}

// goSources are the texts of the Go files in folders, without tests.
func goSources(t *testing.T, folders ...string) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range folders {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no Go files: %v", folder, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
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

// bodies are the scripts without the library, and the library's files.
var bodies = map[string]string{
	"notes": libraryNotes, "series": librarySeries, "rules": libraryRules,
	"note": noteBody, "exists": existsBody, "settle": settleBody, "release": releaseBody,
	"extend": extendBody, "list": listBody, "forget": forgetBody, "beat": beatBody,
	"export": exportBody, "import": importBody,
}

// TestExtras compares the letters in the header of notes.lua with those that are read and
// written.
func TestExtras(t *testing.T) {
	listed, read := found(library, `(?m)^--   ([A-Z])  \w`), found(library, `letter == '([A-Z])'`)
	written := found(library, `extras \.\. '([A-Z])'`)
	if len(listed) == 0 || !slices.Equal(listed, read) || !slices.Equal(listed, written) {
		t.Errorf("the header of notes.lua lists the extras %v; it reads %v and writes %v", listed, read, written)
	}
}

// TestConstants compares the constants that Lua and Go share.
func TestConstants(t *testing.T) {
	want := fmt.Sprintf("local DEFAULT_RETENTION = %d\n", defaultRetention.Milliseconds())
	if !strings.Contains(libraryNotes, want) {
		t.Errorf("notes.lua does not have %q", want)
	}
	if got := found(library, `\[(Pp\w+)\]`); !slices.Equal(got, []string{events}) {
		t.Errorf("the patterns of the library take the events %s, want %s in each", got, events)
	}
	for _, forbidden := range []string{"%s'", "cjson", "tostring("} {
		for name, source := range bodies {
			for line := range strings.Lines(source) {
				if code, _, _ := strings.Cut(line, "--"); strings.Contains(code, forbidden) {
					t.Errorf("%s.lua uses %s: %s", name, forbidden, line)
				}
			}
		}
	}
}

// TestAssemble puts a small library into a body.
func TestAssemble(t *testing.T) {
	const library = `-- The library.

-- A is a constant.
local A = 1

-- b uses A. It does not use c: c stands behind it.
local function b()
  return A + string.c(1) -- c
end

local function c(x)
  return x
end

local function d()
  return b()
end
`
	const body = `-- The body.
local x = 1

-- The branches need b, and d only in one.
if x then
  x = 2
  -- Here.
  if x > c(3) then
    return d()
  end
elseif x == A then
  return 4
end
return {
  b(),
}
`
	const want = `-- The body.
local x = 1
-- The library.

-- A is a constant.
local A = 1

-- The branches need b, and d only in one.
if x then
  x = 2

local function c(x)
  return x
end
  -- Here.
  if x > c(3) then

-- b uses A. It does not use c: c stands behind it.
local function b()
  return A + string.c(1) -- c
end

local function d()
  return b()
end
    return d()
  end
elseif x == A then
  return 4
end

-- b uses A. It does not use c: c stands behind it.
local function b()
  return A + string.c(1) -- c
end
return {
  b(),
}
`
	if diff := cmp.Diff(want, Assemble(library, body)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLibraryIsUsed looks for parts of the library that no script has.
func TestLibraryIsUsed(t *testing.T) {
	for _, p := range statements(library, "") {
		if !slices.ContainsFunc(scripts, func(s *wire.Script) bool { return strings.Contains(s.Source, joined(p)) }) {
			t.Errorf("no script uses this of the library:\n%s", p)
		}
	}
}
