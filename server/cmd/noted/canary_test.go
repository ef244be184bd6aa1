package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// Strings that the program gets, and that must be in nothing that it prints.
const (
	password = "canary0password"
	token    = "noted_canary0token"
	guess    = "noted_canary0guess"
)

// A canary is a run of the program at its most talkative, in which every kind of call and
// of failure has strings that must not be printed.
type canary struct {
	t         *testing.T
	redis     *redistest.Server
	command   *exec.Cmd
	printed   lockedBuffer
	callers   string            // the file
	addresses map[string]string // of its listeners
	trust     *tls.Config
	conn      *grpc.ClientConn
	client    notedv1.DedupeServiceClient
	told      strings.Builder // the failures of calls
	secrets   []string        // receipts, which the server makes

	first, second   *notedv1.NoteDonationResponse // settled, and released
	bad, other, old *notedv1.NoteDonationRequest  // refused
}

// No secret and no part of a donation gets into the program's log at level debug, into
// its metrics or into its errors, with any call or failure. Only forgetting is logged
// with the series, by design.
func TestCanaries(t *testing.T) {
	c := &canary{t: t}
	c.start()
	c.callWell()
	c.callRefused()
	c.stream()
	c.callDoor()
	c.breakStore()
	c.replaceCallers()

	response, err := http.Get("http://" + c.addresses["admin_listen"] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(response.Body)
	response.Body.Close()
	c.command.Process.Signal(syscall.SIGTERM)
	c.command.Wait()

	for where, text := range map[string]string{
		"it printed": c.printed.String(), "its metrics": string(metrics), "its report of failures": c.told.String(),
	} {
		for line := range strings.Lines(text) {
			for _, secret := range append(c.secrets, "canary0", "730519") {
				if secret != "" && strings.Contains(line, secret) {
					t.Errorf("%s: %q is in %s", where, secret, line)
				}
			}
		}
	}
	if got := strings.Count(c.printed.String(), `"msg":"finished call"`); got < 40 {
		t.Errorf("only %d calls are logged, so the test proves too little:\n%s", got, c.printed.String())
	}
	if !strings.Contains(string(metrics), "noted_verdicts_total") {
		t.Error("there are no metrics")
	}
}

// start starts the program and connects to it.
func (c *canary) start() {
	c.redis = redistest.Start(c.t, "--requirepass", password)
	ca, dir := pkitest.New(c.t, "CA"), c.t.TempDir()
	cert, key := ca.Issue(nil).Files(c.t, dir)
	sum := sha256.Sum256([]byte(token))
	c.callers = pkitest.Write(
		c.t,
		filepath.Join(dir, "callers.json"),
		fmt.Appendf(
			nil,
			`{"gateway": {"token_sha256": [%q], "ledgers": ["live", ""], "verbs": ["read", "note", "admin"]}}`,
			hex.EncodeToString(sum[:]),
		),
	)

	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	c.command = exec.Command(
		self,
		"-listen", "127.0.0.1:0", "-http-listen", "127.0.0.1:0", "-admin-listen", "127.0.0.1:0", "-log-level", "debug",
		"-tls-cert", cert, "-tls-key", key, "-callers", c.callers, "-reflection", "-rate", "1000",
	)
	c.command.Env = append(os.Environ(), asProgram+"=1", "NOTED_REDIS=redis://:"+password+"@"+c.redis.Addr())
	c.command.Stdout, c.command.Stderr = &c.printed, &c.printed
	if err := c.command.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { c.command.Process.Kill() })
	c.addresses = map[string]string{}
	for deadline := time.Now().Add(20 * time.Second); len(c.addresses) < 3; time.Sleep(10 * time.Millisecond) {
		address := regexp.MustCompile(`"(listen|http_listen|admin_listen)":"([^"]+)"`)
		for _, m := range address.FindAllStringSubmatch(c.printed.String(), -1) {
			c.addresses[m[1]] = m[2]
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("it does not serve:\n%s", c.printed.String())
		}
	}

	c.trust = &tls.Config{RootCAs: ca.Pool()}
	c.conn, err = grpc.NewClient(c.addresses["listen"], grpc.WithTransportCredentials(credentials.NewTLS(c.trust)))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { c.conn.Close() })
	c.client = notedv1.NewDedupeServiceClient(c.conn)
}

