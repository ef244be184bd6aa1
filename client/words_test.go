package client_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/client"
)

// A place is a list of files, and a pattern of a declaration in them. WORD in the pattern is
// the declared word. For a list of arguments the pattern's group is the list. The pattern of
// calls finds them all, and its group is their names.
type place struct{ path, form string }

// languages are the columns of the table, in its order.
var languages = []struct {
	name string
	kind map[string]place
}{
	{"Go", map[string]place{
		"call":     {"calls.go notes.go once.go client.go", `func \(c \*Client\) WORD\(`},
		"function": {"calls.go paypal/ipn.go paypal/webhook.go", `func WORD\(`},
		"option":   {"client.go", `\tWORD time\.Duration\n\n`},
		"enum":     {"types.go", `\tWORD += notedv1\.[A-Za-z]+_[A-Z]+_UNSPECIFIED`},
		"error":    {"errors.go", `\bWORD += errors\.New`},
		"field":    {"../gen/go/noted/v1/noted.pb.go", `\tWORD +Verdict `},
	}},
	{"Python", map[string]place{
		"call":      {"python/src/noted/client.py", `\n    def WORD\(`},
		"calls":     {"python/src/noted/client.py", `(?m)^    def ([a-z]\w*)\(`},
		"arguments": {"python/src/noted/client.py", `def forget\(([^*]*), \*`},
		"function": {
			"python/src/noted/core/calls.py python/src/noted/paypal/ipn.py python/src/noted/paypal/webhook.py",
			`\bdef WORD\(`,
		},
		"class":  {"python/src/noted/core/turn.py", `class WORD\b`},
		"type":   {"python/src/noted/interface.py", `class WORD\(Protocol\)`},
		"option": {"python/src/noted/client.py", `\n        WORD: Seconds = [1-9]`},
		"enum":   {"python/src/noted/types.py", `class TYPE\(_Enum\):(?:\n    .*|\n)*?\n    WORD = 0`},
		"error":  {"python/src/noted/errors.py", `class WORD\(`},
		"field":  {"python/src/noted/types.py", `\n    WORD: Verdict = Verdict\.UNSPECIFIED`},
	}},
	{"PHP", map[string]place{
		"call":      {"php/src/ClientInterface.php", `public function WORD\(`},
		"calls":     {"php/src/ClientInterface.php", `public function (\w+)\(`},
		"arguments": {"php/src/ClientInterface.php", `function forget\(([^)]*), string \$ledger = ''\)`},
		"function":  {"php/src/Client.php php/src/PayPal.php", `public static function WORD\(`},
		"class":     {"php/src/Hold.php", `class WORD\b`},
		"type":      {"php/src/ClientInterface.php", `interface WORD\b`},
		"option":    {"php/src/Client.php", `private readonly float \$WORD = self::`},
		"callback":  {"php/src/Client.php", `\?callable \$WORD = null,`},
		"enum":      {"php/src/TYPE.php", `case WORD = '[A-Z]+_UNSPECIFIED'`},
		"error":     {"php/src/Exception/WORD.php", `class WORD\b`},
		"field":     {"php/src/NoteResponse.php", `public readonly \?Verdict \$WORD\b`},
	}},
	{"Node", map[string]place{
		"call":      {"ts/src/client.ts", `\n  (?:async )?\*?WORD\(`},
		"calls":     {"ts/src/client.ts", `(?m)^  (?:async )?\*?([a-z]\w*)[(<]`},
		"arguments": {"ts/src/client.ts", `async forget\(([^{]*),\s*options`},
		"function": {
			"ts/src/calls.ts ts/src/paypal/ipn.ts ts/src/paypal/webhook.ts",
			`export (?:const|function) WORD\b`,
		},
		"class":    {"ts/src/hold.ts", `export class WORD\b`},
		"option":   {"ts/src/options.ts", `readonly WORD\?: number`},
		"callback": {"ts/src/options.ts", `readonly WORD\?: \(\) => `},
		"enum":     {"ts/src/types.ts", `export const TYPE = \{\s*WORD:`},
		"error":    {"ts/src/errors.ts", `export class WORD extends`},
		"field":    {"ts/src/types.ts", `readonly WORD\?: Verdict`},
	}},
}

// kindOf returns the kind of a row, by the beginning of its first cell.
func kindOf(row string) string {
	for _, each := range [][2]string{
		{"its arguments", "arguments"},
		{"an id for", "function"},
		{"an IPN's", "function"},
		{"a webhook's", "function"},
		{"helper", "class"},
		{"type ", "type"},
		{"time ", "option"},
		{"length ", "option"},
		{"further headers", "callback"},
		{"unspecified", "enum"},
		{"another try", "error"},
		{"no try", "error"},
		{"the note is", "error"},
		{"the reason", "error"},
		{"processed,", "error"},
		{"the true verdict", "field"},
		{"an answer about", "error"},
		{"this package's command", ""},
	} {
		if strings.HasPrefix(row, each[0]) {
			return each[1]
		}
	}
	return "call"
}

