package server_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A fuzzed is a running service for random requests, whose store the test can read. The
// store's clock stands at noon.
type fuzzed struct {
	noted
	redis *redis.Client
}

func startFuzzed(f *testing.F) fuzzed {
	f.Helper()
	store, err := embedded.StartFrozen(noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(store.Close)
	options, err := redis.ParseURL(store.URL())
	if err != nil {
		f.Fatal(err)
	}
	s := servertest.Start(f, servertest.Options{Redis: store.URL()})
	n := fuzzed{
		noted: noted{Server: s, DedupeServiceClient: notedv1.NewDedupeServiceClient(s.Conn())},
		redis: redis.NewClient(options),
	}
	f.Cleanup(func() { n.redis.Close() })
	return n
}

// kept is the store's value under one key.
type kept struct {
	Value string
	Left  time.Duration // until the key ends
}

// contents is the whole store except the mark of its epoch, which changes once a second.
func (n fuzzed) contents(t *testing.T) map[string]kept {
	t.Helper()
	keys, err := n.redis.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string]kept{}
	for _, key := range keys {
		if key == "noted:{epoch}" {
			continue
		}
		value, err := n.redis.Get(t.Context(), key).Result()
		if err != nil {
			t.Fatalf("reading %q: %v", key, err)
		}
		contents[key] = kept{Value: value, Left: n.redis.PTTL(t.Context(), key).Val()}
	}
	return contents
}

