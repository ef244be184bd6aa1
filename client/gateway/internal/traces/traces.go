// Package traces makes the spans of the gateway: from PayPal's post over the
// verification, the inbox and Noted to the downstream's answer, as one trace.
//
// # Design
//
// Without a provider no span begins, and the functions here do nothing. Each span except
// the first of a trace begins within another span, with that span's provider. So only the
// first part knows the provider, and other requests, such as a probe of /readyz, have no
// trace.
//
// A span has the channel, the kind, the duration and the failure. It names no series,
// donation, transaction or message, no account, and no URL, which may contain a secret.
package traces

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/donation-dedupe/noted/client/gateway"

// parent is the name of the header with the span of a request. The gateway reads and
// sends no other header of a trace.
const parent = "Traceparent"

// Begin begins a span within the span of ctx. Without a span in ctx it does nothing.
func Begin(ctx context.Context, name string, kind trace.SpanKind, attributes ...attribute.KeyValue) (context.Context, Span) {
	outer := trace.SpanFromContext(ctx)
	if !outer.SpanContext().IsValid() {
		return ctx, Span{outer}
	}
	ctx, span := outer.TracerProvider().Tracer(scope).Start(
		ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attributes...))
	return ctx, Span{span}
}

// A Span is one step of a trace.
type Span struct{ span trace.Span }

// Set adds an attribute.
func (s Span) Set(name, value string) { s.span.SetAttributes(attribute.String(name, value)) }

// End ends the span. failure is one of our own words, empty after a success.
func (s Span) End(failure string) {
	if failure != "" {
		s.span.SetAttributes(attribute.String("error.type", failure))
		s.span.SetStatus(codes.Error, failure)
	}
	s.span.End()
}

// Hand writes the span of ctx to the headers of a request. Without a span it removes the
// header.
func Hand(ctx context.Context, header http.Header) {
	header.Del(parent)
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
}

// Kept returns headers that include the span of ctx, for a message that is processed
// later.
func Kept(ctx context.Context, header http.Header) http.Header {
	if header == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return header
	}
	header = header.Clone()
	Hand(ctx, header)
	return header
}

// Resume begins a span in the trace of a kept message. Without a provider it does nothing.
func Resume(
	ctx context.Context, provider trace.TracerProvider, header http.Header, name string,
) (context.Context, Span) {
	if provider == nil {
		return ctx, Span{trace.SpanFromContext(ctx)}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
	ctx, span := provider.Tracer(scope).Start(ctx, name, trace.WithSpanKind(trace.SpanKindConsumer))
	return ctx, Span{span}
}

// Parent is the span of ctx in the form of traceparent; empty without a span.
func Parent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[strings.ToLower(parent)]
}

// A Transport traces the requests that are part of a trace.
type Transport struct {
	http.RoundTripper
	// Hands sends the trace to the other side. PayPal has no use for it.
	Hands bool
}

// CloseIdleConnections is called by http.Client.
func (t Transport) CloseIdleConnections() {
	(&http.Client{Transport: t.RoundTripper}).CloseIdleConnections()
}

// RoundTrip belongs to http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !trace.SpanContextFromContext(r.Context()).IsValid() {
		return t.RoundTripper.RoundTrip(r)
	}
	ctx, span := Begin(r.Context(), r.Method, trace.SpanKindClient, attribute.String("http.request.method", r.Method),
		attribute.String("server.address", r.URL.Hostname()))
	r = r.Clone(ctx)
	if t.Hands {
		Hand(ctx, r.Header)
	}
	response, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		span.End("no_answer")
		return nil, err
	}
	span.span.SetAttributes(attribute.Int("http.response.status_code", response.StatusCode))
	failure := ""
	if response.StatusCode >= http.StatusBadRequest {
		failure = "refused"
	}
	span.End(failure)
	return response, nil
}
