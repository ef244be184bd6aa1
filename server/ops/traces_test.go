package ops_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A collector keeps the spans that programs send it, by either protocol.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	byGRPC, byHTTP string // the addresses

	mu    sync.Mutex
	spans []*span
}

// A span, and the program that sent it.
type span struct {
	*tracepb.Span
	service  string
	resource *tracepb.ResourceSpans
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	server := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	posts := httptest.NewServer(c)
	t.Cleanup(posts.Close)
	c.byGRPC, c.byHTTP = "http://"+listener.Addr().String(), posts.URL
	return c
}

// Export is of collectorpb.TraceServiceServer.
func (c *collector) Export(
	_ context.Context, r *collectorpb.ExportTraceServiceRequest,
) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range r.GetResourceSpans() {
		service := ""
		for _, attribute := range resource.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				service = attribute.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, &span{s, service, resource})
			}
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// ServeHTTP takes the same by HTTP.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body = must(gzip.NewReader(r.Body))
	}
	request := &collectorpb.ExportTraceServiceRequest{}
	if r.URL.Path != "/v1/traces" || proto.Unmarshal(must(io.ReadAll(body)), request) != nil {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	must(c.Export(r.Context(), request))
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// all are the spans of a program with a name; of every program or name where one is empty.
func (c *collector) all(service, name string) (found []*span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if (service == "" || s.service == service) && (name == "" || s.GetName() == name) {
			found = append(found, s)
		}
	}
	return found
}

// below waits for the one span of a name that was begun within another.
func (c *collector) below(t *testing.T, parent []byte, service, name string) *span {
	t.Helper()
	var found *span
	await(t, fmt.Sprintf("span %q of %s within %x", name, service, parent), func() bool {
		for _, s := range c.all(service, name) {
			if bytes.Equal(s.GetParentSpanId(), parent) {
				found = s
			}
		}
		return found != nil
	})
	return found
}

// text is an attribute of a span, as text.
func (s *span) text(key string) string {
	for _, attribute := range s.GetAttributes() {
		if attribute.GetKey() == key {
			return strings.TrimSpace(prototext.MarshalOptions{}.Format(attribute.GetValue()))
		}
	}
	return ""
}

// tracing is a command with variables in its environment.
func tracing(command *exec.Cmd, variables ...string) *exec.Cmd {
	command.Env = append(os.Environ(), append(variables, "OTEL_BSP_SCHEDULE_DELAY=50")...)
	return command
}

const (
	theTrace  = "0123456789abcdef0123456789abcdef"
	theParent = "0123456789abcdef"
	theHeader = "00-" + theTrace + "-" + theParent + "-01"
	hush      = "CANARY"      // in each id of a donation, series, transaction and message
	forwarded = "203.0.113.9" // the sender's address, as a trusted proxy or a liar writes it
)

