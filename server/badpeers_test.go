package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
)

// memory is how much memory this process has in use after a collection. The test's own
// part is in it, so bounds are generous.
func memory() uint64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64()
}

// watched runs a peer's misbehaviour while an honest caller notes, each of whose calls
// must be answered. It returns how much more memory is held than before, and fails if
// much more was in use meanwhile.
func (s configuredServer) watched(t *testing.T, misbehave func()) (held uint64) {
	t.Helper()
	honest := s.as(t, nil, "")
	runtime.GC()
	before := memory()
	over := func(now uint64) uint64 { return max(now, before) - before }
	done := make(chan struct{})
	var watching sync.WaitGroup
	var most uint64
	calls := 0
	watching.Go(func() {
		for last := false; !last; {
			select {
			case <-done:
				last = true // another call, after the misbehaviour
			case <-time.After(5 * time.Millisecond):
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			if _, err := honest.NoteDonation(ctx, series(fmt.Sprint("I-honest-", calls))); err != nil {
				t.Errorf("an honest call meanwhile: %v", err)
			}
			cancel()
			calls++
			most = max(most, memory())
		}
	})
	misbehave()
	close(done)
	watching.Wait()
	runtime.GC()
	runtime.GC() // the memory of pools outlives the first collection
	held = over(memory())
	t.Logf("%d honest calls answered, at most %d KiB more in use, %d KiB held", calls, over(most)>>10, held>>10)
	if over(most) > 256*mib {
		t.Errorf("meanwhile memory was up by %d MiB", over(most)/mib)
	}
	return held
}

const mib = 1 << 20

// A badPeer is a client that breaks the rules.
type badPeer struct {
	name      string
	misbehave func(t *testing.T)
}

// floodingPeers break the rules of HTTP/2, or flood.
func floodingPeers(s configuredServer) []badPeer {
	return []badPeer{
		{"ping flood", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			for i := range 1000 {
				p.framer.WritePing(false, [8]byte{byte(i), byte(i >> 8)})
			}
			if got := p.ended(1); !strings.HasPrefix(got, "GOAWAY ENHANCE_YOUR_CALM") && got != "closed" {
				t.Errorf("ended with %s, want GOAWAY ENHANCE_YOUR_CALM", got)
			}
		}},
		{"settings flood", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			p.conn.SetDeadline(time.Now().Add(time.Second))
			for range 200_000 { // each needs an acknowledgement, and the peer takes none
				if p.framer.WriteSettings() != nil {
					return
				}
			}
		}},
		{"rapid reset", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			go io.Copy(io.Discard, p.conn)
			for i := range uint32(5000) {
				p.call(2*i + 1)
				if p.framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
					break
				}
			}
		}},
		{"more streams than are allowed", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			for i := range uint32(300) {
				p.call(2*i + 1)
			}
			if got := p.ended(2*299 + 1); got != "RST_STREAM REFUSED_STREAM" {
				t.Errorf("the last of 300 ended with %s, want REFUSED_STREAM", got)
			}
		}},
		{"header bomb", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			more := make([][2]string, 2000)
			for i := range more {
				more[i] = [2]string{"x-bomb", strings.Repeat("b", 3000)} // one byte each in HPACK, 6 MB unpacked
			}
			p.call(1, more...)
			if got := p.ended(1); got == "grpc-status 0" || got == "nothing" {
				t.Errorf("ended with %s", got)
			}
		}},
		{"headers without end", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			go func() {
				for p.framer.WriteContinuation(1, false, bytes.Repeat([]byte{0x82}, 16<<10)) == nil {
				}
			}()
			if got := p.ended(1); got == "nothing" {
				t.Error("the server takes CONTINUATION frames without end")
			}
		}},
	}
}

// brokenPeers send messages and bytes that are garbage.
func brokenPeers(s configuredServer) []badPeer {
	return []badPeer{
		{"a gigabyte announced", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			p.call(1)
			p.data(1, 0, 1<<30, []byte("x"))
			if got := p.ended(1); got != "grpc-status 8" {
				t.Errorf("ended with %s, want RESOURCE_EXHAUSTED", got)
			}
		}},
		{"gzip bomb", func(t *testing.T) {
			var bomb bytes.Buffer
			packed := gzip.NewWriter(&bomb)
			for range 60 {
				packed.Write(make([]byte, mib))
			}
			packed.Close()
			p := rogueAt(t, s.Addr())
			p.call(1, [2]string{"grpc-encoding", "gzip"})
			p.data(1, 1, uint32(bomb.Len()), bomb.Bytes())
			if got := p.ended(1); got != "grpc-status 8" {
				t.Errorf("ended with %s, want RESOURCE_EXHAUSTED", got)
			}
		}},
		{"an unknown mark of compression", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			p.call(1)
			p.data(1, 1, 2, []byte{0x0a, 0x00})
			if got := p.ended(1); got != "grpc-status 13" {
				t.Errorf("ended with %s, want INTERNAL", got)
			}
		}},
		{"garbage for a message", func(t *testing.T) {
			p := rogueAt(t, s.Addr())
			p.call(1)
			p.data(1, 0, 8, bytes.Repeat([]byte{0xff}, 8))
			if got := p.ended(1); got != "grpc-status 13" {
				t.Errorf("ended with %s, want INTERNAL", got)
			}
		}},
		{"garbage for a connection", func(t *testing.T) {
			for _, addr := range []string{s.Addr(), s.HTTPAddr()} {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				garbage := make([]byte, 64<<10)
				rand.New(rand.NewSource(1)).Read(garbage)
				conn.Write(garbage)
				if err := closedAtOnce(conn); err != nil {
					t.Errorf("%s: %v", addr, err)
				}
				conn.Close()
			}
		}},
		{"garbage for frames", func(t *testing.T) {
			random := rand.New(rand.NewSource(2))
			for range 50 {
				p := rogueAt(t, s.Addr())
				payload := make([]byte, random.Intn(200))
				random.Read(payload)
				p.framer.WriteRawFrame(
					http2.FrameType(random.Intn(12)),
					http2.Flags(random.Intn(256)),
					uint32(random.Intn(4)),
					payload,
				)
				p.conn.Write(payload)
				p.conn.Close()
			}
		}},
		{"HTTP/1.1", func(t *testing.T) {
			conn, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: noted\r\n\r\n")
			if err := closedAtOnce(conn); err != nil {
				t.Error(err)
			}
		}},
		{"a TLS handshake at a plaintext door", func(t *testing.T) {
			conn, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.Write([]byte("\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + strings.Repeat("x", 40)))
			if err := closedAtOnce(conn); err != nil {
				t.Error(err)
			}
		}},
	}
}

