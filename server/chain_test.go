package server

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// seen are the parts of a call by which interceptors tell callers apart.
type seen struct {
	method, authorization, binary string
	peer                          bool // has an address
	local                         bool // has the server's address
	bounded                       bool // ends within the ceiling
	service                       bool // is told the service
}

func see(ctx context.Context, method string, service any) seen {
	md, _ := metadata.FromIncomingContext(ctx)
	p, _ := peer.FromContext(ctx)
	deadline, ok := ctx.Deadline()
	return seen{
		method:        method,
		authorization: strings.Join(md.Get("authorization"), " "),
		binary:        strings.Join(md.Get("x-some-bin"), " "),
		peer:          p != nil && strings.HasPrefix(p.Addr.String(), "127.0.0.1:"),
		local:         p != nil && p.LocalAddr != nil && strings.HasPrefix(p.LocalAddr.String(), "127.0.0.1:"),
		bounded:       ok && time.Until(deadline) <= DefaultMaxDeadline,
		service:       service != nil,
	}
}

// The interceptors tell callers apart, so they must see the same at both doors, in calls
// and in streams.
func TestInterceptorsSeeTheSameAtBothDoors(t *testing.T) {
	redis, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	s, err := New(
		t.Context(),
		Config{
			Listen:      "127.0.0.1:0",
			HTTPListen:  "127.0.0.1:0",
			AdminListen: Off,
			Redis:       redis.URL(),
			Trial:       true,
			Logger:      slog.New(slog.DiscardHandler),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan seen, 1)
	// The first of the chain: grpc has copied the slice, the door has not, so each gets
	// the spy in its own way.
	spy := func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		found <- see(ctx, info.FullMethod, info.Server)
		return handler(ctx, request)
	}
	streamSpy := func(
		service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
	) error {
		got := see(stream.Context(), info.FullMethod, service)
		got.bounded = info.IsClientStream && info.IsServerStream
		found <- got
		return handler(service, stream)
	}
	s.door.Unary = append([]grpc.UnaryServerInterceptor{spy}, s.door.Unary...)
	s.door.Stream = append([]grpc.StreamServerInterceptor{streamSpy}, s.door.Stream...)
	second := grpc.NewServer(
		grpc.ChainUnaryInterceptor(append([]grpc.UnaryServerInterceptor{spy}, s.service.Unary()...)...),
		grpc.ChainStreamInterceptor(
			append([]grpc.StreamServerInterceptor{streamSpy}, s.service.Stream()...)...),
		grpc.InTapHandle(s.service.BoundArrival),
	)
	notedv1.RegisterDedupeServiceServer(second, s.service)
	go second.Serve(s.listener)
	t.Cleanup(second.Stop)
	go s.door.Serve(s.httpListener)
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.door.Shutdown(ended)
		s.close()
	})

	request := &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}}
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer one", "x-some-bin", "\x00\xff")
	client := notedv1.NewDedupeServiceClient(conn)
	if _, err := client.NoteDonation(ctx, request); err != nil {
		t.Fatal(err)
	}
	want := seen{
		method:        notedv1.DedupeService_NoteDonation_FullMethodName,
		authorization: "Bearer one",
		binary:        "\x00\xff",
		peer:          true,
		local:         true,
		bounded:       true,
		service:       true,
	}
	if got := <-found; got != want {
		t.Fatalf("over gRPC an interceptor sees %+v, want %+v", got, want)
	}
	header := func(ctx context.Context) context.Context {
		ctx, call := connect.NewClientContext(ctx)
		call.RequestHeader().Set("Authorization", "Bearer one")
		call.RequestHeader().Set("X-Some-Bin", connect.EncodeBinaryHeader([]byte{0, 0xff}))
		return ctx
	}
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	defer h2c.CloseIdleConnections()
	for name, client := range map[string]notedv1connect.DedupeServiceClient{
		"HTTP/1.1": notedv1connect.NewDedupeServiceClient(http.DefaultClient, "http://"+s.HTTPAddr(), connect.WithProtoJSON()),
		"HTTP/2":   notedv1connect.NewDedupeServiceClient(&http.Client{Transport: h2c}, "http://"+s.HTTPAddr()),
		"gRPC-Web": notedv1connect.NewDedupeServiceClient(&http.Client{Transport: h2c}, "http://"+s.HTTPAddr(), connect.WithGRPCWeb()),
	} {
		if _, err := client.NoteDonation(header(t.Context()), request); err != nil {
			t.Fatal(err)
		}
		if got := <-found; got != want {
			t.Errorf("over %s an interceptor sees %+v, want %+v", name, got, want)
		}
		if name == "HTTP/1.1" {
			continue
		}
		ctx, cancel := context.WithCancel(header(t.Context()))
		stream, err := client.NoteDonations(ctx)
		if err != nil {
			t.Fatal(err)
		}
		stream.Send(&notedv1.NoteDonationsRequest{Request: request})
		inStream := want
		inStream.method = notedv1.DedupeService_NoteDonations_FullMethodName
		if got := <-found; got != inStream {
			t.Errorf("over %s an interceptor of streams sees %+v, want %+v", name, got, inStream)
		}
		cancel()
	}
}
