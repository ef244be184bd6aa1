package paypal_test

import (
	"os"
	"strings"
	"testing"
)

// TestManualsTellTheSameLimits compares the section on known limits in the manuals of the
// gateway and the libraries: a reader has one of them, and must find all limits there.
func TestManualsTellTheSameLimits(t *testing.T) {
	section := func(path string) string {
		manual, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, behind, found := strings.Cut(string(manual), "\n## Known limits\n")
		if !found {
			t.Fatalf("%s has no section of known limits", path)
		}
		text, _, _ := strings.Cut(behind, "\n## ")
		return strings.TrimSpace(text)
	}
	want := section("../gateway/README.md")
	for _, path := range []string{"../python/README.md", "../php/README.md"} {
		if got := section(path); got != want {
			t.Errorf("%s tells of other limits than ../gateway/README.md: got\n%s\nwant\n%s", path, got, want)
		}
	}
}
