package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// TestAuditAtAnyLevel checks that denials, forgets and acknowledgements are written
// although the log has errors only, and that -audit-log writes them to a file that a log
// rotation may move away.
func TestAuditAtAnyLevel(t *testing.T) {
	sum := sha256.Sum256([]byte("right"))
	dir := t.TempDir()
	callers := pkitest.Write(
		t,
		filepath.Join(dir, "callers.json"),
		fmt.Appendf(
			nil,
			`{"operator": {"token_sha256": [%q], "ledgers": [""], "verbs": ["note", "admin"]}}`,
			hex.EncodeToString(sum[:]),
		),
	)
	acts := []string{"audit: denied a call", "audit: forgot a donation", "audit: acknowledged a loss of the store's"}
	for _, file := range []string{"", filepath.Join(dir, "audit.log")} {
		name := "in the log"
		if file != "" {
			name = "in a file"
		}
		t.Run(name, func(t *testing.T) {
			redis := redistest.Start(t)
			p := quiet(t, "-redis", redis.URL(), "-callers", callers, "-log-level", "error", "-audit-log", file)
			p.acts(t, redis)
			where := p.stderr.String
			if file != "" {
				if got := p.stderr.String(); strings.Contains(got, "audit:") {
					t.Errorf("the log has lines of the audit although -audit-log is given:\n%s", got)
				}
				where = func() string { return contents(t, file) }
				if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("the file's mode: %v, %v, want 0600", info.Mode(), err)
				}
			}
			// The log comes through a pipe, and may arrive after the answer to the act.
			soon(t, "the audit has each act", func() bool { return strings.Count(where(), "audit: ") >= len(acts) })
			wantActs(t, where(), acts)
			if got := p.stderr.String(); strings.Contains(got, `"level":"INFO"`) ||
				strings.Contains(strings.ReplaceAll(got, `"WARN","msg":"audit: `, ""), `"WARN"`) {
				t.Errorf("the log has more than errors and the audit:\n%s", got)
			}
			if file == "" {
				return
			}
			old := file + ".1"
			if err := os.Rename(file, old); err != nil {
				t.Fatal(err)
			}
			p.command.Process.Signal(syscall.SIGHUP)
			soon(t, "the file is opened again", func() bool { _, err := os.Stat(file); return err == nil })
			p.acts(t, redis)
			wantActs(t, contents(t, file), acts)
			wantActs(t, contents(t, old), acts)

			// A file that cannot be opened again leaves the old one in use.
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
				t.Fatal(err)
			}
			p.command.Process.Signal(syscall.SIGHUP)
			soon(
				t,
				"the log tells of the failure",
				func() bool {
					return strings.Contains(p.stderr.String(), "the file of the audit cannot be opened again")
				},
			)
		})
	}

	stderr := &lockedBuffer{}
	err := run(
		t.Context(),
		[]string{"noted", "-redis", "redis://127.0.0.1:1", "-audit-log", filepath.Join(dir, "missing", "audit.log")},
		os.Environ(),
		io.Discard,
		stderr,
	)
	if exitCode(err) != 2 || !strings.Contains(err.Error(), "-audit-log (NOTED_AUDIT_LOG) cannot be opened") {
		t.Errorf("a file that cannot be opened: %v, want a refusal that names the flag", err)
	}
}

// quietly is a noted whose log does not tell its addresses.
type quietly struct {
	command       *exec.Cmd
	stderr        *lockedBuffer
	listen, admin string
}

func quiet(t *testing.T, args ...string) quietly {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := quietly{
		stderr: &lockedBuffer{},
		listen: fmt.Sprint("127.0.0.1:", redistest.FreePort()),
		admin:  fmt.Sprint("127.0.0.1:", redistest.FreePort()),
	}
	p.command = exec.Command(self, append([]string{"-listen", p.listen, "-admin-listen", p.admin}, args...)...)
	p.command.Env, p.command.Stderr = append(os.Environ(), asProgram+"=1"), p.stderr
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.command.Process.Kill(); p.command.Wait() })
	soon(t, "it is ready", func() bool {
		response, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// acts makes each call once that the audit records.
func (p quietly) acts(t *testing.T, redis *redistest.Server) {
	t.Helper()
	conn, err := grpc.NewClient(p.listen, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := notedv1.NewDedupeServiceClient(conn)
	request := &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}}
	if _, err := c.NoteDonation(t.Context(), request); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a call without a token: %v, want UNAUTHENTICATED", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer right")
	first, err := c.NoteDonation(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ForgetDonation(
		ctx,
		&notedv1.ForgetDonationRequest{SeriesId: "I-1", DonationId: first.Note.DonationId, Reason: "a test"},
	); err != nil {
		t.Fatal(err)
	}
	redis.Do("FLUSHALL")
	var epoch string
	soon(t, "the loss is noticed", func() bool {
		response, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		_, rest, found := strings.Cut(string(body), "epoch=")
		epoch, _, _ = strings.Cut(rest, " ")
		return found
	})
	response, err := http.Post("http://"+p.admin+"/acknowledge?epoch="+epoch, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("acknowledging: %s", response.Status)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantActs wants one line of JSON for each act, in order, with its caller.
func wantActs(t *testing.T, text string, acts []string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(text) {
		var fields struct{ Level, Msg, Caller, Peer string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("the line is not JSON: %s", line)
		}
		if !strings.HasPrefix(fields.Msg, "audit: ") {
			continue
		}
		got = append(got, fields.Msg)
		if fields.Level != "WARN" || !strings.HasPrefix(fields.Peer, "127.0.0.1:") ||
			(fields.Caller == "operator") != strings.Contains(fields.Msg, "forgot") {
			t.Errorf("the line does not have the level, the peer and the caller: %s", line)
		}
	}
	if strings.Join(got, "\n") != strings.Join(acts, "\n") {
		t.Errorf("the audit has\n%s\nwant\n%s\nin\n%s", strings.Join(got, "\n"), strings.Join(acts, "\n"), text)
	}
}
