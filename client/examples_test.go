package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/server/servertest"
)

// api/README.md shows the lines of each example that note a donation: at most twelve, and
// the example has them. .ci/languages runs the examples.
func TestExamplesNoteInTwelveLines(t *testing.T) {
	readme := readFile(t, "../api/README.md")
	folders, err := os.ReadDir("../api/examples")
	if err != nil || len(folders) == 0 {
		t.Fatalf("api/examples: %d folders, %v", len(folders), err)
	}
	for _, folder := range folders {
		language := folder.Name()
		shown := regexp.MustCompile("(?s)\n```" + language + "\n(.*?)\n```\n").FindStringSubmatch(readme)
		if shown == nil {
			t.Errorf("api/README.md shows no lines of the example in %s", language)
			continue
		}
		if !strings.Contains(readme, "](examples/"+language+"/") {
			t.Errorf("the table of examples in api/README.md has no row with a link to %s", language)
		}
		if lines := strings.Count(shown[1], "\n") + 1; lines > 12 {
			t.Errorf("%s: api/README.md shows %d lines; want 12 at most", language, lines)
		}
		if program := programOf(t, language); !strings.Contains(unindented(program), unindented(shown[1])) {
			t.Errorf("%s: the example does not have the lines of api/README.md; copy them from\n%s", language, program)
		}
	}
}

// programOf returns the source file of an example that makes the call.
func programOf(t *testing.T, language string) (program string) {
	t.Helper()
	err := filepath.WalkDir("../api/examples/"+language, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.Contains(strings.ToLower(readFile(t, path)), "settle") {
			program = readFile(t, path)
		}
		return err
	})
	if err != nil || program == "" {
		t.Fatalf("api/examples/%s has no program that settles: %v", language, err)
	}
	return program
}

// unindented returns the lines without the spaces before them.
func unindented(text string) string {
	return regexp.MustCompile(`(?m)^ +`).ReplaceAllString(text, "")
}

// The lines of Go in README.md compile, and each outcome of Once gets the answer that it
// names.
func TestReadmeLines(t *testing.T) {
	_, lines, _ := strings.Cut(readFile(t, "../README.md"), "\n```go\n")
	lines, _, found := strings.Cut(lines, "\n```\n")
	if !found {
		t.Fatal("README.md has no lines of Go")
	}
	folder := t.TempDir()
	program := strings.Replace(readFile(t, "testdata/readme.go.txt"), "\tLINES\n", lines+"\n", 1)
	if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", folder, filepath.Join(folder, "main.go"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	server := servertest.New(t)
	out, err := exec.Command(filepath.Join(folder, "main"), server.Addr()).CombinedOutput()
	if want := readFile(t, "testdata/readme.want"); err != nil || string(out) != want {
		t.Errorf("the lines of README.md: %v, and said\n%swant\n%s", err, out, want)
	}
}
