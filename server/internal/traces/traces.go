// Package traces makes the spans of the server: one for each call at either door, one for
// each question to the store, and one for each round trip to Redis.
//
// # Design
//
// Without a provider nothing is installed: no handler, no interceptor and no hook, so a
// server that is not traced pays nothing.
//
// A span says which method or script, how many, how long and how it ended. It names no
// ledger, series, donation, transaction or message: traces go to another system, which
// need not know them. A test looks at every attribute.
//
// traceparent is the one header that is taken. Baggage is not: any client may write it,
// and nothing here reads it.
package traces

import (
	"context"
	"net"
	"net/http"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/store"
)

const scope = "github.com/donation-dedupe/noted/server"

// GRPC are the options of a gRPC server that traces its calls; none without a provider.
func GRPC(provider trace.TracerProvider) []grpc.ServerOption {
	if provider == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(provider),
		otelgrpc.WithMeterProvider(noop.NewMeterProvider()), // metrics has them
		otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(func(info *stats.RPCTagInfo) bool { return traced(info.FullMethodName) }),
	))}
}

// HTTP traces the calls that a handler answers; nil without a provider.
func HTTP(provider trace.TracerProvider) func(http.Handler) http.Handler {
	if provider == nil {
		return nil
	}
	return func(next http.Handler) http.Handler {
		return otelhttp.NewHandler(
			named(next),
			"",
			otelhttp.WithTracerProvider(provider),
			otelhttp.WithMeterProvider(noop.NewMeterProvider()),
			otelhttp.WithPropagators(propagation.TraceContext{}),
			otelhttp.WithFilter(func(r *http.Request) bool { return traced(r.URL.Path) }),
			otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
				return strings.TrimPrefix(r.URL.Path, "/") // as gRPC names the call
			}),
		)
	}
}

// named gives the span of a call the address of its connection as client.address. otelhttp
// takes X-Forwarded-For, which any caller can write.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			address = r.RemoteAddr
		}
		trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("client.address", address))
		next.ServeHTTP(w, r)
	})
}

// traced tells whether a method is traced. Only the contract's methods are. Health is
// asked for every few seconds, and callers can choose any other name.
func traced(method string) bool {
	return contract.IsUnary(method) && !contract.IsHealth(method) ||
		method == notedv1.DedupeService_NoteDonations_FullMethodName
}

// Store traces the questions to the store; nil without a provider.
func Store(provider trace.TracerProvider) store.Trace {
	if provider == nil {
		return nil
	}
	tracer := provider.Tracer(scope)
	return func(ctx context.Context, script string, calls int) func(store.Leg, error) {
		ctx, span := tracer.Start(ctx, script+".lua", trace.WithAttributes(
			attribute.String("noted.script", script), attribute.Int("noted.calls", calls)))
		return func(leg store.Leg, err error) {
			if !leg.Received.IsZero() {
				_, trip := tracer.Start(ctx, "redis",
					trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(leg.Sent),
					trace.WithAttributes(attribute.String("db.system.name", "redis"),
						attribute.Int("db.operation.batch.size", leg.Calls)))
				if leg.Replicas >= 0 {
					trip.SetAttributes(attribute.Int64("noted.replicas", leg.Replicas))
				}
				trip.End(trace.WithTimestamp(leg.Received))
			}
			if err != nil {
				reason := contract.Refuse(err).Reason() // the error may name a ledger
				span.SetAttributes(attribute.String("error.type", reason))
				span.SetStatus(codes.Error, reason)
			}
			span.End()
		}
	}
}
