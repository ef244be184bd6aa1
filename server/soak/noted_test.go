package soak_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// token is the receivers'.
const token = "noted_soak"

// callersFile names the receivers.
func callersFile() string {
	return fmt.Sprintf(
		`{"receivers": {"token_sha256": ["%s"], "ledgers": ["%s"], "verbs": ["note", "read"]}}`,
		hexOf(token),
		ledger,
	)
}

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// storeScripts is the folder of the scripts that noted embeds.
const storeScripts = "../internal/store"

// A release is a noted with the scripts of one release. It is built once, when a test
// first needs it.
type release struct {
	name    string
	scripts string   // their folder
	library []string // the files of their library, in the order of scripts.go
	once    sync.Once
	program string
	err     error
}

// The first release's scripts are kept and never edited (see firstScripts in
// server/internal/store). The rest of that release is not kept.
var (
	thisRelease = &release{
		name:    "present",
		scripts: storeScripts,
		library: []string{"notes.lua", "series.lua", "rules.lua"},
	}
	firstRelease = &release{
		name:    "first",
		scripts: storeScripts + "/testdata/v1/scripts",
		library: []string{"notes.lua"},
	}
)

// programs is the folder of the built programs, which all tests share.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "noted-soak"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(programs)
	os.Exit(code)
}

func (r *release) build(t *testing.T) string {
	t.Helper()
	r.once.Do(func() {
		if r.program = filepath.Join(programs, "noted-"+r.name); r.scripts == storeScripts {
			r.err = build(r.program, "")
			return
		}
		overlay := r.program + ".json"
		if r.err = r.overlay(overlay); r.err == nil {
			r.err = build(r.program, overlay)
		}
	})
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.program
}

// overlay writes a file for go build -overlay that puts the scripts of the release in the
// place of today's. A script that is younger than the release stays; a file of the library
// that is younger counts as empty.
func (r *release) overlay(path string) error {
	scripts, err := filepath.Glob(r.scripts + "/*.lua")
	if err != nil || len(scripts) == 0 {
		return fmt.Errorf("%s holds no scripts: %v", r.scripts, err)
	}
	replace := map[string]string{}
	empty := filepath.Join(filepath.Dir(path), "empty-"+r.name+".lua")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		return err
	}
	for _, name := range thisRelease.library {
		today, err := filepath.Abs(filepath.Join(storeScripts, name))
		if err != nil {
			return err
		}
		replace[today] = empty
	}
	for _, then := range scripts {
		then, err := filepath.Abs(then)
		if err != nil {
			return err
		}
		today, err := filepath.Abs(filepath.Join(storeScripts, filepath.Base(then)))
		if err != nil {
			return err
		}
		if _, err := os.Stat(today); err != nil {
			return err
		}
		replace[today] = then
	}
	// The rest of the program is of today, and so are the arguments that it gives.
	note := filepath.Join(filepath.Dir(path), "note-"+r.name+".lua")
	body, err := r.read("note.lua")
	if err != nil {
		return err
	}
	if err := os.WriteFile(note, []byte(body), 0o600); err != nil {
		return err
	}
	today, err := filepath.Abs(filepath.Join(storeScripts, "note.lua"))
	if err != nil {
		return err
	}
	replace[today] = note
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// read reads a script of a release. The first release's note.lua begins by translating
// today's arguments.
func (r *release) read(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(r.scripts, name))
	if err != nil || r != firstRelease || name != "note.lua" {
		return string(text), err
	}
	arguments, err := os.ReadFile(filepath.Join(r.scripts, "../arguments.lua"))
	return string(arguments) + string(text), err
}

// build builds noted, with the race detector if the test has it, and with an overlay if
// one is named.
func build(path, overlay string) error {
	args := []string{"build", "-o", path}
	if redistest.RaceDetector() {
		args = append(args, "-race")
	}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if output, err := exec.Command("go", append(args, "../cmd/noted")...).CombinedOutput(); err != nil {
		return fmt.Errorf("building noted: %w\n%s", err, output)
	}
	return nil
}

// A noted is a process of ours, on addresses that it keeps.
type noted struct {
	t           *testing.T
	program     string
	args        []string
	addr, admin string
	log         string // a file
	command     *exec.Cmd
	ended       <-chan struct{}
}

func newNoted(t *testing.T, program string, args ...string) *noted {
	n := &noted{
		t:       t,
		program: program,
		addr:    freeAddress(),
		admin:   freeAddress(),
		log:     filepath.Join(t.TempDir(), "noted.log"),
	}
	n.args = append([]string{"-listen", n.addr, "-admin-listen", n.admin, "-drain", "2s"}, args...)
	t.Cleanup(func() { n.end(syscall.SIGKILL) })
	n.start()
	return n
}

// start starts it and waits until it serves. The test fails if it does not.
func (n *noted) start() {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		n.t.Error(err)
		return
	}
	defer log.Close()
	fmt.Fprintf(log, "%s:\n", filepath.Base(n.program)) // its lines follow
	n.command = exec.Command(n.program, n.args...)
	n.command.Stdout, n.command.Stderr = log, log
	n.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that it does not get a Ctrl-C
	if n.ended, err = redistest.Guarded(n.command); err != nil {
		n.t.Error(err)
		return
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", n.addr); err == nil {
			conn.Close()
			return
		}
		select {
		case <-n.ended:
			n.t.Errorf("noted ended at once:\n%s", n.said())
			return
		default:
		}
		if time.Now().After(deadline) {
			n.t.Errorf("noted does not listen:\n%s", n.said())
			return
		}
	}
}

// end sends a signal and waits for the end of the process.
func (n *noted) end(signal syscall.Signal) {
	if n.command == nil || n.ended == nil {
		return
	}
	n.command.Process.Signal(signal)
	select {
	case <-n.ended:
	case <-time.After(10 * time.Second):
		n.t.Errorf("noted has not ended on %v:\n%s", signal, n.said())
		n.command.Process.Kill()
		<-n.ended
	}
	if code := n.command.ProcessState.ExitCode(); signal == syscall.SIGTERM && code != 0 {
		n.t.Errorf("asked to stop, noted ended with %d:\n%s", code, n.said())
	}
	n.command = nil
}

func (n *noted) ready() bool {
	response, err := http.Get("http://" + n.admin + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// said returns the end of its log.
func (n *noted) said() string {
	text, _ := os.ReadFile(n.log)
	return string(text[max(0, len(text)-4000):])
}

// troubles returns lines of its log that must not be there: of a loss, a panic or a race
// of goroutines.
func (n *noted) troubles() (lines []string) {
	text, _ := os.ReadFile(n.log)
	for line := range strings.Lines(string(text)) {
		for _, bad := range []string{"gone back in time", "panic", "DATA RACE", "level=ERROR msg=\"finished call\""} {
			if strings.Contains(line, bad) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

func freeAddress() string { return fmt.Sprintf("127.0.0.1:%d", redistest.FreePort()) }

// connect is a client that comes back soon when its server does.
func connect(t *testing.T, addr string) notedv1.DedupeServiceClient {
	conn, err := grpc.NewClient(
		addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(
			grpc.ConnectParams{
				MinConnectTimeout: time.Second,
				Backoff: backoff.Config{
					BaseDelay:  20 * time.Millisecond,
					Multiplier: 2,
					Jitter:     0.5,
					MaxDelay:   300 * time.Millisecond,
				},
			},
		),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return notedv1.NewDedupeServiceClient(conn)
}
