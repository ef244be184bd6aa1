package contract

import (
	"strings"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// unary holds the full names of the methods that have one request and one response.
var unary = func() map[string]bool {
	methods := map[string]bool{}
	for _, service := range []*grpc.ServiceDesc{&notedv1.DedupeService_ServiceDesc, &healthpb.Health_ServiceDesc} {
		for _, method := range service.Methods {
			methods["/"+service.ServiceName+"/"+method.MethodName] = true
		}
	}
	return methods
}()

// IsHealth tells whether a method, given by its full name, is of gRPC's health service.
func IsHealth(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/"+healthpb.Health_ServiceDesc.ServiceName+"/")
}

// IsUnary tells whether a method, given by its full name, has one request and one
// response.
func IsUnary(fullMethod string) bool { return unary[fullMethod] }
