package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// If this signal is ignored, a write beyond the file-size limit of a process is an error;
// otherwise it ends the process. Servers inherit the setting.
func init() { signal.Ignore(syscall.SIGXFSZ) }

// FillDisk makes every further write to the server's files fail as on a full disk: to its
// snapshots, and after a first byte to its append-only file. It needs no root.
func (s *Server) FillDisk() {
	s.tb.Helper()
	bytes := int64(0)
	if parts := s.appendOnly(); len(parts) > 0 {
		bytes = s.AppendOnly().Size + 1
	}
	s.mostInFile(strconv.FormatInt(bytes, 10))
}

// FreeDisk lets writes succeed again.
func (s *Server) FreeDisk() { s.tb.Helper(); s.mostInFile("unlimited") }

func (s *Server) mostInFile(bytes string) {
	s.tb.Helper()
	if _, err := exec.LookPath("prlimit"); err != nil {
		s.tb.Fatal("prlimit is not installed; on Debian: apt-get install util-linux")
	}
	out, err := exec.Command("prlimit", "--pid", s.PID(), "--fsize="+bytes+":unlimited").CombinedOutput()
	if err != nil {
		s.tb.Fatalf("limiting the files of redis-server to %s bytes: %v: %s", bytes, err, out)
	}
}

// PID is the process id of the server, which is running.
func (s *Server) PID() string {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command == nil {
		s.tb.Fatal("redis-server is not running")
	}
	return strconv.Itoa(s.command.Process.Pid)
}

// AppendOnly is the last part of the server's append-only file, to which it writes. On
// Redis 7 the file has several parts in a directory.
func (s *Server) AppendOnly() (file struct {
	Path string
	Size int64
},
) {
	s.tb.Helper()
	parts := s.appendOnly()
	if len(parts) != 1 {
		s.tb.Fatalf("the append-only file has the parts %s, want one", strings.Join(parts, ", "))
	}
	stat, err := os.Stat(parts[0])
	if err != nil {
		s.tb.Fatal(fmt.Errorf("looking at the append-only file: %w", err))
	}
	file.Path, file.Size = parts[0], stat.Size()
	return file
}

func (s *Server) appendOnly() []string {
	parts, _ := filepath.Glob(s.dir + "/appendonlydir/*.incr.aof")
	whole, _ := filepath.Glob(s.dir + "/appendonly.aof")
	return append(parts, whole...)
}
