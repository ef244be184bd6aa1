//go:build whole

// Package whole_test tests the whole system in the situation that it was made for: PayPal
// reports donations of legacy series as IPNs and as webhooks, and different programs in
// different languages receive them. All programs are real processes: public/receiver.php
// under php -S with several workers, the Python receiver in a WSGI server, the Node receiver
// in node:http, noted-gateway, noted with its gRPC and JSON doors, redis-server. Only
// PayPal's own hosts and the books, which count, are stand-ins.
//
//	php -S        ◀─ IPNs        ─▶ noted's JSON door ─▶ redis-server
//	WSGI server   ◀─ webhooks    ─▶ noted's gRPC door
//	node:http     ◀─ some of both ─▶ noted's gRPC door
//	noted-gateway ◀─ some of both
//
// # Design
//
// The test needs PHP, the Python library's virtual environment and the built Node library.
// It has a build tag, because go test ./... must not fail on a machine without them, and
// because a test that skips itself could be skipped everywhere without notice. make
// test-whole prepares them and runs the test. With the tag and without them it fails.
//
// The clocks are real. "Days apart" means that a message is posted after all others, and
// after a restart of all programs except Redis. Its date, and the date in a webhook's
// signature, are days ago. The tests of retention are in server/internal/store, where they
// can set the clock.
package whole_test

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
)

const (
	ledger    = "paypal-live"
	account   = paypaltest.Account
	webhookID = paypaltest.WebhookID
	secret    = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfgxx3NJZE="
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestMain(m *testing.M) { processtest.Main(m) }

// A failing run prints its seed. WHOLE_SEED=… plays the same story again, with other
// timings.
func TestWhole(t *testing.T) {
	python, nodeJS := prepared(t)
	processtest.Built(t, "noted") // builds all programs, before the time begins
	seed := must(strconv.ParseUint(cmp.Or(os.Getenv("WHOLE_SEED"), strconv.FormatUint(rand.Uint64(), 10)), 10, 64))
	t.Logf("WHOLE_SEED=%d", seed)
	ctx, cancel := context.WithTimeout(t.Context(), 55*time.Second)
	defer cancel()

	w := &whole{t: t, ctx: ctx, chance: newChance(seed)}
	w.payPal = newPayPal(t, w.chance)
	w.books = newBooks(t, w.chance)
	w.story = newStory(rand.New(rand.NewPCG(seed, 2)), w.payPal)
	w.start(python, nodeJS)

	began := time.Now()
	w.play(w.story.days[0])
	for _, p := range w.processes[1:] { // all except Redis
		w.again(p)
	}
	w.play(w.story.days[1])
	if !t.Failed() {
		w.check()
	}
	if !t.Failed() {
		w.knows()
	}
	if t.Failed() {
		w.tell()
	}
	t.Logf(
		"%d donations in %d messages, posted %d times, of which %d were told to come again; %v",
		len(w.story.want),
		w.story.messages,
		w.posts.Load(),
		w.later.Load(),
		time.Since(began).Round(time.Millisecond),
	)
}

type whole struct {
	t         testing.TB
	ctx       context.Context
	chance    *chance
	payPal    *paypaltest.PayPal
	books     *books
	story     *story
	noted     *processtest.Process
	door      string // noted's JSON door
	places    map[string]*processtest.Process
	processes []*processtest.Process

	posts, later, refused atomic.Int64
}

// prepared returns the Python of the library's virtual environment, and the Node of the
// Node library's tests.
func prepared(t testing.TB) (python, nodeJS string) {
	t.Helper()
	python = must(filepath.Abs("../python/.venv/bin/python"))
	nodeJS = must(filepath.Abs("../ts/.node/node_modules/node/bin/node")) // if the machine's own Node is too old
	if _, err := os.Stat(nodeJS); err != nil {
		nodeJS = "node"
	}
	for what, command := range map[string][]string{
		"PHP with curl": {"php", "-r", "exit(extension_loaded('curl') ? 0 : 1);"},
		"the Python library in client/python/.venv": {python, "-c", "import noted.v1.noted_pb2, noted.receiver, cryptography"},
		"the Node library in client/ts/dist":        {nodeJS, "--input-type=module", "-e", `import "../ts/dist/receiver/index.mjs"`},
		"redis-server":                              {"redis-server", "--version"},
	} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s is missing; run make test-whole, which prepares it: %v\n%s", what, err, output)
		}
	}
	return python, nodeJS
}

