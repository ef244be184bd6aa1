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

// faketime is the library that moves clocks. The program of that name knows its path, but
// may fail: it leaves a file named after its process id, and another process with that id
// stumbles over the file.
var faketime = sync.OnceValues(func() (library []byte, err error) {
	for range 5 {
		if library, err = exec.Command("faketime", "-f", "+0", "printenv", "LD_PRELOAD").Output(); err == nil {
			break
		}
	}
	return library, err
})

// StartWithClock starts a redis-server with a clock of its own, which shows this
// machine's time until SetClock or StopClock. TIME, the expiry of keys and the scripts
// all follow it. The clock of timeouts is not touched.
func StartWithClock(tb testing.TB, args ...string) *Server {
	tb.Helper()
	library, err := faketime()
	if err != nil {
		tb.Fatalf("a server's clock cannot be moved: %v; on Debian: apt-get install faketime", err)
	}
	// Use the usual malloc with it: the malloc of Redis asks for the time before the
	// library is ready, and both wait for ever.
	preload := strings.TrimSpace(string(library)) + " libc.so.6"
	file := tb.TempDir() + "/clock"
	s := &Server{
		tb:    tb,
		place: Place{Host: "127.0.0.1"},
		args:  args,
		clock: file,
		env: []string{
			"LD_PRELOAD=" + preload,
			"FAKETIME_TIMESTAMP_FILE=" + file,
			"FAKETIME_NO_CACHE=1",
			"FAKETIME_DONT_FAKE_MONOTONIC=1",
			"TZ=UTC",
		},
	}
	s.SetClock(0)
	return run(s)
}

// SetClock sets the server's clock ahead of this machine's, or behind it; it runs on from
// there.
func (s *Server) SetClock(ahead time.Duration) {
	s.tb.Helper()
	s.setClock(fmt.Sprintf("%+.6f", ahead.Seconds()), func(asked, at time.Time) bool {
		return !at.Before(asked.Add(ahead-refreshed)) && !at.After(time.Now().Add(ahead+refreshed))
	})
}

// StopClock stops the server's clock at a time.
func (s *Server) StopClock(at time.Time) {
	s.tb.Helper()
	s.setClock(at.UTC().Format("2006-01-02 15:04:05.000000"), func(_, shown time.Time) bool {
		return !shown.Before(at.Truncate(time.Microsecond)) && shown.Before(at.Add(refreshed))
	})
}

// refreshed is how long Valkey 9.1 relies on its monotonic clock, which is not moved
// here, before it reads the time again. Redis reads the time for every command.
const refreshed = time.Millisecond

// setClock returns when the server shows the new time, or cannot be asked: a frozen or
// stopped server reads the time when it continues. shows gets the time of the question
// and the answer.
func (s *Server) setClock(to string, shows func(asked, at time.Time) bool) {
	s.tb.Helper()
	err := os.WriteFile(s.clock+".new", []byte(to+"\n"), 0o600)
	if err == nil {
		err = os.Rename(s.clock+".new", s.clock) // the server reads it whenever it looks at the time
	}
	if err != nil {
		s.tb.Fatalf("setting the clock of redis-server: %v", err)
	}
	for deadline := time.Now().Add(patience); s.answers(); {
		asked := time.Now()
		var seconds, micros int64
		if _, err := fmt.Sscanf(
			s.Tell("TIME"),
			"[%d %d]",
			&seconds,
			&micros,
		); err == nil &&
			shows(asked, time.Unix(seconds, micros*1000)) {
			return
		}
		if time.Now().After(deadline) {
			s.tb.Fatalf("after %v redis-server still does not show the time %s", patience, to)
		}
	}
}
