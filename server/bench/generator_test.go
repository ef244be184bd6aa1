package bench_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
)

// connections is how many connections callers share.
const connections = 4

// A dialogue is what callers ask and what they must be answered. Its functions are called
// from a goroutine for each connection, for one caller never from two.
type dialogue struct {
	methods []string
	// ask appends the i-th request of all, and says which method takes it.
	ask func(caller, i int, request []byte) (_ []byte, method int)
	// check returns an error unless the answer to the caller's last request is right.
	check func(caller int, answer []byte) error
}

// load is the dialogue as a load. The generator shares two cores with the programs that it
// measures, and a client of grpc-go costs as much as they do. So it is not such a client:
// it speaks HTTP/2 from one goroutine for each connection, which takes everything that
// has arrived before it writes. It sends the headers that grpc-go sends. It checks the
// status of every answer, and the answer itself.
func (d dialogue) load(r *running) load {
	var made atomic.Int64
	return func(callers int, span time.Duration) ([]time.Duration, error) {
		took, failed := make([][]time.Duration, connections), make([]error, connections)
		end := time.Now().Add(span)
		var done sync.WaitGroup
		for at := range min(connections, callers) {
			done.Go(func() {
				g, err := dial(r.addr, d, &made)
				if err == nil {
					err = g.run(at, callers, end)
					err = errors.Join(err, g.conn.Close())
					took[at] = g.took
				}
				failed[at] = err
			})
		}
		done.Wait()
		return slices.Concat(took...), cmp.Or(failed...)
	}
}

// A generator is the calls on one connection.
type generator struct {
	dialogue
	made    *atomic.Int64
	conn    net.Conn
	read    *bufio.Reader
	write   *bufio.Writer
	framer  *http2.Framer
	addr    string
	block   bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder
	status  string // of the header that is being read

	streams uint32 // the id of the next
	under   map[uint32]*under
	window  int // how many bytes the server takes
	unsaid  int // bytes that arrived since the server last heard that we take more
	took    []time.Duration
}

// under is a call under way.
type under struct {
	caller  int
	began   time.Time
	request []byte
	answer  []byte // as far as it has arrived
}

// taken is how many bytes of answers a server may send before it hears of them.
const taken = 1 << 28

func dial(addr string, d dialogue, made *atomic.Int64) (*generator, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	g := &generator{
		dialogue: d, made: made, conn: conn, addr: addr, read: bufio.NewReaderSize(conn, 64<<10),
		write: bufio.NewWriterSize(conn, 64<<10), streams: 1, under: map[uint32]*under{}, window: 1<<16 - 1,
	}
	g.framer = http2.NewFramer(g.write, g.read)
	g.framer.SetReuseFrames()
	g.encoder = hpack.NewEncoder(&g.block)
	g.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			g.status = f.Value
		}
		if f.Name == "grpc-message" && f.Value != "" {
			g.status += " " + f.Value
		}
	})
	io.WriteString(g.write, http2.ClientPreface)
	g.framer.WriteSettings()
	g.framer.WriteWindowUpdate(0, taken)
	return g, nil
}

// header is the header of a call, as grpc-go sends it.
func (g *generator) header(method string) []byte {
	g.block.Reset()
	for _, f := range [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: method},
		{Name: ":authority", Value: g.addr},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: "grpc-go/" + grpc.Version},
		{Name: "te", Value: "trailers"},
	} {
		g.encoder.WriteField(f)
	}
	return g.block.Bytes()
}

// run makes the calls of every fourth caller until the end, and waits for their answers.
func (g *generator) run(at, callers int, end time.Time) error {
	g.conn.SetDeadline(end.Add(time.Minute))
	for caller := at; caller < callers; caller += connections {
		if err := g.call(&under{caller: caller}, time.Now()); err != nil {
			return err
		}
	}
	for len(g.under) > 0 {
		if g.read.Buffered() < 9 { // not even the head of a frame
			if err := g.write.Flush(); err != nil {
				return err
			}
		}
		frame, err := g.framer.ReadFrame()
		if err != nil {
			return err
		}
		if err := g.take(frame, end); err != nil {
			return err
		}
	}
	return nil
}

// call makes the next call of a caller.
func (g *generator) call(u *under, now time.Time) error {
	request, method := g.ask(u.caller, int(g.made.Add(1)), append(u.request[:0], 0, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(request[1:], uint32(len(request)-5))
	u.began, u.request, u.answer = now, request, u.answer[:0]
	if g.window -= len(request); g.window < 0 {
		return errors.New("the server takes fewer bytes than callers have to say")
	}
	g.under[g.streams] = u
	err := g.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: g.streams, BlockFragment: g.header(g.methods[method]), EndHeaders: true,
	})
	if err == nil {
		err = g.framer.WriteData(g.streams, true, request)
	}
	g.streams += 2
	return err
}

// take does what a frame asks for.
func (g *generator) take(frame http2.Frame, end time.Time) error {
	switch f := frame.(type) {
	case *http2.DataFrame:
		if u := g.under[f.StreamID]; u != nil {
			u.answer = append(u.answer, f.Data()...)
		}
		if g.unsaid += int(f.Length); g.unsaid > taken/2 {
			g.unsaid = 0
			return g.framer.WriteWindowUpdate(0, taken/2)
		}
	case *http2.HeadersFrame:
		return g.takeHeader(f, end)
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			g.window += int(f.Increment)
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return g.framer.WritePing(true, f.Data)
		}
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return g.framer.WriteSettingsAck()
		}
	case *http2.RSTStreamFrame:
		if g.under[f.StreamID] != nil {
			return fmt.Errorf("the server reset a call: %v", f.ErrCode)
		}
	default:
		return fmt.Errorf("the server sent %v", frame)
	}
	return nil
}

// takeHeader takes the header of an answer, or what ends it.
func (g *generator) takeHeader(f *http2.HeadersFrame, end time.Time) error {
	g.status = ""
	if _, err := g.decoder.Write(f.HeaderBlockFragment()); err != nil {
		return err
	}
	if !f.HeadersEnded() {
		return errors.New("the server sent a header in several frames")
	}
	u := g.under[f.StreamID]
	if u == nil || !f.StreamEnded() {
		return nil
	}
	delete(g.under, f.StreamID)
	if g.status != "0" {
		return fmt.Errorf("a call ended with status %s", g.status)
	}
	if len(u.answer) < 5 || u.answer[0] != 0 || int(binary.BigEndian.Uint32(u.answer[1:])) != len(u.answer)-5 {
		return fmt.Errorf("an answer is no message: %q", u.answer)
	}
	if err := g.check(u.caller, u.answer[5:]); err != nil {
		return err
	}
	now := time.Now()
	g.took = append(g.took, now.Sub(u.began))
	if now.Before(end) {
		return g.call(u, now)
	}
	return nil
}
