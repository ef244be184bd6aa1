//go:build whole

package whole_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func run(command ...string) (output []byte, err error) {
	return exec.Command(command[0], command[1:]...).CombinedOutput()
}

// build builds our programs, with the race detector where the test has it.
func build(t *testing.T) (noted, gateway string) {
	t.Helper()
	dir := t.TempDir()
	command := []string{"go", "build", "-o", dir + "/"}
	if raceDetector {
		command = append(command, "-race")
	}
	if output, err := run(append(command, "../../server/cmd/noted", "../cmd/noted-gateway")...); err != nil {
		t.Fatalf("building: %v\n%s", err, output)
	}
	return filepath.Join(dir, "noted"), filepath.Join(dir, "noted-gateway")
}

// freeAddress is below the range that outgoing connections are given, so it stays free
// while a program is started anew.
func freeAddress() string {
	for {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		if listener, err := net.Listen("tcp", addr); err == nil {
			listener.Close()
			return addr
		}
	}
}

func port(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	return must(port, err)
}

// process is a program that listens. It has a process group of its own, by whose id it
// ends together with its children: the workers of php -S outlive it otherwise.
type process struct {
	t     *testing.T
	name  string
	addr  string
	env   []string
	args  []string
	log   string // a file
	group int    // 0 while it does not run
	guard io.Closer
	ended chan struct{}
}

func newProcess(t *testing.T, name, addr string, env []string, args ...string) *process {
	p := &process{t: t, name: name, addr: addr, env: env, args: args, log: filepath.Join(t.TempDir(), "log")}
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
	command := exec.Command(p.args[0], p.args[1:]...)
	command.Env = append(os.Environ(), p.env...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	// A test binary that dies takes the program with it: the pipe closes, and the shell
	// kills the group.
	guard := exec.Command("/bin/sh", "-c", `read _ || kill -s KILL -- "-$0"`, strconv.Itoa(command.Process.Pid))
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that it survives a Ctrl-C
	pipe, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	ended := make(chan struct{})
	go func() {
		command.Wait()
		close(ended)
	}()
	p.group, p.ended = command.Process.Pid, ended
	if err != nil {
		p.end(syscall.SIGKILL)
		return err
	}
	p.guard = closer(func() error {
		io.WriteString(pipe, "\n") // before the id can be another's
		return guard.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended at once: %s", p.name, p.said())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen: %w", p.name, err)
		}
	}
}

type closer func() error

func (c closer) Close() error { return c() }

// end sends a signal to it and its children, and waits until it has ended and no child
// listens.
func (p *process) end(signal syscall.Signal) {
	if p.group == 0 {
		return
	}
	syscall.Kill(-p.group, signal)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.t.Errorf("%s did not end on %v", p.name, signal)
	}
	syscall.Kill(-p.group, syscall.SIGKILL) // what children it has left
	<-p.ended
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			break // nobody is left who listens
		}
		conn.Close()
		if time.Now().After(deadline) {
			p.t.Errorf("%s has left somebody behind", p.name)
			break
		}
	}
	if p.guard != nil {
		p.guard.Close()
	}
	p.group, p.guard = 0, nil
}

// said is the end of its log.
func (p *process) said() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-3000):])
}
