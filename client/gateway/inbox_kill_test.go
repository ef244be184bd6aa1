package gateway_test

import (
	"context"
	"database/sql"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// killSteps are the steps of failpoint.go, in the order in which a message reaches them.
// exact says whether the downstream gets the event once although the gateway dies there.
var killSteps = []struct {
	name  string
	exact bool
}{
	{"kept", true},
	{"claimed", true},
	{"noted", true},
	{"accepted", false}, // only the downstream knows: it gets the event again, under its id
	{"recorded", true},
	{"settled", true},
	{"processed", true},
	{"finished", true},
}

// killable builds a gateway that dies at a step that the environment names.
func killable(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "noted-gateway")
	output, err := exec.Command("go", "build", "-tags", "failpoint", "-o", path, "../cmd/noted-gateway").
		CombinedOutput()
	if err != nil {
		t.Fatalf("building: %v\n%s", err, output)
	}
	return path
}

// killAt delivers a message to a gateway that dies at a step, starts it again, and delivers
// the message again unless PayPal has heard 200.
func killAt(t *testing.T, gate *processtest.Process, step string, message paypaltest.Delivery) {
	t.Helper()
	os.Setenv("NOTED_GATEWAY_FAILPOINT", step)
	err := gate.Start()
	os.Unsetenv("NOTED_GATEWAY_FAILPOINT")
	if err != nil {
		t.Fatal(err)
	}
	status, _, _ := deliver("http://"+gate.Addr, message)
	select {
	case <-gate.Ended():
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: the gateway was not killed", step)
	}
	gate.End(syscall.SIGKILL)
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK {
		if status, reason, err := deliver("http://"+gate.Addr, message); status != http.StatusOK {
			t.Fatalf("%s: delivered again: got %d %s %v", step, status, reason, err)
		}
	}
}

// A gateway is killed with SIGKILL at every step. PayPal delivers again unless it got
// 200. The donation arrives under one id, once wherever that is possible, and is settled.
func TestInboxIsKilledAtEveryStep(t *testing.T) {
	program := killable(t)
	for name, address := range map[string]func() string{
		"sqlite":     func() string { return "sqlite://" + filepath.Join(t.TempDir(), "inbox.db") },
		"postgresql": func() string { return inboxtest.StartPostgres(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			url := address()
			keyFile, line := filepath.Join(t.TempDir(), "key"), inbox.NewKeyLine()
			if err := os.WriteFile(keyFile, []byte(line), 0o600); err != nil {
				t.Fatal(err)
			}
			h.config.InboxURL, h.config.InboxKeys = url, must(inbox.ReadKeys([]byte(line)))
			box := h.box()
			gate := h.program(program, h.config.Noted, h.downstream.URL, "-forward-timeout", "1s", "-hold", "2s",
				"-inbox", url, "-inbox-key-file", keyFile)
			for _, step := range killSteps {
				h.downstream.forget()
				killAt(t, gate, step.name, h.payPal.IPN(payment("I-"+step.name).fields()))
				drained(t, box)
				gate.End(syscall.SIGTERM)
				events := h.downstream.got()
				if len(events) == 0 || step.exact && len(events) != 1 {
					t.Errorf("%s: the downstream got %d events", step.name, len(events))
				}
				for _, e := range events {
					if e.ID() != events[0].ID() {
						t.Errorf("%s: the downstream got the ids %s and %s", step.name, events[0].ID(), e.ID())
					}
				}
			}
			for _, note := range h.notes("paypal-live") {
				if note.GetState() != client.StateSettled {
					t.Errorf("Noted holds %v, want it settled", note)
				}
			}
			for _, m := range messages(t, box, inbox.Filter{}) {
				if m.State != inbox.Done || m.Donations[0].DonationID == "" || m.Donations[0].Outcome == "" {
					t.Errorf("the journal has %+v", m)
				}
			}
		})
	}
}

