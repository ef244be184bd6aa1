package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/cmdline"
)

const root = "../../.."

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is the text under a heading.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(read(t, file), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", file, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// TestReadmeSettings compares the table of server/README.md with the flags.
func TestReadmeSettings(t *testing.T) {
	var want, got []string
	for _, f := range new(settings).flags(nil) {
		want = append(want, "-"+f.Names()[0]+" "+cmdline.Default(f))
	}
	row := regexp.MustCompile("(?m)^\\| `-([a-z-]+)` \\| (?:`([^`]*)`)? *\\|")
	for _, m := range row.FindAllStringSubmatch(section(t, "server/README.md", "Flags"), -1) {
		got = append(got, "-"+m[1]+" "+m[2])
	}
	if !slices.Equal(got, want) {
		t.Errorf(
			"the table of server/README.md has the flags and defaults\n%s\nwant\n%s",
			strings.Join(got, "\n"),
			strings.Join(want, "\n"),
		)
	}
}

// TestReadmeQuickStart runs the commands of "Try it", and those of the contract's page,
// and compares their output with the page. A line "…" matches any lines.
func TestReadmeQuickStart(t *testing.T) {
	var addr, httpAddr string
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```")
	for _, page := range []struct {
		file, heading string
		least         int // of commands
	}{{"README.md", "Try it", 5}, {"api/README.md", "JSON over HTTP", 3}} {
		commands := 0
		for _, block := range blocks.FindAllStringSubmatch(section(t, page.file, page.heading), -1) {
			for _, part := range strings.Split(strings.TrimPrefix(block[1], "$ "), "\n$ ") {
				command, want, _ := strings.Cut(part, "\n")
				switch {
				case strings.HasPrefix(command, "make "):
					continue // this test is part of it
				case strings.HasSuffix(command, " -dev"):
					addr, httpAddr = serve(t, command)
				default:
					got := shell(t, addr, strings.ReplaceAll(command, "127.0.0.1:8080", httpAddr))
					pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSuffix(want, "\n")), "…", "(?s:.*)")
					if !regexp.MustCompile("^" + pattern).MatchString(got) {
						t.Errorf("%s\nprinted\n%s\nthe page shows\n%s", command, got, want)
					}
				}
				commands++
			}
		}
		if commands < page.least {
			t.Errorf("%s has %d commands, want at least %d", page.file, commands, page.least)
		}
	}
}

// serve runs the README's first command, on ports of its own, until the test ends.
func serve(t *testing.T, command string) (addr, httpAddr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = root
	cmd.Env = append(
		os.Environ(),
		"NOTED_LISTEN=127.0.0.1:0",
		"NOTED_ADMIN_LISTEN=off",
		"NOTED_HTTP_LISTEN=127.0.0.1:0",
	)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run has a child, which must end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	timer := time.AfterFunc(3*time.Minute, cancel)
	defer timer.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(lines.Text(), -1); len(m) == 2 {
			return m[0], m[1]
		}
	}
	t.Fatalf("%s ended without printing its address", command)
	return "", ""
}

func shell(t *testing.T, addr, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.ReplaceAll(command, "127.0.0.1:50051", addr))
	cmd.Dir = root
	tools, err := filepath.Abs(filepath.Join(root, ".tools/bin")) // where .ci/need puts grpcurl
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "NOTED_ADDR="+addr, "PATH="+tools+":"+os.Getenv("PATH"))
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		t.Errorf("%s: %v (.ci/need installs what the README calls)", command, err)
	}
	return string(out)
}
