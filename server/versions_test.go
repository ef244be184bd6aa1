package server_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestVersionsAgree compares the places that name the version of the next release, or of
// the last. The programs in Go have theirs from the tag.
func TestVersionsAgree(t *testing.T) {
	want := ""
	for _, place := range []struct{ path, pattern string }{
		{"client/python/pyproject.toml", `(?m)^version = "(.+)"$`},
		{"client/python/src/noted/__init__.py", `(?m)^__version__ = "(.+)"$`},
		{"client/ts/package.json", `(?m)^  "version": "(.+)",$`},
		{"client/ts/package-lock.json", `(?m)^  "version": "(.+)",$`},
		{"client/ts/package-lock.json", `"": \{\s+"name": "@donation-dedupe/noted",\s+"version": "(.+)",`},
		{"client/ts/README.md", `noted-([\d.]+)\.tgz`},
		{"client/php/public/wordpress.php", `(?m)^ \* Version: (.+)$`},
		{"client/python/CHANGELOG.md", `(?m)^## (\d\S*) \(`},
		{"client/php/CHANGELOG.md", `(?m)^## (\d\S*) \(`},
		{"client/ts/CHANGELOG.md", `(?m)^## (\d\S*) \(`},
	} {
		found := regexp.MustCompile(place.pattern).FindStringSubmatch(paper(t, place.path))
		switch {
		case found == nil:
			t.Errorf("%s has no version at %q", place.path, place.pattern)
		case want == "":
			want = found[1]
		case found[1] != want:
			t.Errorf("%s has the version %s at %q, pyproject.toml has %s", place.path, found[1], place.pattern, want)
		}
	}

	released := regexp.MustCompile(`(?m)^## (\d\S*) \(`).FindStringSubmatch(paper(t, "CHANGELOG.md"))
	if released == nil {
		return // there is no release yet
	}
	if released[1] != want {
		t.Errorf("CHANGELOG.md has the version %s, pyproject.toml has %s", released[1], want)
	}
	for path, text := range map[string]string{
		"CHANGELOG.md": "There is no release yet", "client/README.md": "There is no release yet",
		"client/python/CHANGELOG.md": "(not released)", "client/php/CHANGELOG.md": "(not released)",
		"client/ts/CHANGELOG.md": "(not released)",
	} {
		if strings.Contains(paper(t, path), text) {
			t.Errorf("CHANGELOG.md has the release %s, and %s says %q", want, path, text)
		}
	}
}
