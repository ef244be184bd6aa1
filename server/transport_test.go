package server_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A request that is too large or not protobuf is refused before the service sees it, and
// the connection lives.
func TestTransportLimits(t *testing.T) {
	n := start(t, servertest.Options{})
	_, err := n.NoteDonation(t.Context(), series(strings.Repeat("a", 64<<10)))
	if got := toldBy(err); got != (told{code: codes.ResourceExhausted}) {
		t.Errorf("a request of more than 64 KiB: %+v, want RESOURCE_EXHAUSTED by the transport", got)
	}
	err = n.Conn().
		Invoke(
			t.Context(), notedv1.DedupeService_NoteDonation_FullMethodName,
			[]byte("\x0a\x04\x12\x02\xff\xfe"), &notedv1.NoteDonationResponse{}, grpc.ForceCodec(raw{}),
		)
	if got := status.Code(err); got != codes.Internal {
		t.Errorf("a series_id that is no UTF-8: %v, want INTERNAL by the transport", err)
	}
	n.mustNote(t, series("I-1"))

	big := metadata.AppendToOutgoingContext(t.Context(), "x-big", strings.Repeat("a", 20<<10))
	if _, err := n.NoteDonation(big, series("I-2")); err == nil {
		t.Error("a header of 20 KiB was taken")
	}
	eventually(t, 5*time.Second, "other calls are answered", func() bool {
		_, err := n.NoteDonation(within(t, time.Second), series("I-3"))
		return err == nil
	})
}

// A page larger than a request may be is sent.
func TestLargePage(t *testing.T) {
	n := start(t, servertest.Options{})
	stream, err := n.NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	const notes = 400
	go func() {
		for i := range notes {
			r := series(strings.Repeat("s", 120) + string(rune('a'+i%26)) + string(rune('a'+i/26)))
			r.Donation.TransactionId = strings.Repeat("t", 128)
			if stream.Send(&notedv1.NoteDonationsRequest{Request: r}) != nil {
				return
			}
		}
		stream.CloseSend()
	}()
	for range notes {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for request := (&notedv1.ListDonationsRequest{PageSize: 1000}); ; {
		page, err := n.ListDonations(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		found += len(page.Notes)
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			break
		}
	}
	if found != notes {
		t.Errorf("listed %d notes, want %d", found, notes)
	}
}

// raw sends bytes as they are, and takes bytes as they are if there is a place for them.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Name() string                  { return "proto" }

func (raw) Unmarshal(data []byte, into any) error {
	if body, ok := into.(*[]byte); ok {
		*body = slices.Clone(data)
	}
	return nil
}

// The server's own deadline ends a call that is announced and never sent.
func TestRequestThatNeverComes(t *testing.T) {
	n := start(t, servertest.Options{MaxDeadline: 300 * time.Millisecond})
	conn, err := net.Dial("tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	conn.Write([]byte(http2.ClientPreface))
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	var headers strings.Builder
	encoder := hpack.NewEncoder(&headers)
	for _, h := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", notedv1.DedupeService_NoteDonation_FullMethodName},
		{":authority", "test"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	} {
		encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(headers.String()), EndHeaders: true})
	began := time.Now()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("after %v: %v, want the call ended", time.Since(began), err)
		}
		if frame.Header().StreamID == 1 &&
			(frame.Header().Type == http2.FrameHeaders || frame.Header().Type == http2.FrameRSTStream) {
			break
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("ended after %v, want about 300ms", took)
	}
}

// A call that does not finish within the drain is cut off, and the server stops
// nevertheless.
func TestDrainIsBounded(t *testing.T) {
	redis := redistest.Start(t)
	config := quiet(redis.URL())
	config.Drain = 200 * time.Millisecond
	config.MaxDeadline = time.Minute
	config.AdminListen = "127.0.0.1:0"
	s, err := server.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	conn, client := dial(t, s.Addr())
	defer conn.Close()
	if _, err := client.NoteDonation(t.Context(), series("I-1")); err != nil {
		t.Fatal(err)
	}
	redis.Pause()
	answered := make(chan error, 1)
	go func() {
		_, err := client.NoteDonation(within(t, time.Minute), series("I-2"))
		answered <- err
	}()
	eventually(t, 5*time.Second, "the call is in flight", func() bool {
		return strings.Contains(
			get(t, "http://"+s.AdminAddr()+"/metrics"),
			`grpc_server_started_total{grpc_method="NoteDonation",grpc_service="noted.v1.DedupeService",grpc_type="unary"} 2`,
		)
	})
	began := time.Now()
	stop()
	mustEnd(t, served)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %v, want about 200ms", took)
	}
	if err := <-answered; status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
		t.Errorf("the call that was cut off: %v", err)
	}
}
