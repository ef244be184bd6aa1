package telemetry

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/client/cmdline"
)

// TestStart wants no provider unless a collector is named and wanted. That spans arrive is
// tested with whole programs, in server/ops.
func TestStart(t *testing.T) {
	const there = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"
	for name, c := range map[string]struct {
		env   cmdline.Environ
		on    bool
		wrong string
	}{
		"nothing":               {nil, false, ""},
		"an empty endpoint":     {cmdline.Environ{"OTEL_EXPORTER_OTLP_ENDPOINT="}, false, ""},
		"an endpoint":           {cmdline.Environ{there}, true, ""},
		"one for traces":        {cmdline.Environ{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:1"}, true, ""},
		"disabled":              {cmdline.Environ{there, "OTEL_SDK_DISABLED=TRUE"}, false, ""},
		"not disabled":          {cmdline.Environ{there, "OTEL_SDK_DISABLED=false"}, true, ""},
		"no exporter":           {cmdline.Environ{there, "OTEL_TRACES_EXPORTER=none"}, false, ""},
		"another exporter":      {cmdline.Environ{there, "OTEL_TRACES_EXPORTER=console"}, false, "must be otlp or none"},
		"gRPC":                  {cmdline.Environ{there, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, true, ""},
		"JSON":                  {cmdline.Environ{there, "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}, false, "http/protobuf or grpc"},
		"traces' own protocol":  {cmdline.Environ{there, "OTEL_EXPORTER_OTLP_PROTOCOL=x", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc"}, true, ""},
		"a mistake that is off": {cmdline.Environ{"OTEL_TRACES_EXPORTER=console"}, false, ""},
	} {
		provider, stop, err := Start(t.Context(), c.env.Lookup, "noted", slog.New(slog.DiscardHandler))
		if (provider != nil) != c.on {
			t.Errorf("%s: a provider: %v, want %v", name, provider != nil, c.on)
		}
		if (err != nil) != (c.wrong != "") || err != nil &&
			(!errors.Is(err, cmdline.ErrUsage) || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v, want %q", name, err, c.wrong)
		}
		stop()
	}
}

// TestComplaints wants the log to tell once a minute that traces are lost, not each time.
func TestComplaints(t *testing.T) {
	var log strings.Builder
	c := &complaints{logger: slog.New(slog.NewTextHandler(&log, nil))}
	for range 100 {
		c.Handle(errors.New("away"))
	}
	if got := strings.Count(log.String(), "traces are not sent"); got != 1 {
		t.Errorf("%d lines, want one:\n%s", got, log.String())
	}
	c.last.Store(0)
	c.Handle(errors.New("away"))
	if got := strings.Count(log.String(), "traces are not sent"); got != 2 {
		t.Errorf("%d lines a minute later, want two", got)
	}
}
