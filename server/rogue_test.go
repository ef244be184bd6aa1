package server_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// A rogue speaks HTTP/2 by hand, to send frames that no library sends.
type rogue struct {
	t      *testing.T
	method string // the method that it calls
	conn   net.Conn
	framer *http2.Framer
	header bytes.Buffer
	hpack  *hpack.Encoder
	read   *hpack.Decoder
}

// rogueAt opens a connection and sends the preface.
func rogueAt(t *testing.T, addr string, settings ...http2.Setting) *rogue {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := &rogue{
		t:      t,
		method: notedv1.DedupeService_NoteDonation_FullMethodName,
		conn:   conn,
		framer: http2.NewFramer(conn, conn),
	}
	p.hpack, p.read = hpack.NewEncoder(&p.header), hpack.NewDecoder(4096, nil)
	io.WriteString(conn, http2.ClientPreface)
	p.framer.WriteSettings(settings...)
	p.framer.AllowIllegalReads, p.framer.AllowIllegalWrites = true, true
	return p
}

// call announces a call. It ignores errors of writing: if the server has hung up, reading
// gives the better error.
func (p *rogue) call(stream uint32, more ...[2]string) {
	p.header.Reset()
	for _, h := range append([][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", p.method},
		{":authority", "test"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	}, more...) {
		p.hpack.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	block, first := p.header.Bytes(), true
	for len(block) > 0 || first {
		part := block[:min(len(block), 16<<10)]
		block = block[len(part):]
		if first {
			p.framer.WriteHeaders(
				http2.HeadersFrameParam{StreamID: stream, BlockFragment: part, EndHeaders: len(block) == 0},
			)
		} else {
			p.framer.WriteContinuation(stream, len(block) == 0, part)
		}
		first = false
	}
}

// data sends a message with a length and a compression flag that may be false.
func (p *rogue) data(stream uint32, compressed byte, length uint32, message []byte) {
	prefix := binary.BigEndian.AppendUint32([]byte{compressed}, length)
	for body := append(prefix, message...); len(body) > 0; {
		part := body[:min(len(body), 16<<10)]
		body = body[len(part):]
		p.framer.WriteData(stream, len(body) == 0, part)
	}
}

// ended says how the server ends a stream or the connection: a gRPC status, a code of
// HTTP/2, or an error.
func (p *rogue) ended(stream uint32) string {
	for {
		frame, err := p.framer.ReadFrame()
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			fields, _ := p.read.DecodeFull(f.HeaderBlockFragment())
			for _, field := range fields {
				if field.Name == "grpc-status" && f.StreamID == stream {
					return "grpc-status " + field.Value
				}
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return "RST_STREAM " + f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return "GOAWAY " + f.ErrCode.String() + " " + string(f.DebugData())
		case *http2.PingFrame:
			if !f.IsAck() {
				p.framer.WritePing(true, f.Data)
			}
		}
		var network net.Error
		if errors.As(err, &network) && network.Timeout() {
			return "nothing"
		} else if err != nil {
			return "closed"
		}
	}
}
