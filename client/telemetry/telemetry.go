// Package telemetry sends the traces of the project's programs to a collector, configured
// by OpenTelemetry's usual variables.
//
// It is for the project's own programs, and promises nothing to others. A program that
// uses client or server makes its own provider.
//
// # Design
//
// The libraries take a trace.TracerProvider, and know no exporters. Only this package
// imports the SDK, for programs of both sides; see client/cmdline for the reason why it
// is here.
package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/donation-dedupe/noted/client/cmdline"
)

// Help is the part of a program's manual about the variables.
const Help = `Traces go to a collector by OTLP if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names one, such
as http://127.0.0.1:4318. OTEL_EXPORTER_OTLP_PROTOCOL (http/protobuf or grpc), OTEL_EXPORTER_OTLP_HEADERS,
OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_SDK_DISABLED mean
what OpenTelemetry says.
`

// flushing is the time in which a program must send its last spans.
const flushing = 5 * time.Second

// Start makes the provider of a program's spans. It is nil if no collector is configured.
// stop sends the remaining spans. An error is ErrUsage.
func Start(
	ctx context.Context, env cmdline.Env, program string, logger *slog.Logger,
) (provider trace.TracerProvider, stop func(), err error) {
	stop = func() {}
	value := func(names ...string) string {
		for _, name := range names {
			if text, _ := env(name); text != "" {
				return text
			}
		}
		return ""
	}
	endpoint := value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	exporter := cmp.Or(value("OTEL_TRACES_EXPORTER"), "otlp")
	if endpoint == "" || exporter == "none" || strings.EqualFold(value("OTEL_SDK_DISABLED"), "true") {
		return nil, stop, nil
	}
	if exporter != "otlp" {
		return nil, stop, cmdline.Usagef("OTEL_TRACES_EXPORTER is %q; it must be otlp or none", exporter)
	}
	var client otlptrace.Client
	protocol := cmp.Or(value("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	switch protocol {
	case "http/protobuf":
		client = otlptracehttp.NewClient()
	case "grpc":
		client = otlptracegrpc.NewClient()
	default:
		return nil, stop, cmdline.Usagef("OTEL_EXPORTER_OTLP_PROTOCOL is %q; it must be http/protobuf or grpc", protocol)
	}
	otel.SetErrorHandler(&complaints{logger: logger})
	sender, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, stop, cmdline.Usagef("no traces can be sent to %s: %w", endpoint, err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", program)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, stop, cmdline.Usagef("OTEL_RESOURCE_ATTRIBUTES cannot be read: %w", err)
	}
	made := sdktrace.NewTracerProvider(sdktrace.WithBatcher(sender), sdktrace.WithResource(about))
	logger.Info("sending traces", "protocol", protocol)
	return made, func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushing)
		defer cancel()
		if err := made.Shutdown(ctx); err != nil {
			logger.Warn("the last traces were not sent; is the collector of OTEL_EXPORTER_OTLP_ENDPOINT there?",
				"error", err)
		}
	}, nil
}

// complaintsEvery is the interval of the log lines about lost traces. Without its
// collector a program fails to send every few seconds, and no other work depends on it.
const complaintsEvery = time.Minute

// complaints takes the errors that the SDK cannot return to a caller.
type complaints struct {
	logger *slog.Logger
	last   atomic.Int64 // the time of the last line, in nanoseconds
}

// Handle belongs to otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	now, last := time.Now().UnixNano(), c.last.Load()
	if now-last < int64(complaintsEvery) || !c.last.CompareAndSwap(last, now) {
		return
	}
	c.logger.Warn("traces are not sent; is the collector of OTEL_EXPORTER_OTLP_ENDPOINT there? Calls are answered "+
		"all the same", "error", fmt.Sprint(err))
}
