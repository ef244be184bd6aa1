package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
	"github.com/donation-dedupe/noted/server/servertest"
)

func packed(parts ...[]byte) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for _, part := range parts {
		w.Write(part)
	}
	w.Close()
	return b.String()
}

// TestGzip checks that requests in gzip are taken over every protocol, and that answers
// come uncompressed: they are too small to be worth a compressor's memory.
func TestGzip(t *testing.T) {
	n := start(t, servertest.Options{})

	answers := &compressions{}
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.UseCompressor(grpcgzip.Name)), grpc.WithStatsHandler(answers))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := notedv1.NewDedupeServiceClient(conn)
	if answer, err := c.NoteDonation(
		t.Context(),
		series("I-grpc"),
	); err != nil ||
		answer.Verdict != notedv1.Verdict_VERDICT_FIRST {
		t.Errorf("gRPC: %v, %v, want FIRST", answer, err)
	}
	stream, err := c.NoteDonations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-grpc")}); err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil ||
		answer.GetResponse().GetVerdict() != notedv1.Verdict_VERDICT_DUPLICATE {
		t.Errorf("a gRPC stream: %v, %v, want DUPLICATE", answer, err)
	}
	if answers.packed != "" {
		t.Errorf("gRPC answers in %s, want plain answers", answers.packed)
	}

	const body = `{"donation":{"series_id":"I-json"}}`
	note := "http://" + n.HTTPAddr() + notedv1connect.DedupeServiceNoteDonationProcedure
	request, err := http.NewRequestWithContext(
		t.Context(),
		http.MethodPost,
		note,
		strings.NewReader(packed([]byte(body))),
	)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	request.Header.Set("Accept-Encoding", "gzip")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Verdict string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Verdict != "VERDICT_FIRST" {
		t.Errorf("JSON: HTTP %d %+v, %v, want FIRST", response.StatusCode, answer, err)
	}
	if got := response.Header.Get("Content-Encoding"); got != "" {
		t.Errorf("JSON: the answer comes in %s, want a plain answer", got)
	}

	for name, option := range map[string]connect.ClientOption{
		"Connect": connect.WithProtoJSON(), "gRPC-Web": connect.WithGRPCWeb(),
	} {
		c := notedv1connect.NewDedupeServiceClient(
			http.DefaultClient,
			"http://"+n.HTTPAddr(),
			option,
			connect.WithSendGzip(),
		)
		if answer, err := c.NoteDonation(
			t.Context(),
			series("I-"+name),
		); err != nil ||
			answer.Verdict != notedv1.Verdict_VERDICT_FIRST {
			t.Errorf("%s: %v, %v, want FIRST", name, answer, err)
		}
	}
}

// TestGzipIsImported checks the import, which TestGzip cannot: its client has gzip in the
// same process.
func TestGzipIsImported(t *testing.T) {
	imports, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, "./internal/calls").Output()
	if err != nil || !strings.Contains(string(imports), "google.golang.org/grpc/encoding/gzip") {
		t.Errorf("the server does not import gRPC's gzip: %v\n%s", err, imports)
	}
}

// compressions remembers in which compression answers come.
type compressions struct{ packed string }

func (c *compressions) HandleRPC(_ context.Context, s stats.RPCStats) {
	if header, ok := s.(*stats.InHeader); ok && header.Compression != "" && header.Compression != "identity" {
		c.packed = header.Compression
	}
}

func (*compressions) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (*compressions) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*compressions) HandleConn(context.Context, stats.ConnStats)                       {}

// TestGzipBomb checks that the size of a request counts unpacked. The server unpacks one
// byte more than a request may have, and stops. Both doors show it by the size in their
// error.
func TestGzipBomb(t *testing.T) {
	n := start(t, servertest.Options{})
	bomb := packed(bytes.Repeat([]byte(" "), 50<<20))
	if len(bomb) > 64<<10 {
		t.Fatalf("the bomb has %d bytes, more than a plain request may", len(bomb))
	}
	const bombs = 20
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range bombs {
			f()
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / bombs
	}

	p := rogueAt(t, n.Addr())
	stream := uint32(1)
	each := allocated(func() {
		p.call(stream, [2]string{"grpc-encoding", "gzip"})
		p.data(stream, 1, uint32(len(bomb)), []byte(bomb))
		if got := p.ended(stream); got != "grpc-status 8" {
			t.Fatalf("gRPC: ended with %s, want RESOURCE_EXHAUSTED", got)
		}
		stream += 2
	})
	if each > 1<<20 {
		t.Errorf("gRPC: a bomb takes %d bytes, want at most a MiB", each)
	}

	note := "http://" + n.HTTPAddr() + notedv1connect.DedupeServiceNoteDonationProcedure
	each = allocated(func() {
		code, answer := post(t, note, "application/json", bomb, "Content-Encoding", "gzip")
		if code != http.StatusTooManyRequests || !strings.Contains(answer, "resource_exhausted") ||
			!strings.Contains(answer, "65537") {
			t.Fatalf("JSON: HTTP %d %s, want resource_exhausted after 65537 bytes", code, answer)
		}
	})
	if each > 1<<20 {
		t.Errorf("JSON: a bomb takes %d bytes, want at most a MiB", each)
	}

	web := notedv1connect.NewDedupeServiceClient(
		http.DefaultClient,
		"http://"+n.HTTPAddr(),
		connect.WithGRPCWeb(),
		connect.WithSendGzip(),
	)
	_, err := web.NoteDonation(t.Context(), series(strings.Repeat("x", 10<<20)))
	if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "65537") {
		t.Errorf("gRPC-Web: %v, want resource_exhausted after 65537 bytes", err)
	}

	_, err = notedv1.NewDedupeServiceClient(n.Conn()).
		NoteDonation(t.Context(), series(strings.Repeat("x", 10<<20)), grpc.UseCompressor(grpcgzip.Name))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("gRPC: %v, want RESOURCE_EXHAUSTED", err)
	}
	n.mustNote(t, series("I-1"))

	for what, body := range map[string]string{
		"no gzip": "{}", "cut in half": packed([]byte(`{"donation":{"series_id":"I-1"}}`))[:20],
	} {
		if code, answer := post(
			t,
			note,
			"application/json",
			body,
			"Content-Encoding",
			"gzip",
		); code != http.StatusBadRequest {
			t.Errorf("%s: HTTP %d %s, want 400", what, code, answer)
		}
	}
	if code, answer := post(
		t,
		note,
		"application/json",
		"{}",
		"Content-Encoding",
		"br",
	); code != http.StatusNotImplemented ||
		!strings.Contains(answer, "gzip") {
		t.Errorf("brotli: HTTP %d %s, want 501 that names gzip", code, answer)
	}
}