// TestTraces follows messages from PayPal's post to the downstream's answer, through a
// gateway and a Noted with a replica, and calls by each other way in. All spans of one
// message are one trace. No span names its donation.
func TestTraces(t *testing.T) {
	spans := newCollector(t)
	redis := redistest.Start(t)
	redistest.Start(t, "--replicaof", fmt.Sprint("127.0.0.1 ", redis.Port()))
	notedAddr, door, admin := freeAddr(), freeAddr(), freeAddr()
	start(t, notedAddr, tracing(exec.Command(built(t, "noted"), "-redis", redis.URL(), "-replicas", "1",
		"-listen", notedAddr, "-http-listen", door, "-admin-listen", admin),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+spans.byGRPC, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"))
	await(t, "ready noted", func() bool { return answers("http://" + admin + "/readyz") })

	t.Run("calls", func(t *testing.T) { tracedCalls(t, spans, notedAddr, door) })
	t.Run("with an inbox", func(t *testing.T) {
		tracedMessage(t, spans, notedAddr, "inbox", inInbox(t)...)
	})
	t.Run("with several accounts", func(t *testing.T) {
		tracedMessage(t, spans, notedAddr, "several", append(inInbox(t), "-trusted-proxy", "127.0.0.1")...)
	})
	t.Run("to a listener", func(t *testing.T) {
		tracedMessage(t, spans, notedAddr, "listener", append(inInbox(t), "-forward-as", "original")...)
	})
	t.Run("without an inbox", func(t *testing.T) { tracedMessage(t, spans, notedAddr, "direct") })

	for _, s := range spans.all("", "") {
		said := prototext.Format(s.Span) + prototext.Format(s.resource.GetResource())
		if regexp.MustCompile(hush + "|donor|an-account|a-ledger").MatchString(said) {
			t.Errorf("a span of %s names its subject:\n%s", s.service, said)
		}
		if name := s.GetName(); strings.Contains(name, "Health") || strings.Contains(name, "ready") {
			t.Errorf("a probe is traced: %s", name)
		}
	}
}

// inInbox are the flags of an inbox of its own.
func inInbox(t *testing.T) []string {
	return []string{
		"-inbox", "sqlite://" + filepath.Join(t.TempDir(), "inbox.db"),
		"-inbox-key-file", write(t, t.TempDir()+"/inbox.key", run(t, built(t, "noted-gateway"), "inbox-key")),
	}
}

// tracedMessage posts an IPN to a gateway of its own.
func tracedMessage(t *testing.T, spans *collector, notedAddr, service string, more ...string) {
	var mu sync.Mutex
	var toDownstream string
	downstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		toDownstream = r.Header.Get("Traceparent")
	}))
	t.Cleanup(downstream.Close)
	payPal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Traceparent") != "" {
			t.Error("PayPal is told of the trace")
		}
		io.WriteString(w, "VERIFIED")
	}))
	t.Cleanup(payPal.Close)
	addr, admin, kind := freeAddr(), freeAddr(), "noted.donation.payment"
	secretFile := write(t, t.TempDir()+"/forward.secret", newSecret(t))
	switch to := downstream.URL + "/?secret=" + hush; {
	case slices.Contains(more, "original"):
		kind = "original"
		more = append(more, "-accounts", "shop@example.org", "-forward-ipn-to", to)
	case service == "several":
		more = append(more, "-accounts-file", write(t, t.TempDir()+"/accounts.json", fmt.Sprintf(`{"accounts": [
			{"receivers": ["other@example.org"], "ledger": "other", "forward": {"as": "original", "ipn_to": "http://127.0.0.1:1"}},
			{"name": "an-account", "receivers": ["shop@example.org"], "ledger": "a-ledger",
			 "forward": {"to": %q, "secret_file": %q}}]}`, to, secretFile)))
	default:
		more = append(more, "-accounts", "shop@example.org", "-forward-to", to, "-forward-secret-file", secretFile)
	}
	start(t, addr, tracing(exec.Command(built(t, "noted-gateway"), append([]string{
		"-listen", addr, "-admin-listen", admin, "-noted", notedAddr, "-ipn-verify-url", payPal.URL,
	}, more...)...),
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+spans.byHTTP+"/v1/traces", "OTEL_SERVICE_NAME="+service))
	await(t, "ready gateway", func() bool { return answers("http://" + admin + "/readyz") })

	form := url.Values{
		"txn_type": {"web_accept"}, "txn_id": {hush + service}, "payment_status": {"Completed"}, "mc_gross": {"5.00"},
		"mc_currency": {"EUR"}, "receiver_email": {"shop@example.org"}, "payer_email": {"donor@example.org"},
		"recurring_payment_id": {"I-" + hush + service},
	}
	request := must(http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/paypal/ipn",
		strings.NewReader(form.Encode())))
	request.Header = http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Traceparent": {theHeader}, "X-Forwarded-For": {forwarded},
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the message was answered %s", response.Status)
	}

	post := spans.below(t, must(hex.DecodeString(theParent)), service, "POST /paypal/ipn")
	sender := "127.0.0.1"
	if slices.Contains(more, "-trusted-proxy") {
		sender = forwarded
	}
	wantSender(t, post, sender)
	spans.below(t, spans.below(t, post.SpanId, service, "verify ipn").SpanId, service, "POST")
	within := post
	if service != "direct" {
		within = spans.below(t, post.SpanId, service, "process ipn")
		if got := within.text("noted.state"); got != `string_value:"done"` {
			t.Errorf("the state after the try is %s", got)
		}
	}
	call := spans.below(t, within.SpanId, service, "noted.v1.DedupeService/NoteDonation")
	wantAnswered(t, spans, call.SpanId, "noted.v1.DedupeService/NoteDonation", "note")
	call = spans.below(t, within.SpanId, service, "noted.v1.DedupeService/SettleDonation")
	wantAnswered(t, spans, call.SpanId, "noted.v1.DedupeService/SettleDonation", "settle")
	delivery := spans.below(t, within.SpanId, service, "deliver "+kind)
	post = spans.below(t, delivery.SpanId, service, "POST")
	mu.Lock()
	defer mu.Unlock()
	if want := fmt.Sprintf("00-%s-%x-01", theTrace, post.SpanId); toDownstream != want {
		t.Errorf("the downstream got traceparent %q, want %q", toDownstream, want)
	}
}

