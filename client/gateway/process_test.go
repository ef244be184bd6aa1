package gateway_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test starts, kills and starts again on the same address.
type process struct {
	t       testing.TB
	addr    string
	path    string
	args    []string
	log     string // a file
	command *exec.Cmd
	guard   io.Closer
	ended   chan struct{}
}

// newProcess prepares a program. Its address is free and stays so: the port is below the
// range of outgoing connections.
func newProcess(t testing.TB, path string, args func(addr, port string) []string) *process {
	p := &process{t: t, path: path, log: filepath.Join(t.TempDir(), "log")}
	for p.addr == "" {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		if listener, err := net.Listen("tcp", addr); err == nil {
			listener.Close()
			p.addr = addr
		}
	}
	_, port, _ := net.SplitHostPort(p.addr)
	p.args = args(p.addr, port)
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

// start starts it and waits until it listens.
func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(p.path, p.args...)
	command.Stdout, command.Stderr = log, log
	command.Dir = filepath.Dir(p.log)
	if err := command.Start(); err != nil {
		return err
	}
	// A test binary that dies takes the program with it: the pipe closes, and the shell
	// kills the program.
	guard := exec.Command("/bin/sh", "-c", `read _ || kill -9 "$0"`, strconv.Itoa(command.Process.Pid))
	pipe, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		command.Process.Kill()
		command.Wait()
		return err
	}
	ended := make(chan struct{})
	go func() {
		command.Wait()
		io.WriteString(pipe, "\n") // before the process id can be another's
		guard.Wait()
		close(ended)
	}()
	p.command, p.guard, p.ended = command, pipe, ended
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended at once: %s", p.path, text)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen: %w", p.path, err)
		}
	}
}

// end sends a signal and waits until the program has ended.
func (p *process) end(signal syscall.Signal) {
	if p.command == nil {
		return
	}
	p.command.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.t.Errorf("%s did not end on %v", p.path, signal)
		p.command.Process.Kill()
		<-p.ended
	}
	p.guard.Close()
	p.command = nil
}

// signal sends a signal that does not end the program.
func (p *process) signal(signal syscall.Signal) { p.command.Process.Signal(signal) }

func startRedis(t testing.TB, args ...string) *process {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is not installed; on Debian: apt-get install redis-server")
	}
	p := newProcess(t, path, func(_, port string) []string {
		return append(
			[]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"},
			args...)
	})
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// binaries are built once for all tests that start processes.
var binaries struct {
	once sync.Once
	dir  string
	err  error
}

// built returns the path of a program of ours.
func built(t testing.TB, name string) string {
	t.Helper()
	binaries.once.Do(func() {
		if binaries.dir, binaries.err = os.MkdirTemp("", "gateway-test-"); binaries.err != nil {
			return
		}
		args := []string{"build", "-o", binaries.dir + "/"}
		if raceDetector {
			args = append(args, "-race")
		}
		args = append(args, "../../server/cmd/noted", "../cmd/noted-gateway", "../cmd/notectl")
		output, err := exec.Command("go", args...).CombinedOutput()
		if err != nil {
			binaries.err = fmt.Errorf("building: %w\n%s", err, output)
		}
	})
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	return filepath.Join(binaries.dir, name)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}
