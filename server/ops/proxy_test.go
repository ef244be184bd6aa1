package ops_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// proxies are the configurations, and the command that runs each program in the
// foreground.
var proxies = []struct {
	program, file string
	command       func(program, file, dir string) []string
}{
	{"nginx", "nginx.conf", func(program, file, dir string) []string {
		return []string{
			program, "-p", dir, "-c", file, "-e", dir + "/error.log", "-g", "daemon off; master_process off;",
		}
	}},
	{"haproxy", "haproxy.cfg", func(program, file, _ string) []string { return []string{program, "-db", "-f", file} }},
	{"envoy", "envoy.yaml", func(program, file, _ string) []string {
		return []string{program, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"}
	}},
}

// TestProxies runs a table of calls through each proxy, with its file of server/ops
// except for addresses and paths.
func TestProxies(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.program, func(t *testing.T) {
			program := tool(t, p.program)
			// The test is not about the deadline: a busy machine may take longer than the
			// default for a stream.
			noted := servertest.Start(t, servertest.Options{Redis: redistest.Start(t).URL(), MaxDeadline: patience})
			dir := t.TempDir()
			ca := pkitest.New(t, "a CA")
			pair := ca.Issue(func(c *x509.Certificate) {
				c.DNSNames = []string{"grpc.example.org", "json.example.org"}
			})
			pair.Files(t, dir)
			write(t, dir+"/both.pem", string(pair.Cert)+string(pair.Key))
			addr := freeAddr()
			_, port, _ := net.SplitHostPort(addr)
			_, grpcPort, _ := net.SplitHostPort(noted.Addr())
			_, httpPort, _ := net.SplitHostPort(noted.HTTPAddr())
			config := read(t, "proxy/"+p.file)
			for _, from := range []string{"443", "50051", "8080", "/etc/ssl/noted"} {
				if !strings.Contains(config, from) {
					t.Errorf("%s does not have %s", p.file, from)
				}
			}
			config = strings.NewReplacer(
				"listen 443", "listen "+addr, "bind :443", "bind "+addr, "0.0.0.0, port_value: 443", "127.0.0.1, port_value: "+port,
				"50051", grpcPort, "8080", httpPort, "/etc/ssl/noted", dir,
			).Replace(config)
			if p.program == "nginx" { // /etc/nginx/nginx.conf has these lines around a site
				config = "pid " + dir + "/pid;\nevents {}\nhttp {\naccess_log off;\n" + temporary(dir) + config + "}\n"
				if os.Getuid() == 0 {
					config = "user root;\n" + config
				}
			}
			command := p.command(program, write(t, dir+"/"+p.file, config), dir)
			start(t, addr, exec.Command(command[0], command[1:]...))
			callTable(t, addr, ca)
		})
	}
}

// temporary moves nginx's folders to places that a test may write.
func temporary(dir string) (lines string) {
	for _, of := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		lines += of + "_temp_path " + dir + "/" + of + ";\n"
	}
	return lines
}

// callTable makes unary calls, a stream longer than a proxy's buffers, refused calls and
// JSON through a proxy.
func callTable(t *testing.T, addr string, ca *pkitest.Authority) {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: ca.Pool(), ServerName: "grpc.example.org",
	})), grpc.WithAuthority("grpc.example.org"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	noted := notedv1.NewDedupeServiceClient(conn)
	request := func(series string) *notedv1.NoteDonationRequest {
		return &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: series}, Hold: durationpb.New(60e9)}
	}
	first, err := noted.NoteDonation(t.Context(), request("I-1"))
	if err != nil || first.Verdict != notedv1.Verdict_VERDICT_FIRST {
		t.Fatalf("NoteDonation: %v, %v, want FIRST", first.GetVerdict(), err)
	}
	if again, err := noted.NoteDonation(t.Context(), request("I-1")); err != nil ||
		again.Verdict != notedv1.Verdict_VERDICT_HELD {
		t.Errorf("NoteDonation again: %v, %v, want HELD", again.GetVerdict(), err)
	}
	if _, err := noted.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: first.Receipt}); err != nil {
		t.Errorf("SettleDonation: %v", err)
	}
	_, err = noted.NoteDonation(t.Context(), request(""))
	if refused := status.Convert(err); refused.Code() != codes.InvalidArgument || len(refused.Details()) < 2 {
		t.Errorf(
			"a request without a series: %v with %v, want INVALID_ARGUMENT with its details", err, refused.Details(),
		)
	}

	// First each request waits for the answer before it, so a proxy that waits for more
	// data hangs. Then both ends send over a megabyte at once, so a proxy that buffers a
	// whole stream refuses it.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := noted.NoteDonations(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send := func(i int) error {
		return stream.Send(&notedv1.NoteDonationsRequest{Request: request(fmt.Sprintf("I-STREAM-%0100d", i))})
	}
	receive := func(i int) {
		t.Helper()
		answer, err := stream.Recv()
		if err != nil || answer.GetResponse().GetVerdict() != notedv1.Verdict_VERDICT_FIRST {
			t.Fatalf("answer %d: %v, %v, want FIRST", i, answer, err)
		}
	}
	const awaited, all = 500, 8500
	for i := range awaited {
		if err := send(i); err != nil {
			t.Fatalf("sending %d: %v", i, err)
		}
		receive(i)
	}
	sent := make(chan error, 1)
	go func() {
		for i := awaited; i < all; i++ {
			if err := send(i); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	for i := awaited; i < all; i++ {
		receive(i)
	}
	if err := <-sent; err != nil {
		t.Errorf("sending: %v", err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("the stream ended with %v, want its end", err)
	}

	web := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "json.example.org"}, ForceAttemptHTTP2: true,
	}}
	defer web.CloseIdleConnections()
	for body, want := range map[string]string{
		`{"donation":{"series_id":"I-JSON"}}`: "VERDICT_FIRST",
		`{"donation":{"series_id":"I-1"}}`:    "VERDICT_DUPLICATE",
		`{"donation":{"series":"I-1"}}`:       "invalid_argument",
	} {
		post := must(http.NewRequestWithContext(
			t.Context(), "POST", "https://"+addr+"/noted.v1.DedupeService/NoteDonation", strings.NewReader(body)))
		post.Host = "json.example.org"
		post.Header.Set("Content-Type", "application/json")
		response, err := web.Do(post)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if !strings.Contains(string(text), want) {
			t.Errorf("%s: %s %s, want %s", body, response.Status, text, want)
		}
	}
}
