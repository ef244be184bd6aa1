package calls

import (
	"context"

	"google.golang.org/grpc"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// Register registers the service with a gRPC server whose interceptors are those of this
// package. Generated code would make the name of the method and a closure for the
// interceptor anew with every call; here they are made once.
func (s *Service) Register(with grpc.ServiceRegistrar) {
	service := notedv1.DedupeService_ServiceDesc
	service.Methods = []grpc.MethodDesc{
		method(s, "NoteDonation", s.NoteDonation),
		method(s, "DonationExists", s.DonationExists),
		method(s, "SettleDonation", s.SettleDonation),
		method(s, "ReleaseDonation", s.ReleaseDonation),
		method(s, "ExtendHold", s.ExtendHold),
		method(s, "ListDonations", s.ListDonations),
		method(s, "ForgetDonation", s.ForgetDonation),
	}
	with.RegisterService(&service, s)
}

// method is a unary method behind the service's interceptor.
func method[Request, Response any](
	s *Service, name string, call func(context.Context, *Request) (*Response, error),
) grpc.MethodDesc {
	info := &grpc.UnaryServerInfo{
		Server: s, FullMethod: "/" + notedv1.DedupeService_ServiceDesc.ServiceName + "/" + name,
	}
	handler := func(ctx context.Context, request any) (any, error) { return call(ctx, request.(*Request)) }
	return grpc.MethodDesc{MethodName: name, Handler: func(
		_ any, ctx context.Context, read func(any) error, _ grpc.UnaryServerInterceptor,
	) (any, error) {
		request := new(Request)
		if err := read(request); err != nil {
			return nil, err
		}
		return s.unary(ctx, request, info, handler)
	}}
}
