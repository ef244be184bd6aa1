package door

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// binaryCodec is Connect's own codec for protobuf.
type binaryCodec struct{ metrics *metrics.Metrics }

// Name is part of connect.Codec, as are Marshal and Unmarshal.
func (binaryCodec) Name() string { return "proto" }

// Marshal writes protobuf.
func (binaryCodec) Marshal(message any) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

// Unmarshal counts a message that it cannot read.
func (c binaryCodec) Unmarshal(body []byte, message any) error {
	err := proto.Unmarshal(body, message.(proto.Message))
	if err != nil {
		c.metrics.Unreadable(message, codes.InvalidArgument)
	}
	return err
}

// jsonCodec reads JSON more strictly than Connect. It refuses a field that the contract
// does not have: most likely the field is misspelt, and an occurred_at that is not read
// makes two donations of one.
type jsonCodec struct {
	metrics *metrics.Metrics
	name    string
}

// Name is part of connect.Codec, as are Marshal and Unmarshal.
func (c jsonCodec) Name() string { return c.name }

// Marshal writes the JSON of protobuf.
func (c jsonCodec) Marshal(message any) ([]byte, error) {
	return protojson.Marshal(message.(proto.Message))
}

// Unmarshal gives the parser's error without the names of Go types.
func (c jsonCodec) Unmarshal(body []byte, message any) error {
	if len(body) == 0 {
		c.metrics.Unreadable(message, codes.InvalidArgument)
		return errors.New(`the body is empty; a request without any fields is {}`)
	}
	if err := protojson.Unmarshal(body, message.(proto.Message)); err != nil {
		c.metrics.Unreadable(message, codes.InvalidArgument)
		return errors.New(strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0"))
	}
	return nil
}
