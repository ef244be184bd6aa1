package server

import (
	"compress/gzip"
	"context"
	"io"
	"math"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // requests in gzip; gRPC unpacks no more of one than it may have

	"github.com/donation-dedupe/noted/server/internal/contract"
)

// gzipped are the options of the second door that take requests in gzip, and answer in plain.
func gzipped() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithCompression("gzip", func() connect.Decompressor { return new(unpacker) }, func() connect.Compressor { return gzip.NewWriter(io.Discard) }),
		connect.WithCompressMinBytes(math.MaxInt),
	}
}

// unpacker ends one byte after the most that a request may have. Connect by itself would unpack
// all the rest, only to say how much it was: a thousand bytes for each that was sent.
type unpacker struct {
	gzip.Reader
	left int
}

// Reset is of connect.Decompressor, as is Read.
func (u *unpacker) Reset(packed io.Reader) error {
	u.left = contract.MaxMessage + 1
	return u.Reader.Reset(packed)
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.left == 0 {
		return 0, io.EOF
	}
	n, err := u.Reader.Read(p[:min(len(p), u.left)])
	u.left -= n
	return n, err
}

// plainly lets a call be answered in plain although its request was compressed: answers are
// small, and a compressor takes most of a MiB.
func plainly(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	_ = grpc.SetSendCompressor(ctx, encoding.Identity) // fails on the second door, which never compresses
	return handler(ctx, request)
}

// plainStream is the same for streams.
func plainStream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	_ = grpc.SetSendCompressor(stream.Context(), encoding.Identity)
	return handler(server, stream)
}
