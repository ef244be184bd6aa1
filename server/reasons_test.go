package server_test

import (
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
	over := []string{"HOLD_RELEASED", "NOTE_NOT_FOUND", "SETTLED_BY_ANOTHER"}
	for _, c := range []struct {
		path, part string
		want       []string
	}{
		{"client/once.go", `Undecided mostly comes .*? every time`, undecided},
		{"client/closing/closing.go", `func Undecidable\(.*?\n}`, undecided},
		{"client/gateway/internal/process/outcome.go", `explanations = .*?\n}`, undecided},
		{"client/gateway/internal/process/outcome.go", `func hopeless\(.*?\n}`, undecided},
		{"client/desk/sentence.go", `explanations = .*?\n}`, undecided},
		{"client/python/src/noted/core/receiver/work.py", `\nHOPELESS = .*?\)`, undecided},
		{"client/python/src/noted/client.py", `\n\n        (?:\w+, )+[^.:]*? every time`, undecided},
		{"client/python/README.md", `\n\| [^\n]*\| 200, keep it for a person \|`, undecided},
		{"client/php/src/Receiver.php", `tellNotSettled\(\$id, \$e\),.*?leaveToPerson`, undecided},
		{"client/php/src/Client.php", `\* (?:\w+, )+[^.:]*? every time`, undecided},
		{"client/php/README.md", `\n\| 200, and tell a person \| [^\n]*Noted would say the same`, undecided},
		{"client/php/README.md", `catch \(Occurred[^\n]*`, undecided},
		{"client/ts/src/receiver/work.ts", `const hopeless = .*?];`, undecided},
		{"client/ts/src/client.ts", `\* (?:\w+, )+[^.:]*? every time`, undecided},
		{"client/ts/README.md", `\n\| [^\n]*\| 200, keep it for a person \|`, undecided},
		{"client/ts/README.md", `isHopeless = [^\n]*`, undecided},
		{"server/cmd/noted-replay/run.go", `func cannotDecide\(.*?\n}`, undecided},

		{"client/gateway/internal/process/outcome.go", `func done\(.*?\n}`, over},
		{"client/gateway/internal/process/donate.go", `func settledElsewhere\(.*?\n}`, over},
		{"client/python/src/noted/core/receiver/work.py", `\nOVER = .*?\)`, over},
		{"client/python/README.md", `\n\| [^\n]*\| 200, tell a person \|`, over},
		{"client/php/src/Receiver.php", `function tellNotSettled\(.*?again`, over},
		{"client/php/README.md", `\n\| 200, and tell a person \| .NotSettled. [^\n]*`, over},
		{"client/php/README.md", `in_array\([^\n]*`, over},
		{"client/ts/src/receiver/work.ts", `const over = .*?];`, over},
		{"client/ts/README.md", `\n\| [^\n]*\| 200, tell a person \|`, over},
		{"client/ts/README.md", `isOver = [^\n]*`, over},
	} {
		part := regexp.MustCompile(`(?s)` + c.part).FindString(paper(t, c.path))
		if got := in(part); !slices.Equal(got, c.want) {
			t.Errorf("%s, at %q, has the reasons %v, want %v", c.path, c.part, got, c.want)
		}
	}
}
