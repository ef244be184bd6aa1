package client_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// libraries returns the folders of the libraries, which are those with a test.sh.
func libraries(t *testing.T) (folders []string) {
	t.Helper()
	scripts, err := filepath.Glob("*/test.sh")
	if err != nil || len(scripts) < 3 {
		t.Fatalf("found the libraries %v, %v; want at least 3", scripts, err)
	}
	for _, script := range scripts {
		folders = append(folders, filepath.Dir(script))
	}
	return folders
}

// make test tests each library, the manual leads to each, each is in the tests that compare
// the libraries, and each has the files that a package carries.
func TestEveryLibraryIsCompared(t *testing.T) {
	const limits, reasons = "func TestLimitsAreTheContractsEverywhere(", "func TestReasonsForAPerson("
	for _, library := range libraries(t) {
		for _, place := range []struct{ path, begin, form string }{ // begin: the block to look in, or the whole file
			{"../Makefile", "", `\tclient/LIBRARY/test\.sh\n`},
			{"../Makefile", "", `\ntest:.* test-LIBRARY\b`},
			{"README.md", "", `\]\(LIBRARY/README\.md\)`},
			{"words_test.go", "var languages = ", `\{"LIBRARY/`},
			{"words_test.go", "func TestNotesAreWhole(", `\{"LIBRARY/`},
			{"whole/whole_test.go", "", `"\.\./LIBRARY/`},
			{"../server/papers_test.go", "func TestWordsOfTheLibraries(", `"client/LIBRARY/`},
			{"../server/told_test.go", limits, `"\.\./client/LIBRARY/.*, contract\.MaxID,`},
			{"../server/told_test.go", limits, `"\.\./client/LIBRARY/.*\bminutes,`},
			{"../server/told_test.go", "func TestAmountsAreTheContractsEverywhere(", `"\.\./client/LIBRARY/`},
			{"../server/reasons_test.go", reasons, `"client/LIBRARY/README\.md", .*, undecided\}`},
			{"../server/reasons_test.go", reasons, `"client/LIBRARY/README\.md", .*, gone\}`},
			{"../server/reasons_test.go", reasons, `"client/LIBRARY/[^"]+[^d]", .*, undecided\}`},
			{"../server/reasons_test.go", reasons, `"client/LIBRARY/[^"]+[^d]", .*, gone\}`},
			{"../server/versions_test.go", "func TestVersionsAgree(", `"client/LIBRARY/CHANGELOG\.md", `},
			{"../server/versions_test.go", "func TestVersionsAgree(", `"client/LIBRARY/CHANGELOG\.md": `},
		} {
			_, text, found := strings.Cut(readFile(t, place.path), place.begin)
			if place.begin != "" {
				text, _, _ = strings.Cut(text, "\n}\n")
			}
			form := strings.ReplaceAll(place.form, "LIBRARY", library)
			if !found || !regexp.MustCompile(form).MatchString(text) {
				where := strings.TrimSpace(place.path + " " + place.begin)
				t.Errorf("%s has no %s, so client/%s is not in it", where, form, library)
			}
		}
		for _, file := range []string{"README.md", "CHANGELOG.md"} {
			if _, err := os.Stat(filepath.Join(library, file)); err != nil {
				t.Errorf("a package of client/%s lacks a file: %v", library, err)
			}
		}
		if readFile(t, filepath.Join(library, "LICENSE")) != readFile(t, "../LICENSE") {
			t.Errorf("client/%s/LICENSE is another text than LICENSE; copy the file", library)
		}
	}
}

// Each library reads the shared cases and Go's mutants of them, and has a class for each
// reason of the contract.
func TestEveryLibraryIsWhole(t *testing.T) {
	reasons := regexp.MustCompile(`\n\t"([A-Z_]+)": +Err(\w+),`).FindAllStringSubmatch(readFile(t, "errors.go"), -1)
	if len(reasons) < 20 {
		t.Fatalf("errors.go has the reasons %v; want at least 20, so correct the pattern of this test", reasons)
	}
	for _, library := range libraries(t) {
		text := writtenIn(t, library)
		for _, part := range []string{"paypal/testdata", "-run=^TestMutants$", "-mutants="} {
			if !strings.Contains(text, part) {
				t.Errorf("client/%s has no %q, so its reader of PayPal's messages may differ from Go's", library, part)
			}
		}
		for _, reason := range reasons {
			if !regexp.MustCompile(`\b` + reason[1] + `\b\W{1,9}(?i:` + reason[2] + `)\b`).MatchString(text) {
				t.Errorf("client/%s has no class %s for the reason %s", library, reason[2], reason[1])
			}
		}
	}
}