// as is the context of a call with a token.
func (c *canary) as(token string) context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
	c.t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token, "x-canary", "canary0header")
}

// want checks how a call ended, and keeps the failure.
func (c *canary) want(what string, err error, codes ...codes.Code) {
	c.t.Helper()
	fmt.Fprintln(&c.told, what, status.Convert(err).Proto())
	for _, code := range codes {
		if status.Code(err) == code {
			return
		}
	}
	c.t.Errorf("%s: %v, want %v", what, err, codes)
}

// request is for a donation full of strings to look for.
func (c *canary) request(series string) *notedv1.NoteDonationRequest {
	return &notedv1.NoteDonationRequest{
		Donation: &notedv1.Donation{
			Ledger:        "live",
			SeriesId:      series,
			Amount:        "730519.37",
			CurrencyCode:  "EUR",
			TransactionId: "canary0transaction",
			OccurredAt:    timestamppb.Now(),
		},
		Message: &notedv1.Message{
			Channel: "ipn",
			Id:      "canary0message",
		},
		RequestId: "canary0request",
		Hold:      durationpb.New(time.Minute),
	}
}

// note notes a donation, and keeps its receipt.
func (c *canary) note(series string) *notedv1.NoteDonationResponse {
	c.t.Helper()
	first, err := c.client.NoteDonation(c.as(token), c.request(series))
	c.want("noting", err, codes.OK)
	c.secrets = append(c.secrets, first.GetReceipt())
	return first
}

// callWell makes calls that go well.
func (c *canary) callWell() {
	c.first = c.note("I-canary0series")
	_, err := c.client.NoteDonation(
		c.as(token),
		&notedv1.NoteDonationRequest{Donation: c.request("I-canary0series").Donation, RequestId: "canary0other"},
	)
	c.want("noting again", err, codes.OK)
	_, err = c.client.DonationExists(
		c.as(token),
		&notedv1.DonationExistsRequest{Donation: c.request("I-canary0series").Donation},
	)
	c.want("looking", err, codes.OK)
	_, err = c.client.ExtendHold(
		c.as(token),
		&notedv1.ExtendHoldRequest{Receipt: c.first.Receipt, Hold: durationpb.New(time.Minute)},
	)
	c.want("extending", err, codes.OK)
	_, err = c.client.SettleDonation(c.as(token), &notedv1.SettleDonationRequest{Receipt: c.first.Receipt})
	c.want("settling", err, codes.OK)
	c.second = c.note("I-canary0second")
	_, err = c.client.ReleaseDonation(
		c.as(token),
		&notedv1.ReleaseDonationRequest{Receipt: c.second.Receipt, Reason: "tried in vain"},
	)
	c.want("releasing", err, codes.OK)
	_, err = c.client.ListDonations(c.as(token), &notedv1.ListDonationsRequest{Ledger: "live"})
	c.want("listing", err, codes.OK)
	forgotten := c.request("I-forgotten")
	forgotten.RequestId = "canary0forgotten"
	third, err := c.client.NoteDonation(c.as(token), forgotten)
	c.want("noting a forgotten donation", err, codes.OK)
	_, err = c.client.ForgetDonation(
		c.as(token),
		&notedv1.ForgetDonationRequest{
			Ledger:     "live",
			SeriesId:   "I-forgotten",
			DonationId: third.GetNote().GetDonationId(),
			Reason:     "by mistake",
		},
	)
	c.want("forgetting", err, codes.OK)
}

