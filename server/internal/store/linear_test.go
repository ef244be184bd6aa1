package store_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestLinearizable lets several callers note, settle, release, extend and look at a few
// donations over connections that break. All answers together must be possible if each
// call took effect at one moment.
func TestLinearizable(t *testing.T) {
	server := redistest.Start(t)
	const rounds = 12
	for round := range rounds {
		seed := rand.Uint64()
		history := trouble(t, server.Addr(), seed)
		result, info := porcupine.CheckOperationsVerbose(lives, history, 30*time.Second)
		if result == porcupine.Ok {
			continue
		}
		path := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(lives, info, path); err != nil {
			t.Error(err)
		}
		t.Fatalf(
			"round %d, seed %d: the history of %d calls is %s; %s shows it (kept with go test -artifacts)",
			round,
			seed,
			len(history),
			result,
			path,
		)
	}
}

// The trouble of a round: the number of callers and calls, and how often a connection
// breaks.
const (
	callers      = 5
	donations    = 6
	callsEach    = 60
	cutsRequest  = 0.05
	cutsReply    = 0.10
	delaysUpTo   = 3 * time.Millisecond
	holdsForLong = time.Hour // no hold runs out: time is not in the model
)

// trouble makes a history of calls.
func trouble(t *testing.T, redis string, seed uint64) []porcupine.Operation {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 0))
	through := redistest.StartProxy(t, redis, func(request []byte) redistest.Disturbance {
		mu.Lock()
		defer mu.Unlock()
		d := redistest.Disturbance{Delay: time.Duration(dice.Int64N(int64(delaysUpTo)))}
		if isScript(request) {
			x := dice.Float64()
			d.DropRequest, d.DropReply = x < cutsRequest, cutsRequest <= x && x < cutsRequest+cutsReply
		}
		return d
	})
	s := open(t, "standalone", through.URL())
	h := &history{began: time.Now()}
	var all sync.WaitGroup
	for i := range callers {
		c := &caller{
			t:        t,
			store:    s,
			history:  h,
			number:   i,
			seed:     seed,
			dice:     rand.New(rand.NewPCG(seed, uint64(i)+1)),
			receipts: map[string][]input{},
		}
		all.Go(func() {
			for range callsEach {
				c.step()
			}
		})
	}
	all.Wait()
	return h.operations
}

func isScript(request []byte) bool {
	return bytes.Contains(request, []byte("\nevalsha\r")) || bytes.Contains(request, []byte("\neval\r"))
}

// A caller makes one call at a time, and repeats it while the outcome is unknown.
type caller struct {
	t        *testing.T
	store    *store.Store
	history  *history
	number   int
	seed     uint64
	dice     *rand.Rand
	requests int
	last     input              // the last note, which may be repeated much later
	receipts map[string][]input // :: series → its receipts, as inputs of settle
}

func (c *caller) step() {
	series := fmt.Sprintf("I-%x-%d", c.seed, c.dice.IntN(donations))
	held := c.receipts[series]
	switch x := c.dice.IntN(100); {
	case x < 10:
		c.do(input{call: "exists", series: series})
	case x < 15 && c.last.call != "":
		c.do(c.last)
	case x < 75 && len(held) > 0:
		in := held[c.dice.IntN(len(held))]
		in.call = []string{"settle", "release", "release", "release", "extend", "extend"}[c.dice.IntN(6)]
		c.do(in)
	default:
		c.requests++
		c.last = input{
			call:    "note",
			series:  series,
			request: fmt.Sprintf("%d-%d", c.number, c.requests),
			hold:    holdsForLong,
			message: c.dice.IntN(2),
		}
		if c.dice.IntN(20) == 0 {
			c.last.hold = 0
		}
		c.do(c.last)
	}
}

// do makes a call, again and again until its outcome is known, at most five times.
func (c *caller) do(in input) {
	for range 5 {
		called := time.Since(c.history.began)
		out := c.call(in)
		c.history.add(c.number, in, called, out)
		if out.receipt != "" {
			in := input{series: in.series, request: in.request, attempt: out.attempt, receipt: out.receipt}
			c.receipts[in.series] = append(c.receipts[in.series], in)
		}
		if out.answer != unknown && out.answer != "unavailable" {
			return
		}
	}
}