// writtenIn returns the text of a library, without the files that are installed, built or
// generated.
func writtenIn(t *testing.T, library string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(library, func(path string, entry os.DirEntry, err error) error {
		made := []string{"__pycache__", "build", "dist", "gen", "node_modules", "v1", "vendor"}
		switch {
		case err != nil:
			return err
		case entry.Type().IsRegular():
			text.WriteString(readFile(t, path))
		case entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") || slices.Contains(made, entry.Name())):
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// Each language of the table of words is in the first page, in the benchmark of the
// languages, in the tables of its figures, and among the code whose width is checked.
func TestEveryLanguageIsListed(t *testing.T) {
	for _, language := range languages {
		suffix := filepath.Ext(language.kind["call"].path)
		for _, place := range []struct{ path, form string }{
			{"../README.md", `\n\| a receiver in .*\b` + language.name + `\b.* \[library\]`},
			{"whole/figures_test.go", `\t\{"` + language.name + `", `},
			{"whole/figures_test.go", `\t\{"` + language.name + `, `},
			{"README.md", `\n\| ` + language.name + ` \|(?: [\d.]+ ms \|){4}`},
			{"README.md", `\n\| ` + language.name + `, .* \|(?: \d+ \|){2}`},
			{"../.ci/width", `'\*` + regexp.QuoteMeta(suffix) + `'`},
		} {
			if !regexp.MustCompile(place.form).MatchString(readFile(t, place.path)) {
				t.Errorf("%s has no %s, so %s is not in it", place.path, place.form, language.name)
			}
		}
	}
}

// A library whose receiver refuses a second body under one transmission is in the test of
// their number, and SECURITY.md tells of it.
func TestTransmissionsAreTold(t *testing.T) {
	told := regexp.MustCompile(`\n  - [^.\n]* refuse a second body`).FindString(readFile(t, "../SECURITY.md"))
	numbers := readFile(t, "gateway/transmissions_test.go")
	found := 0
	for _, language := range languages[1:] {
		library, _, _ := strings.Cut(language.kind["call"].path, "/")
		if !strings.Contains(writtenIn(t, library), "other_body") { // the reason of the refusal
			continue
		}
		found++
		if !strings.Contains(numbers, `"../`+library+`/`) {
			t.Errorf("gateway/transmissions_test.go has no row for client/%s", library)
		}
		if !strings.Contains(told, " "+language.name+" receiver") {
			t.Errorf("SECURITY.md does not tell of a %s receiver that refuses a second body: %q", language.name, told)
		}
	}
	if found < 2 {
		t.Errorf("found %d libraries that refuse other_body; want at least 2", found)
	}
}

// The generated code of a library is deleted before it is made again, compared with the
// contract, and left out of the width and of GitHub's figures.
func TestGeneratedCodeIsListed(t *testing.T) {
	var made []string // folders outside gen
	outs := regexp.MustCompile(`(?m)^    out: (.+)$`)
	for _, m := range outs.FindAllStringSubmatch(readFile(t, "../buf.gen.yaml"), -1) {
		if !strings.HasPrefix(m[1], "gen/") && !slices.Contains(made, m[1]) {
			made = append(made, m[1])
		}
	}
	if len(made) < 2 {
		t.Fatalf("buf.gen.yaml makes code in %v outside gen; want at least 2 folders", made)
	}
	var uncounted []*regexp.Regexp
	for _, m := range regexp.MustCompile(`-e '(.+?)'`).FindAllStringSubmatch(readFile(t, "../.ci/width"), -1) {
		uncounted = append(uncounted, regexp.MustCompile(m[1]))
	}
	for _, folder := range made {
		for _, place := range []struct{ path, form string }{ // the folder, or that of the package in it
			{"../Makefile", `\n\trm -rf .*FOLDER(?:/noted/v1)?(?: .*)?\n`},
			{"../.ci/current", `\nfor folder in .*FOLDER(?:/noted/v1)?[ ;]`},
			{"../.gitattributes", `(?:^|\n)/FOLDER(?:/noted/v1)?/\*\* linguist-generated\n`},
			{"../api/README.md", "`FOLDER(?:/noted/v1)?`"},
		} {
			form := strings.ReplaceAll(place.form, "FOLDER", regexp.QuoteMeta(folder))
			if !regexp.MustCompile(form).MatchString(readFile(t, place.path)) {
				t.Errorf("%s has no %s, as buf.gen.yaml has", place.path, form)
			}
		}
		files, err := filepath.Glob("../" + folder + "/noted/v1/noted*")
		if err != nil || len(files) == 0 {
			t.Errorf("%s has no generated code, %v; run make generate", folder, err)
		}
		for _, file := range files {
			path := strings.TrimPrefix(file, "../")
			if !slices.ContainsFunc(uncounted, func(r *regexp.Regexp) bool { return r.MatchString(path) }) {
				t.Errorf(".ci/width counts the lines of %s, which are generated", path)
			}
		}
	}
}
