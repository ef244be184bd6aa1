package soak_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// books are those of a downstream system. It uses the donation id as the idempotency key,
// and refuses writers with an earlier attempt.
type books struct {
	mu       sync.Mutex
	booked   map[int]map[string]bool // :: payment → the donation ids under which it is in the books
	payment  map[string]int          // :: donation id → payment
	attempt  map[string]int32        // :: donation id → the highest attempt so far
	worker   map[string]string       // :: donation id and attempt → the request that got FIRST
	again    int                     // donations processed once more under their id, which does no harm
	late     int                     // refused writers
	problems []string
}

func newBooks() *books {
	return &books{
		booked:  map[int]map[string]bool{},
		payment: map[string]int{},
		attempt: map[string]int32{},
		worker:  map[string]string{},
	}
}

// book enters a payment, and tells whether its writer may go on.
func (b *books) book(payment int, id string, attempt int32, request string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if other, there := b.payment[id]; there && other != payment {
		b.problems = append(b.problems, fmt.Sprintf("payments %d and %d have the donation id %s", other, payment, id))
	}
	if other, there := b.worker[fmt.Sprint(id, attempt)]; there && other != request {
		b.problems = append(
			b.problems,
			fmt.Sprintf(
				"payment %d was FIRST at attempt %d for the requests %s and %s",
				payment,
				attempt,
				other,
				request,
			),
		)
	}
	b.worker[fmt.Sprint(id, attempt)] = request
	if attempt < b.attempt[id] {
		b.late++
		return false
	}
	if b.payment[id], b.attempt[id] = payment, attempt; b.booked[payment] == nil {
		b.booked[payment] = map[string]bool{}
	}
	if b.booked[payment][id] {
		b.again++
	}
	b.booked[payment][id] = true
	return true
}

// wrongs returns how many payments are missing from the books, and how many entries are
// there too often.
func (b *books) wrongs(payments int) (lost, doubled int) {
	for payment := range payments {
		switch n := len(b.ids(payment)); n {
		case 0:
			lost++
		default:
			doubled += n - 1
		}
	}
	return lost, doubled
}

// ids are the donation ids under which a payment is in the books.
func (b *books) ids(payment int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.booked[payment]))
}

// A history is every answer of a storm.
type history struct {
	began      time.Time
	mu         sync.Mutex
	operations []porcupine.Operation
	answers    map[answer]int
	errors     map[string]int // by reason, or by code where a connection broke
}

func newHistory() *history {
	return &history{began: time.Now(), answers: map[answer]int{}, errors: map[string]int{}}
}

// tooLate is how long after its caller's deadline a call may still have an effect: a
// server counts the deadline from the call's arrival.
const tooLate = 2 * time.Second

// add records a call. It leaves out a call that was not done. A call with an unknown
// outcome may still have an effect for a while.
func (h *history) add(in input, out output) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[out.answer]++
	returned := out.returned.Nanoseconds()
	switch out.answer {
	case notDone:
		return
	case unknown:
		returned = (in.called + patience + tooLate).Nanoseconds()
	}
	h.operations = append(
		h.operations,
		porcupine.Operation{Input: in, Call: in.called.Nanoseconds(), Output: out, Return: returned},
	)
}

func (h *history) failed(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errors[why]++
}

// check fails the test unless the answers are possible if each call took effect at one
// moment between its beginning and its end.
func (h *history) check(t *testing.T) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(lives, h.operations, 2*time.Minute)
	if result == porcupine.Ok {
		return
	}
	for _, part := range lives.Partition(h.operations) { // one failed payment is enough
		if porcupine.CheckOperationsTimeout(lives, part, 10*time.Second) == porcupine.Ok {
			continue
		}
		for _, o := range part {
			t.Log(lives.DescribeOperation(o.Input, o.Output))
		}
		break
	}
	path := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(lives, info, path); err != nil {
		t.Error(err)
	}
	t.Errorf(
		"the history of %d calls is %s; the calls above are of one payment, and %s shows all (kept with go test "+
			"-artifacts)",
		len(h.operations),
		result,
		path,
	)
}

// sums are the figures of one round, or of all.
type sums struct {
	payments, messages, tries, calls, first, held, duplicate, unknown, again, late, faults, lost, doubled int
}

func (s *sums) add(o sums) {
	s.payments += o.payments
	s.messages += o.messages
	s.tries += o.tries
	s.calls += o.calls
	s.first += o.first
	s.held += o.held
	s.duplicate += o.duplicate
	s.unknown += o.unknown
	s.again += o.again
	s.late += o.late
	s.faults += o.faults
	s.lost += o.lost
	s.doubled += o.doubled
}

func (s sums) String() string {
	return fmt.Sprintf(
		"%d payments in %d messages, tried %d times; %d faults; %d calls, of them %d FIRST, %d HELD, %d DUPLICATE, "+
			"%d without an answer; %d processed once more under their id, %d late writers refused; %d lost, %d doubled",
		s.payments,
		s.messages,
		s.tries,
		s.faults,
		s.calls,
		s.first,
		s.held,
		s.duplicate,
		s.unknown,
		s.again,
		s.late,
		s.lost,
		s.doubled,
	)
}