func (c *caller) call(in input) output {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d := store.Donation{
		Ledger:       "linear",
		SeriesID:     in.series,
		Event:        1,
		OccurredAt:   c.history.began,
		Amount:       "25.00",
		CurrencyCode: "USD",
	}
	m := []store.Message{ipn, webhook}[in.message]
	var n store.Note
	var err error
	out := output{answer: "done"}
	switch in.call {
	case "note":
		var reply store.NoteReply
		reply, err = c.store.Note(
			ctx,
			store.NoteRequest{Donation: d, Message: m, Hold: in.hold, RequestID: in.request, Rules: defaultRules},
		)
		n = reply.Note
		out.answer, out.receipt = answerOf[reply.Verdict], reply.Receipt
	case "exists":
		var reply store.ExistsReply
		reply, err = c.store.Exists(ctx, d, m, defaultRules)
		n = reply.Note
	case "settle":
		n, err = c.store.Settle(ctx, in.receipt)
	case "release":
		n, err = c.store.Release(ctx, in.receipt)
	case "extend":
		n, err = c.store.Extend(ctx, in.receipt, holdsForLong)
	}
	if err != nil {
		return output{answer: c.failed(in, err)}
	}
	out.id, out.attempt, out.state = n.DonationID, n.Attempt, n.State
	return out
}

func (c *caller) failed(in input, err error) answer {
	for _, known := range []error{
		store.ErrHoldLost, store.ErrHoldReleased, store.ErrSettledByAnother, store.ErrAlreadySettled,
	} {
		if errors.Is(err, known) {
			return answer(known.Error())
		}
	}
	switch {
	case errors.Is(err, store.ErrOutcomeUnknown) && in.call != "exists":
		return unknown
	case errors.Is(err, store.ErrUnavailable):
		return "unavailable"
	}
	c.t.Errorf("%v: %v", in, err)
	return unknown
}

// A history is the calls of all callers, and their answers.
type history struct {
	began      time.Time
	mu         sync.Mutex
	operations []porcupine.Operation
}

// add records a call. A call with an unknown outcome may take effect at any later time,
// or never. A call that did nothing is left out.
func (h *history) add(caller int, in input, called time.Duration, out output) {
	returned := time.Since(h.began).Nanoseconds()
	switch out.answer {
	case "unavailable":
		return
	case unknown:
		returned = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(
		h.operations,
		porcupine.Operation{ClientId: caller, Input: in, Call: called.Nanoseconds(), Output: out, Return: returned},
	)
}

type input struct {
	call, series string
	request      string // of a note, or of the receipt
	hold         time.Duration
	message      int
	attempt      int
	receipt      string
}

type answer string

const unknown answer = "unknown"

type output struct {
	answer  answer
	id      string
	attempt int
	state   store.State
	receipt string
}

// A life is the state of a donation, with the parts that callers have learned.
type life struct {
	model.Life
	id      string // "" until a caller has learned it
	receipt string // of the request that was answered FIRST last; likewise
}

// lives is the contract for one donation, as long as no hold runs out.
var lives = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		bySeries := map[string][]porcupine.Operation{}
		for _, o := range history {
			series := o.Input.(input).series
			bySeries[series] = append(bySeries[series], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range bySeries {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return life{} },
	Step: func(state, in, out any) (bool, any) {
		l, o := state.(life), out.(output)
		l, want := l.step(in.(input))
		if o.answer == unknown {
			return true, l
		}
		if o.answer != want {
			return false, l
		}
		if o.id == "" { // an error, or a look that found no note
			return l.State == 0 || want != "done", l
		}
		if o.id != cmp.Or(l.id, o.id) || o.attempt != l.Attempt || o.state != l.State {
			return false, l
		}
		l.id = o.id
		if o.receipt != "" {
			if o.receipt != cmp.Or(l.receipt, o.receipt) {
				return false, l
			}
			l.receipt = o.receipt
		}
		return true, l
	},
	DescribeOperation: func(in, out any) string {
		i, o := in.(input), out.(output)
		return fmt.Sprintf("%s %s/%d → %s %d", i.call, i.request, i.attempt, o.answer, o.attempt)
	},
	DescribeState: func(state any) string {
		l := state.(life)
		return fmt.Sprintf("%s by %s/%d", [...]string{"none", "held", "open", "settled"}[l.State], l.Request, l.Attempt)
	},
}

// step is the effect of a call, and its answer.
func (l life) step(in input) (life, answer) {
	attempt := l.Attempt
	switch in.call {
	case "exists":
		return l, "done"
	case "note":
		var verdict store.Verdict
		if l.Life, verdict = l.Note(in.request, in.hold > 0, false); l.Attempt > attempt {
			l.receipt = ""
		}
		return l, answerOf[verdict]
	}
	after, err := l.Finish(model.Verb(in.call), in.request, in.attempt)
	if err != nil {
		return l, answer(storeError(err).Error())
	}
	l.Life = after
	return l, "done"
}

var answerOf = map[store.Verdict]answer{store.First: "FIRST", store.Duplicate: "DUPLICATE", store.Held: "HELD"}
