package alive

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The size of a picture, in units that a phone shows as pixels.
const (
	width, height         = 340, 170
	left, right, top, low = 34, 4, 10, 24 // the space around the bars
)

// A Picture shows the verdicts of a lane, one bar a day. A template draws it. Each bar
// has the class of its verdict, so that the style sheet colours it in both themes.
type Picture struct {
	Lane          inbox.Lane
	Width, Height int
	Bars          []Bar
	Lines         []Line
	Labels        []Label
	Total         int
	Rows          []Row // the same numbers as a table, the newest day first
}

// A Bar is a rectangle.
type Bar struct {
	Class      string // first, duplicate, held or open
	X, Y, W, H string
}

// A Line is a horizontal line at a round number.
type Line struct{ X1, X2, Y string }

// A Label is a text in a picture.
type Label struct{ X, Y, Anchor, Text string }

// A Row is a day of a picture in numbers.
type Row struct {
	Day                          time.Time
	First, Duplicate, Held, Open int
}

// order is the order of the parts of a bar, the lowest first.
var order = []string{"first", "duplicate", "held", "open"}

func (r Row) parts() []int { return []int{r.First, r.Duplicate, r.Held, r.Open} }

func (r Row) total() int { return r.First + r.Duplicate + r.Held + r.Open }

// Pictures draws each lane of a count.
func (c *Count) Pictures() (all []Picture) {
	var lanes []inbox.Lane
	for _, day := range c.Days {
		for lane := range day.Lanes {
			if !slices.Contains(lanes, lane) {
				lanes = append(lanes, lane)
			}
		}
	}
	slices.SortFunc(lanes, func(a, b inbox.Lane) int {
		return cmp.Or(strings.Compare(a.Ledger, b.Ledger), strings.Compare(a.Channel, b.Channel))
	})
	for _, lane := range lanes {
		all = append(all, c.picture(lane))
	}
	return all
}

func (c *Count) picture(lane inbox.Lane) Picture {
	p := Picture{Lane: lane, Width: width, Height: height}
	most := 1
	for _, day := range c.Days {
		r := Row{Day: day.Begin}
		for verdict, n := range day.Lanes[lane] {
			switch verdict {
			case "FIRST":
				r.First += n
			case "DUPLICATE":
				r.Duplicate += n
			case "HELD":
				r.Held += n
			default:
				r.Open += n
			}
		}
		most = max(most, r.total())
		p.Total += r.total()
		p.Rows = append(p.Rows, r)
	}
	scale := roundUp(most)
	const high = height - top - low
	y := func(n int) float64 { return top + high*(1-float64(n)/float64(scale)) }
	for _, n := range []int{0, scale / 2, scale} {
		p.Lines = append(p.Lines, Line{units(left), units(width - right), units(y(n))})
		p.Labels = append(p.Labels, Label{units(left - 4), units(y(n) + 4), "end", short(n)})
	}
	step := float64(width-left-right) / float64(len(p.Rows))
	for i, r := range p.Rows {
		x, sum := left+step*(float64(i)+0.15), 0
		for k, n := range r.parts() {
			if n > 0 {
				p.Bars = append(p.Bars, Bar{
					order[k], units(x), units(y(sum + n)), units(step * 0.7), units(max(y(sum)-y(sum+n), 0.5)),
				})
			}
			sum += n
		}
		if (len(p.Rows)-1-i)%3 == 0 { // every third day, and today
			label := Label{units(x + step*0.35), units(height - 8), "middle", r.Day.Format("2 Jan")}
			if i == len(p.Rows)-1 {
				label.X, label.Anchor = units(width-right), "end"
			}
			p.Labels = append(p.Labels, label)
		}
	}
	slices.Reverse(p.Rows)
	return p
}

// roundUp returns the end of a scale: the next even digit followed by zeros.
func roundUp(n int) int {
	for unit := 1; ; unit *= 10 {
		for _, digit := range []int{2, 4, 6, 8, 10} {
			if n <= digit*unit {
				return digit * unit
			}
		}
	}
}

// short writes a number into the small space beside a scale.
func short(n int) string {
	switch {
	case n >= 1_000_000:
		return strconv.FormatFloat(float64(n)/1_000_000, 'f', -1, 64) + "M"
	case n >= 1000:
		return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) + "k"
	}
	return strconv.Itoa(n)
}

func units(n float64) string { return fmt.Sprintf("%.1f", n) }
