package server_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReasonsForAPerson compares the places that decide after which reasons PayPal must
// not come again. A place without a reason answers 503 until PayPal gives up, and the
// donation is lost, or lets a donation be processed twice.
func TestReasonsForAPerson(t *testing.T) {
	head, _, _ := strings.Cut(paper(t, "api/noted/v1/noted.proto"), "syntax =")
	reasons := map[string]string{} // :: squeezed → as the contract has it
	for _, reason := range regexp.MustCompile(`\b[A-Z]+_[A-Z_]+\b`).FindAllString(head, -1) {
		reasons[squeezed(reason)] = reason
	}
	in := func(text string) (found []string) {
		for _, word := range regexp.MustCompile(`\w+`).FindAllString(text, -1) {
			if reason := reasons[squeezed(strings.TrimPrefix(word, "Err"))]; reason != "" {
				found = append(found, reason)
			}
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	undecided := []string{"INVALID_REQUEST"} // and those that the manual of the contract leaves to a person
	for line := range strings.Lines(sectionOf(t, "api/README.md", "Errors")) {
		if cells := strings.Split(line, "|"); strings.Contains(line, "keep the message for a person") {
			undecided = append(undecided, in(cells[2])...) // cells[1] is the code
		}
	}
	slices.Sort(undecided)
	gone := []string{"HOLD_RELEASED", "NOTE_NOT_FOUND", "SETTLED_BY_ANOTHER"}
	for _, c := range []struct {
		paths, part string
		want        []string
	}{
		{"client/errors.go", `ErrUndecidable matches .*?Nothing was noted`, undecided},
		{"client/errors.go", `\n\tcase [^\n]*\n\t\te\.causes = append\(e\.causes, ErrUndecidable\)`, undecided},
		{"client/gateway/internal/process/outcome.go", `explanations = .*?\n}`, undecided},
		{"client/desk/sentence.go", `explanations = .*?\n}`, undecided},
		{"client/python/src/noted/errors.py", `class \w+\(Undecidable\)`, undecided},
		{"client/python/README.md", `\n\| [^\n]*\| 200, keep it for a person \|`, undecided},
		{"client/php/src/Exception/*.php", `class \w+ extends Undecidable\b`, undecided},
		{"client/php/README.md", `\n\| 200, and tell a person \| [^\n]*Noted would say the same`, undecided},
		{"client/ts/src/errors.ts", `class \w+ extends Undecidable\b`, undecided},
		{"client/ts/README.md", `\n\| [^\n]*\| 200, keep it for a person \|`, undecided},
		{"server/cmd/noted-replay/run.go", `func cannotDecide\(.*?\n}`, undecided},

		{"client/errors.go", `ErrNoteGone matches .*?After`, gone},
		{"client/errors.go", `\n\tcase [^\n]*\n\t\te\.causes = append\(e\.causes, ErrNoteGone\)`, gone},
		{"client/python/src/noted/errors.py", `class \w+\(NoteGone\)`, gone},
		{"client/python/README.md", `\n\| [^\n]*\| 200, tell a person \|`, gone},
		{"client/php/src/Exception/*.php", `class \w+ extends NoteGone\b`, gone},
		{"client/php/README.md", `\n\| 200, and tell a person \| .NotSettled. [^\n]*`, gone},
		{"client/ts/src/errors.ts", `class \w+ extends NoteGone\b`, gone},
		{"client/ts/README.md", `\n\| [^\n]*\| 200, tell a person \|`, gone},
	} {
		paths, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(c.paths)))
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, path := range paths {
			text := paper(t, strings.TrimPrefix(filepath.ToSlash(path), "../"))
			parts = append(parts, regexp.MustCompile(`(?s)`+c.part).FindAllString(text, -1)...)
		}
		if got := in(strings.Join(parts, "\n")); !slices.Equal(got, c.want) {
			t.Errorf("%s, at %q, has the reasons %v, want %v", c.paths, c.part, got, c.want)
		}
	}
}
