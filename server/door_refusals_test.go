package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/servertest"
)

const asJSON = "application/json"

// A doorRefusal is a request that the door refuses.
type doorRefusal struct {
	name, url, contentType, body string
	headers                      []string
	status                       int
	code, says                   string
}

// doorRefusals are requests to a door at base; note is where it takes notes.
func doorRefusals(base, note string) []doorRefusal {
	var bomb bytes.Buffer
	packer := gzip.NewWriter(&bomb)
	packer.Write(bytes.Repeat([]byte(" "), 10<<20))
	packer.Close()
	return []doorRefusal{
		{"an unknown path", base + "/note", asJSON, `{}`, nil, 404, "unimplemented", "there is nothing at /note;"},
		{"the root", base, "", ``, nil, 404, "unimplemented", "there is nothing at /;"},
		{
			"an unknown call",
			base + "/noted.v1.DedupeService/Note",
			asJSON,
			`{}`,
			nil,
			404,
			"unimplemented",
			"/noted.v1.DedupeService/NoteDonation",
		},
		{"a path with an end", note + "/", asJSON, `{}`, nil, 404, "unimplemented", "there is nothing"},
		{
			"no content type, as curl -d sends it",
			note,
			"application/x-www-form-urlencoded",
			`{"donation":{"series_id":"I-1"}}`,
			nil,
			415,
			"invalid_argument",
			"content-type: application/json",
		},
		{"another content type", note, "text/html", `{}`, nil, 415, "invalid_argument", "application/json"},
		{
			"a stream over HTTP/1.1",
			base + notedv1connect.DedupeServiceNoteDonationsProcedure,
			asJSON,
			`{}`,
			nil,
			505,
			"unimplemented",
			"HTTP/2",
		},
		{"no JSON", note, asJSON, `donation=I-1`, nil, 400, "invalid_argument", "line 1"},
		{"an empty body", note, asJSON, ``, nil, 400, "invalid_argument", "{}"},
		{
			"a misspelt field",
			note,
			asJSON,
			`{"donation":{"series_id":"I-1","occured_at":"2026-01-01T00:00:00Z"}}`,
			nil,
			400,
			"invalid_argument",
			`unknown field "occured_at"`,
		},
		{
			"an unknown event",
			note,
			asJSON,
			`{"donation":{"series_id":"I-1","event":"EVENT_GIFT"}}`,
			nil,
			400,
			"invalid_argument",
			"EVENT_GIFT",
		},
		{
			"a field twice",
			note,
			asJSON,
			`{"donation":{"series_id":"I-1","seriesId":"I-2"}}`,
			nil,
			400,
			"invalid_argument",
			"duplicate",
		},
		{"bad UTF-8", note, asJSON, "{\"donation\":{\"series_id\":\"\xff\"}}", nil, 400, "invalid_argument", "UTF-8"},
		{
			"a large body",
			note,
			asJSON,
			`{"donation":{"series_id":"` + strings.Repeat("a", 64<<10) + `"}}`,
			nil,
			429,
			"resource_exhausted",
			"65536",
		},
		{"a huge body", note, asJSON, strings.Repeat(" ", 200<<10), nil, 429, "resource_exhausted", "65536"},
		{
			"a body that unpacks to much",
			note,
			asJSON,
			bomb.String(),
			[]string{"Content-Encoding", "gzip"},
			429,
			"resource_exhausted",
			"65536",
		},
		{
			"a bad deadline",
			note,
			asJSON,
			`{"donation":{"series_id":"I-1"}}`,
			[]string{"Connect-Timeout-Ms", "soon"},
			400,
			"invalid_argument",
			"timeout",
		},
	}
}

func TestDoorRefuses(t *testing.T) {
	n := start(t, servertest.Options{})
	base := "http://" + n.HTTPAddr()
	note := base + notedv1connect.DedupeServiceNoteDonationProcedure
	for _, c := range doorRefusals(base, note) {
		t.Run(c.name, func(t *testing.T) {
			code, answer := post(t, c.url, c.contentType, c.body, c.headers...)
			if code != c.status {
				t.Errorf("HTTP %d, want %d: %s", code, c.status, answer)
			}
			var told struct{ Code, Message string }
			if c.code != "" {
				if err := json.Unmarshal([]byte(answer), &told); err != nil {
					t.Errorf("%v: %s", err, answer)
				}
			}
			if told.Code != c.code || !strings.Contains(told.Message, c.says) {
				t.Errorf("answered %s %q, want %s with %q", told.Code, told.Message, c.code, c.says)
			}
		})
	}
	if _, answer := post(
		t,
		note,
		asJSON,
		`{"donation":{"series_id":"I-1"}}`,
	); !strings.Contains(
		answer,
		"VERDICT_FIRST",
	) {
		t.Errorf("after the refused requests I-1 is not new: %s", answer)
	}

	request, err := http.NewRequestWithContext(
		within(t, 20*time.Second),
		http.MethodPost,
		note,
		strings.NewReader(`{}`),
	)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Big", strings.Repeat("a", 30<<10))
	if response, err := http.DefaultClient.Do(
		request,
	); err != nil ||
		response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 30 KiB: %v, %v, want 431", response, err)
	} else {
		response.Body.Close()
	}
}

