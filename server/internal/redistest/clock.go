package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// faketime is the library that moves clocks. The program of that name knows where it is, and may fail: it leaves something named by its process id behind, which
// another one of that id stumbles over.
var faketime = sync.OnceValues(func() (library []byte, err error) {
	for range 5 {
		if library, err = exec.Command("faketime", "-f", "+0", "printenv", "LD_PRELOAD").Output(); err == nil {
			break
		}
	}
	return library, err
})

// StartWithClock starts a redis-server with a clock of its own, which shows this machine's time until SetClock or StopClock. All that it does by the time
// follows: TIME, the expiry of keys, its scripts. The clock by which it waits is not touched.
func StartWithClock(tb testing.TB, args ...string) *Server {
	tb.Helper()
	library, err := faketime()
	if err != nil {
		tb.Fatalf("a server's clock cannot be moved: %v; on Debian: apt-get install faketime", err)
	}
	// Behind it the usual malloc: Redis's own asks for the time before the library is ready to tell it, and both wait for ever.
	preload := strings.TrimSpace(string(library)) + " libc.so.6"
	file := tb.TempDir() + "/clock"
	s := &Server{tb: tb, place: Place{Host: "127.0.0.1"}, args: args, clock: file,
		env: []string{"LD_PRELOAD=" + preload, "FAKETIME_TIMESTAMP_FILE=" + file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "TZ=UTC"}}
	s.SetClock(0)
	return run(s)
}

// SetClock has the server's clock be so far ahead of this machine's, or behind it, and go on from there.
func (s *Server) SetClock(ahead time.Duration) {
	s.tb.Helper()
	s.setClock(fmt.Sprintf("%+.6f", ahead.Seconds()))
}

// StopClock has the server's clock stand at a time.
func (s *Server) StopClock(at time.Time) {
	s.tb.Helper()
	s.setClock(at.UTC().Format("2006-01-02 15:04:05.000000"))
}

func (s *Server) setClock(to string) {
	s.tb.Helper()
	err := os.WriteFile(s.clock+".new", []byte(to+"\n"), 0o600)
	if err == nil {
		err = os.Rename(s.clock+".new", s.clock) // the server reads it whenever it looks at the time
	}
	if err != nil {
		s.tb.Fatalf("setting the clock of redis-server: %v", err)
	}
}
