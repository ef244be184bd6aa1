package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// servers is the number of Noteds that share a store.
const servers = 2

// A storm is one round.
type storm struct {
	t        *testing.T
	seed     uint64
	kind     kind
	length   time.Duration
	programs []string // of the releases of its Noteds
	count    int      // payments
	messages []*message

	redis   *redistest.Server // a lone Redis
	fleet   *redistest.Fleet  // or several
	noted   []*noted
	doors   []*way // to the Noteds
	back    *way   // to a Redis that is alone
	clients []notedv1.DedupeServiceClient
	callers string // the file

	history *history
	books   *books
	tries   atomic.Int64
	wrongs  atomic.Int64
	befell  []string // the faults so far
}

func newStorm(t *testing.T, seed uint64, k kind, length time.Duration) *storm {
	t.Logf("SOAK_SEED=%d", seed)
	s := &storm{
		t:       t,
		seed:    seed,
		kind:    k,
		length:  length,
		history: newHistory(),
		books:   newBooks(),
		callers: filepath.Join(t.TempDir(), "callers.json"),
	}
	for _, r := range k.releases {
		s.programs = append(s.programs, r.build(t))
	}
	s.count, s.messages = payments(seed, length)
	s.writeCallers(callersFile())
	args := append(k.start(s), "-callers", s.callers)
	if rand.New(rand.NewPCG(seed, 4)).
		IntN(2) ==
		0 { // then a Noted that wrongly notices a loss would refuse every call
		args = append(args, "-on-loss", "refuse")
	}
	for i := range servers {
		n := newNoted(t, s.programs[i%len(s.programs)], args...)
		door := newWay(t, seed, n.addr)
		s.noted, s.doors, s.clients = append(
			s.noted,
			n,
		), append(
			s.doors,
			door,
		), append(
			s.clients,
			connect(t, door.proxy.Addr()),
		)
	}
	for _, n := range s.noted {
		s.await(20*time.Second, "noted is ready", n.ready)
	}
	s.history.began = time.Now()
	return s
}

// run runs the storm, waits until PayPal has delivered everything, and checks all answers
// and the books.
func (s *storm) run() sums {
	end, cancel := context.WithTimeout(s.t.Context(), s.length+2*time.Minute)
	defer cancel()
	var all, raging sync.WaitGroup
	for _, m := range s.messages {
		for i, begin := range m.sent {
			all.Go(func() { s.deliver(end, m, 64*i, begin) })
		}
	}
	raging.Go(func() { s.rage(end) })
	all.Wait()
	raging.Wait()
	if !s.t.Failed() {
		s.onceMore(end)
	}
	s.history.check(s.t)
	s.compare(end)
	for i, n := range s.noted {
		for _, line := range n.troubles() {
			s.wrong("noted %d: %s", i, line)
		}
	}
	if s.t.Failed() {
		s.tell()
	}
	h := s.history
	total := sums{
		payments:  s.count,
		messages:  len(s.messages),
		tries:     int(s.tries.Load()),
		calls:     len(h.operations) + h.answers[notDone],
		first:     h.answers["FIRST"],
		held:      h.answers["HELD"],
		duplicate: h.answers["DUPLICATE"],
		unknown:   h.answers[unknown] + h.answers[notDone],
		again:     s.books.again,
		late:      s.books.late,
		faults:    len(s.befell),
	}
	total.lost, total.doubled = s.books.wrongs(s.count)
	s.t.Logf("%v; errors: %v", total, h.errors)
	return total
}

// deliver sends a message again and again until the answer is 200, as PayPal does, but
// faster.
func (s *storm) deliver(ctx context.Context, m *message, try int, begin time.Duration) {
	if !sleep(ctx, begin) {
		return
	}
	dice := rand.New(rand.NewPCG(s.seed, uint64(m.number)<<16|uint64(try)|1<<63))
	for pause := 150 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		s.tries.Add(1)
		if s.receive(ctx, m, try) {
			return
		}
		if try++; !sleep(ctx, pause/2+paypaltest.UpTo(dice, pause)) {
			s.wrong("message %d of payment %d was never answered 200", m.number, m.payment)
			return
		}
	}
}