func TestBadPeers(t *testing.T) {
	s := startConfigured(t, func(c *server.Config) { c.HTTPListen = "127.0.0.1:0" })
	for _, c := range append(floodingPeers(s), brokenPeers(s)...) {
		t.Run(c.name, func(t *testing.T) {
			if held := s.watched(t, func() { c.misbehave(t) }); held > 20*mib {
				t.Errorf("%d MiB are held", held/mib)
			}
		})
	}
	if got := s.metric(t, "noted_panics_total"); got != 0 {
		t.Errorf("%v calls ended in a panic", got)
	}
	eventually(
		t,
		30*time.Second,
		"no connection or call of theirs is left",
		func() bool { return s.metric(t, "noted_calls_under_way") == 0 },
	)
}

// Two thousand idle connections take a bounded memory each, and other callers are served.
func TestIdleConnections(t *testing.T) {
	const many = 2000
	s := startConfigured(t, func(c *server.Config) { c.MaxConnectionsPerAddress = many + 100 })
	peers := make([]*rogue, 0, many)
	held := s.watched(t, func() {
		for range many {
			p := rogueAt(t, s.Addr())
			if _, err := p.framer.ReadFrame(); err != nil { // the server's settings: the connection is there
				t.Fatal(err)
			}
			peers = append(peers, p)
		}
	})
	if got := s.metric(t, "noted_connections"); got < many {
		t.Errorf("%v connections are open, want %d", got, many)
	}
	// Ours and the server's ends together.
	if each := held / many; each > 200<<10 {
		t.Errorf("an idle connection takes %d KiB", each>>10)
	}
	for _, p := range peers {
		p.conn.Close()
	}
	eventually(t, 20*time.Second, "their places are free", func() bool { return s.metric(t, "noted_connections") <= 1 })
}

// The server does not read from a stream whose caller does not read, and such a caller
// takes a bounded memory.
func TestSlowReader(t *testing.T) {
	s := startConfigured(t, func(c *server.Config) {})
	held := s.watched(t, func() {
		stream, err := s.as(t, nil, "").NoteDonations(within(t, 30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan int)
		go func() {
			n := 0
			for ; n < 200_000; n++ {
				if stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-1")}) != nil {
					break
				}
				if n%100 == 0 {
					select {
					case sent <- n:
					default:
					}
				}
			}
			close(sent)
		}()
		last := 0
		for quiet := time.After(500 * time.Millisecond); ; {
			select {
			case n, more := <-sent:
				if !more {
					t.Error("200,000 requests were taken and no answer read")
					return
				}
				last, quiet = n, time.After(500*time.Millisecond)
				continue
			case <-quiet:
			}
			break
		}
		t.Logf("after about %d requests no more are taken", last)
	})
	if held > 20*mib {
		t.Errorf("%d MiB are held", held/mib)
	}
}

// Wrong headers do no harm.
func TestStrangeMetadata(t *testing.T) {
	s := startConfigured(t, func(c *server.Config) {})
	c := s.as(t, nil, "")
	for name, md := range map[string]metadata.MD{
		"binary": metadata.Pairs("x-bin", string([]byte{0, 1, 2, 255})), "many": metadata.Pairs(strings.Split(strings.Repeat("x-many,1,", 200)+"x,1", ",")...),
		"a deadline far ahead": metadata.Pairs("x-deadline", "99999999H"),
	} {
		if _, err := c.NoteDonation(
			metadata.NewOutgoingContext(t.Context(), md),
			series("I-1"),
		); status.Code(
			err,
		) != codes.OK {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, timeout := range []string{"", "x", "-1S", "99999999H", "1", "0n"} {
		p := rogueAt(t, s.Addr())
		p.call(1, [2]string{"grpc-timeout", timeout})
		p.data(1, 0, 0, nil)
		if got := p.ended(1); got == "nothing" || got == "closed" {
			t.Errorf("grpc-timeout %q ended with %s, want an answer", timeout, got)
		}
	}
}
