"""traced.py TARGET TRACEPARENT notes a donation within a trace, as a program with OpenTelemetry's
instrumentation of grpc does. The library's code knows nothing of it."""

import sys

import noted
from opentelemetry import context, trace
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

trace.set_tracer_provider(TracerProvider())
GrpcInstrumentorClient().instrument()
context.attach(TraceContextTextMapPropagator().extract({"traceparent": sys.argv[2]}))
with noted.Client(sys.argv[1]) as client:
    print(client.note(noted.Donation(series_id="I-TRACED")).verdict.name)
