// Package ends traces the requests to the gateway, and its calls to Noted. It is separate
// from package traces because it needs gRPC, which most of the gateway does not need.
package ends

import (
	"context"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// Handler traces PayPal's posts. Without a provider it returns next. remote is the
// sender's address of a request: otelhttp would believe every X-Forwarded-For.
func Handler(provider trace.TracerProvider, remote func(*http.Request) string, next http.Handler) http.Handler {
	if provider == nil {
		return next
	}
	return otelhttp.NewHandler(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("client.address", remote(r)))
			next.ServeHTTP(w, r)
		}),
		"",
		otelhttp.WithTracerProvider(provider),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()), // the gateway has its own
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithFilter(func(r *http.Request) bool {
			return r.URL.Path == "/paypal/ipn" || r.URL.Path == "/paypal/webhook"
		}),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + r.URL.Path }),
	)
}

// Dial returns the options for a connection to Noted that traces its calls; no options
// without a provider.
func Dial(provider trace.TracerProvider) []grpc.DialOption {
	if provider == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(within{otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(provider),
		otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
	)})}
}

// within traces only calls that are part of a trace.
type within struct{ stats.Handler }

// TagRPC belongs to stats.Handler.
func (w within) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return w.Handler.TagRPC(ctx, info)
}

// HandleRPC belongs to stats.Handler.
func (w within) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		w.Handler.HandleRPC(ctx, event)
	}
}