// The table of words in README.md agrees with the libraries: each word is declared, and
// each call of each client is in the table.
func TestTableOfWords(t *testing.T) {
	text := readFile(t, "README.md")
	_, table, found := strings.Cut(text, "## The same words\n\n")
	if !found {
		t.Fatal("README.md has no table of the same words")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	lines := strings.Split(table, "\n")
	var names []string
	for _, language := range languages {
		names = append(names, language.name)
	}
	if columns := strings.Split(strings.Trim(lines[0], "| "), " | "); !slices.Equal(columns, names) {
		t.Fatalf("the table has the columns %v, and languages in words_test.go has %v", columns, names)
	}
	calls := make([][]string, len(languages))
	checked := 0
	for _, line := range lines[2:] {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		kind := kindOf(cells[0])
		if kind == "" {
			continue
		}
		for i, language := range languages {
			if i+1 >= len(cells) {
				continue
			}
			cell := strings.TrimSpace(cells[i+1])
			word, isWord := strings.CutPrefix(strings.TrimSuffix(cell, "`"), "`")
			if !isWord {
				continue
			}
			checked++
			if kind == "call" {
				calls[i] = append(calls[i], word)
			}
			if problem := declared(t, language.kind[kind], kind, word); problem != "" {
				t.Errorf("row %q, %s: %s %s", strings.TrimSpace(cells[0]), language.name, word, problem)
			}
		}
	}
	if checked < 80 {
		t.Errorf("checked %d words; want at least 80", checked)
	}
	for i, language := range languages {
		var all []string
		if language.name == "Go" {
			for method := range reflect.TypeFor[*client.Client]().Methods() {
				all = append(all, method.Name)
			}
		} else {
			at, found := language.kind["calls"]
			if !found {
				t.Fatalf("%s has no pattern of its calls in words_test.go", language.name)
			}
			for _, m := range regexp.MustCompile(at.form).FindAllStringSubmatch(readFile(t, at.path), -1) {
				all = append(all, m[1])
			}
		}
		if len(all) < 8 {
			t.Errorf("%s has the calls %v; want at least 8, so correct the pattern of its calls", language.name, all)
		}
		for _, call := range all {
			if call != "constructor" && !slices.Contains(calls[i], call) {
				t.Errorf("%s has the call %s, which is missing in the table", language.name, call)
			}
		}
	}
}

// Each library, and notectl, has each field of the contract's Note.
func TestNotesAreWhole(t *testing.T) {
	for _, at := range []struct{ path, begin, end, form string }{
		{"python/src/noted/types.py", "\nclass Note:\n", "\n\n\n", "\n    snake_case: "},
		{"python/src/noted/core/calls.py", "\ndef _from_note(", "\n\n\n", "\n        snake_case="},
		{"php/src/Note.php", "__construct(", ") {\n", " $camelCase"},
		{"php/src/Wire.php", " function note(", "\n    }\n", "$note['camelCase']"},
		{"ts/src/types.ts", "\nexport interface Note {", "\n}\n", "\n  readonly camelCase"},
		{"ts/src/calls.ts", "\nexport function fromNote(", "\n}\n", "\n    camelCase: "},
		{"cmd/notectl/print.go", "\nfunc noteFacts(", "\n}\n", "note.GetCamelCase()"},
	} {
		_, text, found := strings.Cut(readFile(t, at.path), at.begin)
		text, _, ended := strings.Cut(text, at.end)
		if !found || !ended {
			t.Fatalf("%s has no %q; change this test with it", at.path, at.begin)
		}
		fields := (*client.Note)(nil).ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			snake, camel := string(fields.Get(i).Name()), fields.Get(i).JSONName()
			capital := strings.ToUpper(camel[:1]) + camel[1:]
			form := strings.NewReplacer("snake_case", snake, "camelCase", camel, "CamelCase", capital).Replace(at.form)
			if !strings.Contains(text, form) {
				t.Errorf("%s does not have the field %s of Note as %q", at.path, snake, form)
			}
		}
	}
}

// declared returns the problem with a word of the table, or nothing.
func declared(t *testing.T, at place, kind, word string) string {
	t.Helper()
	typed, last, qualified := strings.Cut(strings.ReplaceAll(word, "::", "."), ".")
	if !qualified {
		typed, last = "", word
	}
	fill := strings.NewReplacer("WORD", last, "TYPE", typed)
	source := ""
	for path := range strings.FieldsSeq(fill.Replace(at.path)) {
		source += readFile(t, path)
	}
	m := regexp.MustCompile(fill.Replace(at.form)).FindStringSubmatch(source)
	if m == nil {
		return "is not declared as " + fill.Replace(at.form) + " in " + fill.Replace(at.path)
	}
	if kind != "arguments" {
		return ""
	}
	var names []string
	for argument := range strings.SplitSeq(m[1], ",") {
		name := regexp.MustCompile(`\$?(\w+)(?::.*)?$`).FindStringSubmatch(strings.TrimSpace(argument))
		if name != nil && name[1] != "self" {
			names = append(names, name[1])
		}
	}
	if got := strings.Join(names, ", "); got != word {
		return "are not the arguments, which are " + got
	}
	return ""
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
