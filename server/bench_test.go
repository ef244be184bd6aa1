package server_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// BenchmarkService measures calls a second with load generator, server and a real Redis
// on one machine, and callers on four connections. "empty" is a call that does nothing:
// the cost of gRPC alone. Compare within one run only.
//
//	go test -run '^$' -bench Service -benchtime 100000x ./server
func BenchmarkService(b *testing.B) {
	conns := connections(b, servertest.Start(b, servertest.Options{Redis: redistest.Start(b).URL()}).Addr(), 4)
	var series atomic.Int64
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("empty/%d", callers), func(b *testing.B) {
			parallel(b, callers, func(i int) error {
				_, err := healthpb.NewHealthClient(conns[i%len(conns)]).
					Check(context.Background(), &healthpb.HealthCheckRequest{})
				return err
			})
		})
		b.Run(fmt.Sprintf("note/%d", callers), func(b *testing.B) {
			parallel(b, callers, func(i int) error {
				_, err := notedv1.NewDedupeServiceClient(conns[i%len(conns)]).
					NoteDonation(context.Background(), payment(int(series.Add(1))))
				return err
			})
		})
	}
	b.Run("stream", func(b *testing.B) {
		stream, err := notedv1.NewDedupeServiceClient(conns[0]).NoteDonations(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			for range b.N {
				if stream.Send(&notedv1.NoteDonationsRequest{Request: payment(int(series.Add(1)))}) != nil {
					return
				}
			}
			stream.CloseSend()
		}()
		for i := range b.N {
			if answer, err := stream.Recv(); err != nil ||
				answer.GetResponse().GetVerdict() != notedv1.Verdict_VERDICT_FIRST {
				b.Fatalf("answer %d: %v, %v", i, answer, err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	})
}

func connections(b *testing.B, addr string, n int) []*grpc.ClientConn {
	conns := make([]*grpc.ClientConn, n)
	for i := range conns {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		conns[i] = conn
	}
	return conns
}

// parallel makes b.N calls from that many callers at once. call gets the number of its
// caller, so that a caller keeps to one connection.
func parallel(b *testing.B, callers int, call func(caller int) error) {
	var left, failed atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	for i := range callers {
		go func() {
			for left.Add(-1) >= 0 {
				if err := call(i); err != nil && failed.Add(1) == 1 {
					b.Error(err)
				}
			}
			done <- struct{}{}
		}()
	}
	for range callers {
		<-done
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// payment is an IPN of a payment in a series of its own, with ids as long as PayPal's.
func payment(i int) *notedv1.NoteDonationRequest {
	return &notedv1.NoteDonationRequest{
		Donation: &notedv1.Donation{
			Ledger: "paypal-live", SeriesId: fmt.Sprintf("I-%012d", i), OccurredAt: timestamppb.Now(),
			Amount: "25.00", CurrencyCode: "USD", TransactionId: fmt.Sprintf("%017d", i),
		},
		Message:   &notedv1.Message{Channel: "ipn", Id: fmt.Sprintf("%032x", i)},
		RequestId: "r" + strconv.Itoa(i),
	}
}
