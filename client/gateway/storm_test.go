package gateway_test

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
)

// The storm sends IPNs and webhooks of the same donations to two gateways, in disorder,
// with repeats and forgeries. The verifier fails and the downstream refuses now and then.
// Gateways and Noted are killed or stopped and started again, and Redis is stopped or
// frozen for seconds. PayPal delivers again until it is answered 200. At the end every
// donation must have arrived under exactly one donation id.
//
// A failing storm prints its seed. STORM_SEED=… makes the same choices again, but not the
// same timing.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("a storm takes half a minute")
	}
	processtest.Built(t, "noted") // so that no step pays for it
	for _, into := range []string{"http", "stream"} {
		t.Run(into, func(t *testing.T) {
			t.Parallel()
			seed := must(
				strconv.ParseUint(cmp.Or(os.Getenv("STORM_SEED"), strconv.FormatUint(rand.Uint64(), 10)), 10, 64),
			)
			t.Logf("STORM_SEED=%d", seed)
			newStorm(t, seed, into).run()
		})
	}
}

// The same storm over gateways with an inbox, side by side on one database, which is
// stopped and started too. PayPal gets 200 far earlier, and the same events must arrive.
func TestInboxStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("a storm takes half a minute")
	}
	processtest.Built(t, "noted")
	for _, into := range []string{"sqlite", "postgresql"} {
		t.Run(into, func(t *testing.T) {
			seed := must(
				strconv.ParseUint(cmp.Or(os.Getenv("STORM_SEED"), strconv.FormatUint(rand.Uint64(), 10)), 10, 64),
			)
			t.Logf("STORM_SEED=%d", seed)
			newStorm(t, seed, into).run()
		})
	}
}

type storm struct {
	*harness // without a service and a gateway in this process
	t        *testing.T
	store    *processtest.Process
	service  *processtest.Process
	gates    []*processtest.Process
	into     string
	letters  []paypaltest.Delivery // genuine, each at least once
	forged   []paypaltest.Delivery //
	want     map[string]bool       // :: what names a donation downstream → is expected

	postgres *inboxtest.Postgres // nil if the storm needs no server
	box      *inbox.Inbox        // nil if the gateways have no inbox

	mu     sync.Mutex
	random *rand.Rand
	tries  int
}

func newStorm(t *testing.T, seed uint64, into string) *storm {
	s := &storm{
		harness: &harness{t: t, payPal: paypaltest.New(t), downstream: newDownstream(t)},
		t:       t,
		into:    into,
		want:    make(map[string]bool),
		random:  rand.New(rand.NewPCG(seed, 1)),
	}
	s.write()
	s.store = processtest.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	addr := processtest.FreeAddress()
	s.service = processtest.New(t, addr, nil, processtest.Built(t, "noted"),
		"-listen", addr, "-admin-listen", "off", "-redis", "redis://"+s.store.Addr, "-drain", "2s")
	forwardTo := s.downstream.URL
	if into == "stream" {
		forwardTo = "redis://" + s.store.Addr + "/1?stream=donations"
	}
	more := []string{"-forward-timeout", "1s", "-hold", "3s"}
	switch into {
	case "sqlite":
		more = append(more, s.withInbox("sqlite://"+filepath.Join(t.TempDir(), "inbox.db"))...)
	case "postgresql":
		s.postgres = inboxtest.StartPostgres(t)
		more = append(more, s.withInbox(s.postgres.URL())...)
	}
	for range 2 {
		s.gates = append(s.gates, s.program(processtest.Built(t, "noted-gateway"), addr, forwardTo, more...))
	}
	for _, p := range append([]*processtest.Process{s.service}, s.gates...) {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// withInbox gives the gateways an inbox, and lets the storm read it.
func (s *storm) withInbox(url string) (args []string) {
	line, file := inbox.NewKeyLine(), filepath.Join(s.t.TempDir(), "inbox.key")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		s.t.Fatal(err)
	}
	config := inbox.Config{URL: url, Account: "paypal-live", Keys: must(inbox.ReadKeys([]byte(line)))}
	s.box = must(inbox.Open(s.t.Context(), config))
	s.t.Cleanup(func() { s.box.Close() })
	return []string{"-inbox", url, "-inbox-key-file", file}
}

// chance is true in this many of a thousand cases.
func (s *storm) chance(thousandths int) bool { return s.number(1000) < thousandths }

func (s *storm) number(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

// between returns a duration between two bounds.
func (s *storm) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.number(int(most-least)))
}

