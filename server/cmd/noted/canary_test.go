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

// Nothing secret and nothing of a donation gets into what the program prints, at its most
// talkative, into its metrics, or into what it tells of a failure: every kind of call,
// and every kind of failure, with strings that are looked for afterwards. Only forgetting
// is logged with the series, by design.
func TestCanaries(t *testing.T) {
	const (
		password = "canary0password"
		token    = "noted_canary0token"
		guess    = "noted_canary0guess"
	)
	redis := redistest.Start(t, "--requirepass", password)
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	sum := sha256.Sum256([]byte(token))
	callers := pkitest.Write(
		t,
		filepath.Join(dir, "callers.json"),
		fmt.Appendf(
			nil,
			`{"gateway": {"token_sha256": [%q], "ledgers": ["live", ""], "verbs": ["read", "note", "admin"]}}`,
			hex.EncodeToString(sum[:]),
		),
	)

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(
		self,
		"-listen",
		"127.0.0.1:0",
		"-http-listen",
		"127.0.0.1:0",
		"-admin-listen",
		"127.0.0.1:0",
		"-log-level",
		"debug",
		"-tls-cert",
		cert,
		"-tls-key",
		key,
		"-callers",
		callers,
		"-reflection",
		"-rate",
		"1000",
	)
	command.Env = append(os.Environ(), asProgram+"=1", "NOTED_REDIS=redis://:"+password+"@"+redis.Addr())
	var printed guardedBuffer
	command.Stdout, command.Stderr = &printed, &printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill() })
	addresses := map[string]string{}
	for deadline := time.Now().Add(20 * time.Second); len(addresses) < 3; time.Sleep(10 * time.Millisecond) {
		for _, m := range regexp.MustCompile(`"(listen|http_listen|admin_listen)":"([^"]+)"`).FindAllStringSubmatch(printed.String(), -1) {
			addresses[m[1]] = m[2]
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve:\n%s", printed.String())
		}
	}

	trust := &tls.Config{RootCAs: ca.Pool()}
	conn, err := grpc.NewClient(addresses["listen"], grpc.WithTransportCredentials(credentials.NewTLS(trust)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := notedv1.NewDedupeServiceClient(conn)
	told := &strings.Builder{} // of failures
	secrets := []string{}      // receipts, which are made up by the server
	as := func(token string) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		t.Cleanup(cancel)
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token, "x-canary", "canary0header")
	}
	want := func(what string, err error, codes ...codes.Code) {
		t.Helper()
		fmt.Fprintln(told, what, status.Convert(err).Proto())
		for _, code := range codes {
			if status.Code(err) == code {
				return
			}
		}
		t.Errorf("%s: %v, want %v", what, err, codes)
	}
	request := func(series string) *notedv1.NoteDonationRequest {
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
	note := func(series string) *notedv1.NoteDonationResponse {
		t.Helper()
		first, err := client.NoteDonation(as(token), request(series))
		want("noting", err, codes.OK)
		secrets = append(secrets, first.GetReceipt())
		return first
	}

	// What goes well.
	first := note("I-canary0series")
	_, err = client.NoteDonation(
		as(token),
		&notedv1.NoteDonationRequest{Donation: request("I-canary0series").Donation, RequestId: "canary0other"},
	)
	want("noting again", err, codes.OK)
	_, err = client.DonationExists(
		as(token),
		&notedv1.DonationExistsRequest{Donation: request("I-canary0series").Donation},
	)
	want("looking", err, codes.OK)
	_, err = client.ExtendHold(
		as(token),
		&notedv1.ExtendHoldRequest{Receipt: first.Receipt, Hold: durationpb.New(time.Minute)},
	)
	want("extending", err, codes.OK)
	_, err = client.SettleDonation(as(token), &notedv1.SettleDonationRequest{Receipt: first.Receipt})
	want("settling", err, codes.OK)
	second := note("I-canary0second")
	_, err = client.ReleaseDonation(
		as(token),
		&notedv1.ReleaseDonationRequest{Receipt: second.Receipt, Reason: "tried in vain"},
	)
	want("releasing", err, codes.OK)
	_, err = client.ListDonations(as(token), &notedv1.ListDonationsRequest{Ledger: "live"})
	want("listing", err, codes.OK)
	forgotten := request("I-forgotten")
	forgotten.RequestId = "canary0forgotten"
	third, err := client.NoteDonation(as(token), forgotten)
	want("noting what is forgotten", err, codes.OK)
	_, err = client.ForgetDonation(
		as(token),
		&notedv1.ForgetDonationRequest{
			Ledger:     "live",
			SeriesId:   "I-forgotten",
			DonationId: third.GetNote().GetDonationId(),
			Reason:     "by mistake",
		},
	)
	want("forgetting", err, codes.OK)

	// What is refused.
	_, err = client.NoteDonation(as(guess), request("I-canary0series"))
	want("guessing", err, codes.Unauthenticated)
	other := request("I-canary0series")
	other.Donation.Ledger = "sandbox"
	_, err = client.NoteDonation(as(token), other)
	want("another's ledger", err, codes.PermissionDenied)
	bad := request("canary0 series")
	bad.RequestId, bad.Donation.TransactionId, bad.Donation.Amount, bad.Message.Id = "canary0 request", "canary0 tx", "canary0", strings.Repeat(
		"canary0",
		30,
	)
	_, err = client.NoteDonation(as(token), bad)
	want("bad fields", err, codes.InvalidArgument)
	old := request("I-canary0old")
	old.Donation.OccurredAt = timestamppb.New(time.Now().AddDate(-1, 0, 0))
	_, err = client.NoteDonation(as(token), old)
	want("too early", err, codes.OutOfRange)
	_, err = client.SettleDonation(as(token), &notedv1.SettleDonationRequest{Receipt: "canary0receipt"})
	want("no receipt", err, codes.InvalidArgument)
	_, err = client.SettleDonation(as(token), &notedv1.SettleDonationRequest{Receipt: second.Receipt})
	want("a released receipt", err, codes.FailedPrecondition)
	_, err = client.ListDonations(as(token), &notedv1.ListDonationsRequest{Ledger: "live", PageToken: "canary0page"})
	want("no page", err, codes.InvalidArgument)
	_, err = client.ForgetDonation(
		as(token),
		&notedv1.ForgetDonationRequest{
			Ledger:     "live",
			SeriesId:   "I-canary0series",
			DonationId: "canary0donation",
			Reason:     "canary0reason",
		},
	)
	want("no donation", err, codes.InvalidArgument, codes.NotFound)
	err = conn.Invoke(
		as(token),
		"/noted.v1.DedupeService/Canary0",
		request("I-canary0series"),
		&notedv1.NoteDonationResponse{},
	)
	want("no method", err, codes.Unimplemented)

	// A stream with some of each.
	stream, err := client.NoteDonations(as(token))
	want("streaming", err, codes.OK)
	for _, r := range []*notedv1.NoteDonationRequest{request("I-canary0stream"), bad, other, old} {
		if err := stream.Send(&notedv1.NoteDonationsRequest{Request: r}); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		want("on the stream", err, codes.OK)
		secrets = append(secrets, answer.GetResponse().GetReceipt())
		fmt.Fprintln(told, answer.GetError())
	}
	stream.CloseSend()
	stream.Recv()

	// The other door, and what is not even a call.
	web := &http.Client{
		Transport: &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true},
		Timeout:   5 * time.Second,
	}
	for _, body := range []string{`{"donation":{"ledger":"live","series_id":"I-canary0web","transaction_id":"canary0transaction"},"request_id":"canary0web"}`, `{"canary0field":`, `canary0`, `{"request_id":"canary0` + "\xff" + `"}`} {
		r, _ := http.NewRequest(
			"POST",
			"https://"+addresses["http_listen"]+"/noted.v1.DedupeService/NoteDonation?canary0=query",
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
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	for _, address := range []string{addresses["listen"], addresses["http_listen"]} {
		raw, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(raw, "POST /canary0 HTTP/1.1\r\nHost: canary0\r\nAuthorization: Bearer "+token+"\r\n\r\n")
		raw.SetDeadline(time.Now().Add(3 * time.Second))
		io.Copy(io.Discard, raw)
		raw.Close()
	}

	// A store that holds what it should not, is silent, is away, and has another password
	// when it is back.
	redisDo(
		t,
		redis,
		password,
		"SET noted:{live\\x20I-canary0broken} canary0value",
		"SET noted:{live\\x20I-canary0broken2} 1\\ncanary0line",
	)
	for _, series := range []string{"I-canary0broken", "I-canary0broken2"} {
		_, err = client.NoteDonation(as(token), request(series))
		want("a broken note", err, codes.Internal, codes.OK, codes.Unavailable)
		_, err = client.ListDonations(as(token), &notedv1.ListDonationsRequest{Ledger: "live", SeriesId: series})
		want("listing a broken note", err, codes.Internal, codes.OK, codes.Unavailable)
	}
	redis.Pause()
	for range 8 {
		_, err = client.NoteDonation(as(token), request("I-canary0silent"))
		want("a silent store", err, codes.Unavailable, codes.DeadlineExceeded)
	}
	redis.Resume()
	redis.Stop()
	for range 8 {
		_, err = client.NoteDonation(as(token), request("I-canary0away"))
		want("a store that is away", err, codes.Unavailable, codes.DeadlineExceeded)
		_, err = client.SettleDonation(as(token), &notedv1.SettleDonationRequest{Receipt: first.Receipt})
		want("settling without a store", err, codes.Unavailable, codes.DeadlineExceeded)
	}
	redis.Restart()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := client.NoteDonation(as(token), request("I-canary0back")); err == nil {
			break
		}
	}
	redisDo(t, redis, password, "CONFIG SET requirepass canary0another", "CLIENT KILL TYPE normal SKIPME no")
	for range 3 {
		_, err = client.NoteDonation(as(token), request("I-canary0locked"))
		want("a store that does not let us in", err, codes.Unavailable, codes.DeadlineExceeded)
	}

	// New callers, good and bad, with what looks like a token in the wrong place.
	pkitest.Write(t, callers, []byte(`{"gateway": {"token_sha256": ["`+token+`"]}}`))
	command.Process.Signal(syscall.SIGHUP)
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(printed.String(), "token_sha256 holds a text"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("SIGHUP does not make it read the callers")
		}
	}

	response, err := http.Get("http://" + addresses["admin_listen"] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(response.Body)
	response.Body.Close()
	command.Process.Signal(syscall.SIGTERM)
	command.Wait()

	for where, text := range map[string]string{"it printed": printed.String(), "its metrics": string(metrics), "what it told of failures": told.String()} {
		for line := range strings.Lines(text) {
			for _, secret := range append(secrets, "canary0", "730519") {
				if secret != "" && strings.Contains(line, secret) {
					t.Errorf("%s: %q is in %s", where, secret, line)
				}
			}
		}
	}
	if got := strings.Count(printed.String(), `"msg":"finished call"`); got < 40 {
		t.Errorf("only %d calls are logged, so the test proves little:\n%s", got, printed.String())
	}
	if !strings.Contains(string(metrics), "noted_verdicts_total") {
		t.Error("there are no metrics")
	}
}

// redisDo sends commands to a Redis with a password; \x20 and \n in them are what they
// stand for.
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

// guardedBuffer is written by a process and read by the test.
type guardedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *guardedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *guardedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
