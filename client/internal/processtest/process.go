// Package processtest starts real programs for tests: kills them, stops them, and starts
// them again on the same address.
package processtest

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

// Process is a program that listens. Its own process group lets it end together with its
// children: otherwise the workers of php -S would outlive it. It runs in the folder of its
// log.
type Process struct {
	Addr string
	Log  string // a file

	t     testing.TB
	env   []string
	args  []string
	group int // 0 while it does not run
	guard func() error
	ended chan struct{}
}

// New prepares a program that listens on an address. env is added to the environment of
// the test.
func New(t testing.TB, addr string, env []string, args ...string) *Process {
	p := &Process{Addr: addr, Log: filepath.Join(t.TempDir(), "log"), t: t, env: env, args: args}
	t.Cleanup(func() { p.End(syscall.SIGKILL) })
	return p
}

// FreeAddress is below the port range of outgoing connections, so it stays free while a
// program restarts.
func FreeAddress() string {
	for {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		if listener, err := net.Listen("tcp", addr); err == nil {
			listener.Close()
			return addr
		}
	}
}

// Port is the port of an address.
func Port(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	return port
}

// Start starts it and waits until it listens.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(p.args[0], p.args[1:]...)
	command.Env = append(os.Environ(), p.env...)
	command.Dir = filepath.Dir(p.Log)
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
		p.End(syscall.SIGKILL)
		return err
	}
	p.guard = func() error {
		io.WriteString(pipe, "\n") // before another group can have the id
		return guard.Wait()
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.Addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended at once: %s", p.args[0], p.Said())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen: %w", p.args[0], err)
		}
	}
}

// Ended is closed when the program has ended, by itself or by a signal.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Signal sends a signal that does not end the program.
func (p *Process) Signal(signal syscall.Signal) { syscall.Kill(-p.group, signal) }

// End sends a signal to it and its children, and waits until it has ended and no child
// listens. It has half a minute to end.
func (p *Process) End(signal syscall.Signal) { p.EndWithin(signal, 30*time.Second) }

// EndWithin is End with another time to end.
func (p *Process) EndWithin(signal syscall.Signal, limit time.Duration) {
	if p.group == 0 {
		return
	}
	syscall.Kill(-p.group, signal)
	select {
	case <-p.ended:
	case <-time.After(limit):
		p.t.Errorf("%s did not end on %v within %v", p.args[0], signal, limit)
	}
	syscall.Kill(-p.group, syscall.SIGKILL) // the children that it has left
	<-p.ended
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.Addr)
		if err != nil {
			break // no child is left that listens
		}
		conn.Close()
		if time.Now().After(deadline) {
			p.t.Errorf("%s has left a child that listens", p.args[0])
			break
		}
	}
	if p.guard != nil {
		p.guard()
	}
	p.group, p.guard = 0, nil
}

// Said is the end of its log.
func (p *Process) Said() string {
	text, _ := os.ReadFile(p.Log)
	return string(text[max(0, len(text)-3000):])
}
