package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
)

// A way is one way to make a call. The error has a gRPC status.
type way func(ctx context.Context, request proto.Message) (response proto.Message, err error)

// waysTo are all ways to call a server.
func waysTo(t *testing.T, n noted) map[string]way {
	door := "http://" + n.HTTPAddr()
	conn, _ := dial(t, n.HTTPAddr())
	t.Cleanup(func() { conn.Close() })
	return map[string]way{
		"gRPC":               overGRPC(n.Conn()),
		"gRPC at the door":   overGRPC(conn),
		"JSON over HTTP/1.1": overJSON(http.DefaultClient, door),
		"JSON over HTTP/2":   overJSON(h2c(t), door),
		"Connect":            overConnect(notedv1connect.NewDedupeServiceClient(http.DefaultClient, door)),
		"gRPC-Web": overConnect(
			notedv1connect.NewDedupeServiceClient(http.DefaultClient, door, connect.WithGRPCWeb()),
		),
		"gRPC-Web, JSON and HTTP/2": overConnect(
			notedv1connect.NewDedupeServiceClient(h2c(t), door, connect.WithGRPCWeb(), connect.WithProtoJSON()),
		),
	}
}

// rpc returns the name of a request's call, and an empty response.
func rpc(request proto.Message) (name string, response proto.Message) {
	name = strings.TrimSuffix(string(request.ProtoReflect().Descriptor().Name()), "Request")
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("noted.v1." + name + "Response"))
	if err != nil {
		panic(err)
	}
	return name, kind.New().Interface()
}

func overGRPC(conn *grpc.ClientConn) way {
	return func(ctx context.Context, request proto.Message) (proto.Message, error) {
		name, response := rpc(request)
		return response, conn.Invoke(ctx, "/noted.v1.DedupeService/"+name, request, response)
	}
}

// overJSON calls like a program without a library.
func overJSON(client *http.Client, base string) way {
	return func(ctx context.Context, request proto.Message) (proto.Message, error) {
		name, response := rpc(request)
		body, err := protojson.Marshal(request)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(
			ctx,
			http.MethodPost,
			base+"/noted.v1.DedupeService/"+name,
			bytes.NewReader(body),
		)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			return nil, failureIn(text)
		}
		return response, protojson.Unmarshal(text, response)
	}
}

