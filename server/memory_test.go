package server_test

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/donation-dedupe/noted/server"
)

// The memory that the server states at its start is an upper bound. Connections that each
// have as many requests under way as they may, each without its last bytes, together take
// less, and the server takes no more of them however fast they send. When their time is
// over, nothing is left.
func TestMemoryIsBounded(t *testing.T) {
	const peers, streams, message = 4, 250, 64 << 10
	s := startConfigured(t, func(c *server.Config) { c.MaxConnections, c.MaxDeadline = 100, 3*time.Second })
	told := regexp.MustCompile(
		`"max_connections":100,"idle":"9.8 MiB","busy":"\d+.\d GiB","each_idle":"0.1 MiB","each_busy":"(\d+.\d) MiB"`,
	).FindStringSubmatch(s.log.String())
	if told == nil {
		t.Fatalf("the log does not say how much memory callers can take:\n%s", s.log)
	}
	var each float64
	fmt.Sscan(told[1], &each)

	runtime.GC()
	before := memory()
	var crowd sync.WaitGroup
	var ended atomic.Int64
	var windows [peers]uint32
	var all []*rogue
	for i := range peers {
		p := rogueAt(t, s.Addr())
		all = append(all, p)
		var writing sync.Mutex
		crowd.Go(func() { // it answers pings, without which gRPC offers no larger window
			for {
				frame, err := p.framer.ReadFrame()
				if err != nil {
					return
				}
				switch f := frame.(type) {
				case *http2.SettingsFrame:
					if offered, ok := f.Value(http2.SettingInitialWindowSize); ok {
						windows[i] = max(windows[i], offered)
					}
				case *http2.PingFrame:
					if !f.IsAck() {
						writing.Lock()
						p.framer.WritePing(true, f.Data)
						writing.Unlock()
					}
				case *http2.HeadersFrame:
					if f.StreamEnded() {
						ended.Add(1)
					}
				}
			}
		})
		crowd.Go(func() {
			for i := range uint32(streams) {
				writing.Lock()
				p.call(2*i + 1)
				p.framer.WriteData(
					2*i+1,
					false,
					[]byte{0, 0, 0, 0xff, 0xf0},
				) // announces a message of 64 KiB less 16 bytes
				writing.Unlock()
				for left := message - 64; left > 0; left -= 16 << 10 {
					writing.Lock()
					p.framer.WriteData(2*i+1, false, make([]byte, min(left, 16<<10)))
					writing.Unlock()
				}
			}
		})
	}
	most := 0.0
	eventually(t, 30*time.Second, "the time of all calls is over", func() bool {
		runtime.GC()
		most = max(most, (float64(memory())-float64(before))/mib)
		return ended.Load() == peers*streams
	})
	for _, p := range all {
		p.conn.Close()
	}
	crowd.Wait()
	if least := float64(peers*streams*message/2) / mib; most < least {
		t.Errorf("%d connections took %.1f MiB, want %.1f and more, or the test proves nothing", peers, most, least)
	}
	if most > peers*each {
		t.Errorf("%d connections took %.1f MiB; the log says at most %.1f MiB each", peers, most, each)
	}
	if got := slices.Max(windows[:]); got > message {
		t.Errorf("the server offers a window of %d bytes, want no more than the longest request", got)
	}
	eventually(t, 10*time.Second, "their memory is free again", func() bool {
		runtime.GC()
		return float64(memory())-float64(before) < 10*mib
	})
	if s.logged(`"level":"WARN"`, "GOMEMLIMIT") != 0 {
		t.Error("the log warns of a limit that is not set")
	}
}
