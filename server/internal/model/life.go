package model

import "github.com/donation-dedupe/noted/server/internal/store"

// Life is the state of a note without time: the caller says whether the hold has run out.
// It is a comparable value, as a check of histories needs.
type Life struct {
	State   store.State // 0: there is no note; held until another request takes over, though the hold may have run out
	Request string      // that was answered FIRST last
	Attempt int
}

// Note is the effect of a request for this donation, and its verdict. lapsed tells that
// the hold has run out.
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

// Verb is an act of the holder of a receipt.
type Verb string

// The verbs.
const (
	Settle  Verb = "settle"
	Release Verb = "release"
	Extend  Verb = "extend"
)

// Finish is the effect of a receipt, or the reason of its refusal. A hold that has run
// out still belongs to its holder until another request takes over.
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
