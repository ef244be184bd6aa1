package alive

import (
	"strconv"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The bars of a day stand on each other, as high as their numbers. No bar leaves the
// picture, at any numbers.
func TestPicture(t *testing.T) {
	lane := inbox.Lane{Ledger: "live", Channel: "ipn"}
	for most, scale := range map[int]string{1: "2", 7: "8", 9: "10", 10: "10", 11: "20", 4_100: "6k", 1_000_000: "1M"} {
		c := Count{}
		for i := range DaysCounted {
			c.Days = append(c.Days, Day{time.Date(2026, 3, 1+i, 0, 0, 0, 0, time.UTC), map[inbox.Lane]map[string]int{}})
		}
		c.Days[3].Lanes[lane] = map[string]int{"FIRST": most / 2, "DUPLICATE": most - most/2}
		c.Days[13].Lanes[lane] = map[string]int{"HELD": 1, "": 0}
		all := c.Pictures()
		if len(all) != 1 || all[0].Lane != lane || all[0].Total != most+1 || len(all[0].Rows) != DaysCounted {
			t.Fatalf("%d at most: %+v", most, all)
		}
		p := all[0]
		if r := p.Rows[0]; r.Held != 1 || r.total() != 1 || !r.Day.Equal(c.Days[13].Begin) {
			t.Errorf("the newest day is %+v", r)
		}
		if top := p.Labels[2].Text; top != scale {
			t.Errorf("%d at most: the scale ends at %s, want %s", most, top, scale)
		}
		bottom := map[string]float64{} // of the next bar, by the place of its day
		for _, b := range p.Bars {
			x, y, w, h := number64(t, b.X), number64(t, b.Y), number64(t, b.W), number64(t, b.H)
			if x < left || x+w > width-right || y < top-0.1 || y+h > height-low+0.6 || h <= 0 {
				t.Errorf("%d at most: the bar %+v leaves the picture", most, b)
			}
			if stands, ok := bottom[b.X]; ok && (y+h > stands+0.2 || y+h < stands-0.2) {
				t.Errorf("%d at most: the bar %+v does not stand on the one below, which ends at %.1f", most, b, stands)
			}
			bottom[b.X] = y
		}
	}
}

func number64(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Shares of the donations within a bound, or beyond the last bound.
func TestSpread(t *testing.T) {
	var s Spread
	for _, apart := range []time.Duration{0, 10 * time.Second, 11 * time.Second, time.Hour, 25 * time.Hour} {
		s.add(apart)
	}
	if s.Total() != 5 || s != (Spread{2, 1, 0, 1, 0, 1}) {
		t.Errorf("the spread is %v", s)
	}
	for share, want := range map[float64]time.Duration{0.4: 10 * time.Second, 0.5: time.Minute, 0.8: time.Hour, 0.9: 0} {
		if got := s.Within(share); got != want {
			t.Errorf("%v of them came within %v, want %v", share, got, want)
		}
	}
}

// A server's words about a loss are parsed, whatever comes before them.
func TestLoss(t *testing.T) {
	const health = "ok (new donations may be refused: it is full) (since 2026-03-01T10:00:00Z: the store had no mark; " +
		"its epoch is now abc; find out what is lost, note it again, then POST /acknowledge?epoch=abc to " +
		"-admin-listen of every server, and start them with -epoch abc from now on)\n"
	if what, epoch := loss(health); what != "the store had no mark; its epoch is now abc (since 2026-03-01T10:00:00Z)" ||
		epoch != "abc" {
		t.Errorf("the loss is %q, epoch %q", what, epoch)
	}
	if what, epoch := loss("ok\n"); what != "" || epoch != "" {
		t.Errorf("without a loss: %q, epoch %q", what, epoch)
	}
}

// A clock is right, ahead or behind.
func TestClock(t *testing.T) {
	for off, want := range map[time.Duration]string{
		99 * time.Millisecond: "right", -time.Millisecond: "right", 2 * time.Second: "2s ahead", -time.Minute: "1m0s behind",
	} {
		if got := (View{ClockOffset: off}).Clock(); got != want {
			t.Errorf("%v off is %q, want %q", off, got, want)
		}
	}
}
