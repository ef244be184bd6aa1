package paypaltest

import (
	"cmp"
	"container/heap"
	"fmt"
	"time"
)

// A World lets virtual time pass from event to event.
type World struct {
	Now    time.Duration // since Start
	events events
	made   int
}

type event struct {
	at   time.Duration
	made int // orders events of one time: the event made first happens first
	do   func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(e[i].at, e[j].at), e[i].made-e[j].made) < 0
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

// After calls do once d has passed.
func (w *World) After(d time.Duration, do func()) {
	w.made++
	heap.Push(&w.events, event{w.Now + max(d, 0), w.made, do})
}

func (w *World) run() {
	for len(w.events) > 0 {
		e := heap.Pop(&w.events).(event)
		w.Now = e.at
		e.do()
	}
}

// Receive handles one try of a message. It calls answer at most once, with true for 200;
// a receiver that has crashed may also stay silent.
type Receive func(m *Message, try string, f Fate, answer func(ok bool))

// Deliver lets PayPal send messages to a receiver until each has been answered 200 or
// PayPal gives it up. It returns how many were given up.
func Deliver(w *World, messages []*Message, fates Fates, to Receive) (tries, givenUp int) {
	var send func(m *Message, sending int, begun time.Duration, try int)
	send = func(m *Message, sending int, begun time.Duration, try int) {
		tries++
		open := true
		answer := func(ok bool) {
			switch {
			case !open: // PayPal waits no longer
			case ok:
				open = false
			case try+1 == len(m.schedule):
				open = false
				givenUp++
			default:
				open = false
				w.After(begun+m.schedule[try+1]-w.Now, func() { send(m, sending, begun, try+1) })
			}
		}
		w.After(patience, func() { answer(false) })
		to(m, fmt.Sprintf("%d-%d-%d", m.Number, sending, try), fates(m, sending, try), answer)
	}
	for _, m := range messages {
		for sending, at := range m.Sent {
			w.After(at, func() { send(m, sending, w.Now, 0) })
		}
	}
	w.run()
	return tries, givenUp
}
