package paypaltest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// Books are those of a downstream: every donation should be in them once. A donation id
// that is in them is not booked again.
type Books struct {
	Repeats int // donations that came again under their id, which did no harm

	events []store.Event  // of each donation
	booked []int          // how often each is in the books
	under  map[string]int // :: donation id → donation
}

// NewBooks are empty. They know which event each donation is.
func NewBooks(donations []store.Event) *Books {
	return &Books{events: donations, booked: make([]int, len(donations)), under: map[string]int{}}
}

// Book enters a donation; "" means that it has no id.
func (b *Books) Book(donation int, id string) {
	if id != "" {
		if _, there := b.under[id]; there {
			b.Repeats++
			return
		}
		b.under[id] = donation
	}
	b.booked[donation]++
}

// Wrongs returns the errors in the books, by event.
func (b *Books) Wrongs() ByEvent {
	wrongs := ByEvent{}
	for donation, n := range b.booked {
		w := Wrongs{}
		if n == 0 {
			w.Lost++
		} else {
			w.Doubled += n - 1
		}
		wrongs.Add(ByEvent{b.events[donation]: w})
	}
	return wrongs
}

// ByEvent are wrongs by the event of the donation.
type ByEvent map[store.Event]Wrongs

// Add adds up.
func (b ByEvent) Add(others ByEvent) {
	for event, w := range others {
		b[event] = b[event].Plus(w)
	}
}

// Sum adds up the wrong entries of the named events, or of all events.
func (b ByEvent) Sum(events ...store.Event) (sum Wrongs) {
	for event, w := range b {
		if len(events) == 0 || slices.Contains(events, event) {
			sum = sum.Plus(w)
		}
	}
	return sum
}

func (b ByEvent) String() string {
	var said []string
	for _, event := range slices.Sorted(maps.Keys(b)) {
		if b[event] != (Wrongs{}) {
			said = append(said, fmt.Sprintf("%s %v", EventName(event), b[event]))
		}
	}
	if said == nil {
		return Wrongs{}.String()
	}
	return strings.Join(said, "; ")
}

// Wrongs are the donations that are missing, and those that are there once more than they
// should.
type Wrongs struct{ Lost, Doubled int }

// Plus adds up.
func (w Wrongs) Plus(v Wrongs) Wrongs { return Wrongs{w.Lost + v.Lost, w.Doubled + v.Doubled} }

func (w Wrongs) String() string {
	switch {
	case w.Lost == 0 && w.Doubled == 0:
		return "0 and 0"
	case w.Lost == 0:
		return Thousands(w.Doubled) + " doubled"
	case w.Doubled == 0:
		return Thousands(w.Lost) + " lost"
	}
	return Thousands(w.Lost) + " lost, " + Thousands(w.Doubled) + " doubled"
}

// Thousands writes a number with commas.
func Thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", Thousands(n/1000), n%1000)
}
