package door

import (
	"compress/gzip"
	"io"
	"math"

	"connectrpc.com/connect"

	"github.com/donation-dedupe/noted/server/internal/contract"
)

// gzipped are the options of a door that takes requests in gzip and answers uncompressed.
func gzipped() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithCompression("gzip",
			func() connect.Decompressor { return new(unpacker) },
			func() connect.Compressor { return gzip.NewWriter(io.Discard) }),
		connect.WithCompressMinBytes(math.MaxInt),
	}
}

// unpacker ends one byte after the longest request. Connect by itself would unpack all
// the rest only to say how long it was: a thousand bytes for each that the client sent.
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
