package server

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/limits"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// What is said to callers and operators of limits that stand in the code is what stands
// there.
func TestLimitsAreToldAsTheyAre(t *testing.T) {
	for _, told := range []struct{ file, text string }{
		{"../api/noted/v1/noted.proto", fmt.Sprintf("One of more than %d KiB is refused by the transport", contract.MaxMessage>>10)},
		{"../api/noted/v1/noted.proto", fmt.Sprintf("it also ends at %d KiB of notes", contract.MaxPage>>10)},
		{"../api/noted/v1/noted.proto", fmt.Sprintf("1 to %d; 0 means %d", contract.MaxPageSize, contract.DefaultPageSize)},
		{"../SECURITY.md", fmt.Sprintf("old ones live for up to %.0f minutes", limits.ConnectionAge.Minutes())},
		{"../SECURITY.md", map[int]string{10: "Whoever is denied may try ten times a second"}[limits.DenialsRate]},
		{"../SECURITY.md", map[bool]string{true: "ten are written in ten seconds"}[metrics.FloodLines == 10 && metrics.FloodSpan == 10*time.Second]},
		{"cmd/noted/flags.go", fmt.Sprintf("A caller whose calls are denied may try %d times a second", limits.DenialsRate)},
	} {
		text, err := os.ReadFile(told.file)
		if err != nil {
			t.Fatal(err)
		}
		if words := strings.Join(
			strings.Fields(strings.ReplaceAll(string(text), "//", "")),
			" ",
		); told.text == "" ||
			!strings.Contains(words, told.text) {
			t.Errorf("%s does not say %q, or the limit is another by now", told.file, told.text)
		}
	}
}
