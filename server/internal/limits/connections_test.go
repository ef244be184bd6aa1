package limits

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// A peer that does not take a part within the server's patience is cut off, even while it
// sends. A slow peer that takes each part in time gets all of a long answer.
func TestPeerIsCutOff(t *testing.T) {
	for name, wait := range map[string]time.Duration{
		"slow": PingPatience - time.Second, "too slow": PingPatience + time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			server, peer := net.Pipe()
			accepted := make(piped, 1)
			accepted <- server
			bounds := NewConnections(Config{1, 1, metrics.New(metrics.Config{})})
			conn, err := bounds.Limit(accepted).Accept()
			if err != nil {
				t.Fatal(err)
			}
			answer := bytes.Repeat([]byte("x"), 5*part+1)
			taken := make(chan int)
			go func() {
				defer peer.Close()
				total, buffer := 0, make([]byte, part)
				for total < len(answer) {
					time.Sleep(wait)
					n, err := io.ReadAtLeast(peer, buffer, min(part, len(answer)-total))
					if total += n; err != nil {
						break
					}
				}
				taken <- total
			}()
			var meanwhile sync.WaitGroup
			meanwhile.Go(func() { // the peer sends
				for {
					if _, err := peer.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			meanwhile.Go(func() { io.Copy(io.Discard, conn) })
			n, err := conn.Write(answer)
			total := <-taken
			synctest.Wait() // what cuts the peer off is done
			bounds.mu.Lock()
			open := bounds.open
			bounds.mu.Unlock()
			if name == "slow" && (n != len(answer) || total != n || err != nil) {
				t.Errorf("of %d bytes %d were sent and %d taken, %v; want all", len(answer), n, total, err)
			}
			if name == "too slow" && (total != 0 || !errors.Is(err, io.ErrClosedPipe) || open != 0) {
				t.Errorf("the peer took %d bytes, %v, and %d connections are open; want it cut off", total, err, open)
			}
			conn.Close()
			meanwhile.Wait()
		})
	}
}

// piped is a listener whose connections come from a test.
type piped chan net.Conn

func (p piped) Accept() (net.Conn, error) { return <-p, nil }
func (p piped) Close() error              { return nil }
func (p piped) Addr() net.Addr            { return text("pipe") }