// A gateway is killed while it works on a message that PayPal could not be asked about: when
// it has claimed it, and when PayPal has said that it is genuine. The donation arrives once.
func TestInboxIsKilledAtTheVerdict(t *testing.T) {
	program := killable(t)
	onBoth(t, func(t *testing.T, in func(*gateway.Config, *servertest.Options)) {
		h := newHarness(t)
		in(&h.config, nil)
		keyFile, line := filepath.Join(t.TempDir(), "key"), inbox.NewKeyLine()
		if err := os.WriteFile(keyFile, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		h.config.InboxKeys = must(inbox.ReadKeys([]byte(line)))
		box := h.box()
		gate := h.program(program, h.config.Noted, h.downstream.URL, "-forward-timeout", "1s", "-hold", "2s",
			"-inbox", h.config.InboxURL, "-inbox-key-file", keyFile)
		start := func() {
			t.Helper()
			if err := gate.Start(); err != nil {
				t.Fatal(err)
			}
		}
		for i, step := range []string{"claimed", "kept"} {
			h.payPal.Disturb(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true })
			start()
			if status, reason, err := deliver("http://"+gate.Addr, h.payPal.IPN(payment("I-"+step).fields())); status != 200 {
				t.Fatalf("%s: got %d %s %v", step, status, reason, err)
			}
			eventually(t, "it is tried", func() bool {
				all := messages(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
				return len(all) == 1 && all[0].Tries > 0 && !all[0].Verified
			})
			gate.End(syscall.SIGTERM)
			h.payPal.Disturb(nil)
			os.Setenv("NOTED_GATEWAY_FAILPOINT", step)
			err := gate.Start()
			os.Unsetenv("NOTED_GATEWAY_FAILPOINT")
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-gate.Ended():
			case <-time.After(time.Minute):
				t.Fatalf("%s: the gateway was not killed", step)
			}
			gate.End(syscall.SIGKILL)
			start()
			if m := inState(t, box, inbox.Done, i+1)[i]; !m.Verified || m.Donations[0].Outcome != inbox.Settled {
				t.Errorf("%s: the journal has %+v", step, m)
			}
			gate.End(syscall.SIGTERM)
			if events := h.downstream.got(); len(events) != i+1 || events[i].Subject() != "I-"+step {
				t.Errorf("%s: the downstream got %v", step, events)
			}
		}
	})
}