// wantSender wants the address of the sender in a span.
func wantSender(t *testing.T, s *span, want string) {
	t.Helper()
	if got := s.text("client.address"); got != fmt.Sprintf("string_value:%q", want) {
		t.Errorf("%s came from %s, want %s", s.GetName(), got, want)
	}
}

// wantAnswered wants the spans of a call that Noted has answered: of the call, of the
// script, and of the round trip, after which a replica had it.
func wantAnswered(t *testing.T, spans *collector, parent []byte, method, script string) {
	t.Helper()
	call := spans.below(t, parent, "noted", method)
	if got := hex.EncodeToString(call.GetTraceId()); got != theTrace {
		t.Errorf("%s is of trace %s, want %s", method, got, theTrace)
	}
	question := spans.below(t, call.SpanId, "noted", script+".lua")
	trip := spans.below(t, question.SpanId, "noted", "redis")
	for key, want := range map[string]string{"noted.replicas": "int_value:1", "db.operation.batch.size": "int_value:1"} {
		if got := strings.ReplaceAll(trip.text(key), "  ", " "); got != want {
			t.Errorf("%s of %s: %s is %q, want %q", script, method, key, got, want)
		}
	}
	if trip.GetStartTimeUnixNano() < question.GetStartTimeUnixNano() ||
		trip.GetEndTimeUnixNano() > question.GetEndTimeUnixNano() || question.GetEndTimeUnixNano() > call.GetEndTimeUnixNano() {
		t.Errorf("%s: a part of the call is not within it", method)
	}
}