// callRefused makes calls that are refused.
func (c *canary) callRefused() {
	_, err := c.client.NoteDonation(c.as(guess), c.request("I-canary0series"))
	c.want("guessing", err, codes.Unauthenticated)
	c.other = c.request("I-canary0series")
	c.other.Donation.Ledger = "sandbox"
	_, err = c.client.NoteDonation(c.as(token), c.other)
	c.want("another's ledger", err, codes.PermissionDenied)
	c.bad = c.request("canary0 series")
	c.bad.RequestId, c.bad.Donation.TransactionId = "canary0 request", "canary0 tx"
	c.bad.Donation.Amount, c.bad.Message.Id = "canary0", strings.Repeat("canary0", 30)
	_, err = c.client.NoteDonation(c.as(token), c.bad)
	c.want("bad fields", err, codes.InvalidArgument)
	c.old = c.request("I-canary0old")
	c.old.Donation.OccurredAt = timestamppb.New(time.Now().AddDate(-1, 0, 0))
	_, err = c.client.NoteDonation(c.as(token), c.old)
	c.want("too early", err, codes.OutOfRange)
	_, err = c.client.SettleDonation(c.as(token), &notedv1.SettleDonationRequest{Receipt: "canary0receipt"})
	c.want("no receipt", err, codes.InvalidArgument)
	_, err = c.client.SettleDonation(c.as(token), &notedv1.SettleDonationRequest{Receipt: c.second.Receipt})
	c.want("a released receipt", err, codes.FailedPrecondition)
	_, err = c.client.ListDonations(c.as(token), &notedv1.ListDonationsRequest{Ledger: "live", PageToken: "canary0page"})
	c.want("no page", err, codes.InvalidArgument)
	_, err = c.client.ForgetDonation(
		c.as(token),
		&notedv1.ForgetDonationRequest{
			Ledger:     "live",
			SeriesId:   "I-canary0series",
			DonationId: "canary0donation",
			Reason:     "canary0reason",
		},
	)
	c.want("no donation", err, codes.InvalidArgument, codes.NotFound)
	err = c.conn.Invoke(
		c.as(token),
		"/noted.v1.DedupeService/Canary0",
		c.request("I-canary0series"),
		&notedv1.NoteDonationResponse{},
	)
	c.want("no method", err, codes.Unimplemented)
}

// stream makes calls of both kinds on a stream.
func (c *canary) stream() {
	stream, err := c.client.NoteDonations(c.as(token))
	c.want("streaming", err, codes.OK)
	for _, r := range []*notedv1.NoteDonationRequest{c.request("I-canary0stream"), c.bad, c.other, c.old} {
		if err := stream.Send(&notedv1.NoteDonationsRequest{Request: r}); err != nil {
			c.t.Fatal(err)
		}
		answer, err := stream.Recv()
		c.want("on the stream", err, codes.OK)
		c.secrets = append(c.secrets, answer.GetResponse().GetReceipt())
		fmt.Fprintln(&c.told, answer.GetError())
	}
	stream.CloseSend()
	stream.Recv()
}

