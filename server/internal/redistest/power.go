package redistest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Power knows what a power failure would leave of a server's append-only file: only the
// data that the disk was asked to sync and has confirmed. A kill loses no written data,
// since the kernel has it.
type Power struct {
	server *Server
	tracer *exec.Cmd
	ended  chan struct{}

	mu              sync.Mutex
	written, synced int64            // bytes of the file
	syncs           int              // how often they were confirmed
	asked           map[string]int64 // :: thread → how much was written when it asked the disk
}

// WatchPower begins to watch a server, through strace, before its first write to the
// append-only file.
func (s *Server) WatchPower() *Power {
	s.tb.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		s.tb.Fatal("strace is not installed; on Debian: apt-get install strace")
	}
	file := s.AppendOnly()
	if file.Size > 0 {
		s.tb.Fatalf(
			"the append-only file has %d bytes already, and the disk may not have them: watch before the first write",
			file.Size,
		)
	}
	p := &Power{server: s, ended: make(chan struct{}), asked: map[string]int64{}}
	p.tracer = exec.Command("strace", "-f", "-p", s.PID(), "-s", "0", "-e", "trace=write,fdatasync", "-P", file.Path)
	lines, err := p.tracer.StderrPipe()
	if err == nil {
		err = p.tracer.Start()
	}
	if err != nil {
		s.tb.Fatalf("starting strace: %v", err)
	}
	go func() {
		defer close(p.ended)
		for in := bufio.NewScanner(lines); in.Scan(); {
			p.see(in.Text())
		}
		p.tracer.Wait()
	}()
	s.tb.Cleanup(func() {
		p.tracer.Process.Kill()
		<-p.ended
	})
	for deadline := time.Now().Add(patience); !s.traced(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.ended:
			s.tb.Fatal(
				"strace may not trace redis-server; run this test as root, or allow it (kernel.yama.ptrace_scope=0)",
			)
		default:
		}
		if time.Now().After(deadline) {
			s.tb.Fatal("strace has not attached to redis-server in time")
		}
	}
	return p
}

// traced tells whether strace has every thread of the server.
func (s *Server) traced() bool {
	threads, _ := filepath.Glob("/proc/" + s.PID() + "/task/*/status")
	for _, thread := range threads {
		if status, err := os.ReadFile(thread); err == nil && strings.Contains(string(status), "TracerPid:\t0\n") {
			return false
		}
	}
	return len(threads) > 0
}

var (
	traceLine   = regexp.MustCompile(`^(?:\[pid +(\d+)\] )?(<\.\.\. )?(write|fdatasync)[( ]`)
	traceResult = regexp.MustCompile(`\) += (\d+)$`)
)

// see reads a line of strace. A call that another thread interrupts has two lines: its
// beginning, and <... NAME resumed>.
func (p *Power) see(line string) {
	m := traceLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	thread, resumed, call := m[1], m[2] != "", m[3]
	if !resumed && call == "fdatasync" {
		p.asked[thread] = p.written
	}
	result := traceResult.FindStringSubmatch(line)
	if result == nil {
		return // another line has its end, or it has failed
	}
	n, _ := strconv.ParseInt(result[1], 10, 64)
	if call == "write" {
		p.written += n
		return
	}
	p.synced = max(p.synced, p.asked[thread])
	p.syncs++
}

// Syncs is how often the disk has confirmed its data.
func (p *Power) Syncs() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.syncs
}

// Fail ends the server as a power failure does, and returns how many bytes of the
// append-only file are lost. If there is a first lost command, a part of it remains, as
// on a real disk.
func (p *Power) Fail() (lost int64) {
	p.server.tb.Helper()
	file := p.server.AppendOnly().Path
	p.server.Kill()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.server.tb.Fatal("strace has not ended with redis-server")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	stat, err := os.Stat(file)
	if err != nil {
		p.server.tb.Fatalf("looking at the append-only file: %v", err)
	}
	if stat.Size() < p.written || p.syncs == 0 { // strace sees no result of a write that the end interrupts
		p.server.tb.Fatalf(
			"the append-only file has %d bytes, and strace has seen %d written and %d confirmations",
			stat.Size(),
			p.written,
			p.syncs,
		)
	}
	const torn = 7
	if stat.Size() > p.synced+torn {
		if err := os.Truncate(file, p.synced+torn); err != nil {
			p.server.tb.Fatalf("cutting the append-only file: %v", err)
		}
	}
	return stat.Size() - p.synced
}