// wait waits as PayPal and operators do, unless the test ends.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (s *storm) run() {
	ctx, cancel := context.WithTimeout(s.t.Context(), 50*time.Second)
	defer cancel()
	s.payPal.Disturb(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case s.chance(60):
			w.WriteHeader(http.StatusBadGateway)
		case s.chance(30):
			io.WriteString(w, "<html>we are busy</html>")
		case s.chance(10):
			wait(r.Context(), 2*time.Second) // and then an empty answer
		default:
			return false
		}
		return true
	})
	// Many gateways are then killed between acceptance and settling.
	s.downstream.linger = func(ctx context.Context) { wait(ctx, s.between(0, 150*time.Millisecond)) }
	s.downstream.refusing(func(w http.ResponseWriter, r *http.Request, _ event.Event) bool {
		switch {
		case s.chance(80):
			w.WriteHeader(http.StatusInternalServerError)
		case s.chance(20):
			<-r.Context().Done()
		default:
			return false
		}
		return true
	})

	var all sync.WaitGroup
	atOnce := make(chan struct{}, 24)
	for _, d := range s.letters {
		all.Go(func() {
			for pause := s.between(0, 8*time.Second); wait(ctx, pause); pause = s.between(100*time.Millisecond, 700*time.Millisecond) {
				atOnce <- struct{}{}
				done := s.post(d, true)
				<-atOnce
				if done {
					return
				}
			}
			s.t.Errorf("a message was never taken: %s %s", d.Channel, d.Body)
		})
	}
	for _, d := range s.forged {
		all.Go(func() {
			for range 3 {
				if wait(ctx, s.between(0, 3*time.Second)) && s.post(d, false) && s.box == nil {
					s.t.Errorf("a forgery was taken: %s", d.Body)
				}
			}
		})
	}
	s.rage(ctx)
	all.Wait()
	if s.t.Failed() {
		s.logs()
		return
	}
	s.payPal.Disturb(nil)
	s.downstream.refusing(nil)
	if s.box != nil {
		drained(s.t, s.box)
	}
	before := s.arrived()
	for i, d := range s.letters { // all are known now, to both gateways
		var status int
		var reason string
		var err error
		// A gateway that started while Noted was away may wait seconds before it tries to
		// connect again. Until then it lets the message come again.
		eventually(s.t, "an answer to a message once more", func() bool {
			status, reason, err = deliver("http://"+s.gates[i%2].Addr, d)
			return status != http.StatusServiceUnavailable || reason != "noted"
		})
		if status != http.StatusOK {
			s.t.Errorf("once more: got %d %s %v, want 200", status, reason, err)
		}
	}
	if s.box != nil {
		drained(s.t, s.box)
	}
	if after := s.arrived(); after != before {
		s.t.Errorf("%d events after all was known, %d before", after, before)
	}
	s.check()
	if s.t.Failed() {
		s.logs()
	}
	s.t.Logf("%d donations, %d messages, %d deliveries, %d events", len(s.want), len(s.letters), s.tries, before)
}

// post delivers a message to one of the gateways, as a load balancer does, and reports
// whether the gateway took it.
func (s *storm) post(d paypaltest.Delivery, genuine bool) bool {
	s.mu.Lock()
	s.tries++
	gate := s.gates[s.random.IntN(len(s.gates))].Addr
	s.mu.Unlock()
	status, reason, err := deliver("http://"+gate, d)
	if err == nil && status != http.StatusOK && status != http.StatusServiceUnavailable && genuine {
		s.t.Errorf("a genuine %s was refused: %d %s", d.Channel, status, reason)
	}
	if err == nil && status != http.StatusOK && genuine && s.into == "sqlite" { // whose database is never away
		s.t.Errorf("a genuine %s was answered %d %s, and it could be kept", d.Channel, status, reason)
	}
	return err == nil && status == http.StatusOK
}