// Without callers, a page in a browser of this machine must not be able to call by a name
// of its own that leads here (DNS rebinding). Clients other than browsers may use any
// name.
func TestPagesCallNoTrial(t *testing.T) {
	n := start(t, servertest.Options{})
	known := startConfigured(t, func(c *server.Config) {
		c.HTTPListen, c.Callers = "127.0.0.1:0", callersFile(
			t,
			inDir(t, "callers.json"),
			byToken("a", "right", `"*"`, `"note", "read"`),
		)
	})
	for _, c := range []struct {
		addr, host, header string
		status             int
	}{
		{n.HTTPAddr(), "127.0.0.1:1", "Origin", 200},
		{n.HTTPAddr(), "localhost", "Accept-Language", 200},
		{n.HTTPAddr(), "Localhost:8080", "Origin", 200},
		{n.HTTPAddr(), "[::1]:8080", "Origin", 200},
		{n.HTTPAddr(), "evil.example", "Origin", 421},
		{n.HTTPAddr(), "evil.example:8080", "Accept-Language", 421},
		{n.HTTPAddr(), "localhost.evil.example", "Origin", 421},
		{n.HTTPAddr(), "noted", "X-Other", 200},
		{known.HTTPAddr(), "noted.example.org", "Origin", 200},
	} {
		for method, path := range map[string]string{
			http.MethodPost: notedv1connect.DedupeServiceNoteDonationProcedure,
			http.MethodGet:  notedv1connect.DedupeServiceListDonationsProcedure + "?encoding=json&message=%7B%7D",
		} {
			request, err := http.NewRequestWithContext(within(t, 20*time.Second), method, "http://"+c.addr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if method == http.MethodPost {
				request.Body = io.NopCloser(strings.NewReader(`{"donation":{"series_id":"I-1"}}`))
				request.Header.Set("Content-Type", "application/json")
			}
			request.Host = c.host
			request.Header.Set(c.header, "x")
			request.Header.Set("Authorization", "Bearer right")
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode != c.status || c.status != 200 && !strings.Contains(string(text), "-callers") {
				t.Errorf(
					"%s to %s with %s: HTTP %d, want %d: %s",
					method,
					c.host,
					c.header,
					response.StatusCode,
					c.status,
					text,
				)
			}
		}
	}
}

// The server's own deadline ends a call whose body comes too slowly, and the answer says
// so.
func TestSlowBody(t *testing.T) {
	n := start(t, servertest.Options{MaxDeadline: 300 * time.Millisecond})
	for path, want := range map[string]string{
		notedv1connect.DedupeServiceNoteDonationProcedure: "504", "/nothing": "404",
	} {
		conn, err := net.Dial("tcp", n.HTTPAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		began := time.Now()
		fmt.Fprintf(
			conn,
			"POST %s HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
			path,
		)
		answer, err := io.ReadAll(conn)
		if took := time.Since(
			began,
		); err != nil || took > 5*time.Second ||
			!strings.HasPrefix(string(answer), "HTTP/1.1 "+want) {
			t.Errorf("%s: after %v %v: %s, want HTTP %s and the end of the connection", path, took, err, answer, want)
		}
	}
}

// An unreadable request reaches no interceptor. It is still counted and logged, without a
// word of its content.
func TestUnreadableRequestsAreCounted(t *testing.T) {
	var log lockedBuffer
	n := start(t, servertest.Options{Log: &log})
	note := "http://" + n.HTTPAddr() + notedv1connect.DedupeServiceNoteDonationProcedure
	count := func() float64 {
		return n.metric(t, "noted_refusals_total", `rpc="NoteDonation"`, `reason="UNREADABLE"`)
	}
	for form, send := range map[string]func(){
		"JSON with a misspelt field": func() {
			post(
				t, note, "application/json",
				`{"donation":{"series_id":"I-1","occured_at":"2026-11-26T10:00:00Z canary"}}`,
			)
		},
		"a body that is not protobuf": func() { post(t, note, "application/proto", "\xff\xff canary") },
		"gRPC that is not protobuf": func() {
			n.Conn().Invoke(
				t.Context(), notedv1.DedupeService_NoteDonation_FullMethodName,
				[]byte("\x0a\x04\x12\x02\xff\xfe canary"), &notedv1.NoteDonationResponse{}, grpc.ForceCodec(raw{}),
			)
		},
	} {
		before := count()
		for range 20 {
			send()
		}
		if got := count() - before; got != 20 {
			t.Errorf("%s: %v of 20 are counted", form, got)
		}
	}
	if !strings.Contains(log.String(), "could not be read") || strings.Contains(log.String(), "canary") {
		t.Errorf("want the log to have unreadable requests, without their content:\n%s", log.String())
	}
}
