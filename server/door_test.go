package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

func TestBothDoorsAnswerTheSame(t *testing.T) {
	frozen := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	ways := waysTo(t, start(t, servertest.Options{}))
	var want []string
	for _, name := range append([]string{"gRPC"}, others(ways, "gRPC")...) {
		n := start(t, servertest.Options{Frozen: frozen, SeriesLimit: 2})
		got := live(t, n, waysTo(t, n)[name])
		if want == nil {
			want = got
			for _, reason := range []string{
				"INVALID_REQUEST", "OCCURRED_TOO_EARLY", "OCCURRED_TOO_LATE", "HOLD_LOST", "HOLD_RELEASED",
				"ALREADY_SETTLED", "NOTE_NOT_FOUND", "SERIES_FULL",
			} {
				if !strings.Contains(strings.Join(got, "\n"), reason) {
					t.Errorf("the calls do not meet the reason %s", reason)
				}
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s answers otherwise than gRPC (- gRPC, + %s):\n%s", name, name, diff)
		}
	}
}

// Both doors tell alike, and in time, of a store that is away and of a store that does
// not answer.
func TestBothDoorsWithoutStore(t *testing.T) {
	redis := redistest.Start(t)
	ways := map[string]way{} // each to a server of its own: one server soon stops asking a store that does not answer
	for name := range waysTo(t, start(t, servertest.Options{})) {
		ways[name] = waysTo(
			t, start(t, servertest.Options{Redis: redis.URL(), MaxDeadline: 500 * time.Millisecond}),
		)[name]
	}
	same := func(what string, reasons ...string) {
		t.Helper()
		var calls sync.WaitGroup
		for name, call := range ways {
			calls.Go(func() {
				began := time.Now()
				_, err := call(within(t, 20*time.Second), series("I-1"))
				got := telling(err)
				found := false
				for _, reason := range reasons {
					found = found || strings.Contains(got, `"`+reason+`"`)
				}
				if !found || time.Since(began) > 5*time.Second {
					t.Errorf("%s, over %s: %s after %v, want one of %v", what, name, got, time.Since(began), reasons)
				}
			})
		}
		calls.Wait()
	}
	redis.Pause()
	same("a store that is silent", "DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN")
	redis.Resume()
	redis.Stop()
	same("a store that is away", "STORE_UNAVAILABLE")
}

// The stream, by every protocol that has streams: answers in order, a refusal among them,
// and an end.
func TestStreamAtTheDoor(t *testing.T) {
	n := start(t, servertest.Options{})
	door := "http://" + n.HTTPAddr()
	for name, options := range map[string][]connect.ClientOption{
		"Connect": nil, "Connect in JSON": {connect.WithProtoJSON()}, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := notedv1connect.NewDedupeServiceClient(h2c(t), door, options...).
				NoteDonations(within(t, 20*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			const requests = 300
			go func() {
				for i := range requests {
					r := series(fmt.Sprintf("I-%s-%d", strings.ReplaceAll(name, " ", ""), i/2))
					if i == 100 {
						r = series("a b")
					}
					if stream.Send(&notedv1.NoteDonationsRequest{Request: r}) != nil {
						return
					}
				}
				stream.CloseRequest()
			}()
			for i := range requests {
				answer, err := stream.Receive()
				if err != nil {
					t.Fatal(err)
				}
				want := notedv1.Verdict_VERDICT_FIRST
				if i%2 == 1 && i != 101 {
					want = notedv1.Verdict_VERDICT_DUPLICATE
				}
				if i == 100 {
					if answer.GetError().GetReason() != "INVALID_REQUEST" {
						t.Errorf("answer %d: %v, want INVALID_REQUEST", i, answer)
					}
				} else if answer.GetResponse().GetVerdict() != want {
					t.Errorf("answer %d: %v, want %v", i, answer, want)
				}
			}
			if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last answer: %v, want the end", err)
			}
		})
	}
	if _, err := notedv1connect.NewDedupeServiceClient(http.DefaultClient, door).
		NoteDonations(t.Context()); err == nil {
		stream, _ := notedv1connect.NewDedupeServiceClient(http.DefaultClient, door).
			NoteDonations(within(t, 10*time.Second))
		stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-1")})
		if _, err := stream.Receive(); err == nil {
			t.Error("a stream over HTTP/1.1 was answered, where it cannot work")
		}
		stream.CloseRequest()
		stream.CloseResponse()
	}
	if got := n.metric(t, "grpc_server_handled_total", `grpc_method="NoteDonations"`, `grpc_code="OK"`); got != 4 {
		t.Errorf("%v streams are counted, want 4", got)
	}
}

