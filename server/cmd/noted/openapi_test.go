package main

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A tool that knows the JSON door by /openapi.json alone can rely on it: the door answers
// allowed and forbidden requests as described, and accepts no forbidden request. It does
// not accept every allowed request: a receipt, a donation id and a page token must be
// Noted's own.
func TestOpenAPI(t *testing.T) {
	schemathesis, err := filepath.Abs(filepath.Join(root, ".tools/bin/schemathesis"))
	if err != nil {
		t.Fatal(err)
	}
	command, stdout, stderr := program(
		t, "-dev", "-listen", "127.0.0.1:0", "-http-listen", "127.0.0.1:0", "-admin-listen", "off",
	)
	banner, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("reading the banner: %v\n%s", err, stderr)
	}
	door := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(banner)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	check := exec.CommandContext(ctx, schemathesis, "run", door+"/openapi.json", "--seed", "1", "--max-examples", "50",
		"--phases", "examples,coverage,fuzzing", "--exclude-checks", "positive_data_acceptance", "--warnings", "off")
	check.Dir = t.TempDir()
	out, err := check.CombinedOutput()
	if err != nil {
		t.Errorf("%v (.ci/need schemathesis installs it)\n%s", err, out)
	}
	if !strings.Contains(string(out), "9 selected / 9 total") {
		t.Errorf("not all calls were looked at:\n%s", out)
	}
	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit 0\n%s", err, stderr)
	}
}
