package gateway_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
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
	built(t, "noted") // so that the time it takes is nobody's
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
// stopped and started too. PayPal hears 200 far earlier, and the same must arrive.
func TestInboxStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("a storm takes half a minute")
	}
	built(t, "noted")
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
	t       *testing.T
	payPal  *payPal
	shop    *shop
	redis   *process
	noted   *process
	gates   []*process
	into    string
	letters []delivery      // genuine, each at least once
	forged  []delivery      //
	want    map[string]bool // :: what names a donation downstream → is expected

	postgres *inboxtest.Postgres // nil where the storm needs none
	box      *inbox.Inbox        // nil where the gateways have none

	mu     sync.Mutex
	random *rand.Rand
	tries  int
}

func newStorm(t *testing.T, seed uint64, into string) *storm {
	s := &storm{
		t:      t,
		into:   into,
		payPal: newPayPal(t),
		shop:   newShop(t),
		want:   make(map[string]bool),
		random: rand.New(rand.NewPCG(seed, 1)),
	}
	s.write()
	s.redis = startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	s.noted = newProcess(t, built(t, "noted"), func(addr, _ string) []string {
		return []string{"-listen", addr, "-admin-listen", "off", "-redis", "redis://" + s.redis.addr, "-drain", "2s"}
	})
	dir := t.TempDir()
	roots, secretFile := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "secret")
	for name, content := range map[string][]byte{roots: s.payPal.pem(), secretFile: []byte(secret + "\n")} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	forwardTo := s.shop.URL
	if into == "stream" {
		forwardTo = "redis://" + s.redis.addr + "/1?stream=donations"
	}
	var inboxArgs []string
	switch into {
	case "sqlite":
		inboxArgs = s.withInbox("sqlite://" + filepath.Join(dir, "inbox.db"))
	case "postgresql":
		s.postgres = inboxtest.StartPostgres(t)
		inboxArgs = s.withInbox(s.postgres.URL())
	}
	for range 2 {
		s.gates = append(s.gates, newProcess(t, built(t, "noted-gateway"), func(addr, _ string) []string {
			return append([]string{
				"-listen",
				addr,
				"-admin-listen",
				"off",
				"-noted",
				s.noted.addr,
				"-ledger",
				"paypal-live",
				"-accounts",
				account,
				"-ipn-verify-url",
				s.payPal.verifier.URL,
				"-webhook-id",
				webhookID,
				"-webhook-cert-host",
				s.payPal.certHost(),
				"-webhook-cert-roots",
				roots,
				"-forward-to",
				forwardTo,
				"-forward-secret-file",
				secretFile,
				"-forward-timeout",
				"1s",
				"-hold",
				"3s",
			}, inboxArgs...)
		}))
	}
	for _, p := range append([]*process{s.noted}, s.gates...) {
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// withInbox gives the gateways an inbox, and the storm a look into it.
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

// write writes the messages, and the events that must come of them.
func (s *storm) write() {
	day := 24 * time.Hour
	expect := func(kind, series string, at time.Time) {
		when := ""
		if !at.IsZero() {
			when = at.UTC().Format(time.RFC3339)
		}
		s.want["noted.donation."+kind+"|"+series+"|"+when] = true
	}
	// PayPal's ids agree across the channels, or they do not. In a ledger where some did and
	// others did not, Noted would learn that they agree and take the others for two donations.
	own := s.into == "http" || s.into == "sqlite"
	for i := range 40 { // monthly series, each with two payments
		for month := range 2 {
			g := payment(fmt.Sprintf("I-MONTHLY%02d", i))
			g.at = time.Now().Add(-time.Duration(month)*30*day - time.Minute)
			g.ipnTxn = fmt.Sprintf("%sT%d", g.series, month)
			g.saleID = g.ipnTxn
			if own {
				g.saleID += "W"
			}
			g.eventID += g.ipnTxn
			s.letters = append(s.letters, s.payPal.ipn(g.fields()), s.payPal.webhook(g.event()))
			expect("payment", g.series, g.at)
		}
	}
	for i := range 10 { // a first payment in disguise: two donations in one IPN, and the signup by webhook too
		g := payment(fmt.Sprintf("I-SIGNUP%02d", i))
		fields := g.fields()
		for name, value := range map[string]string{
			"txn_type": "recurring_payment_profile_created", "initial_payment_txn_id": g.ipnTxn,
			"initial_payment_status": "Completed",
			"initial_payment_amount": "5.00", "currency_code": "EUR",
			"time_created": pacific(g.at),
		} {
			fields.Set(name, value)
		}
		s.letters = append(
			s.letters,
			s.payPal.ipn(fields),
			s.payPal.webhook(
				fmt.Sprintf(
					`{"id":"WH-A%s","event_type":"BILLING.SUBSCRIPTION.ACTIVATED","resource":{"id":%q}}`,
					g.series,
					g.series,
				),
			),
		)
		expect("signup", g.series, time.Time{})
		expect("payment", g.series, g.at)
	}
	for i := range 10 { // refunds
		g := payment(fmt.Sprintf("9SALE%02d", i))
		fields := g.fields()
		for name, value := range map[string]string{"txn_type": "", "payment_status": "Refunded", "parent_txn_id": g.series, "mc_gross": "-25.00"} {
			fields.Set(name, value)
		}
		s.letters = append(
			s.letters,
			s.payPal.ipn(fields),
			s.payPal.webhook(
				fmt.Sprintf(
					`{"id":"WH-R%s","event_type":"PAYMENT.SALE.REFUNDED","resource":{"id":%q,"sale_id":%q,"create_time":%q,"amount":{"total":"-25.00","currency":"EUR"}}}`,
					g.series,
					g.saleID,
					g.series,
					g.at.UTC().Format(time.RFC3339),
				),
			),
		)
		expect("refund", g.saleID, g.at)
	}
	for i := range 4 { // a dispute about two payments, and a payment that is too old for Noted
		one, other := fmt.Sprintf("9DISPUTED%02dA", i), fmt.Sprintf("9DISPUTED%02dB", i)
		s.letters = append(s.letters, s.payPal.webhook(fmt.Sprintf(
			`{"id":"WH-D%d","event_type":"CUSTOMER.DISPUTE.CREATED","resource":{"dispute_id":"PP-D-%d","disputed_transactions":[{"seller_transaction_id":%q},{"seller_transaction_id":%q}]}}`,
			i,
			i,
			one,
			other,
		)))
		expect("dispute", one, time.Time{})
		expect("dispute", other, time.Time{})
		g := payment(fmt.Sprintf("I-OLD%02d", i))
		g.at = time.Now().Add(-60 * day)
		s.letters = append(s.letters, s.payPal.ipn(g.fields()), s.payPal.webhook(g.event()))
		s.want["noted.undecided|ipn|"+g.series], s.want["noted.undecided|webhook|"+g.series] = true, true
		s.forged = append(
			s.forged,
			s.payPal.ipn(payment("I-FORGED").fields()).flipped("25.00"),
			s.payPal.webhook(payment("I-FORGED").event()).flipped("25.00"),
		)
	}
	for _, i := range s.random.Perm(len(s.letters))[:len(s.letters)/3] { // repeats, of which PayPal marks some
		again := s.letters[i]
		if again.channel == "ipn" && i%2 == 0 {
			again.body = append([]byte("resend=true&"), again.body...)
			s.payPal.sent[string(again.body)] = true
		}
		s.letters = append(s.letters, again)
	}
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
	s.payPal.disturb(func(w http.ResponseWriter, r *http.Request) bool {
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
	s.shop.linger = func(ctx context.Context) { wait(ctx, s.between(0, 150*time.Millisecond)) }
	s.shop.refusing(func(w http.ResponseWriter, r *http.Request, _ event.Event) bool {
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
			s.t.Errorf("a message was never taken: %s %s", d.channel, d.body)
		})
	}
	for _, d := range s.forged {
		all.Go(func() {
			for range 3 {
				if wait(ctx, s.between(0, 3*time.Second)) && s.post(d, false) && s.box == nil {
					s.t.Errorf("a forgery was taken: %s", d.body)
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
	s.payPal.disturb(nil)
	s.shop.refusing(nil)
	if s.box != nil {
		drained(s.t, s.box)
	}
	before := s.arrived()
	for i, d := range s.letters { // all are known now, to both gateways
		if status, reason, err := deliver("http://"+s.gates[i%2].addr, d); status != http.StatusOK {
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

// post delivers a message to one of the gateways, as a load balancer does, and says
// whether it was taken.
func (s *storm) post(d delivery, genuine bool) bool {
	s.mu.Lock()
	s.tries++
	gate := s.gates[s.random.IntN(len(s.gates))].addr
	s.mu.Unlock()
	status, reason, err := deliver("http://"+gate, d)
	if err == nil && status != http.StatusOK && status != http.StatusServiceUnavailable && genuine {
		s.t.Errorf("a genuine %s was refused: %d %s", d.channel, status, reason)
	}
	if err == nil && status != http.StatusOK && genuine && s.into == "sqlite" { // whose database is never away
		s.t.Errorf("a genuine %s was answered %d %s, and it could be kept", d.channel, status, reason)
	}
	return err == nil && status == http.StatusOK
}

// rage does to the machines each thing that may happen, at least once.
func (s *storm) rage(ctx context.Context) {
	again := func(p *process, signal syscall.Signal) func() {
		return func() {
			p.end(signal)
			wait(ctx, s.between(50*time.Millisecond, 500*time.Millisecond))
			if err := p.start(); err != nil {
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
		again(s.noted, kill),
		again(s.noted, stop),
		func() { // Redis is stopped for seconds
			s.redis.end(stop)
			wait(ctx, s.between(1500*time.Millisecond, 2500*time.Millisecond))
			if err := s.redis.start(); err != nil {
				s.t.Error(err)
			}
		},
		func() { // Redis hangs
			s.redis.signal(syscall.SIGSTOP)
			wait(ctx, s.between(500*time.Millisecond, 1500*time.Millisecond))
			s.redis.signal(syscall.SIGCONT)
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
		return s.shop.got()
	}
	store := redis.NewClient(&redis.Options{Addr: s.redis.addr, DB: 1})
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
			s.t.Errorf("%s has arrived, and nobody has given it", name)
		}
	}
	noted := must(client.New(s.noted.addr, client.Config{}))
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
	for _, p := range append([]*process{s.noted}, s.gates...) {
		text, _ := os.ReadFile(p.log)
		s.t.Logf("%s:\n%s", p.path, text[max(0, len(text)-4000):])
	}
}
