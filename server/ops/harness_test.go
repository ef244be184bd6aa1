// Package ops_test checks the files of server/ops: alert rules, a dashboard, units,
// configurations of proxies, and manifests. Where possible the program that reads a file
// checks it.
package ops_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// patience is how long a program may take on a busy machine.
const patience = 60 * time.Second

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// binaries are built once for all tests.
var binaries struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// built returns the path of a program of ours. With the race detector the programs have
// it too, since tests of other packages have then compiled most of it already.
func built(t *testing.T, name string) string {
	t.Helper()
	binaries.once.Do(func() {
		if binaries.dir, binaries.err = os.MkdirTemp("", "noted-ops-"); binaries.err != nil {
			return
		}
		args := []string{"build", "-o", binaries.dir + "/"}
		if redistest.RaceDetector() {
			args = append(args, "-race")
		}
		args = append(args, "../cmd/noted", "../../client/cmd/noted-gateway", "../../client/cmd/notectl")
		if output, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			binaries.err = fmt.Errorf("building: %w\n%s", err, output)
		}
	})
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	return filepath.Join(binaries.dir, name)
}

// tool is the path of a program that .ci/need installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	if path := must(filepath.Abs("../../.tools/bin/" + name)); exists(path) {
		return path
	}
	for _, folder := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(folder + name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed; run .ci/need %s", name, name)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// run runs a command to its end. It returns what it printed.
func run(t *testing.T, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
	}
	return string(output)
}

// start starts a program that runs until the test ends, and waits until it listens at
// addr.
func start(t *testing.T, addr string, command *exec.Cmd) {
	t.Helper()
	log := must(os.Create(filepath.Join(t.TempDir(), "log")))
	defer log.Close()
	said := func() string {
		text := read(t, log.Name())
		return text[max(0, len(text)-4000):]
	}
	command.Stdout, command.Stderr = log, log
	ended, err := redistest.Guarded(command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", command, said())
		}
	})
	await(t, "a listener at "+addr, func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended at once:\n%s", command, said())
		default:
		}
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// await polls for a condition.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v there is still no %s", patience, what)
		}
	}
}

func freeAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(redistest.FreePort())) }

// answers tells whether a page answers 200.
func answers(url string) bool {
	response, err := http.Get(url)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// fetched returns the body of a page.
func fetched(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", url, response.Status, err, body)
	}
	return string(body)
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// write writes a file of the test.
func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
