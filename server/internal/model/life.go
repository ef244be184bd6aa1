package model

import "github.com/donation-dedupe/noted/server/internal/store"

// Life is how a note lives, without time: whoever asks says whether the hold has run out.
// It is a value that can be compared, as a check of histories needs it.
type Life struct {
	State   store.State // 0: there is no note; held until somebody takes over, though the hold may have run out
	Request string      // that was answered FIRST last
	Attempt int
}

// Note is what a request that is taken for this donation changes, and its verdict. lapsed
// tells that the hold has run out.
func (l Life) Note(request string, hold, lapsed bool) (Life, store.Verdict) {
	again := l.Request == request && l.State != 0 && l.State != store.StateOpen
	switch {
	case again && l.State == store.StateHeld && lapsed && !hold:
		l.State = store.StateSettled
		return l, store.First
	case again:
		return l, store.First
	case l.State == store.StateSettled:
		return l, store.Duplicate
	case l.State == store.StateHeld && !lapsed:
		return l, store.Held
	}
	l.State, l.Request, l.Attempt = store.StateHeld, request, l.Attempt+1
	if !hold {
		l.State = store.StateSettled
	}
	return l, store.First
}

// Verb is what the holder of a receipt does.
type Verb string

// The verbs.
const (
	Settle  Verb = "settle"
	Release Verb = "release"
	Extend  Verb = "extend"
)

// Finish is what a receipt changes, or why it is refused. A hold that has run out is
// still the holder's until somebody takes over.
func (l Life) Finish(verb Verb, request string, attempt int) (Life, error) {
	switch mine := l.Request == request && l.Attempt == attempt; {
	case l.State == 0:
		return l, NotFound
	case !mine && l.State == store.StateSettled:
		return l, SettledByAnother
	case !mine:
		return l, HoldLost
	case l.State == store.StateOpen && verb != Release:
		return l, HoldReleased
	case l.State == store.StateSettled && verb != Settle:
		return l, AlreadySettled
	}
	switch verb {
	case Settle:
		l.State = store.StateSettled
	case Release:
		l.State = store.StateOpen
	}
	return l, nil
}
