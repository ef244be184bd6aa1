package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// This file is our side of a test: a real redis-server, the real service, a gateway, and
// a downstream that checks every signature.

const secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfgxx3NJZE="

// harness holds every part behind PayPal.
type harness struct {
	t          testing.TB
	payPal     *paypaltest.PayPal
	redis      *redis.Client
	server     *servertest.Server
	noted      *client.Client
	downstream *downstream
	gateway    *gateway.Gateway
	front      *httptest.Server
	log        *buffer
	config     gateway.Config
}

// newHarness builds a harness; change may change the configuration of gateway and service.
func newHarness(t testing.TB, change ...func(*gateway.Config, *servertest.Options)) *harness {
	t.Helper()
	h := &harness{t: t, payPal: paypaltest.New(t), downstream: newDownstream(t), log: &buffer{}}
	store := processtest.Redis(t)
	h.redis = redis.NewClient(&redis.Options{Addr: store.Addr})
	t.Cleanup(func() { h.redis.Close() })
	options := servertest.Options{Redis: "redis://" + store.Addr}
	h.config = gateway.Config{
		Ledger: "paypal-live", Accounts: []string{paypaltest.Account, "6RECEIVERID"}, IPNVerifyURL: h.payPal.Verifier.URL,
		WebhookID: paypaltest.WebhookID, CertHosts: []string{h.payPal.CertHost()}, CertRoots: h.payPal.PEM(),
		ForwardTo: h.downstream.URL, ForwardSecrets: []string{secret},
		Hold: 5 * time.Second, ForwardTimeout: 2 * time.Second, VerifyTimeout: 2 * time.Second,
		Logger: slog.New(slog.NewJSONHandler(h.log, nil)),
	}
	for _, f := range change {
		f(&h.config, &options)
	}
	h.server = servertest.Start(t, options)
	h.config.Noted = h.server.Addr()
	var err error
	if h.noted, err = client.New(h.server.Addr(), client.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.noted.Close() })
	h.gateway, h.front = h.open()
	return h
}

// open opens a gateway; a harness may have several.
func (h *harness) open() (*gateway.Gateway, *httptest.Server) {
	h.t.Helper()
	g, err := gateway.New(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { g.Close() })
	front := httptest.NewUnstartedServer(g)
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.Start()
	h.t.Cleanup(front.Close)
	return g, front
}

// deliver posts a message and returns status and reason.
func (h *harness) deliver(d paypaltest.Delivery) (int, string) {
	h.t.Helper()
	status, reason, err := deliver(h.front.URL, d)
	if err != nil {
		h.t.Fatalf("delivering: %v", err)
	}
	return status, reason
}

func deliver(front string, d paypaltest.Delivery) (status int, reason string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	response, err := d.Post(ctx, front)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	var said struct{ Error, Reason string }
	_ = json.NewDecoder(response.Body).Decode(&said) // empty with 200
	if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "" {
		return 0, "503 without Retry-After", nil
	}
	if response.StatusCode != http.StatusOK && (said.Error == "" || said.Reason == "") {
		return 0, "no error body", nil
	}
	return response.StatusCode, said.Reason, nil
}

// mustTake delivers a message that must get 200.
func (h *harness) mustTake(d paypaltest.Delivery) {
	h.t.Helper()
	if status, reason := h.deliver(d); status != http.StatusOK {
		h.t.Fatalf("%s: got %d %s, want 200\n%s", d.Channel, status, reason, h.log)
	}
}

// inRedis returns every key with its contents, except the service's own key, which it
// renews by itself.
func (h *harness) inRedis() map[string]string {
	h.t.Helper()
	ctx := h.t.Context()
	contents := make(map[string]string)
	for _, key := range h.redis.Keys(ctx, "*").Val() {
		if key == "noted:{epoch}" {
			continue
		}
		dump, err := h.redis.Dump(ctx, key).Result()
		if err != nil {
			h.t.Fatal(err)
		}
		contents[key] = dump
	}
	return contents
}

// notes lists all notes of a ledger.
func (h *harness) notes(ledger string) []*client.Note {
	h.t.Helper()
	var notes []*client.Note
	for note, err := range h.noted.List(h.t.Context(), &client.ListRequest{Ledger: ledger}) {
		if err != nil {
			h.t.Fatal(err)
		}
		notes = append(notes, note)
	}
	return notes
}