// tracedCalls makes calls with the Go library, on a stream, and at the JSON door.
func tracedCalls(t *testing.T, spans *collector, notedAddr, door string) {
	// What client.Config says about tracing.
	provider := sdktrace.NewTracerProvider()
	noted, err := client.New(notedAddr, client.Config{DialOptions: []grpc.DialOption{
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(provider), otelgrpc.WithPropagators(propagation.TraceContext{}))),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	remote := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": theHeader})
	ctx, mine := provider.Tracer("test").Start(remote, "mine")
	request := func(n int) *notedv1.NoteDonationRequest {
		return &notedv1.NoteDonationRequest{
			Donation: &notedv1.Donation{
				Ledger: hush, SeriesId: fmt.Sprint("I-", hush, n), TransactionId: hush, Amount: "5.00", CurrencyCode: "EUR",
			},
			Message: &notedv1.Message{Channel: "ipn", Id: hush}, RequestId: fmt.Sprint(hush, n), Hold: durationpb.New(1e9),
		}
	}
	if _, err := noted.Note(ctx, request(1)); err != nil {
		t.Fatal(err)
	}
	bad := request(1)
	bad.Donation.SeriesId = hush + " " + hush
	if _, err := noted.Note(ctx, bad); err == nil {
		t.Fatal("a bad series was noted")
	}
	if _, err := noted.Settle(ctx, "v1."+hush, hush); err == nil {
		t.Fatal("a bad receipt was settled")
	}
	for range 2 {
		if _, err := noted.Exists(ctx, request(2).Donation, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := noted.Serving(ctx); err != nil {
		t.Fatal(err)
	}
	requests := slices.Values([]*client.NoteRequest{request(3), request(4)})
	for _, err := range noted.Notes(ctx, requests) {
		if err != nil {
			t.Fatal(err)
		}
	}
	mine.End()
	// The client's own spans went nowhere, so the calls' parents are not known here.
	for method, script := range map[string]string{
		"NoteDonation": "note.lua", "DonationExists": "exists.lua", "NoteDonations": "note.lua",
	} {
		await(t, "trace of "+method, func() bool {
			for _, s := range spans.all("noted", "noted.v1.DedupeService/"+method) {
				for _, below := range spans.all("noted", script) {
					if hex.EncodeToString(s.TraceId) == theTrace && bytes.Equal(below.ParentSpanId, s.SpanId) {
						return true
					}
				}
			}
			return false
		})
	}

	header := func(parent string) string { return "00-" + theTrace + "-" + parent + "-01" }
	json := fmt.Sprintf(`{"donation":{"series_id":"I-%s-json","transaction_id":%q}}`, hush, hush)
	for parent, request := range map[string]*http.Request{
		"00000000000000aa": must(http.NewRequestWithContext(t.Context(), http.MethodPost,
			"http://"+door+"/noted.v1.DedupeService/NoteDonation", strings.NewReader(json))),
		"00000000000000bb": must(http.NewRequestWithContext(t.Context(), http.MethodGet,
			"http://"+door+"/noted.v1.DedupeService/DonationExists?encoding=json&message="+url.QueryEscape(json), nil)),
	} {
		request.Header = http.Header{
			"Content-Type": {"application/json"}, "Traceparent": {header(parent)}, "X-Forwarded-For": {forwarded},
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		name := strings.TrimPrefix(request.URL.Path, "/")
		script := map[string]string{"GET": "exists.lua", "POST": "note.lua"}[request.Method]
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s", request.Method, name, response.Status)
		}
		call := spans.below(t, must(hex.DecodeString(parent)), "noted", name)
		wantSender(t, call, "127.0.0.1")
		spans.below(t, call.SpanId, "noted", script)
	}
	if response, err := http.Get("http://" + door + "/" + hush); err == nil { // a path of the caller's making
		response.Body.Close()
	}
	if !trace.SpanContextFromContext(ctx).IsValid() {
		t.Error("the test's own span is missing")
	}
}

// TestNoTraces wants programs that are told to be silent to send nothing, and those that
// cannot be obeyed to say so.
func TestNoTraces(t *testing.T) {
	spans := newCollector(t)
	for _, variable := range []string{"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none", "OTEL_TRACES_SAMPLER=always_off"} {
		addr, door := freeAddr(), freeAddr()
		command := tracing(exec.Command(built(t, "noted"), "-dev", "-listen", addr, "-http-listen", door, "-admin-listen", "off"),
			"OTEL_EXPORTER_OTLP_ENDPOINT="+spans.byHTTP, variable)
		start(t, addr, command)
		noted := must(client.New(addr, client.Config{}))
		if _, err := noted.Note(t.Context(), &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}}); err != nil {
			t.Fatal(err)
		}
		noted.Close()
		command.Process.Signal(os.Interrupt) // it would send the rest
		await(t, "end", func() bool { conn, err := net.Dial("tcp", addr); return err != nil || conn.Close() != nil })
	}
	if got := spans.all("", ""); len(got) > 0 {
		t.Errorf("%d spans were sent all the same", len(got))
	}
	for variable, want := range map[string]string{
		"OTEL_TRACES_EXPORTER=zipkin":           "must be otlp or none",
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/json": "must be http/protobuf or grpc",
	} {
		command := tracing(exec.Command(built(t, "noted"), "-dev", "-listen", freeAddr(), "-http-listen", "off",
			"-admin-listen", "off"), "OTEL_EXPORTER_OTLP_ENDPOINT="+spans.byHTTP, variable)
		output, _ := command.CombinedOutput()
		if command.ProcessState.ExitCode() != 2 || !strings.Contains(string(output), want) {
			t.Errorf("%s: %s, want exit 2 and %q:\n%s", variable, command.ProcessState, want, output)
		}
	}
}