// rage does each possible harm to the machines at least once.
func (s *storm) rage(ctx context.Context) {
	again := func(p *processtest.Process, signal syscall.Signal) func() {
		return func() {
			p.End(signal)
			wait(ctx, s.between(50*time.Millisecond, 500*time.Millisecond))
			if err := p.Start(); err != nil {
				s.t.Error(err)
			}
		}
	}
	kill, stop := syscall.SIGKILL, syscall.SIGTERM
	acts := []func(){
		again(
			s.gates[0],
			kill,
		),
		again(s.gates[1], kill),
		again(s.gates[0], kill),
		again(s.gates[1], stop),
		again(s.gates[0], kill),
		again(s.gates[1], kill),
		again(s.service, kill),
		again(s.service, stop),
		func() { // Redis is stopped for seconds
			s.store.End(stop)
			wait(ctx, s.between(1500*time.Millisecond, 2500*time.Millisecond))
			if err := s.store.Start(); err != nil {
				s.t.Error(err)
			}
		},
		func() { // Redis hangs
			s.store.Signal(syscall.SIGSTOP)
			wait(ctx, s.between(500*time.Millisecond, 1500*time.Millisecond))
			s.store.Signal(syscall.SIGCONT)
		},
	}
	if s.postgres != nil {
		acts = append(acts, func() { // the inbox's database is away for seconds
			s.postgres.Stop()
			wait(ctx, s.between(500*time.Millisecond, 2*time.Second))
			if err := s.postgres.Start(); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.mu.Lock()
	s.random.Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
	s.mu.Unlock()
	for _, act := range acts {
		if !wait(ctx, s.between(100*time.Millisecond, 600*time.Millisecond)) {
			return
		}
		act()
	}
}

// events returns the events that the downstream has.
func (s *storm) events() []event.Event {
	if s.into != "stream" {
		return s.downstream.got()
	}
	store := redis.NewClient(&redis.Options{Addr: s.store.Addr, DB: 1})
	defer store.Close()
	var events []event.Event
	for _, entry := range store.XRange(s.t.Context(), "donations", "-", "+").Val() {
		var e event.Event
		if err := json.Unmarshal(
			[]byte(entry.Values["event"].(string)),
			&e,
		); err != nil ||
			e.ID() != entry.Values["id"] {
			s.t.Errorf("the stream holds %v: %v", entry, err)
		}
		events = append(events, e)
	}
	return events
}

func (s *storm) arrived() int { return len(s.events()) }

// check compares the events that arrived with the expected events.
func (s *storm) check() {
	ids := make(map[string]map[string]int) // :: donation → donation id → times
	for _, e := range s.events() {
		d := data(s.t, e)
		name := e.Type() + "|" + e.Subject() + "|" + d.Donation["occurred_at"]
		if e.Type() == "noted.undecided" {
			name = e.Type() + "|" + d.Message["channel"] + "|" + d.Open[0].Donation["series_id"]
		}
		if ids[name] == nil {
			ids[name] = make(map[string]int)
		}
		ids[name][e.ID()]++
		if s.into == "stream" && ids[name][e.ID()] > 1 {
			s.t.Errorf("%s is in the stream twice", name)
		}
	}
	for name := range s.want {
		if len(ids[name]) != 1 {
			s.t.Errorf("%s has arrived under %d donation ids, want one: %v", name, len(ids[name]), ids[name])
		}
	}
	for name := range ids {
		if !s.want[name] {
			s.t.Errorf("%s has arrived, and it was never given", name)
		}
	}
	noted := must(client.New(s.service.Addr, client.Config{}))
	defer noted.Close()
	settled := 0
	for note, err := range noted.List(s.t.Context(), &client.ListRequest{Ledger: "paypal-live"}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if settled++; note.GetState() != client.StateSettled {
			s.t.Errorf("not settled: %v", note)
		}
	}
	if settled != len(s.want) {
		s.t.Errorf("Noted holds %d notes, want %d", settled, len(s.want))
	}
}

// logs shows the last lines of each program.
func (s *storm) logs() {
	for _, p := range append([]*processtest.Process{s.service}, s.gates...) {
		s.t.Logf("%s:\n%s", p.Addr, p.Said())
	}
}