// A stream that breaks while both sides are busy, and a stream that is silent when the
// server stops, end without harm. It is above all for the race detector.
func TestStreamAtTheDoorBreaks(t *testing.T) {
	n := start(t, servertest.Options{})
	door := "http://" + n.HTTPAddr()
	client := notedv1connect.NewDedupeServiceClient(h2c(t), door)
	for i := range 20 {
		ctx, cancel := context.WithCancel(within(t, 20*time.Second))
		stream, err := client.NoteDonations(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for j := range 50 {
			stream.Send(&notedv1.NoteDonationsRequest{Request: series(fmt.Sprintf("I-%d-%d", i, j))})
		}
		if _, err := stream.Receive(); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	large := &notedv1.NoteDonationsRequest{Request: series(strings.Repeat("a", 70<<10))}
	stream, err := client.NoteDonations(within(t, 20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(large)
	if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a request of more than 64 KiB on the stream: %v, want RESOURCE_EXHAUSTED", err)
	}

	silent, err := client.NoteDonations(within(t, 20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	silent.Send(&notedv1.NoteDonationsRequest{Request: series("I-silent")})
	if _, err := silent.Receive(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	n.Stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping with a silent stream took %v, want about a second", took)
	}
	if _, err := silent.Receive(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the silent stream ended with %v, want UNAVAILABLE", err)
	}
}

// post sends any body and returns status and answer.
func post(t *testing.T, url, contentType, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t, 20*time.Second), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// A GET is enough for calls that only look. No cache on the way may keep the answer.
func TestDoorAnswersGET(t *testing.T) {
	n := start(t, servertest.Options{})
	url := "http://" + n.HTTPAddr() + notedv1connect.DedupeServiceDonationExistsProcedure + `?encoding=json&message=%7B%22donation%22:%7B%22series_id%22:%22I-1%22%7D%7D`
	if got := get(t, url); got != "200\n{}" {
		t.Errorf("before the note: %q", got)
	}
	n.mustNote(t, series("I-1"))
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if !bytes.Contains(body, []byte(`"exists":true`)) || response.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("after the note: %s, %v", body, response.Header)
	}
	by := strings.Replace(url, "DonationExists", "NoteDonation", 1)
	if got := get(t, by); !strings.HasPrefix(got, "405\n") || !strings.Contains(got, "it takes POST") {
		t.Errorf("NoteDonation by GET: %q, want 405 and the method that it takes", got)
	}
	if got := get(t, strings.Replace(url, "encoding=json&", "", 1)); !strings.HasPrefix(got, "415\n") ||
		!strings.Contains(got, "needs encoding=json") {
		t.Errorf("GET without an encoding: %q, want 415 and what it needs", got)
	}
}

// Health follows the store on this door too.
func TestDoorTellsHealth(t *testing.T) {
	redis := redistest.Start(t)
	n := start(t, servertest.Options{Redis: redis.URL()})
	health := func() string {
		_, answer := post(t, "http://"+n.HTTPAddr()+"/grpc.health.v1.Health/Check", "application/json", `{}`)
		return answer
	}
	if got := health(); got != `{"status":"SERVING"}` {
		t.Errorf("health is %s", got)
	}
	redis.Stop()
	eventually(t, 10*time.Second, "NOT_SERVING", func() bool { return health() == `{"status":"NOT_SERVING"}` })
}

// The JSON door too sends a page that is larger than a request may be.
func TestLargePageAtTheDoor(t *testing.T) {
	n := start(t, servertest.Options{})
	const notes = 300
	for i := range notes {
		r := series(strings.Repeat("s", 120) + strconv.Itoa(i))
		r.Donation.TransactionId = strings.Repeat("t", 128)
		n.mustNote(t, r)
	}
	response, err := overJSON(
		http.DefaultClient,
		"http://"+n.HTTPAddr(),
	)(
		t.Context(),
		&notedv1.ListDonationsRequest{PageSize: 1000},
	)
	if err != nil {
		t.Fatal(err)
	}
	if size := proto.Size(response); size < 64<<10 || len(response.(*notedv1.ListDonationsResponse).Notes) != notes {
		t.Errorf(
			"a page of %d notes and %d bytes, want %d notes",
			len(response.(*notedv1.ListDonationsResponse).Notes),
			size,
			notes,
		)
	}
}

// Calls at the JSON door are counted as calls, verdicts and refusals like all others, and
// the log names their caller.
func TestDoorIsCountedAndLogged(t *testing.T) {
	var log lockedBuffer
	n := start(t, servertest.Options{Log: &log})
	note := "http://" + n.HTTPAddr() + notedv1connect.DedupeServiceNoteDonationProcedure
	post(t, note, "application/json", `{"donation":{"series_id":"I-1"}}`)
	post(t, note, "application/json", `{"donation":{"series_id":"canary i"}}`)
	for name, parts := range map[string][]string{
		"grpc_server_handled_total": {`grpc_method="NoteDonation"`, `grpc_code="OK"`},
		"noted_verdicts_total":      {`verdict="first"`},
		"noted_refusals_total":      {`rpc="NoteDonation"`, `reason="INVALID_REQUEST"`},
	} {
		if got := n.metric(t, name, parts...); got != 1 {
			t.Errorf("%s%v = %v, want 1", name, parts, got)
		}
	}
	if got := strings.Count(log.String(), `"peer.address":"127.0.0.1:`); got != 2 {
		t.Errorf("%d lines of calls with their peer, want 2:\n%s", got, log.String())
	}
	if strings.Contains(log.String(), "canary") {
		t.Errorf("the log has the content of a request:\n%s", log.String())
	}
}