// failureIn reads a failure as the Connect protocol writes it in JSON.
func failureIn(text []byte) error {
	var told struct {
		Code    connect.Code
		Message string
		Details []struct{ Type, Value string }
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	s := &spb.Status{Code: int32(told.Code), Message: told.Message}
	for _, detail := range told.Details {
		value, err := base64.RawStdEncoding.DecodeString(detail.Value)
		if err != nil {
			return err
		}
		s.Details = append(s.Details, &anypb.Any{TypeUrl: "type.googleapis.com/" + detail.Type, Value: value})
	}
	return status.FromProto(s).Err()
}

func overConnect(client notedv1connect.DedupeServiceClient) way {
	return func(ctx context.Context, request proto.Message) (response proto.Message, err error) {
		switch r := request.(type) {
		case *notedv1.NoteDonationRequest:
			response, err = client.NoteDonation(ctx, r)
		case *notedv1.DonationExistsRequest:
			response, err = client.DonationExists(ctx, r)
		case *notedv1.SettleDonationRequest:
			response, err = client.SettleDonation(ctx, r)
		case *notedv1.ReleaseDonationRequest:
			response, err = client.ReleaseDonation(ctx, r)
		case *notedv1.ExtendHoldRequest:
			response, err = client.ExtendHold(ctx, r)
		case *notedv1.ListDonationsRequest:
			response, err = client.ListDonations(ctx, r)
		case *notedv1.ForgetDonationRequest:
			response, err = client.ForgetDonation(ctx, r)
		}
		return response, statusOf(err)
	}
}

func statusOf(err error) error {
	var told *connect.Error
	if !errors.As(err, &told) {
		return err
	}
	s := &spb.Status{Code: int32(told.Code()), Message: told.Message()}
	for _, detail := range told.Details() {
		s.Details = append(
			s.Details,
			&anypb.Any{TypeUrl: "type.googleapis.com/" + detail.Type(), Value: detail.Bytes()},
		)
	}
	return status.FromProto(s).Err()
}

// h2c is a client that speaks HTTP/2 without TLS.
func h2c(t *testing.T) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// live makes every call of a donation's life by one way, on a server of its own. It
// leaves out values that differ from run to run, so that two ways can be compared.
func live(t *testing.T, n noted, call way) []string {
	var lines []string
	first := &notedv1.NoteDonationResponse{}
	do := func(request proto.Message) proto.Message {
		t.Helper()
		response, err := call(within(t, 20*time.Second), request)
		if err != nil {
			lines = append(lines, fmt.Sprintf("%T: %s", request, telling(err)))
			return nil
		}
		if r, ok := response.(*notedv1.NoteDonationResponse); ok && r.Receipt != "" {
			first = r
		}
		text := protojson.Format(response)
		if id := first.GetNote().GetDonationId(); id != "" {
			text = strings.ReplaceAll(text, id, "ID")
		}
		if first.Receipt != "" {
			text = strings.ReplaceAll(text, first.Receipt, "RECEIPT")
		}
		lines = append(
			lines,
			fmt.Sprintf("%T: %s", request, strings.ReplaceAll(text, ":  ", ": ")),
		) // protojson varies its spaces on purpose
		return response
	}
	now := n.Now()
	do(held(series("I-1"), time.Minute))
	do(series("I-1"))
	receipt := first.GetReceipt()
	do(&notedv1.DonationExistsRequest{Donation: series("I-1").Donation})
	do(&notedv1.DonationExistsRequest{Donation: series("I-2").Donation})
	do(&notedv1.ExtendHoldRequest{Receipt: receipt, Hold: durationpb.New(5 * time.Minute)})
	do(&notedv1.ReleaseDonationRequest{Receipt: receipt, Reason: "größer"})
	do(&notedv1.SettleDonationRequest{Receipt: receipt})
	do(&notedv1.SettleDonationRequest{Receipt: "nonsense"})
	do(held(series("I-1"), time.Minute))
	do(&notedv1.SettleDonationRequest{Receipt: receipt})
	receipt = first.GetReceipt()
	do(&notedv1.SettleDonationRequest{Receipt: receipt})
	do(&notedv1.ReleaseDonationRequest{Receipt: receipt})
	do(&notedv1.ListDonationsRequest{SeriesId: "I-1"})
	do(&notedv1.ListDonationsRequest{PageSize: -1, PageToken: "x"})
	do(&notedv1.ForgetDonationRequest{SeriesId: "I-1", DonationId: first.GetNote().GetDonationId()})
	do(&notedv1.ForgetDonationRequest{SeriesId: "I-1", DonationId: first.GetNote().GetDonationId(), Reason: "a test"})
	do(&notedv1.ForgetDonationRequest{SeriesId: "I-1", DonationId: first.GetNote().GetDonationId(), Reason: "a test"})
	do(&notedv1.SettleDonationRequest{Receipt: receipt})
	do(&notedv1.NoteDonationRequest{})
	bad := held(series("ü b"), time.Hour)
	bad.Donation.Amount, bad.Message = "1,00", &notedv1.Message{Channel: "IPN", Id: "x"}
	do(bad)
	for _, off := range []time.Duration{-100 * 24 * time.Hour, 100 * 24 * time.Hour} {
		at := series("I-3")
		at.Donation.OccurredAt = timestamppb.New(now.Add(off))
		do(at)
	}
	wantEveryCall(t, func(rpc string) bool {
		return rpc == "NoteDonations" || // the ways are for one answer
			slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "."+rpc+"Request: ") })
	})
	for i := range 3 {
		full := series("I-4")
		full.Donation.TransactionId, full.Message = strconv.Itoa(i), &notedv1.Message{Channel: "ipn"}
		response, err := call(within(t, 20*time.Second), full)
		if err != nil {
			lines = append(lines, "a full series: "+telling(err))
		} else {
			lines = append(lines, "a full series: "+response.(*notedv1.NoteDonationResponse).Verdict.String())
		}
	}
	return lines
}

// telling is everything that an error tells, except the exact time to wait.
func telling(err error) string {
	s := proto.CloneOf(status.Convert(err).Proto())
	text := fmt.Sprintf("%s %q", codes.Code(s.Code), s.Message)
	for _, detail := range s.Details {
		message, err := detail.UnmarshalNew()
		if err != nil {
			return err.Error()
		}
		if wait, ok := message.(interface{ GetRetryDelay() *durationpb.Duration }); ok {
			text += fmt.Sprintf(" wait=%t", wait.GetRetryDelay().AsDuration() > 0)
			continue
		}
		compact, _ := json.Marshal(json.RawMessage(protojson.Format(message)))
		text += " " + string(compact)
	}
	return text
}

func others(ways map[string]way, but string) (names []string) {
	for name := range ways {
		if name != but {
			names = append(names, name)
		}
	}
	return names
}
