package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/alert"
	"github.com/donation-dedupe/noted/client/desk/alive"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// This file is a harness with every cause of an alert: a real Noted on a real Redis, an
// inbox, and a clock that the test moves. A webhook stands in for people.

type harness struct {
	t     *testing.T
	store *processtest.Process
	noted *client.Client
	admin *alive.Admin
	url   string // of the inbox
	keys  []inbox.Key
	box   *inbox.Inbox
	log   bytes.Buffer
	now   time.Time
	sent  int
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, store: processtest.Redis(t), now: time.Now()}
	server := servertest.Start(t, servertest.Options{Redis: "redis://" + h.store.Addr})
	var err error
	if h.noted, err = client.New(server.Addr(), client.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.noted.Close() })
	if h.admin, err = alive.NewAdmin("http://" + server.AdminAddr()); err != nil {
		t.Fatal(err)
	}
	if h.keys, err = inbox.ReadKeys([]byte(inbox.NewKeyLine())); err != nil {
		t.Fatal(err)
	}
	h.url = "sqlite://" + filepath.Join(t.TempDir(), "inbox.db")
	h.box = h.open()
	return h
}

func (h *harness) open() *inbox.Inbox {
	h.t.Helper()
	box, err := inbox.Open(h.t.Context(), inbox.Config{
		URL: h.url, Account: "live", Keys: h.keys, Now: func() time.Time { return h.now },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { box.Close() })
	return box
}

// watch is a desk that has just started.
func (h *harness) watch(to alert.Sender) *alert.Watch {
	return alert.New(alert.Config{
		Noted: h.noted, Inbox: h.open(), Ledger: "live", Admins: []*alive.Admin{h.admin}, Send: to,
		PublicURL: "https://desk.example.org/", Zone: time.UTC, Now: func() time.Time { return h.now },
		Logger: slog.New(slog.NewTextHandler(&h.log, nil)),
	})
}

// keep keeps a message in a state.
func (h *harness) keep(channel string, state inbox.State) {
	h.t.Helper()
	h.sent++
	err := h.box.Keep(h.t.Context(), inbox.Arrival{
		Ledger: "live", Channel: channel, ID: fmt.Sprint(h.sent), ReceivedAt: h.now, State: state, Cause: "a test",
		Donations: []inbox.Donation{{SeriesID: "I-1", Event: "EVENT_PAYMENT", Pair: []byte("{}")}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// A receiver is a webhook.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []map[string]string
	wrong  []error
}

const secret = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: http.StatusNoContent}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		body, err := io.ReadAll(request.Body)
		if err == nil {
			err = verifier.Verify(body, request.Header)
		}
		var message map[string]string
		if err == nil {
			err = json.Unmarshal(body, &message)
		}
		if err != nil {
			r.wrong = append(r.wrong, err)
		}
		r.got = append(r.got, message)
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) sender(t *testing.T) alert.Sender {
	t.Helper()
	to, err := alert.NewSender(r.URL, secret)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// take returns the cause and state of each message since the last take.
func (r *receiver) take(t *testing.T) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.wrong {
		t.Errorf("a message is not genuine: %v", err)
	}
	var all []string
	for _, m := range r.got {
		all = append(all, m["cause"]+" "+m["state"])
	}
	r.got, r.wrong = nil, nil
	return strings.Join(all, ", ")
}

func (r *receiver) answer(status int) { r.mu.Lock(); defer r.mu.Unlock(); r.status = status }

// Each cause gets one message when it begins and one when it ends, however many desks
// look, and however often they look and start.
func TestOnce(t *testing.T) {
	h := newHarness(t)
	r := newReceiver(t)
	first, second := h.watch(r.sender(t)), h.watch(r.sender(t))
	look := func(want string) {
		t.Helper()
		for range 2 {
			first.Look(t.Context())
			second.Look(t.Context())
			h.watch(r.sender(t)).Look(t.Context()) // a restarted desk
		}
		if got := r.take(t); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	look("")
	h.keep("ipn", inbox.Person)
	answer, err := h.noted.Note(t.Context(), &client.NoteRequest{
		Donation: &client.Donation{Ledger: "live", SeriesId: "I-GIVENUP"}, Hold: durationpb.New(time.Minute),
	})
	if err == nil {
		_, err = h.noted.Release(t.Context(), answer.GetReceipt(), "a test")
	}
	if err != nil {
		t.Fatal(err)
	}
	look("")
	h.now = h.now.Add(25 * time.Hour)
	for range 3 {
		h.keep("webhook", inbox.Done)
	}
	look("given-up begun, person begun, silent:ipn begun")
	h.now = h.now.Add(time.Hour)
	h.keep("ipn", inbox.Done)
	look("silent:ipn over")
	if err := h.closeAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.noted.Forget(t.Context(), &client.ForgetRequest{
		Ledger: "live", SeriesId: "I-GIVENUP", DonationId: answer.GetNote().GetDonationId(), Reason: "a test",
	}); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(2 * time.Hour)
	look("given-up over, person over")
	h.keep("ipn", inbox.Person)
	h.now = h.now.Add(25 * time.Hour)
	h.keep("ipn", inbox.Done)
	h.keep("webhook", inbox.Done)
	look("person begun") // the next occurrence of the cause
}

// closeAll closes the messages that wait for a person.
func (h *harness) closeAll() error {
	var rows []string
	waiting := inbox.Filter{States: []inbox.State{inbox.Person}}
	err := h.box.List(h.t.Context(), waiting, func(m inbox.Message) error {
		rows = append(rows, m.Row)
		return nil
	})
	for _, row := range rows {
		if err == nil {
			err = h.box.CloseMessage(h.t.Context(), row, nil, "ann", "a test")
		}
	}
	return err
}

// A message that waits longer than a day for its next try gets an alert too.
func TestOpenForLong(t *testing.T) {
	h := newHarness(t)
	r := newReceiver(t)
	h.keep("ipn", inbox.Waiting)
	w := h.watch(r.sender(t))
	h.now = h.now.Add(25 * time.Hour)
	h.keep("ipn", inbox.Done)
	w.Look(t.Context())
	if got := r.take(t); got != "open begun" {
		t.Errorf("told %q", got)
	}
}

// A refusing webhook is in the log once. It is tried again, and gets the message when it
// works again. A cause that ends before any message gets no message.
func TestWebhookIsDown(t *testing.T) {
	h := newHarness(t)
	r := newReceiver(t)
	r.answer(http.StatusServiceUnavailable)
	w := h.watch(r.sender(t))
	h.keep("ipn", inbox.Person)
	h.now = h.now.Add(25 * time.Hour)
	h.keep("ipn", inbox.Done)
	for range 3 {
		w.Look(t.Context())
	}
	if got := r.take(t); got != "person begun" {
		t.Errorf("within five minutes it was told %q, want one try", got)
	}
	for range 3 {
		h.now = h.now.Add(alert.DefaultAgain)
		w.Look(t.Context())
	}
	if got := r.take(t); got != "person begun, person begun, person begun" {
		t.Errorf("it was told %q, want three tries", got)
	}
	if n := strings.Count(h.log.String(), "the webhook answered 503"); n != 1 {
		t.Errorf("the log says it %d times, want once:\n%s", n, &h.log)
	}
	r.answer(http.StatusOK)
	h.now = h.now.Add(alert.DefaultAgain)
	w.Look(t.Context())
	w.Look(t.Context())
	if got := r.take(t); got != "person begun" {
		t.Errorf("it is back and gets %q", got)
	}
	if !strings.Contains(h.log.String(), "a step of the alerts works again") {
		t.Errorf("the log does not say that it is back:\n%s", &h.log)
	}

	r.answer(http.StatusServiceUnavailable)
	for range 3 {
		h.keep("webhook", inbox.Done)
	}
	h.now = h.now.Add(23 * time.Hour)
	if err := h.closeAll(); err != nil {
		t.Fatal(err)
	}
	w.Look(t.Context())
	r.take(t)
	h.keep("ipn", inbox.Person)
	h.now = h.now.Add(25 * time.Hour)
	h.keep("ipn", inbox.Done)
	w.Look(t.Context()) // the last end cannot be sent, so the next begin follows it
	r.answer(http.StatusOK)
	h.now = h.now.Add(alert.DefaultAgain)
	w.Look(t.Context())
	if got := r.take(t); strings.Contains(got, "over") {
		t.Errorf("told %q, although something waits again", got)
	}
}

// A loss of notes gets an alert. A failed check neither begins nor ends a cause.
func TestLoss(t *testing.T) {
	h := newHarness(t)
	r := newReceiver(t)
	w := h.watch(r.sender(t))
	store := redis.NewClient(&redis.Options{Addr: h.store.Addr})
	defer store.Close()
	view := func(want func(alive.View) bool) alive.View {
		t.Helper()
		var v alive.View
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if v = h.admin.Look(t.Context()); want(v) {
				return v
			}
		}
		t.Fatalf("the server says %+v", v)
		return v
	}
	view(func(v alive.View) bool { return v.Ready })
	note := &client.NoteRequest{Donation: &client.Donation{Ledger: "live", SeriesId: "I-LOST"}}
	if _, err := h.noted.Note(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	if err := store.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	lost := view(func(v alive.View) bool { return v.Lost && v.Epoch != "" })
	w.Look(t.Context())
	w.Look(t.Context())
	if got := r.take(t); got != "lost begun" {
		t.Errorf("told %q", got)
	}
	away, err := alive.NewAdmin("http://" + processtest.FreeAddress())
	if err != nil {
		t.Fatal(err)
	}
	blind := alert.New(alert.Config{
		Noted: h.noted, Inbox: h.box, Ledger: "live", Admins: []*alive.Admin{away}, Send: r.sender(t),
		PublicURL: "https://desk.example.org", Logger: slog.New(slog.NewTextHandler(&h.log, nil)),
		Now: func() time.Time { return h.now },
	})
	blind.Look(t.Context())
	if got := r.take(t); got != "" {
		t.Errorf("a desk that cannot ask the server told %q", got)
	}
	if err := h.admin.Acknowledge(t.Context(), lost.Epoch); err != nil {
		t.Fatal(err)
	}
	w.Look(t.Context())
	if got := r.take(t); got != "lost over" {
		t.Errorf("told %q", got)
	}
}

// A watch stops when its context ends.
func TestRunEnds(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { h.watch(newReceiver(t).sender(t)).Run(ctx); close(ended) }()
	cancel()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("it does not stop")
	}
}
