package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path"
	"testing"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// peer is a gRPC proxy before a real server. It changes the answers, as a broken proxy or a
// forked process does.
type peer struct {
	addr string
	real *grpc.ClientConn

	// change gets the name of the RPC, the request and the real answer. It may change the
	// answer, or return an error to answer instead.
	change func(rpc string, request, answer proto.Message) error
}

func newPeer(t *testing.T, change func(rpc string, request, answer proto.Message) error) *peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{addr: listener.Addr().String(), real: servertest.New(t).Conn(), change: change}
	server := grpc.NewServer(grpc.UnknownServiceHandler(p.serve))
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return p
}

func (p *peer) serve(_ any, stream grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(stream)
	method := notedv1.File_noted_v1_noted_proto.Services().Get(0).Methods().ByName(protoreflect.Name(path.Base(full)))
	for {
		request := empty(method.Input())
		if err := stream.RecvMsg(request); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		answer := empty(method.Output())
		if err := p.ask(stream.Context(), full, request, answer); err != nil {
			return err
		}
		if err := p.change(string(method.Name()), request, answer); err != nil {
			return err
		}
		if err := stream.SendMsg(answer); err != nil {
			return err
		}
		if !method.IsStreamingClient() {
			return nil
		}
	}
}

// ask makes the call at the real server. For a request of a stream it calls NoteDonation.
func (p *peer) ask(ctx context.Context, method string, request, answer proto.Message) error {
	streamed, ok := request.(*notedv1.NoteDonationsRequest)
	if !ok {
		return p.real.Invoke(ctx, method, request, answer)
	}
	response, err := notedv1.NewDedupeServiceClient(p.real).NoteDonation(ctx, streamed.GetRequest())
	answer.(*notedv1.NoteDonationsResponse).Result = &notedv1.NoteDonationsResponse_Response{Response: response}
	return err
}

func empty(descriptor protoreflect.MessageDescriptor) proto.Message {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.FullName())
	if err != nil {
		panic(err)
	}
	return kind.New().Interface()
}
