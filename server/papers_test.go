package server_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// paper reads a file of the repository.
func paper(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sectionOf is the text under a heading of a paper.
func sectionOf(t *testing.T, path, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(paper(t, path), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", path, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// filesOf are the files of the repository below a folder whose name matches. What is
// installed, built or generated is left out.
func filesOf(t *testing.T, folder string, name *regexp.Regexp) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join("..", folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		installed := strings.HasPrefix(base, ".") || base == "node_modules" || base == "build" || base == "vendor"
		if entry.IsDir() && base != ".." && (installed || base == "gen") {
			return fs.SkipDir
		}
		if !entry.IsDir() && name.MatchString(base) {
			relative, err := filepath.Rel("..", path)
			paths = append(paths, relative)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestReadmeIsShort keeps the first page short enough to read in five minutes.
func TestReadmeIsShort(t *testing.T) {
	if words := len(strings.Fields(paper(t, "README.md"))); words > 1200 {
		t.Errorf("README.md has %d words, want at most 1200", words)
	}
}

var (
	codeBlock  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notOfSlugs = regexp.MustCompile(`[^\pL\pN _-]`)
	ownPage    = regexp.MustCompile(`^https://github\.com/donation-dedupe/noted/(?:blob|tree)/main/`)
)

// slugs are the anchors that a Markdown page has for its headings.
func slugs(text string) (anchors []string) {
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		slug := notOfSlugs.ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(slug, " ", "-"))
	}
	return anchors
}

// TestLinks follows the links between the papers, their anchors included.
func TestLinks(t *testing.T) {
	followed := 0
	for _, page := range filesOf(t, ".", regexp.MustCompile(`\.md$`)) {
		text := codeBlock.ReplaceAllString(paper(t, page), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, folder := m[1], filepath.Dir(page)
			if ownPage.MatchString(target) {
				target, folder = ownPage.ReplaceAllString(target, ""), "."
			}
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, anchor, hasAnchor := strings.Cut(target, "#")
			file := page
			if path != "" {
				file = filepath.Join(folder, path)
			}
			followed++
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			} else if hasAnchor && !slices.Contains(slugs(paper(t, file)), anchor) {
				t.Errorf("%s links to %s, but %s has no such heading", page, m[1], file)
			}
		}
	}
	if followed < 30 {
		t.Errorf("followed %d links, want at least 30", followed)
	}
}

// TestPapersSayWhatIsSo looks for sentences and figures that several papers share, and
// compares defaults with the code.
func TestPapersSayWhatIsSo(t *testing.T) {
	days := func(d time.Duration) int { return int(d / (24 * time.Hour)) }
	matching := map[time.Duration]string{2 * time.Hour: "within two hours"}[server.DefaultMatchWindow]
	arriving := map[int]string{4: "within four days"}[days(server.DefaultArrivalWindow)]
	for text, files := range map[string]string{
		"10,266 of 11,802 answers":   "SECURITY.md server/README.md",
		"up to two seconds of notes": "SECURITY.md server/README.md",
		fmt.Sprintf("A note lives for %d days", days(server.DefaultRetention)): "README.md",
		matching:             "README.md",
		arriving:             "README.md server/DESIGN.md",
		"Redis 6.2 or newer": "README.md server/README.md",
	} {
		for file := range strings.FieldsSeq(files) {
			if text == "" || !strings.Contains(paper(t, file), text) {
				t.Errorf("%s does not say %q; change the paper, or this test if the fact has changed", file, text)
			}
		}
	}
}

// TestMetricsAreInTheManual compares the table of server/README.md with metrics.Table,
// label by label, and that with the metrics that the server's code names.
func TestMetricsAreInTheManual(t *testing.T) {
	made := map[string]bool{}
	for _, path := range filesOf(t, "server", regexp.MustCompile(`\.go$`)) {
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "metrics/table.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`"(noted_[a-z_]+)"`).FindAllStringSubmatch(paper(t, path), -1) {
			made[m[1]] = true
		}
	}
	for _, field := range []string{"noted_after", "noted_before"} { // of ListDonationsRequest
		delete(made, field)
	}
	var told, table []string
	rows := regexp.MustCompile("(?m)^\\| `(noted_[a-z_]+)` \\| ([a-z, ]*)\\|")
	for _, m := range rows.FindAllStringSubmatch(sectionOf(t, "server/README.md", "Metrics"), -1) {
		told = append(told, m[1]+" "+strings.TrimSpace(m[2]))
	}
	for _, m := range metrics.Table {
		table = append(table, m.Name+" "+strings.Join(m.Labels, ", "))
		if !made[m.Name] {
			t.Errorf("no code makes %s", m.Name)
		}
		delete(made, m.Name)
	}
	if len(made) > 0 {
		t.Errorf("metrics.Table lacks %v", slices.Sorted(maps.Keys(made)))
	}
	slices.Sort(told)
	slices.Sort(table)
	if len(table) < 20 || !slices.Equal(told, table) {
		t.Errorf("server/README.md tells of the metrics\n%q\nthe server has\n%q", told, table)
	}
}

// TestContractsTables compares the tables of api/README.md with the contract.
func TestContractsTables(t *testing.T) {
	head, _, _ := strings.Cut(paper(t, "api/noted/v1/noted.proto"), "syntax =")
	lines := strings.Join(strings.Fields(strings.ReplaceAll(head, "//", "")), " ")

	word := regexp.MustCompile(`\b[A-Z]{2,}_[A-Z_]+\b|\b(?:UNAUTHENTICATED|UNAVAILABLE|INTERNAL|OVERLOADED)\b`)
	_, list, _ := strings.Cut(lines, "Other failures carry")
	want := slices.Sorted(slices.Values(word.FindAllString(list, -1)))
	var told []string
	table := sectionOf(t, "api/README.md", "Errors")
	for _, m := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(table, -1) {
		if word.MatchString(m[1]) {
			told = append(told, m[1])
		}
	}
	slices.Sort(told)
	if got, want := slices.Compact(told), slices.Compact(want); len(want) < 30 || !slices.Equal(got, want) {
		t.Errorf("api/README.md has the codes and reasons\n%v\nthe contract has\n%v", got, want)
	}

	calls := sectionOf(t, "api/README.md", "The calls")
	wantEveryCall(t, func(rpc string) bool { return strings.Contains(calls, "\n| `"+rpc+"` | ") })

	limits := sectionOf(t, "api/README.md", "Limits")
	for _, c := range []struct{ contract, manual string }{
		{`ledger (\d+);`, "| `ledger` | %s bytes"},
		{`request_id (\d+);`, "`request_id` | %s bytes"},
		{`channel (\d+) of`, "| `channel` | %s bytes"},
		{`reason (\d+) of`, "| `reason` | %s bytes"},
		{`more than (\d+) KiB`, "| a request | %s KiB"},
	} {
		found := regexp.MustCompile(c.contract).FindStringSubmatch(lines)
		if found == nil {
			t.Errorf("the head of the contract has no limit %q", c.contract)
		} else if row := fmt.Sprintf(c.manual, found[1]); !strings.Contains(limits, row) {
			t.Errorf("api/README.md does not have %q", row)
		}
	}
}

// TestWordsOfTheLibraries looks for each word of the table in client/README.md in the
// source of its language.
func TestWordsOfTheLibraries(t *testing.T) {
	source := make([]string, 4)
	for i, of := range []struct{ folder, name string }{
		{"client", `\.go$`},
		{"client/python/src", `\.py$`},
		{"client/php/src", `\.php$`},
		{"client/ts/src", `\.ts$`},
	} {
		for _, path := range filesOf(t, of.folder, regexp.MustCompile(of.name)) {
			if !strings.HasSuffix(path, "_test.go") {
				source[i] += paper(t, path)
			}
		}
	}
	table := sectionOf(t, "client/README.md", "The same words")
	for _, m := range regexp.MustCompile(`\n  rpc (\w+)`).FindAllStringSubmatch(paper(t, "api/noted/v1/noted.proto"), -1) {
		word := regexp.MustCompile(`Donations?|Hold`).ReplaceAllString(m[1], "")
		if m[1] == "NoteDonations" {
			word = "Notes"
		}
		if !regexp.MustCompile(`(?m)^\| [^|]* \| .` + word + `. \| .` + strings.ToLower(word) + `. \|`).MatchString(table) {
			t.Errorf("client/README.md has no row for the call %s, with %s in Go", m[1], word)
		}
	}
	words := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|") // the first and the last are empty
		if len(cells) != 7 || strings.Contains(cells[1], "command") {
			continue
		}
		for i, cell := range cells[2:6] {
			name := regexp.MustCompile("\\w+`$").FindString(strings.TrimSpace(cell))
			if name == "" {
				continue
			}
			words++
			if name = strings.TrimSuffix(name, "`"); !regexp.MustCompile(`\b` + name + `\b`).MatchString(source[i]) {
				t.Errorf("client/README.md has the word %s, which the library does not", name)
			}
		}
	}
	if words < 50 {
		t.Errorf("looked for %d words, want at least 50", words)
	}
}