// Two gateways share one PostgreSQL. One is stopped while the downstream has its event, until
// its lease and its hold have run out; the other takes the message over, and then the first
// goes on. The donation arrives under one id and is settled, and both gateways still work.
func TestInboxLeaseRunsOut(t *testing.T) {
	h := newHarness(t)
	keyFile, line := filepath.Join(t.TempDir(), "key"), inbox.NewKeyLine()
	if err := os.WriteFile(keyFile, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	h.config.InboxURL, h.config.InboxKeys = inboxtest.StartPostgres(t).URL(), must(inbox.ReadKeys([]byte(line)))
	box := h.box()
	gates := [2]*processtest.Process{}
	for i := range gates {
		gates[i] = h.program(
			processtest.Built(t, "noted-gateway"), h.config.Noted, h.downstream.URL, "-forward-timeout", "1s",
			"-hold", "2s", "-inbox", h.config.InboxURL, "-inbox-key-file", keyFile,
		)
	}
	if err := gates[0].Start(); err != nil {
		t.Fatal(err)
	}
	var stopped sync.Once
	h.downstream.mu.Lock()
	h.downstream.linger = func(context.Context) { stopped.Do(func() { gates[0].Signal(syscall.SIGSTOP) }) }
	h.downstream.mu.Unlock()
	message := h.payPal.IPN(payment("I-STOPPED").fields())
	take := func(gate *processtest.Process, d paypaltest.Delivery) {
		t.Helper()
		if status, reason, err := deliver("http://"+gate.Addr, d); status != http.StatusOK {
			t.Fatalf("got %d %s %v, want 200", status, reason, err)
		}
	}
	take(gates[0], message)
	eventually(t, "the first gateway is stopped with the message in its hands", func() bool {
		all := messages(t, box, inbox.Filter{States: []inbox.State{inbox.Working}})
		return len(h.downstream.got()) == 1 && len(all) == 1
	})
	if err := gates[1].Start(); err != nil {
		t.Fatal(err)
	}
	take(gates[1], message) // PayPal's copy
	m := inState(t, box, inbox.Done, 1)[0]
	gates[0].Signal(syscall.SIGCONT)
	take(gates[0], message)
	take(gates[0], h.payPal.IPN(payment("I-AFTER").fields()))
	take(gates[1], h.payPal.Webhook(payment("I-AFTER").event()))
	inState(t, box, inbox.Done, 3)
	ids := map[string]string{} // :: series → donation id
	for _, e := range h.downstream.got() {
		if id := ids[e.Subject()]; id != "" && id != e.ID() {
			t.Errorf("the downstream got %s under %s and %s", e.Subject(), id, e.ID())
		}
		ids[e.Subject()] = e.ID()
	}
	if len(ids) != 2 || ids["I-STOPPED"] != m.Donations[0].DonationID {
		t.Errorf("the downstream got %v, and the journal has %+v", ids, m)
	}
	notes := h.notes("paypal-live")
	for _, note := range notes {
		if note.GetState() != client.StateSettled || ids[note.GetDonation().GetSeriesId()] != note.GetDonationId() {
			t.Errorf("Noted holds %v, want it settled under the id that the downstream has", note)
		}
	}
	if len(notes) != 2 {
		t.Errorf("Noted holds %d notes, want 2", len(notes))
	}
}

// forget empties the list of events.
func (s *downstream) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
}

// While the database is away PayPal hears 503, and nothing is noted. When it is back, both
// what waits there and what PayPal sends again is processed. A PostgreSQL is away when it is
// stopped, and then /readyz says so; SQLite's file is when another program has locked it.
func TestInboxDatabaseIsAwayAndBack(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "inbox.db")
		awayAndBack(t, "sqlite://"+file, false, func() (back func() error) {
			other, err := sql.Open("sqlite", file)
			if err != nil {
				t.Fatal(err)
			}
			other.SetMaxOpenConns(1)
			for _, lock := range []string{"PRAGMA busy_timeout = 10000", "BEGIN IMMEDIATE"} {
				if _, err := other.ExecContext(t.Context(), lock); err != nil {
					t.Fatal(err)
				}
			}
			return other.Close
		})
	})
	t.Run("postgresql", func(t *testing.T) {
		postgres := inboxtest.StartPostgres(t)
		awayAndBack(t, postgres.URL(), true, func() func() error { postgres.Stop(); return postgres.Start })
	})
}

func awayAndBack(t *testing.T, url string, shows bool, away func() (back func() error)) {
	h, now := inboxHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.InboxURL = url })
	h.downstream.refusing(
		func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
	)
	h.mustTake(h.payPal.IPN(payment("I-BEFORE").fields()))
	if look := lookAt(t, h.front.URL); look.status != http.StatusOK {
		t.Errorf("/readyz: %+v, want 200 although the downstream is away", look)
	}
	back := away()
	later := h.payPal.IPN(payment("I-LATER").fields())
	if status, reason := h.deliver(later); status != 503 || reason != "inbox" {
		t.Errorf("without the database: got %d %s, want 503 inbox", status, reason)
	}
	now.pass(2 * time.Second)
	if look := lookAt(t, h.front.URL); shows && look.status != 503 {
		t.Errorf("/readyz: %+v, want 503", look)
	}
	if got := h.notes("paypal-live"); len(got) > 1 {
		t.Errorf("without the database it was noted: %v", got)
	}
	if err := back(); err != nil {
		t.Fatal(err)
	}
	h.downstream.refusing(nil)
	h.mustTake(later)
	box := h.box()
	now.pass(time.Hour)
	inState(t, box, inbox.Done, 2)
	if events := h.downstream.got(); len(events) != 2 {
		t.Errorf("the downstream got %v, want both donations", events)
	}
}