// callDoor calls at the JSON door, and sends requests that are not calls.
func (c *canary) callDoor() {
	web := &http.Client{
		Transport: &http.Transport{TLSClientConfig: c.trust, ForceAttemptHTTP2: true},
		Timeout:   5 * time.Second,
	}
	for _, body := range []string{`{"donation":{"ledger":"live","series_id":"I-canary0web","transaction_id":"canary0transaction"},"request_id":"canary0web"}`, `{"canary0field":`, `canary0`, `{"request_id":"canary0` + "\xff" + `"}`} {
		r, _ := http.NewRequest(
			"POST",
			"https://"+c.addresses["http_listen"]+"/noted.v1.DedupeService/NoteDonation?canary0=query",
			strings.NewReader(body),
		)
		r.Header = http.Header{
			"Authorization": {"Bearer " + token},
			"Content-Type":  {"application/json"},
			"X-Canary":      {"canary0header"},
			"Cookie":        {"canary0cookie"},
		}
		response, err := web.Do(r)
		if err != nil {
			c.t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	for _, address := range []string{c.addresses["listen"], c.addresses["http_listen"]} {
		raw, err := net.Dial("tcp", address)
		if err != nil {
			c.t.Fatal(err)
		}
		io.WriteString(raw, "POST /canary0 HTTP/1.1\r\nHost: canary0\r\nAuthorization: Bearer "+token+"\r\n\r\n")
		raw.SetDeadline(time.Now().Add(3 * time.Second))
		io.Copy(io.Discard, raw)
		raw.Close()
	}
}

// breakStore lets the store hold garbage, be silent, be away, and then have another
// password.
func (c *canary) breakStore() {
	redisDo(
		c.t,
		c.redis,
		password,
		"SET noted:{live\\x20I-canary0broken} canary0value",
		"SET noted:{live\\x20I-canary0broken2} 1\\ncanary0line",
	)
	for _, series := range []string{"I-canary0broken", "I-canary0broken2"} {
		_, err := c.client.NoteDonation(c.as(token), c.request(series))
		c.want("a broken note", err, codes.Internal, codes.OK, codes.Unavailable)
		_, err = c.client.ListDonations(c.as(token), &notedv1.ListDonationsRequest{Ledger: "live", SeriesId: series})
		c.want("listing a broken note", err, codes.Internal, codes.OK, codes.Unavailable)
	}
	c.redis.Pause()
	for range 8 {
		_, err := c.client.NoteDonation(c.as(token), c.request("I-canary0silent"))
		c.want("a silent store", err, codes.Unavailable, codes.DeadlineExceeded)
	}
	c.redis.Resume()
	c.redis.Stop()
	for range 8 {
		_, err := c.client.NoteDonation(c.as(token), c.request("I-canary0away"))
		c.want("a store that is away", err, codes.Unavailable, codes.DeadlineExceeded)
		_, err = c.client.SettleDonation(c.as(token), &notedv1.SettleDonationRequest{Receipt: c.first.Receipt})
		c.want("settling without a store", err, codes.Unavailable, codes.DeadlineExceeded)
	}
	c.redis.Restart()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := c.client.NoteDonation(c.as(token), c.request("I-canary0back")); err == nil {
			break
		}
	}
	redisDo(c.t, c.redis, password, "CONFIG SET requirepass canary0another", "CLIENT KILL TYPE normal SKIPME no")
	for range 3 {
		_, err := c.client.NoteDonation(c.as(token), c.request("I-canary0locked"))
		c.want("a store that does not let us in", err, codes.Unavailable, codes.DeadlineExceeded)
	}
}

// replaceCallers gives the program a callers file that has a token in the wrong place.
func (c *canary) replaceCallers() {
	pkitest.Write(c.t, c.callers, []byte(`{"gateway": {"token_sha256": ["`+token+`"]}}`))
	c.command.Process.Signal(syscall.SIGHUP)
	refused := func() bool { return strings.Contains(c.printed.String(), "token_sha256 holds a text") }
	for deadline := time.Now().Add(10 * time.Second); !refused(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatal("SIGHUP does not make it read the callers")
		}
	}
}

// redisDo sends commands to a Redis with a password. In them \x20 stands for a space and
// \n for a newline.
func redisDo(t *testing.T, redis *redistest.Server, password string, commands ...string) {
	t.Helper()
	conn, err := net.Dial("tcp", redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, "AUTH "+password+"\r\n")
	for _, command := range commands {
		words := strings.Fields(command)
		fmt.Fprintf(conn, "*%d\r\n", len(words))
		for _, word := range words {
			word = strings.NewReplacer(`\x20`, " ", `\n`, "\n").Replace(word)
			fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
		}
	}
	io.WriteString(conn, "QUIT\r\n")
	reply, _ := io.ReadAll(conn)
	if !bytes.HasPrefix(reply, []byte("+OK\r\n")) || bytes.Contains(reply, []byte("-ERR")) {
		t.Fatalf("redis replied %q", reply)
	}
}

// lockedBuffer is written by a process and read by the test.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