// TestRecipesNameFiles looks for each path and each test that CONTRIBUTING.md names, and
// for each room of DESIGN.md.
func TestRecipesNameFiles(t *testing.T) {
	if _, err := os.Stat("internal/calls"); err != nil {
		t.Skip("the recipes are for the rooms in server/internal")
	}
	recipes := "\n" + sectionOf(t, "CONTRIBUTING.md", "Ten recipes")
	if n := strings.Count(recipes, "\n### "); n != 10 {
		t.Errorf("CONTRIBUTING.md has %d recipes, want 10", n)
	}
	paths := regexp.MustCompile("`((?:api|client|server|\\.ci|Makefile|[A-Z]+\\.md|buf)[^` …]*)`")
	for _, m := range paths.FindAllStringSubmatch(recipes, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("CONTRIBUTING.md names %s, which is not there", m[1])
		}
	}
	libraries, err := filepath.Glob("../client/*/test.sh")
	if err != nil || len(libraries) < 3 {
		t.Fatalf("found the libraries %v, %v; want at least 3", libraries, err)
	}
	for _, recipe := range strings.Split(recipes, "\n### ")[1:] {
		name, text, _ := strings.Cut(recipe, "\n")
		for _, script := range libraries {
			library := strings.TrimPrefix(filepath.Dir(script), "../")
			if strings.Contains(text, "`client/python") && !strings.Contains(text, "`"+library) {
				t.Errorf("CONTRIBUTING.md, %q, names the files of client/python, and no file of %s", name, library)
			}
		}
	}
	rooms := sectionOf(t, "server/DESIGN.md", "Rooms")
	folders, err := os.ReadDir("internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if !strings.Contains(rooms, "`server/internal/"+folder.Name()+"`") {
			t.Errorf("server/DESIGN.md does not tell of the room %s", folder.Name())
		}
	}
	for _, m := range paths.FindAllStringSubmatch(rooms, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("server/DESIGN.md tells of %s, which is not there", m[1])
		}
	}
	var tests strings.Builder
	for _, path := range filesOf(t, ".", regexp.MustCompile(`_test\.go$`)) {
		tests.WriteString(paper(t, path))
	}
	for _, m := range regexp.MustCompile("`(Test[A-Z]\\w+)`").FindAllStringSubmatch(recipes, -1) {
		if !strings.Contains(tests.String(), "func "+m[1]+"(") {
			t.Errorf("CONTRIBUTING.md names the test %s, which is not there", m[1])
		}
	}
}