// putBack restores the store's contents.
func (n fuzzed) putBack(t *testing.T, before map[string]kept) {
	t.Helper()
	for key := range n.contents(t) {
		if _, ok := before[key]; !ok {
			n.redis.Del(t.Context(), key)
		}
	}
	for key, k := range before {
		if err := n.redis.Set(t.Context(), key, k.Value, k.Left).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// A wire is a call of the contract as bytes.
type wire struct {
	method string
	empty  func() proto.Message // makes the message that the bytes should be
	reads  bool                 // the call never changes anything
}

var wires = []wire{
	{
		notedv1.DedupeService_NoteDonation_FullMethodName,
		func() proto.Message { return new(notedv1.NoteDonationRequest) },
		false,
	},
	{
		notedv1.DedupeService_DonationExists_FullMethodName,
		func() proto.Message { return new(notedv1.DonationExistsRequest) },
		true,
	},
	{
		notedv1.DedupeService_SettleDonation_FullMethodName,
		func() proto.Message { return new(notedv1.SettleDonationRequest) },
		false,
	},
	{
		notedv1.DedupeService_ReleaseDonation_FullMethodName,
		func() proto.Message { return new(notedv1.ReleaseDonationRequest) },
		false,
	},
	{
		notedv1.DedupeService_ExtendHold_FullMethodName,
		func() proto.Message { return new(notedv1.ExtendHoldRequest) },
		false,
	},
	{
		notedv1.DedupeService_ListDonations_FullMethodName,
		func() proto.Message { return new(notedv1.ListDonationsRequest) },
		true,
	},
	{
		notedv1.DedupeService_ForgetDonation_FullMethodName,
		func() proto.Message { return new(notedv1.ForgetDonationRequest) },
		false,
	},
	{
		notedv1.DedupeService_NoteDonations_FullMethodName,
		func() proto.Message { return new(notedv1.NoteDonationsRequest) },
		false,
	},
}

// send asks with bytes for a request.
func (n fuzzed) send(t *testing.T, w wire, body []byte) error {
	t.Helper()
	ctx, answer := within(t, 10*time.Second), []byte(nil)
	if w.method != notedv1.DedupeService_NoteDonations_FullMethodName {
		return n.Conn().Invoke(ctx, w.method, body, &answer, grpc.ForceCodec(raw{}))
	}
	stream, err := n.Conn().
		NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, w.method, grpc.ForceCodec(raw{}))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(body); err != nil && !errors.Is(err, io.EOF) { // RecvMsg has the error
		return err
	}
	stream.CloseSend()
	if err := stream.RecvMsg(&answer); err != nil {
		return err
	}
	var told notedv1.NoteDonationsResponse
	if err := proto.Unmarshal(answer, &told); err != nil {
		t.Fatalf("the answer is not a message: %v", err)
	}
	if err := stream.RecvMsg(&answer); !errors.Is(err, io.EOF) {
		t.Errorf("after the one answer the stream ended with %v", err)
	}
	if e := told.GetError(); e != nil {
		return status.Error(codes.Code(e.Code), e.Message)
	}
	return nil
}

// FuzzWire checks that no bytes of a valid message bring the service to an internal
// error, and that a refusal or a look leaves the store byte for byte as it was, lifetimes
// included.
func FuzzWire(f *testing.F) {
	wantEveryCall(f, func(rpc string) bool {
		return slices.ContainsFunc(wires, func(w wire) bool { return strings.HasSuffix(w.method, "/"+rpc) })
	})
	n := startFuzzed(f)
	first, err := n.NoteDonation(context.Background(), held(series("I-standing"), 15*time.Minute))
	if err != nil {
		f.Fatal(err)
	}
	for _, message := range []proto.Message{
		held(inLedger("l", "I-1"), time.Second),
		&notedv1.DonationExistsRequest{
			Donation: first.Note.Donation, Message: &notedv1.Message{Channel: "ipn", Id: "1"},
		},
		&notedv1.SettleDonationRequest{Receipt: first.Receipt},
		&notedv1.ReleaseDonationRequest{Receipt: first.Receipt, Reason: "a\nb"},
		&notedv1.ExtendHoldRequest{Receipt: first.Receipt, Hold: held(series(""), time.Minute).Hold},
		&notedv1.ListDonationsRequest{PageSize: 1, PageToken: "eyJsIjoiIiwicyI6IiIsImMiOjcsIm0iOnRydWV9"}, // {"l":"","s":"","c":7,"m":true}
		&notedv1.ForgetDonationRequest{SeriesId: "I-standing", DonationId: first.Note.DonationId, Reason: "r"},
		&notedv1.NoteDonationsRequest{Request: series("I-2")},
	} {
		body, err := proto.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		for method := range wires {
			f.Add(uint8(method), body)
			f.Add(uint8(method), body[:len(body)-1])
			f.Add(uint8(method), append(slices.Clone(body), 0xfa, 0x3f, 0x01, 'x')) // a field of a later version
			f.Add(uint8(method), append(slices.Clone(body), 0x0a, 0x01, 0xff))      // no UTF-8, or no message
			f.Add(uint8(method), append(slices.Clone(body), body...))               // what comes twice is merged
		}
	}
	f.Add(uint8(0), []byte(nil))
	f.Fuzz(func(t *testing.T, method uint8, body []byte) {
		w := wires[int(method)%len(wires)]
		if len(body) > 64<<10 {
			t.Skip("the transport refuses it")
		}
		before := n.contents(t)
		code := status.Code(n.send(t, w, body))
		notOne := proto.Unmarshal(body, w.empty())
		switch code {
		case codes.OK, codes.InvalidArgument, codes.OutOfRange, codes.NotFound, codes.FailedPrecondition:
			if notOne != nil {
				t.Errorf("%s(%q): %v, want INTERNAL: %v", w.method, body, code, notOne)
			}
		case codes.Internal:
			if notOne == nil {
				t.Errorf("%s(%q): INTERNAL, although it is a valid message", w.method, body)
			}
		default:
			t.Errorf("%s(%q): %v", w.method, body, code)
		}
		after := n.contents(t)
		if diff := cmp.Diff(before, after); diff != "" && (code != codes.OK || w.reads) {
			t.Errorf("%s(%q): %v, and the store has changed (-before +after):\n%s", w.method, body, code, diff)
		}
		if !maps.Equal(before, after) {
			n.putBack(t, before)
		}
	})
}