// While PayPal does not answer, for days, messages are kept unverified and nothing is
// noted. Later the genuine messages are processed, with the time of their arrival, and
// the forged messages are discarded with their bodies.
func TestInboxKeepsUnverifiedMessages(t *testing.T) { onBoth(t, keepsUnverifiedMessages) }

func keepsUnverifiedMessages(t *testing.T, in func(*gateway.Config, *servertest.Options)) {
	h, now := inboxHarness(t, in, func(c *gateway.Config, _ *servertest.Options) { c.InboxUnverified = 4 })
	h.payPal.Serve("CERT-1", h.payPal.Signer(paypaltest.CertName, -time.Hour, 30*24*time.Hour))
	box := h.box()
	arrived := now.time()
	h.payPal.Disturb(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true })
	timeless := payment("I-TIMELESS").fields()
	timeless.Set("txn_type", "subscr_signup")
	timeless.Set("subscr_id", "I-TIMELESS")
	gift := payment("I-AWAY")
	h.mustTake(h.payPal.IPN(timeless))
	h.mustTake(h.payPal.Webhook(gift.event()))
	h.mustTake(h.payPal.Webhook(payment("I-FORGED").event()).Flipped("25.00"))
	h.mustTake(h.payPal.IPN(payment("I-FALSE").fields()).Flipped("25.00"))
	if status, reason := h.deliver(h.payPal.IPN(payment("I-FIFTH").fields())); status != 503 || reason != "verifier" {
		t.Errorf("beyond the bound: got %d %s, want 503 verifier", status, reason)
	}
	for range 3 {
		eventually(t, "all are tried", func() bool {
			for _, m := range messages(t, box, inbox.Filter{}) {
				if m.State != inbox.Waiting || m.Verified || m.Cause != "PayPal could not be asked" ||
					!m.NextAt.After(now.time()) {
					return false
				}
			}
			return true
		})
		now.pass(32 * time.Hour)
	}
	if len(h.notes("paypal-live")) != 0 || len(h.downstream.got()) != 0 {
		t.Error("an unverified message was noted")
	}
	h.payPal.Disturb(nil)
	now.pass(time.Hour)
	drained(t, box)
	inState(t, box, inbox.Done, 2)
	for _, m := range inState(t, box, inbox.Discarded, 2) {
		if c, err := box.Contents(context.Background(), m.Row); err != nil || len(c.Body) == 0 || m.Cause != "invalid" {
			t.Errorf("discarded %+v, %v, want it with its body", m, err)
		}
	}
	if len(h.downstream.got()) != 2 {
		t.Errorf("the downstream got %v", h.downstream.got())
	}
	for _, note := range h.notes("paypal-live") {
		told := note.GetSightings()[0].GetMessage().GetReceivedAt().AsTime()
		if told.Sub(arrived).Abs() > time.Second {
			t.Errorf("Noted was told that %s arrived at %v, want %v", note.GetDonation().GetSeriesId(), told, arrived)
		}
	}
}

// Without room for unverified messages they get 503, as without an inbox.
func TestInboxWithoutUnverifiedMessages(t *testing.T) {
	h, _ := inboxHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.InboxUnverified = -1 })
	h.payPal.Disturb(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true })
	if status, reason := h.deliver(h.payPal.IPN(payment("I-NO").fields())); status != 503 || reason != "verifier" {
		t.Errorf("got %d %s, want 503 verifier", status, reason)
	}
	if all := messages(t, h.box(), inbox.Filter{}); len(all) != 0 {
		t.Errorf("the inbox has %+v", all)
	}
}
