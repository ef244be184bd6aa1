// Package redistest starts a real redis-server for a test, and stops, kills, freezes and
// restarts it.
//
//	redis := redistest.Start(t)
//	… redis.URL() …
//	redis.Pause() // every connection stays open and nothing answers
//	redis.Resume()
//	redis.Stop()
//	redis.Restart() // on the same address; empty, unless the arguments asked for persistence
//
// # Design
//
// The server keeps nothing on disk, knows no other instance, and listens on 127.0.0.1
// only (or in a Network). Further arguments of redis-server come last, so they win. Its
// port, and that of its cluster bus, are below the range of outgoing connections, so that
// Restart finds them free. The server is stopped by its process id, and does not outlive
// the test binary (see Guarded).
//
// The program is redis-server from PATH, or the program that REDIS_SERVER names in the
// environment. With it `make stores` runs the suite on other releases, and on Valkey.
package redistest

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long the server may take to start or to stop.
const patience = 10 * time.Second

// Server is a redis-server that belongs to one test.
type Server struct {
	tb       testing.TB
	place    Place
	port     int
	dir      string
	sentinel bool
	args     []string
	clock    string   // the file that sets its clock; empty if it has this machine's time
	env      []string // of its own

	mu      sync.Mutex
	command *exec.Cmd       // nil while stopped
	ended   <-chan struct{} // closed when command has ended
	frozen  bool            // by Pause
}

// Start starts a redis-server with args, waits until it answers, and stops it when the
// test ends. If redis-server is not installed, the test fails: a suite that quietly
// leaves out the real store proves nothing.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return StartAt(tb, Place{Host: "127.0.0.1"}, args...)
}

// StartOn is Start on the address of a stopped server.
func StartOn(tb testing.TB, stopped *Server, args ...string) *Server {
	tb.Helper()
	s := &Server{tb: tb, place: stopped.place, port: stopped.port, dir: tb.TempDir(), args: args}
	tb.Cleanup(s.Kill)
	if err := s.start(); err != nil {
		tb.Fatalf("starting redis-server on port %d: %v", s.port, err)
	}
	return s
}

// StartAt is Start at a place of a network.
func StartAt(tb testing.TB, place Place, args ...string) *Server {
	tb.Helper()
	return run(&Server{tb: tb, place: place, args: args})
}

// StartSentinel starts a sentinel, with its configuration.
func StartSentinel(tb testing.TB, place Place, configuration string) *Server {
	tb.Helper()
	s := &Server{tb: tb, place: place, sentinel: true, dir: tb.TempDir()}
	if err := os.WriteFile(s.dir+"/sentinel.conf", []byte(configuration), 0o600); err != nil {
		tb.Fatal(err)
	}
	return run(s)
}

func run(s *Server) *Server {
	tb := s.tb
	tb.Helper()
	if _, err := exec.LookPath(Program()); err != nil {
		tb.Fatalf("%v; on Debian: apt-get install redis-server", err)
	}
	if s.dir == "" {
		s.dir = tb.TempDir()
	}
	tb.Cleanup(s.Kill)
	var err error
	for range 5 { // another process may take the port between the look and the start
		s.port = FreePort()
		if err = s.start(); err == nil {
			return s
		}
	}
	tb.Fatalf("starting redis-server: %v", err)
	return nil
}

// Program is the server that tests run against.
func Program() string { return cmp.Or(os.Getenv("REDIS_SERVER"), "redis-server") }

// Release is its release, such as 7.0.15.
func Release(tb testing.TB) string {
	tb.Helper()
	output, err := exec.Command(Program(), "--version").Output() // Redis server v=7.0.15 sha=…
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(output), " v=")
	release, _, _ := strings.Cut(rest, " ")
	return release
}

// Addr is where the server listens, host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.place.Host, strconv.Itoa(s.port)) }

// Host is where the server listens.
func (s *Server) Host() string { return s.place.Host }

