package server

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// This file has what reads requests and writes answers at both doors. What it cannot read never becomes a call, and no interceptor sees it.

// grpcCodec is gRPC's own, except that a page of notes takes no more memory than it is long. gRPC would take a whole MiB, and keep it until the page is read.
type grpcCodec struct {
	encoding.CodecV2
	telemetry *metrics.Metrics
}

// Marshal is of encoding.CodecV2, as is Unmarshal.
func (c grpcCodec) Marshal(message any) (mem.BufferSlice, error) {
	page, ok := message.(*notedv1.ListDonationsResponse)
	if !ok {
		return c.CodecV2.Marshal(message)
	}
	text, err := proto.Marshal(page)
	return mem.BufferSlice{mem.SliceBuffer(text)}, err
}

// Unmarshal counts what it cannot read.
func (c grpcCodec) Unmarshal(data mem.BufferSlice, message any) error {
	err := c.CodecV2.Unmarshal(data, message)
	if err != nil {
		c.telemetry.Unreadable(message, codes.Internal)
	}
	return err
}

// binaryCodec is Connect's own.
type binaryCodec struct{ telemetry *metrics.Metrics }

// Name is of connect.Codec, as are the other two.
func (binaryCodec) Name() string { return "proto" }

// Marshal writes protobuf.
func (binaryCodec) Marshal(message any) ([]byte, error) {
	return proto.Marshal(message.(proto.Message))
}

// Unmarshal counts what it cannot read.
func (c binaryCodec) Unmarshal(body []byte, message any) error {
	err := proto.Unmarshal(body, message.(proto.Message))
	if err != nil {
		c.telemetry.Unreadable(message, codes.InvalidArgument)
	}
	return err
}

// jsonCodec reads JSON more strictly than Connect does by itself: a field that the contract does not have is refused, since it is most likely one
// that was misspelt, and an occurred_at that nobody reads makes two donations out of one.
type jsonCodec struct {
	telemetry *metrics.Metrics
	name      string
}

// Name is of connect.Codec, as are the other two.
func (c jsonCodec) Name() string { return c.name }

// Marshal writes the usual JSON of protobuf.
func (c jsonCodec) Marshal(message any) ([]byte, error) {
	return protojson.Marshal(message.(proto.Message))
}

// Unmarshal says what is wrong as the parser does, without the names of our types.
func (c jsonCodec) Unmarshal(body []byte, message any) error {
	if len(body) == 0 {
		c.telemetry.Unreadable(message, codes.InvalidArgument)
		return errors.New(`the body is empty; a request without any fields is {}`)
	}
	if err := protojson.Unmarshal(body, message.(proto.Message)); err != nil {
		c.telemetry.Unreadable(message, codes.InvalidArgument)
		return errors.New(strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0"))
	}
	return nil
}
