package paypal_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/client/paypal"
)

// TestManualNamesTheWebhooks compares the events that the gateway's manual has a person
// choose at PayPal with the types that tell of donations: PayPal sends no other event.
func TestManualNamesTheWebhooks(t *testing.T) {
	manual, err := os.ReadFile("../gateway/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(manual), "/paypal/webhook`, with the events ")
	list, _, found := strings.Cut(list, " |\n")
	if !found {
		t.Fatal("../gateway/README.md has no list of the events to choose at PayPal")
	}
	var chosen []string // types, and beginnings of types
	for name := range strings.SplitSeq(strings.ReplaceAll(list, " and ", ", "), ", ") {
		chosen = append(chosen, strings.TrimSuffix(strings.ReplaceAll(strings.ToUpper(name), " ", "."), "*"))
	}
	for _, path := range casePaths(t, "webhook") {
		got, _ := paypal.IdentifyWebhook(readCase(t, path).body)
		kind := strings.ToUpper(got.Type)
		isChosen := slices.ContainsFunc(chosen, func(begin string) bool { return strings.HasPrefix(kind, begin) })
		if len(got.Pairs) > 0 && !isChosen {
			t.Errorf("%s: ../gateway/README.md has no %s chosen at PayPal, only %s", path, kind, list)
		}
	}
}

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
	libraries, err := filepath.Glob("../*/test.sh")
	if err != nil || len(libraries) < 3 {
		t.Fatalf("%d libraries, %v; want 3 or more", len(libraries), err)
	}
	for _, library := range libraries {
		path := filepath.Join(filepath.Dir(library), "README.md")
		if got := section(path); got != want {
			t.Errorf("%s tells of other limits than ../gateway/README.md: got\n%s\nwant\n%s", path, got, want)
		}
	}
}