// program prepares noted-gateway as a separate process, in front of a downstream.
func (h *harness) program(path, noted, forwardTo string, more ...string) *processtest.Process {
	h.t.Helper()
	secretFile := filepath.Join(h.t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte(secret+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	more = append([]string{"-forward-to", forwardTo, "-forward-secret-file", secretFile}, more...)
	return h.bareProgram(path, noted, more...)
}

// bareProgram prepares noted-gateway without a downstream.
func (h *harness) bareProgram(path, noted string, more ...string) *processtest.Process {
	h.t.Helper()
	roots := filepath.Join(h.t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, h.payPal.PEM(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	addr := processtest.FreeAddress()
	return processtest.New(h.t, addr, nil, append([]string{
		path, "-listen", addr, "-admin-listen", "off", "-noted", noted, "-ledger", "paypal-live",
		"-accounts", paypaltest.Account, "-ipn-verify-url", h.payPal.Verifier.URL,
		"-webhook-id", paypaltest.WebhookID, "-webhook-cert-host", h.payPal.CertHost(), "-webhook-cert-roots", roots,
	}, more...)...)
}

// A downstream stands in for the organisation's own. It accepts only signed events.
type downstream struct {
	*httptest.Server
	mu     sync.Mutex
	events []event.Event
	pings  []event.Event                                                    // accepted, and kept apart from events
	refuse func(w http.ResponseWriter, r *http.Request, e event.Event) bool // answers in the downstream's place
	linger func(ctx context.Context)                                        // runs between keeping an event and answering
	wrong  []string
}

func newDownstream(t testing.TB) *downstream {
	s := &downstream{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.take))
	t.Cleanup(func() {
		s.Close()
		for _, wrong := range s.wrong {
			t.Errorf("the downstream was given something wrong: %s", wrong)
		}
	})
	return s
}

func (s *downstream) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the gateway was killed
	}
	if err := must(standardwebhooks.NewWebhook(secret)).Verify(body, r.Header); err != nil {
		s.complain("signature: " + err.Error())
	}
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		s.complain(err.Error())
	}
	if err := e.Validate(); err != nil {
		s.complain(err.Error())
	}
	if r.Header.Get("webhook-id") != e.ID() ||
		r.Header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" {
		s.complain("headers")
	}
	s.mu.Lock()
	refuse := s.refuse
	s.mu.Unlock()
	if refuse != nil && refuse(w, r, e) {
		return
	}
	s.mu.Lock()
	if e.Type() == "noted.ping" {
		s.pings = append(s.pings, e)
		s.mu.Unlock()
		return
	}
	s.events = append(s.events, e)
	linger := s.linger
	s.mu.Unlock()
	if linger != nil {
		linger(r.Context())
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *downstream) complain(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, text)
}

func (s *downstream) refusing(f func(w http.ResponseWriter, r *http.Request, e event.Event) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// refusingSignups lets the downstream answer 500 to each signup.
func (s *downstream) refusingSignups() {
	s.refusing(func(w http.ResponseWriter, _ *http.Request, e event.Event) bool {
		if e.Type() == "noted.donation.signup" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return e.Type() == "noted.donation.signup"
	})
}

func (s *downstream) got() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

func (s *downstream) pinged() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pings)
}

// told is the data of an event.
type told struct {
	Donation map[string]string
	Message  map[string]string
	Attempt  int
	Open     []struct {
		Donation            map[string]string
		Reason, Explanation string
	}
	Original struct {
		ContentType string `json:"content_type"`
		Body        string
		BodyBase64  []byte `json:"body_base64"`
	}
}

func data(t testing.TB, e event.Event) told {
	t.Helper()
	var d told
	if err := e.DataAs(&d); err != nil {
		t.Fatalf("reading %s: %v", e.Data(), err)
	}
	return d
}

// buffer is a log that can be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eventually polls until ok is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to pass: %s", what)
		}
	}
}

// must is for steps of a test that cannot fail.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestMain(m *testing.M) { processtest.Main(m) }

// eventName is the contract's name of an event.
func eventName(number int) string { return client.Event(number).String() }
