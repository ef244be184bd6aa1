package ops_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// block is a block of code on a page.
var block = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// A step is a command of the page and what it prints.
type step struct{ command, shows string }

// stepsOf reads the console blocks of a page. A command follows "# ", and includes its
// here-document (<<'END').
func stepsOf(page string) (steps []step) {
	for _, found := range block.FindAllStringSubmatch(page, -1) {
		if found[1] != "console" {
			continue
		}
		inDocument := false
		for line := range strings.Lines(found[2]) {
			command, isCommand := strings.CutPrefix(line, "# ")
			switch {
			case inDocument:
				steps[len(steps)-1].command += line
				inDocument = line != "END\n"
			case isCommand:
				steps = append(steps, step{command: command})
				inDocument = strings.Contains(line, "<<'END'")
			default:
				steps[len(steps)-1].shows += line
			}
		}
	}
	return steps
}

// TestInstall walks server/INSTALL.md: its commands run in their order, in namespaces of
// their own, and print what the page shows. Then donations go from PayPal's post through
// nginx, through Caddy and through Apache, to the receiver on the gateway's page. Like the page, the
// test needs root.
func TestInstall(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the commands of the page need root, and the test needs namespaces")
	}
	for _, program := range strings.Fields("nginx redis-server redis-cli curl openssl unshare ip setpriv python3") {
		tool(t, program)
	}
	page := read(t, "../INSTALL.md")
	steps := stepsOf(page)
	if len(steps) < 30 {
		t.Fatalf("the page has %d commands, want at least 30", len(steps))
	}
	var commands strings.Builder
	for _, s := range steps {
		commands.WriteString(s.command + "\x00")
	}
	blockOf := func(page, language string) string {
		for _, found := range block.FindAllStringSubmatch(page, -1) {
			if found[1] == language {
				return found[2]
			}
		}
		t.Fatalf("there is no block of %s", language)
		return ""
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	walk := exec.CommandContext(ctx, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
		must(filepath.Abs("testdata/walk.sh")), filepath.Dir(built(t, "noted")),
		write(t, dir+"/commands", commands.String()),
		write(t, dir+"/receiver.py", blockOf(read(t, "../../client/gateway/README.md"), "python")),
		write(t, dir+"/Caddyfile", blockOf(page, "caddy")), tool(t, "caddy"),
		write(t, dir+"/apache.conf", blockOf(page, "apache")), tool(t, "apache2"))
	walk.Env = append(os.Environ(), "PATH=/usr/local/sbin:/usr/sbin:/sbin:"+os.Getenv("PATH"))
	var stderr strings.Builder
	walk.Stderr = &stderr
	output, err := walk.Output()
	parts := strings.Split("\n"+string(output), "\n--- ")
	if err != nil {
		t.Fatalf("%v after %d of %d commands\n%s\n%s", err, len(parts)-1, len(steps), output, stderr.String())
	}
	for i, s := range steps {
		_, printed, _ := strings.Cut(parts[i+1], "\n")
		pattern := regexp.QuoteMeta(strings.TrimSuffix(s.shows, "\n"))
		pattern = strings.ReplaceAll(pattern, "…", "(?s:.*)")
		if s.shows != "" && !regexp.MustCompile("^"+pattern).MatchString(printed) {
			t.Errorf("%sprinted\n%s\nthe page shows\n%s", s.command, printed, s.shows)
		}
	}
	// The books have each donation once.
	got := strings.Join(strings.Fields(parts[len(parts)-1]), " ")
	if want := "donations 1 0TEST00000000001 1 0TEST00000000002 1 0TEST00000000003 1 0TEST00000000004"; got != want {
		t.Errorf("the books have %v, want %v", got, want)
	}
}