// known checks that the donation of a message answered 200 is in the books.
func (s *storm) known(m *message, out output) {
	if ids := s.books.ids(m.payment); !slices.Contains(ids, out.id) {
		s.wrong(
			"message %d of payment %d is %s of donation %s, and the books have it as %q",
			m.number,
			m.payment,
			out.answer,
			out.id,
			ids,
		)
	}
}

// onceMore sends every message once more when all faults are over: no donation may be
// left to process.
func (s *storm) onceMore(ctx context.Context) {
	for _, m := range s.messages {
		in := input{
			call:    "note",
			payment: m.payment,
			message: m.number,
			request: fmt.Sprint("once-more-", m.number),
			hold:    time.Second,
		}
		out := s.ask(ctx, fate{server: m.number % servers, asks: 4}, in)
		if out.answer != "DUPLICATE" {
			s.wrong("message %d of payment %d once more: %s, want DUPLICATE", m.number, m.payment, out.answer)
			continue
		}
		s.known(m, out)
	}
}

// compare compares the books, and the listing of Noted, with the payments.
func (s *storm) compare(ctx context.Context) {
	s.t.Helper()
	for payment := range s.count {
		if ids := s.books.ids(payment); len(ids) != 1 {
			s.wrong("payment %d is in the books %d times, want once: %q", payment, len(ids), ids)
		}
	}
	for _, problem := range s.books.problems {
		s.wrong("%s", problem)
	}
	told := map[string][]string{} // :: donation id → the messages that got it
	for _, m := range s.messages {
		for _, id := range s.books.ids(m.payment) {
			told[id] = append(told[id], m.message.Channel+" "+m.message.Id)
		}
	}
	listed := 0
	for page := ""; ; {
		answered, err := s.list(ctx, page)
		if err != nil {
			s.wrong("listing: %v", err)
			return
		}
		for _, note := range answered.Notes {
			listed++
			var seen []string
			for _, sighting := range note.Sightings {
				seen = append(seen, sighting.Message.Channel+" "+sighting.Message.Id)
			}
			want := told[note.DonationId]
			slices.Sort(seen)
			slices.Sort(want)
			if note.State != notedv1.State_STATE_SETTLED || !slices.Equal(seen, want) {
				s.wrong(
					"donation %s is %v and seen as %q, want it settled and seen as %q",
					note.DonationId,
					note.State,
					seen,
					want,
				)
			}
		}
		if page = answered.NextPageToken; page == "" {
			break
		}
	}
	if listed != s.count {
		s.wrong("%d notes are listed, want one of each of %d payments", listed, s.count)
	}
}

// wrong fails the test. One fault is likely to show a hundred times, so only the first
// few are printed.
func (s *storm) wrong(format string, args ...any) {
	s.t.Helper()
	if s.t.Fail(); s.wrongs.Add(1) <= 15 {
		s.t.Errorf(format, args...)
	}
}

// tell logs facts that may explain a failure.
func (s *storm) tell() {
	s.t.Logf("what befell it:\n%s", strings.Join(s.befell, "\n"))
	for i, n := range s.noted {
		s.t.Logf("noted %d said last:\n%s", i, n.said())
	}
	if s.fleet == nil {
		return
	}
	for _, node := range s.fleet.Nodes {
		s.t.Logf("%s says: %s", node.Addr(), node.Tell("INFO", "replication"))
	}
	for _, sentinel := range s.fleet.Sentinels {
		s.t.Logf("a sentinel says: %s", sentinel.Tell("SENTINEL", "MASTER", "noted"))
	}
}

func (s *storm) writeCallers(text string) {
	if err := os.WriteFile(s.callers+".new", []byte(text), 0o600); err != nil {
		s.t.Error(err)
	}
	if err := os.Rename(s.callers+".new", s.callers); err != nil {
		s.t.Error(err)
	}
}

// await waits for a condition, and fails the test if it does not come.
func (s *storm) await(limit time.Duration, what string, condition func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.wrong("after %v still not: %s", limit, what)
			return
		}
	}
}
