package calls

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// Codec is gRPC's own codec, except that an answer takes only as much memory as it is
// long, in one piece. gRPC would take a whole MiB for a page of notes and keep it until
// the client has read the page, and three pieces for a short answer.
func Codec(m *metrics.Metrics) encoding.CodecV2 {
	return codec{encoding.GetCodecV2(proto.Name), m}
}

type codec struct {
	encoding.CodecV2
	metrics *metrics.Metrics
}

// written is a message in bytes, with the memory of a short one.
type written struct {
	mem.SliceBuffer
	all  [1]mem.Buffer
	text [320]byte // most answers with a note are shorter
}

// Marshal is of encoding.CodecV2, as is Unmarshal.
func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	m, ok := message.(protobuf.Message)
	if !ok {
		return c.CodecV2.Marshal(message)
	}
	w := &written{}
	var err error
	if w.SliceBuffer, err = (protobuf.MarshalOptions{}).MarshalAppend(w.text[:0], m); err != nil {
		return nil, err
	}
	w.all[0] = w
	return w.all[:], nil
}

// Unmarshal counts a message that it cannot read.
func (c codec) Unmarshal(data mem.BufferSlice, message any) error {
	err := c.CodecV2.Unmarshal(data, message)
	if err != nil {
		c.metrics.Unreadable(message, codes.Internal)
	}
	return err
}
