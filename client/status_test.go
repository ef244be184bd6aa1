package client_test

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// errAny stands for an error without a sentinel.
var errAny = errors.New("any error")

// detailed makes an error as the server sends it.
func detailed(code codes.Code, reason string, wait time.Duration) error {
	s, err := status.New(code, reason).WithDetails(&errdetails.ErrorInfo{Domain: "noted.v1", Reason: reason})
	if err == nil && wait > 0 {
		s, err = s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	}
	if err != nil {
		panic(err)
	}
	return s.Err()
}
