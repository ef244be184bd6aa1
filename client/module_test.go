package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// userModules are the modules that a program needs for this library, beside the
// project's own.
var userModules = []string{
	"golang.org/x/net",
	"golang.org/x/sys",
	"golang.org/x/text",
	"google.golang.org/genproto/googleapis/rpc",
	"google.golang.org/grpc",
	"google.golang.org/protobuf",
}

// A fresh module with a receiver in it, and a unit test of that, does not get the server's
// dependencies.
func TestUsersModule(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	sums := readFile(t, "../go.sum")
	for name, content := range map[string]string{
		"go.mod": "module example.org/user\n\ngo 1.26\n\n" +
			"require github.com/donation-dedupe/noted v0.0.0\n\n" +
			"replace github.com/donation-dedupe/noted => " + root + "\n",
		"go.sum": sums,
		"receiver.go": `package user

import (
	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
)

var _, _ = client.New, paypal.IdentifyIPN
`,
		"receiver_test.go": `package user

import "github.com/donation-dedupe/noted/client/clienttest"

var _ = clienttest.New
`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, arguments := range [][]string{{"mod", "tidy"}, {"vet", "./..."}} {
		command := exec.CommandContext(t.Context(), "go", arguments...)
		command.Dir = folder
		// The sums are those of go.sum, so no data base of sums needs to be asked.
		command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GONOSUMDB=*")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", arguments, err, out)
		}
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\s+(\S+) v\S+ // indirect$`).
		FindAllStringSubmatch(readFile(t, filepath.Join(folder, "go.mod")), -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, userModules) {
		t.Errorf("a user's module gets %q; want %q", got, userModules)
	}
}

// go get refuses a module with two files whose names differ by case alone, and a checkout on
// macOS or Windows loses one of them.
func TestNoTwoFilesDifferByCaseAlone(t *testing.T) {
	command := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	command.Dir = ".."
	out, err := command.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	names := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			continue // deleted and not yet committed
		}
		if other := names[strings.ToLower(name)]; other != "" {
			t.Errorf("%s and %s differ by case alone: rename one of them", other, name)
		}
		names[strings.ToLower(name)] = name
	}
	if len(names) < 500 {
		t.Errorf("git ls-files: got %d names; want those of the repository", len(names))
	}
}
