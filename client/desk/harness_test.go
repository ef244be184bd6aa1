package desk_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// This file is the harness behind a test: a real redis-server, the real service, an inbox in
// SQLite, a week of donations in both, and a desk in front.

type harness struct {
	t      testing.TB
	server *servertest.Server
	store  *processtest.Process // of newHarness
	noted  *client.Client
	box    *inbox.Inbox
	inbox  string // the URL of the inbox
	desk   *httptest.Server
	log    *buffer
	cases  map[string]string // the id of each case of the week
}

// buffer is a log that several goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }

func (b *buffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// newHarness builds a harness; change may change the desk's settings.
func newHarness(t testing.TB, change ...func(*desk.Config)) *harness {
	t.Helper()
	store := processtest.Redis(t)
	h := newEmptyHarness(t, servertest.Options{Redis: "redis://" + store.Addr})
	h.store = store
	config := inbox.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "inbox.db")}
	cases, err := week.Fill(t.Context(), h.noted, config, time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var examples []desk.Example
	for _, c := range cases {
		h.cases[c.Name] = c.ID
		examples = append(examples, desk.Example(c))
	}
	config.Account, h.inbox = week.Ledger, config.URL
	if h.box, err = inbox.Open(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.box.Close() })
	withWeek := func(c *desk.Config) { c.Inbox, c.Examples = h.box, examples }
	h.open(append([]func(*desk.Config){withWeek}, change...)...)
	return h
}

// newEmptyHarness builds a harness without donations and without an inbox. Its desk is not open yet.
func newEmptyHarness(t testing.TB, options servertest.Options) *harness {
	t.Helper()
	h := &harness{t: t, log: &buffer{}, cases: map[string]string{}, server: servertest.Start(t, options)}
	var err error
	if h.noted, err = client.New(h.server.Addr(), client.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.noted.Close() })
	return h
}

// open opens the desk of a harness.
func (h *harness) open(change ...func(*desk.Config)) *harness {
	h.t.Helper()
	settings := desk.Config{
		Noted: h.noted, Ledger: week.Ledger, Open: true, Zone: time.UTC, Logger: slog.New(slog.NewJSONHandler(h.log, nil)),
		Patience: time.Minute, // a test waits for the end of a walk
	}
	for _, f := range change {
		f(&settings)
	}
	page, err := desk.New(settings)
	if err != nil {
		h.t.Fatal(err)
	}
	h.desk = httptest.NewServer(page)
	h.t.Cleanup(h.desk.Close)
	return h
}

// A visitor asks a desk as a browser without scripts does.
type visitor struct {
	h      *harness
	client *http.Client
	header http.Header
}

func (h *harness) visitor() *visitor {
	jar, _ := cookiejar.New(nil) // never fails
	return &visitor{h: h, client: &http.Client{Jar: jar}, header: http.Header{}}
}

func (v *visitor) do(method, path string, form url.Values) (status int, page string) {
	v.h.t.Helper()
	ctx, cancel := context.WithTimeout(v.h.t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, v.h.desk.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.h.t.Fatal(err)
	}
	request.Header = v.header.Clone()
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := v.client.Do(request)
	if err != nil {
		v.h.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		v.h.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

func (v *visitor) get(path string) (status int, page string) {
	v.h.t.Helper()
	return v.do(http.MethodGet, path, nil)
}

// ask asks where a donation is and returns the text of the page.
func (v *visitor) ask(question string) string {
	v.h.t.Helper()
	status, page := v.get("/?q=" + url.QueryEscape(question))
	if status != http.StatusOK {
		v.h.t.Fatalf("asking for %q: status %d", question, status)
	}
	return text(page)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// fill is the form of a page, with the fields that a person adds.
func fill(page string, fields ...string) url.Values {
	form := url.Values{}
	_, main, _ := strings.Cut(page, "<main")
	for _, m := range hidden.FindAllStringSubmatch(main, -1) {
		form.Set(m[1], strings.ReplaceAll(m[2], "&#43;", "+"))
	}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return form
}

var (
	tags   = regexp.MustCompile(`<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
	plain  = strings.NewReplacer("&#39;", "'", "&amp;", "&", "&#34;", `"`, "&#43;", "+")
)

// text returns the text of a page.
func text(page string) string {
	_, main, _ := strings.Cut(page, "<main")
	return plain.Replace(spaces.ReplaceAllString(tags.ReplaceAllString(main, " "), " "))
}

// wantAll checks that a text says each of several things.
func wantAll(t testing.TB, where, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("%s does not say %q:\n%s", where, want, got)
		}
	}
}
