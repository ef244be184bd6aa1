package soak_test

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// An input is a call, and when it was made.
type input struct {
	call    string // note, exists, settle, release or extend
	payment int    // the payment that it is really about
	message int    // of a note and a look
	request string // of a note, or of the receipt
	attempt int32  // of the receipt
	receipt string
	hold    time.Duration
	called  time.Duration // since the history began
}

// An answer is a verdict, "done", the reason of a refusal that says something about the
// note, or one of these.
type answer string

const (
	done    answer = "done"
	none    answer = "none"    // a look found no note
	unknown answer = "unknown" // it may have taken effect, or may still do so
	notDone answer = "not done"
)

// An output is an answer, and when it came.
type output struct {
	answer    answer
	id        string // of the donation
	attempt   int32
	state     state
	heldUntil time.Duration // since the history began; 0 if the note is not held
	receipt   string
	returned  time.Duration // likewise
}

type state string

const (
	held    state = "held"
	open    state = "open"
	settled state = "settled"
)

// shown is a state of the model as the contract has it.
var shown = map[store.State]state{store.StateHeld: held, store.StateOpen: open, store.StateSettled: settled}

// slack is how far the milliseconds of the store and ours may differ; both come from one
// clock.
const slack = 20 * time.Millisecond

// A life is the state of one payment's note, as far as callers can know it.
type life struct {
	model.Life               // held until another request takes over, though the hold may have run out
	low, high  time.Duration // between these its hold runs out
	id         string        // "" until a caller has learned it
	receipt    string        // of the request that was answered FIRST last; likewise
}

const never = time.Duration(math.MaxInt64) - time.Hour

// lives is the contract. A payment has one note, so the history of each payment can be
// checked alone. A call with an unknown outcome may have been done or not.
var lives = (&porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byPayment := map[int][]porcupine.Operation{}
		for _, o := range history {
			payment := o.Input.(input).payment
			byPayment[payment] = append(byPayment[payment], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byPayment {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{life{}} },
	Step: func(state, in, out any) []any {
		l, o := state.(life), out.(output)
		if o.answer == unknown {
			if after := l.perhaps(in.(input)); after != l {
				return []any{l, after}
			}
			return []any{l}
		}
		after, ok := l.step(in.(input), o)
		if !ok {
			return nil
		}
		if o.id != "" {
			if o.id != cmp.Or(after.id, o.id) || int(o.attempt) != after.Attempt {
				return nil
			}
			after.id = o.id
		}
		if o.receipt != "" {
			if o.receipt != cmp.Or(after.receipt, o.receipt) {
				return nil
			}
			after.receipt = o.receipt
		}
		return []any{after}
	},
	DescribeOperation: func(in, out any) string {
		i, o := in.(input), out.(output)
		return fmt.Sprintf(
			"%s %s/%d hold %v → %s %s attempt %d until %v [%v, %v]", i.call, i.request, i.attempt, i.hold, o.answer,
			o.state, o.attempt, o.heldUntil, i.called, o.returned,
		)
	},
	DescribeState: func(s any) string {
		l := s.(life)
		return fmt.Sprintf("%s by %s/%d until %v to %v", shown[l.State], l.Request, l.Attempt, l.low, l.high)
	},
}).ToModel()

// live tells whether the hold can have stood at a moment of a call, lapsed whether it can
// have run out; both may be true.
func (l life) live(in input) bool { return l.State == store.StateHeld && in.called < l.high+slack }

func (l life) lapsed(o output) bool { return l.State == store.StateHeld && o.returned >= l.low-slack }

func (l life) within(o output) bool { return l.low-slack <= o.heldUntil && o.heldUntil <= l.high+slack }
func (l life) until(o output) life  { l.low, l.high = o.heldUntil, o.heldUntil; return l }
func anew(in input, o output) bool {
	return in.called+in.hold-slack <= o.heldUntil && o.heldUntil <= o.returned+in.hold+slack
}

// step is the effect of a call with this answer; false if the answer is impossible.
func (l life) step(in input, o output) (life, bool) {
	switch in.call {
	case "note":
		if l.State != store.StateHeld || l.live(in) {
			if after, ok := l.note(in, o, false); ok {
				return after, true
			}
		}
		if l.lapsed(o) {
			return l.note(in, o, true)
		}
		return l, false
	case "exists":
		switch o.answer {
		case none:
			return l, l.State == 0
		case done:
			return l.seen(in, o)
		}
		return l, false
	}
	after, err := l.finish(in)
	switch {
	case err == error(model.NotFound):
		return l, o.answer == "NOTE_NOT_FOUND"
	case err != nil:
		return l, o.answer == answer(err.Error())
	case in.call == "extend":
		return after.until(o), o.answer == done && o.state == held && anew(in, o)
	}
	return after, o.answer == done && o.state == shown[after.State]
}

func (l life) finish(in input) (life, error) {
	var err error
	l.Life, err = l.Finish(model.Verb(in.call), in.request, int(in.attempt))
	return l, err
}

var verdictName = map[store.Verdict]answer{store.First: "FIRST", store.Duplicate: "DUPLICATE", store.Held: "HELD"}

// note is the effect of a note on a hold that stands, or that has lapsed.
func (l life) note(in input, o output, lapsed bool) (life, bool) {
	next, verdict := l.Note(in.request, in.hold > 0, lapsed)
	after := life{next, l.low, l.high, l.id, l.receipt}
	taken := next.Attempt > l.Attempt
	if taken {
		after.receipt = ""
	}
	if o.answer != verdictName[verdict] {
		return l, false
	}
	switch {
	case verdict == store.Duplicate:
		return after, true
	case verdict == store.First && (taken || lapsed):
		return after.until(o), o.state == held && anew(in, o)
	case next.State == store.StateSettled:
		return after, o.state == settled
	}
	return after.until(o), o.state == held && l.within(o)
}

// seen is the effect of a look that has found the note.
func (l life) seen(in input, o output) (life, bool) {
	switch o.state {
	case settled:
		return l, l.State == store.StateSettled
	case held:
		return l.until(o), l.live(in) && l.within(o)
	}
	return l, l.State == store.StateOpen || l.lapsed(o)
}

// perhaps is the possible effect of a call with an unknown outcome.
func (l life) perhaps(in input) life {
	lasts := in.called + in.hold
	if in.call == "note" {
		// If it has not run out, it stood for as long as the call could have an effect.
		lapsed := l.State == store.StateHeld && in.called+patience+tooLate >= l.low-slack
		next, verdict := l.Note(in.request, in.hold > 0, lapsed)
		switch {
		case next.Attempt > l.Attempt:
			return life{next, lasts, never, l.id, ""}
		case verdict == store.First && l.State == store.StateHeld:
			l.low, l.high = min(l.low, lasts), never
		}
		return l
	}
	after, err := l.finish(in)
	if err == nil && in.call == "extend" {
		after.low, after.high = min(l.low, lasts), never
	}
	return after
}