// start starts all programs.
func (w *whole) start(python, nodeJS string) {
	dir := w.t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			w.t.Fatal(err)
		}
		return path
	}
	roots, secretFile := file("roots.pem", string(w.payPal.PEM())), file("secret", secret+"\n")
	handler, receiver := must(filepath.Abs("handler.php")), must(filepath.Abs("receiver.py"))
	module := must(filepath.Abs("receiver.mjs"))

	redis := processtest.Redis(w.t)
	rpc, door := processtest.FreeAddress(), processtest.FreeAddress()
	w.door = "http://" + door
	w.noted = processtest.New(w.t, rpc, nil, processtest.Built(w.t, "noted"), "-redis", "redis://"+redis.Addr,
		"-listen", rpc, "-http-listen", door, "-admin-listen", "off", "-drain", "5s")

	at := map[string]string{}
	for _, place := range []string{php, wsgi, node, gate} {
		at[place] = processtest.FreeAddress()
	}
	w.places = map[string]*processtest.Process{
		php: processtest.New(w.t, at[php], []string{
			"PHP_CLI_SERVER_WORKERS=4",
			"NOTED_HANDLER=" + handler,
			"NOTED_URL=http://" + door,
			"NOTED_LEDGER=" + ledger,
			"NOTED_ACCOUNTS=" + account,
			"NOTED_IPN_VERIFY_URL=" + w.payPal.Verifier.URL,
			"BOOKS=" + w.books.URL + "/" + php,
		}, "php", "-S", at[php], must(filepath.Abs("../php/public/receiver.php"))),
		wsgi: processtest.New(w.t, at[wsgi], []string{
			"NOTED=" + rpc,
			"LEDGER=" + ledger,
			"WEBHOOK_ID=" + webhookID,
			"CERT_HOST=" + w.payPal.CertHost(),
			"CERT_ROOTS=" + roots,
			"BOOKS=" + w.books.URL + "/" + wsgi,
		}, python, receiver, processtest.Port(at[wsgi])),
		node: processtest.New(w.t, at[node], []string{
			"NOTED=" + rpc,
			"LEDGER=" + ledger,
			"ACCOUNT=" + account,
			"IPN_VERIFY_URL=" + w.payPal.Verifier.URL,
			"WEBHOOK_ID=" + webhookID,
			"CERT_HOST=" + w.payPal.CertHost(),
			"CERT_ROOTS=" + roots,
			"BOOKS=" + w.books.URL + "/" + node,
		}, nodeJS, module, processtest.Port(at[node])),
		gate: processtest.New(w.t, at[gate], nil, processtest.Built(w.t, "noted-gateway"),
			"-listen", at[gate], "-admin-listen", "off", "-noted", rpc, "-ledger", ledger,
			"-accounts", account, "-ipn-verify-url", w.payPal.Verifier.URL,
			"-webhook-id", webhookID, "-webhook-cert-host", w.payPal.CertHost(), "-webhook-cert-roots", roots,
			"-forward-to", w.books.URL+"/"+gate, "-forward-secret-file", secretFile),
	}
	w.processes = []*processtest.Process{redis, w.noted, w.places[php], w.places[wsgi], w.places[node], w.places[gate]}
	for _, p := range w.processes[1:] {
		if err := p.Start(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// again restarts a program.
func (w *whole) again(p *processtest.Process) {
	p.EndWithin(syscall.SIGTERM, 10*time.Second)
	if err := p.Start(); err != nil {
		w.t.Error(err)
	}
}

// play plays the scenes, several at a time.
func (w *whole) play(scenes []scene) {
	var all sync.WaitGroup
	atOnce := make(chan struct{}, 12)
	for _, s := range scenes {
		atOnce <- struct{}{}
		all.Go(func() {
			defer func() { <-atOnce }()
			for _, moment := range s {
				var now sync.WaitGroup
				for _, d := range moment {
					now.Go(func() { w.deliver(d) })
				}
				now.Wait()
			}
		})
	}
	all.Wait()
}

// deliver posts a message until the answer is 200, like PayPal, which waits longer between
// the tries.
func (w *whole) deliver(d delivery) {
	for before := "nothing"; ; {
		w.posts.Add(1)
		status, said, err := post(w.ctx, "http://"+w.places[d.place].Addr, d)
		switch {
		case err == nil && status == http.StatusOK:
			return
		case err != nil || status != http.StatusServiceUnavailable || w.ctx.Err() != nil:
			if w.t.Fail(); w.refused.Add(1) <= 10 { // further ones most likely have the same reason
				w.t.Errorf(
					"%s: a genuine %s was not taken: %d %s %v; before that: %s\n%s",
					d.place,
					d.Channel,
					status,
					said,
					err,
					before,
					d.Body,
				)
			}
			return
		}
		w.later.Add(1)
		before = said
		time.Sleep(w.chance.between(50*time.Millisecond, 250*time.Millisecond))
	}
}

// check compares the books and Noted's notes with the story.
func (w *whole) check() {
	entries := make(map[string][]entry) // :: name and event → how it was booked
	byPlace := make(map[string]int)
	ids := make(map[string]string) // :: donation id → name and event
	for _, e := range w.books.entries() {
		key := e.name + " " + e.Donation["event"]
		entries[key] = append(entries[key], e)
		byPlace[e.place]++
		if other, ok := ids[e.id]; ok && other != key {
			w.t.Errorf("%s and %s have the same donation id %s", key, other, e.id)
		}
		ids[e.id] = key
	}
	for key, want := range w.story.want {
		if got := entries[key]; len(got) != 1 {
			w.t.Errorf("%s is %d times in the books, want once: %v", key, len(got), got)
		} else if wrong := want.compare(got[0]); wrong != "" {
			w.t.Errorf("%s is in the books with a wrong %s: %v, want %+v", key, wrong, got[0], want)
		}
	}
	for key, got := range entries {
		if w.story.want[key] == nil {
			w.t.Errorf("%s is in the books and not in the story: %v", key, got)
		}
	}
	for place := range w.places {
		if byPlace[place] < len(w.story.want)/20 {
			w.t.Errorf(
				"%s booked %d donations of %d: this run says little of it",
				place,
				byPlace[place],
				len(w.story.want),
			)
		}
	}

	noted := must(client.New(w.noted.Addr, client.Config{}))
	defer noted.Close()
	notes := 0
	for note, err := range noted.List(w.ctx, &client.ListRequest{Ledger: ledger}) {
		if err != nil {
			w.t.Fatal(err)
		}
		notes++
		key := ids[note.GetDonationId()]
		if key == "" {
			w.t.Errorf("noted and not in the books: %v", note)
			continue
		}
		var channels []string
		for _, sighting := range note.GetSightings() {
			channels = append(channels, sighting.GetMessage().GetChannel())
		}
		slices.Sort(channels)
		if want := w.story.want[key].channels; note.GetState() != client.StateSettled || !slices.Equal(channels, want) {
			w.t.Errorf(
				"%s: got %v with sightings on %v, want it settled and seen on %v",
				key,
				note.GetState(),
				channels,
				want,
			)
		}
	}
	if notes != len(w.story.want) {
		w.t.Errorf("Noted holds %d notes, want %d", notes, len(w.story.want))
	}
	w.t.Logf("in the books by %v", byPlace)
}

// tell logs facts that may explain a failure.
func (w *whole) tell() {
	noted := must(client.New(w.noted.Addr, client.Config{}))
	defer noted.Close()
	for note, err := range noted.List(w.t.Context(), &client.ListRequest{Ledger: ledger}) {
		if err != nil {
			w.t.Errorf("listing the notes: %v", err)
			break
		}
		if note.GetState() != client.StateSettled {
			w.t.Logf("not settled: %v", note)
		}
	}
	for _, p := range w.processes {
		w.t.Logf("%s said last:\n%s", p.Addr, p.Said())
	}
}

// knows posts each message once more, to a place that did not get it before. Nothing may be
// booked.
func (w *whole) knows() {
	before := len(w.books.entries())
	var all []scene
	for _, d := range w.story.told {
		all = append(all, scene{{d.elsewhere()}})
	}
	w.play(all)
	if after := len(w.books.entries()); after != before {
		w.t.Errorf("the books have %d entries after each message came once more, and had %d before", after, before)
	}
}