// Port is where the server listens.
func (s *Server) Port() int { return s.port }

// URL is the address as redis clients take it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Stop shuts the server down in an orderly way and waits for its end. A second Stop does
// nothing.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server at once, as a crash does, even while it is paused.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Restart starts the server again, on its address and with its arguments. It stops a
// running server first. If the arguments ask for persistence, the server has its notes
// again.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	if err := s.start(); err != nil {
		s.tb.Fatalf("restarting redis-server: %v", err)
	}
}

// Pause freezes the server: connections stay open, and nothing answers.
func (s *Server) Pause() { s.tb.Helper(); s.signal(syscall.SIGSTOP) }

// Resume lets a paused server continue; it then runs the commands that it has received
// meanwhile.
func (s *Server) Resume() { s.tb.Helper(); s.signal(syscall.SIGCONT) }

// Do sends one command, written as on a terminal. It returns the first line of the reply
// without its type mark.
func (s *Server) Do(command string) string {
	s.tb.Helper()
	reply, err := s.ask(command)
	if err != nil {
		s.tb.Fatalf("asking redis %q: %v", command, err)
	}
	return reply
}

func (s *Server) start() error {
	args := []string{
		"--port",
		strconv.Itoa(s.port),
		"--bind",
		s.place.Host,
		"--protected-mode",
		"no",
		"--dir",
		s.dir,
		"--logfile",
		s.dir + "/redis.log",
		"--daemonize",
		"no",
	}
	if s.sentinel {
		args = append([]string{Program(), s.dir + "/sentinel.conf", "--sentinel"}, args...)
	} else {
		args = append(
			append([]string{Program()}, args...),
			append([]string{"--save", "", "--appendonly", "no"}, s.args...)...)
	}
	if s.place.Namespace != "" {
		args = append(
			[]string{"ip", "netns", "exec", s.place.Namespace},
			args...) // it becomes the server, under the same process id
	}
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), s.env...)
	ended, err := Guarded(command)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.command, s.ended, s.frozen = command, ended, false
	s.mu.Unlock()

	slow := slices.Contains(s.args, "--key-load-delay") // the test wants to reach it while it loads
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var reply string
		if reply, err = s.ask("PING"); err == nil && (slow || !strings.HasPrefix(reply, "LOADING")) {
			return nil
		}
		select {
		case <-ended:
			log, _ := os.ReadFile(s.dir + "/redis.log")
			return fmt.Errorf("it ended at once: %s", log)
		default:
		}
		if time.Now().After(deadline) {
			s.Kill()
			return fmt.Errorf("it does not answer: %q, %w", reply, err)
		}
	}
}

func (s *Server) end(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command == nil {
		return
	}
	s.command.Process.Signal(signal) // fails only where it has ended
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.command.Process.Kill()
		<-s.ended
	}
	s.command = nil
}

func (s *Server) signal(signal syscall.Signal) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command == nil {
		s.tb.Fatalf("sending redis-server %v: it is not running", signal)
	}
	if err := s.command.Process.Signal(signal); err != nil {
		s.tb.Fatalf("sending redis-server %v: %v", signal, err)
	}
	s.frozen = signal == syscall.SIGSTOP
}

// answers tells whether the server runs and is not frozen.
func (s *Server) answers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.command != nil && !s.frozen
}

// ask sends one inline command. An error reply is an answer too: a server with a password
// is up.
func (s *Server) ask(command string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimLeft(strings.TrimRight(line, "\r\n"), "+:$*-"), nil
}

// FreePort is a port that had no listener a moment ago, nor had the port of its cluster
// bus. Both are below the range of outgoing connections, so they stay free while a server
// restarts.
func FreePort() int {
	for {
		port := 12000 + rand.IntN(bus)
		if free(port) && free(port+bus) {
			return port
		}
	}
}

// bus is how far the port of a node's cluster bus is above its port.
const bus = 10000

func free(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

// RaceDetector tells whether this test binary was built with the race detector.
func RaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
