package ops_test

import (
	"bytes"
	"encoding/hex"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTracesFromPython wants Noted to continue the trace of a Python program. Its library
// needs nothing for that: OpenTelemetry's instrumentation of grpc traces the calls.
func TestTracesFromPython(t *testing.T) {
	python := must(filepath.Abs("../../.tools/opentelemetry/bin/python"))
	if !exists(python) {
		t.Fatal("OpenTelemetry for Python is not installed; run .ci/need opentelemetry")
	}
	spans := newCollector(t)
	addr := freeAddr()
	start(t, addr, tracing(exec.Command(built(t, "noted"), "-dev", "-listen", addr, "-http-listen", "off",
		"-admin-listen", "off"), "OTEL_EXPORTER_OTLP_ENDPOINT="+spans.byHTTP))
	program := tracing(exec.Command(python, "testdata/traced.py", addr, theHeader),
		"PYTHONPATH="+must(filepath.Abs("../../client/python/src")), "PYTHONDONTWRITEBYTECODE=1")
	if output, err := program.CombinedOutput(); err != nil || strings.TrimSpace(string(output)) != "FIRST" {
		t.Fatalf("%s: %v\n%s", program, err, output)
	}
	await(t, "span of the call, in the program's trace and within a span of the library's call", func() bool {
		for _, s := range spans.all("noted", "noted.v1.DedupeService/NoteDonation") {
			parent := s.GetParentSpanId()
			if hex.EncodeToString(s.GetTraceId()) == theTrace && len(parent) > 0 &&
				!bytes.Equal(parent, must(hex.DecodeString(theParent))) {
				return true
			}
		}
		return false
	})
}
