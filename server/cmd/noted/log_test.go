package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// serving starts noted as a process, waits until it serves, and gives its addresses by
// the names that its log has for them.
func serving(t *testing.T, args ...string) (*exec.Cmd, map[string]string, *lockedBuffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(
		self,
		append(
			[]string{"-listen", "127.0.0.1:0", "-http-listen", "127.0.0.1:0", "-admin-listen", "127.0.0.1:0"},
			args...)...)
	command.Env = append(os.Environ(), asProgram+"=1")
	printed := &lockedBuffer{}
	command.Stderr = printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	whole := regexp.MustCompile(`(?m)^.*"?msg"?[=:]"?serving\b.*\n`)
	for deadline := time.Now().Add(20 * time.Second); !whole.MatchString(printed.String()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve:\n%s", printed)
		}
	}
	addresses := map[string]string{}
	for _, m := range regexp.MustCompile(`"?(listen|http_listen|admin_listen)"?[=:]"?(127\.0\.0\.1:\d+)`).
		FindAllStringSubmatch(whole.FindString(printed.String()), -1) {
		addresses[m[1]] = m[2]
	}
	return command, addresses, printed
}

// No text of a caller that gets into the log forges a line, or holds characters that a
// terminal obeys, whether the log is for machines or for a person.
func TestLogCannotBeForged(t *testing.T) {
	const evil = "canary\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\nlevel=ERROR " +
		"msg=forged\x1b[2J\x1b]0;title\x07\u009b31m\u202e\u2028\ufeff\x00\x7f\"'\\"
	dir := t.TempDir()
	callers := pkitest.Write(
		t,
		filepath.Join(dir, "callers.json"),
		[]byte(`{"x\u001b[2J": {"token_sha256": ["`+strings.Repeat("0", 64)+`"], "ledgers": [""], "verbs": ["note"]}}`),
	)
	for name, args := range map[string][]string{
		"for machines":                {"-redis", redistest.Start(t).URL(), "-log-level", "debug"},
		"for machines, callers known": {"-redis", redistest.Start(t).URL(), "-log-level", "debug", "-callers", callers},
		"for a person":                {"-dev", "-log-level", "debug"},
		"for a person, default level": {"-dev"},
		"for a person, in production": {"-redis", redistest.Start(t).URL(), "-log-format", "text"},
		"for machines, a trial":       {"-dev", "-log-format", "json"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "known") {
				args[5] = pkitest.Write(
					t,
					callers,
					[]byte(
						`{"gateway": {"token_sha256": ["`+strings.Repeat(
							"0",
							64,
						)+`"], "ledgers": [""], "verbs": ["note"]}}`,
					),
				)
			}
			command, addresses, printed := serving(t, args...)
			conn, err := grpc.NewClient(addresses["listen"], grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c := notedv1.NewDedupeServiceClient(conn)
			ctx := metadata.AppendToOutgoingContext(t.Context(), "evil-bin", evil, "authorization", "Bearer [31m~")
			d := &notedv1.Donation{
				Ledger:        strings.ToValidUTF8(evil, ""),
				SeriesId:      evil,
				TransactionId: evil,
				Amount:        evil,
				CurrencyCode:  evil,
			}
			first, _ := c.NoteDonation(ctx, &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}})
			c.NoteDonation(
				ctx,
				&notedv1.NoteDonationRequest{
					Donation:  d,
					Message:   &notedv1.Message{Channel: evil, Id: evil},
					RequestId: evil,
				},
			)
			c.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: evil})
			c.ListDonations(ctx, &notedv1.ListDonationsRequest{Ledger: evil, PageToken: evil, SeenOnlyOn: evil})
			c.ForgetDonation(
				ctx,
				&notedv1.ForgetDonationRequest{
					SeriesId:   "I-1",
					DonationId: first.GetNote().GetDonationId(),
					Reason:     evil,
				},
			)
			held, _ := c.NoteDonation(
				ctx,
				&notedv1.NoteDonationRequest{
					Donation: &notedv1.Donation{SeriesId: "I-2"},
					Hold:     durationpb.New(time.Minute),
				},
			)
			c.ReleaseDonation(ctx, &notedv1.ReleaseDonationRequest{Receipt: held.GetReceipt(), Reason: evil})
			conn.Invoke(
				ctx,
				"/noted.v1.DedupeService/Evil\u009b31m",
				&notedv1.NoteDonationRequest{},
				&notedv1.NoteDonationResponse{},
			)
			for _, address := range []string{addresses["listen"], addresses["http_listen"]} {
				raw, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				raw.SetDeadline(time.Now().Add(5 * time.Second))
				io.WriteString(raw, "POST /"+evil+" HTTP/1.1\r\nHost: "+evil+"\r\n"+evil+"\r\n\r\n")
				io.Copy(io.Discard, raw)
				raw.Close()
			}
			request, _ := http.NewRequest(
				"POST",
				"http://"+addresses["http_listen"]+"/noted.v1.DedupeService/%1b%5b2JEvil%0aforged",
				strings.NewReader(evil),
			)
			request.Header = http.Header{"Content-Type": {"application/json"}, "X-Forwarded-For": {"evil"}}
			if response, err := http.DefaultClient.Do(request); err == nil {
				response.Body.Close()
			}
			command.Process.Signal(syscall.SIGTERM)
			command.Wait()

			reasons := 0
			for line := range strings.Lines(printed.String()) {
				line, whole := strings.CutSuffix(line, "\n")
				if !whole || !utf8.ValidString(line) ||
					strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f && !strconv.IsPrint(r) }) {
					t.Errorf("a line that a terminal would obey: %q", line)
				}
				if strings.Contains(line, "canary") {
					reasons++
				}
				if strings.Contains(name, "person") {
					if !regexp.MustCompile(`^time=\S+ level=(DEBUG|INFO|WARN|ERROR) msg=`).MatchString(line) ||
						strings.Contains(line, " msg=forged") && !strings.Contains(line, `\nlevel=ERROR`) {
						t.Errorf("a line that the server has not written: %q", line)
					}
					continue
				}
				var l struct{ Time, Level, Msg string }
				if err := json.Unmarshal(
					[]byte(line),
					&l,
				); err != nil || l.Time == "" || l.Level == "" ||
					l.Msg == "forged" {
					t.Errorf("a line that the server has not written: %q: %v", line, err)
				}
			}
			if want := 2; !strings.Contains(name, "known") && reasons < want {
				t.Errorf(
					"the reasons of the forgetting and the release are in %d lines, want %d, or the test proves "+
						"nothing:\n%s",
					reasons,
					want,
					printed,
				)
			}
		})
	}
}
