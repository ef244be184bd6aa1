package calls

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// Codec is gRPC's own codec, except that a page of notes takes only as much memory as it
// is long. gRPC would take a whole MiB and keep it until the client has read the page.
func Codec(m *metrics.Metrics) encoding.CodecV2 {
	return codec{encoding.GetCodecV2(proto.Name), m}
}

type codec struct {
	encoding.CodecV2
	metrics *metrics.Metrics
}

// Marshal is of encoding.CodecV2, as is Unmarshal.
func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	page, ok := message.(*notedv1.ListDonationsResponse)
	if !ok {
		return c.CodecV2.Marshal(message)
	}
	text, err := protobuf.Marshal(page)
	return mem.BufferSlice{mem.SliceBuffer(text)}, err
}

// Unmarshal counts a message that it cannot read.
func (c codec) Unmarshal(data mem.BufferSlice, message any) error {
	err := c.CodecV2.Unmarshal(data, message)
	if err != nil {
		c.metrics.Unreadable(message, codes.Internal)
	}
	return err
}
