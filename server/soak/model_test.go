package soak_test

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// An input is a call, and when it was made.
type input struct {
	call    string // note, exists, settle, release or extend
	payment int    // of which it is, in truth
	message int    // of a note and a look
	request string // of a note, or the one whose receipt this is
	attempt int32  // of the receipt
	receipt string
	hold    time.Duration
	called  time.Duration // since the history began
}

// An answer is a verdict, "done", the reason of a refusal that says something about the note, or one of these.
type answer string

const (
	done    answer = "done"
	none    answer = "none"    // a look has found no note
	unknown answer = "unknown" // it may have been done, or may still be
	notDone answer = "not done"
)

// An output is what was answered, and when.
type output struct {
	answer    answer
	id        string // of the donation
	attempt   int32
	state     state
	heldUntil time.Duration // since the history began; 0 where the note is not held
	receipt   string
	returned  time.Duration // likewise
}

type state string

const (
	held    state = "held"
	open    state = "open"
	settled state = "settled"
)

// slack is how far the store's milliseconds and ours may part: they are of one clock.
const slack = 20 * time.Millisecond

// A life is what the model knows of one payment's note: the contract's, and of time what a caller can know of it.
type life struct {
	state     state // "" where there is none; held until somebody has taken over, though the hold may have run out
	request   string
	attempt   int32
	low, high time.Duration // between these its hold runs out
	id        string        // "" until somebody was told
	receipt   string        // of request; likewise
}

const never = time.Duration(math.MaxInt64) - time.Hour

// lives is the contract. One payment has one note, so each payment's history stands for itself. A call whose outcome nobody was told may have been done or not.
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
			if o.id != cmp.Or(after.id, o.id) || o.attempt != after.attempt {
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
		return fmt.Sprintf("%s %s/%d hold %v → %s %s attempt %d until %v [%v, %v]", i.call, i.request, i.attempt, i.hold, o.answer, o.state, o.attempt, o.heldUntil, i.called, o.returned)
	},
	DescribeState: func(s any) string {
		l := s.(life)
		return fmt.Sprintf("%s by %s/%d until %v to %v", l.state, l.request, l.attempt, l.low, l.high)
	},
}).ToModel()

// mine tells whether a receipt is the one that counts.
func (l life) mine(in input) bool { return l.request == in.request && l.attempt == in.attempt }

// live tells whether the hold stands at some moment of a call, lapsed whether it has run out at one: both may be.
func (l life) live(in input) bool   { return l.state == held && in.called < l.high+slack }
func (l life) lapsed(o output) bool { return l.state == held && o.returned >= l.low-slack }
func (l life) within(o output) bool { return l.low-slack <= o.heldUntil && o.heldUntil <= l.high+slack }
func (l life) until(o output) life  { l.low, l.high = o.heldUntil, o.heldUntil; return l }
func anew(in input, o output) bool {
	return in.called+in.hold-slack <= o.heldUntil && o.heldUntil <= o.returned+in.hold+slack
}
func (l life) taken(in input) life { return life{held, in.request, l.attempt + 1, 0, 0, l.id, ""} }
func (l life) became(s state) life { l.state = s; return l }
func (l life) refused(in input) answer {
	switch {
	case l.state == settled:
		return "SETTLED_BY_ANOTHER"
	case l.state != "":
		return "HOLD_LOST"
	}
	return "NOTE_NOT_FOUND"
}

// step is what a call that was answered so has done; false where it cannot have been answered so.
func (l life) step(in input, o output) (life, bool) {
	switch in.call {
	case "note":
		return l.note(in, o)
	case "exists":
		switch o.answer {
		case none:
			return l, l.state == ""
		case done:
			return l.seen(in, o)
		}
		return l, false
	}
	if !l.mine(in) {
		return l, o.answer == l.refused(in)
	}
	switch in.call + " " + string(l.state) {
	case "settle held":
		return l.became(settled), o.answer == done && o.state == settled
	case "settle settled":
		return l, o.answer == done && o.state == settled
	case "release held":
		return l.became(open), o.answer == done && o.state == open
	case "release open":
		return l, o.answer == done && o.state == open
	case "extend held":
		return l.until(o), o.answer == done && o.state == held && anew(in, o)
	case "release settled", "extend settled":
		return l, o.answer == "ALREADY_SETTLED"
	case "settle open", "extend open":
		return l, o.answer == "HOLD_RELEASED"
	}
	return l, false
}

func (l life) note(in input, o output) (life, bool) {
	again := l.request == in.request
	switch o.answer {
	case "FIRST":
		switch {
		case l.state == settled:
			return l, again && o.state == settled
		case l.state == held && again:
			return l.until(o), o.state == held && (l.live(in) && l.within(o) || l.lapsed(o) && anew(in, o))
		case l.state == held && !l.lapsed(o): // somebody else's, and it stands
			return l, false
		}
		return l.taken(in).until(o), o.state == held && anew(in, o)
	case "HELD":
		return l.until(o), l.state == held && !again && l.live(in) && l.within(o)
	case "DUPLICATE":
		return l, l.state == settled && !again
	}
	return l, false
}

// seen is a note that a look has found.
func (l life) seen(in input, o output) (life, bool) {
	switch o.state {
	case settled:
		return l, l.state == settled
	case held:
		return l.until(o), l.live(in) && l.within(o)
	}
	return l, l.state == open || l.lapsed(o)
}

// perhaps is what a call whose outcome nobody was told has done, if anything.
func (l life) perhaps(in input) life {
	switch {
	case in.call == "note" && l.state == held && l.request == in.request:
		l.low, l.high = min(l.low, in.called+in.hold), never
	case in.call == "note" && l.state == held && in.called+patience+tooLate < l.low-slack: // a hold that stood for as long as the call could do something
	case in.call == "note" && l.state != settled:
		l = l.taken(in)
		l.low, l.high = in.called+in.hold, never
	case in.call == "settle" && l.state == held && l.mine(in):
		l.state = settled
	case in.call == "release" && l.state == held && l.mine(in):
		l.state = open
	case in.call == "extend" && l.state == held && l.mine(in):
		l.low, l.high = min(l.low, in.called+in.hold), never
	}
	return l
}
