package processtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

// RaceDetector says whether this test binary was built with the race detector.
func RaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// Redis starts a redis-server without persistence, unless args turn it on.
func Redis(t testing.TB, args ...string) *Process {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is not installed; on Debian: apt-get install redis-server")
	}
	addr := FreeAddress()
	command := []string{
		path, "--port", Port(addr), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no",
	}
	p := New(t, addr, nil, append(command, args...)...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// programs are built once for all tests of a test binary.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

// Built returns the path of one of our programs, with the race detector if the test has it.
// A package that uses it must call Main.
func Built(t testing.TB, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "noted-programs-"); programs.err != nil {
			return
		}
		args := []string{"build", "-o", programs.dir + "/"}
		if RaceDetector() {
			args = append(args, "-race")
		}
		const module = "github.com/donation-dedupe/noted/"
		args = append(args, module+"server/cmd/noted", module+"client/cmd/noted-gateway", module+"client/cmd/notectl")
		if output, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			programs.err = fmt.Errorf("building: %w\n%s", err, output)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

// Main runs the tests of a package and removes the programs that they built.
func Main(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}
