package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/terminal"
	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A report writes the findings of a replay. It writes one donation at a time and reads
// the donation's messages again for that.
type report struct {
	*replay
	out  terminal.Printer
	rows bool
}

// A count has a number for each name.
type count map[string]int

func (c count) total() (n int) {
	for _, of := range c {
		n += of
	}
	return n
}

// String writes the sum, then each count, the largest first: "7: same-transaction 5,
// paired 2". A single count is "5 paired".
func (c count) String() string {
	switch len(c) {
	case 0:
		return "0"
	case 1:
		for name, n := range c {
			return fmt.Sprintf("%d %s", n, name)
		}
	}
	return fmt.Sprintf("%d: %s", c.total(), c.list())
}

// list is the counts, the largest first: "same-transaction 5, paired 2".
func (c count) list() string {
	names := slices.SortedFunc(
		maps.Keys(c),
		func(a, b string) int { return cmp.Or(cmp.Compare(c[b], c[a]), cmp.Compare(a, b)) },
	)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, c[name])
	}
	return strings.Join(names, ", ")
}

// A told is a donation with its items, in the order of their arrival.
type told struct {
	items     []int32
	channels  []string // the channels of its messages
	evidence  count    // the evidence of its duplicates
	processed int      // how often the replaced design would process it
}

// donationsOf yields the donations of a window in the order of their first messages.
func (r *replay) donationsOf(window int, each func(told) error) error {
	answers := r.answers[window]
	next := make(
		[]int32,
		len(answers),
	) // :: an item → the next of the same donation; 0 for the last, since an item is never before the first
	for i := len(answers) - 1; i >= 0; i-- {
		if first := answers[i].first; first != undecided && int(first) != i {
			next[i], next[first] = next[first], int32(i)
		}
	}
	for i := range answers {
		if int(answers[i].first) != i {
			continue
		}
		t := told{evidence: count{}}
		for at, more := int32(i), true; more; at, more = next[at], next[at] != 0 {
			t.items = append(t.items, at)
			if channel := channels[r.past.arrivals[r.items[at].arrival].channel].name; !slices.Contains(
				t.channels,
				channel,
			) {
				t.channels = append(t.channels, channel)
			}
			if int(at) != i {
				t.evidence[evidenceName(answers[at].evidence)]++
			}
			if r.processed[at] {
				t.processed++
			}
		}
		slices.Sort(t.channels)
		if err := each(t); err != nil {
			return err
		}
	}
	return nil
}

func evidenceName(evidence client.Evidence) string {
	return terminal.Spoken(evidence.String(), "EVIDENCE_")
}

// sums are the totals of a replay.
type sums struct {
	from, to   time.Time // the first and the last message
	messages   count     // by channel
	donations  count     // by event
	duplicates count     // by evidence
	onlyOn     count     // donations with messages on one channel only, by channel
	undecided  int
	lost       count // by event
	doubled    count // by event
}

func newSums() *sums {
	return &sums{
		messages:   count{},
		donations:  count{},
		duplicates: count{},
		onlyOn:     count{},
		lost:       count{},
		doubled:    count{},
	}
}

func (s *sums) add(t told, event string) {
	s.donations[event]++
	for evidence, n := range t.evidence {
		s.duplicates[evidence] += n
	}
	if len(t.channels) == 1 {
		s.onlyOn[t.channels[0]]++
	}
	switch {
	case t.processed == 0:
		s.lost[event]++
	case t.processed > 1:
		s.doubled[event] += t.processed - 1
	}
}

// countMessages counts all messages, whatever their answers.
func (s *sums) countMessages(p *archive) {
	for i, m := range p.arrivals {
		s.messages[channels[m.channel].name]++
		if at := m.time(); i == 0 || at.Before(s.from) {
			s.from = at
		}
		if at := m.time(); i == 0 || at.After(s.to) {
			s.to = at
		}
	}
}

// donations writes a line for each donation, then the asides, then the sums.
func (r *report) donations() error {
	total := newSums()
	total.countMessages(r.past)
	headed := false
	err := r.donationsOf(0, func(t told) error {
		pair, err := r.pair(r.items[t.items[0]])
		if err != nil {
			return err
		}
		donation, _ := client.FromPayPal(pair, r.ledger(t.items[0]))
		total.add(t, terminal.EventName(terminal.EventOf(donation)))
		switch {
		case !r.rows:
			return nil
		case r.out.JSON:
			return r.jsonDonation(t, donation)
		case !headed:
			headed = true
			r.line("FIRST AT", "SERIES", "EVENT", "AMOUNT", "SEEN ON", "OLD DESIGN", "DUPLICATES")
		}
		r.line(
			localTime(r.at(r.items[t.items[0]])),
			donation.GetSeriesId(),
			terminal.EventName(terminal.EventOf(donation)),
			terminal.Amount(donation),
			seenOnly(t.channels),
			r.fate(t.processed),
			duplicates(t.evidence),
		)
		return nil
	})
	if err != nil {
		return err
	}
	if headed {
		fmt.Fprintln(r.out.Out)
	}
	for _, answer := range r.answers[0] {
		if answer.first == undecided {
			total.undecided++
		}
	}
	if r.out.JSON {
		return r.jsonEnd(total)
	}
	r.asides()
	return r.out.Facts(r.totals(total))
}

// line writes a donation in columns as wide as PayPal's ids, so that a line need not wait
// for the widths of later lines.
func (r *report) line(at, series, event, amount, seenOn, fate, duplicates string) {
	line := fmt.Sprintf(
		"%-24s  %-17s  %-15s  %12s  %-12s  %s  %s",
		at,
		series,
		event,
		amount,
		seenOn,
		pad(fate, 10),
		duplicates,
	)
	fmt.Fprintln(r.out.Out, strings.TrimRight(line, " "))
}

// pad fills a text up to a width on the screen, where colours have no width.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-text.StringWidthWithoutEscSequences(s)))
}

func localTime(nanoseconds int64) string {
	return terminal.Local(timestamppb.New(time.Unix(0, nanoseconds)))
}

func seenOnly(channels []string) string {
	if len(channels) == 1 {
		return channels[0] + " only"
	}
	return strings.Join(channels, " ")
}

// fate says how the replaced design would treat a donation.
func (r *report) fate(processed int) string {
	switch processed {
	case 0:
		return r.out.Paint(text.FgRed, "lost")
	case 1:
		return "once"
	case 2:
		return r.out.Paint(text.FgYellow, "twice")
	}
	return r.out.Paint(text.FgYellow, fmt.Sprintf("%d times", processed))
}

// duplicates lists the evidence of the other messages of a donation: "same-transaction, 2
// same-message".
func duplicates(evidence count) string {
	if len(evidence) == 0 {
		return "none"
	}
	var of []string
	for _, name := range slices.Sorted(maps.Keys(evidence)) {
		if n := evidence[name]; n > 1 {
			name = fmt.Sprintf("%d %s", n, name)
		}
		of = append(of, name)
	}
	return strings.Join(of, ", ")
}

// asideKinds are in the order in which a person should check them.
var asideKinds = []string{"undecided", "unknown", "malformed", "warning", "skipped"}

// asides writes one line for all messages with the same remark.
func (r *report) asides() {
	type group struct {
		channel string
		remark
	}
	counts, places := map[group]int{}, map[group]string{}
	var groups []group
	for _, a := range r.orderedAsides() {
		m := r.past.arrivals[a.arrival]
		g := group{channels[m.channel].name, a.remark.Value()}
		if counts[g]++; counts[g] == 1 {
			groups = append(groups, g)
			places[g] = r.past.place(m)
		}
	}
	slices.SortStableFunc(groups, func(a, b group) int {
		return cmp.Compare(slices.Index(asideKinds, a.kind), slices.Index(asideKinds, b.kind))
	})
	for _, g := range groups {
		what := g.channel
		if !strings.Contains(g.why, g.what) {
			what += " " + g.what
		}
		kind := pad(g.kind, 9)
		if g.kind != "skipped" && g.kind != "warning" {
			kind = r.out.Paint(text.FgYellow, kind)
		}
		place := places[g]
		if counts[g] > 1 {
			place += ", the first"
		}
		fmt.Fprintf(
			r.out.Out,
			"%s  %5d  %s: %s (%s)\n",
			kind,
			counts[g],
			terminal.Printable(what),
			terminal.Printable(g.why),
			terminal.Printable(place),
		)
	}
	if len(groups) > 0 {
		fmt.Fprintln(r.out.Out)
	}
}

// orderedAsides are the asides in the order of arrival.
func (r *report) orderedAsides() []aside {
	return slices.SortedFunc(slices.Values(r.aside), func(a, b aside) int {
		return cmp.Or(
			cmp.Compare(r.past.arrivals[a.arrival].at, r.past.arrivals[b.arrival].at),
			cmp.Compare(a.arrival, b.arrival),
			cmp.Compare(
				a.remark.Value().what,
				b.remark.Value().what,
			),
			cmp.Compare(a.remark.Value().why, b.remark.Value().why),
		)
	})
}

func (r *report) totals(s *sums) []terminal.Fact {
	messages := s.messages.String()
	if !s.from.IsZero() {
		messages += fmt.Sprintf(", from %s to %s", localTime(s.from.UnixNano()), localTime(s.to.UnixNano()))
	}
	facts := []terminal.Fact{
		{"messages", messages},
		{"donations", s.donations.String()},
		{"duplicates", s.duplicates.String()},
		{"one channel", s.onlyOn.String()},
	}
	if s.undecided > 0 {
		facts = append(facts, terminal.Fact{"undecided", r.out.Paint(text.FgYellow, fmt.Sprint(s.undecided))})
	}
	return append(facts, terminal.Fact{"old design", fmt.Sprintf("lost %s; doubled %s", s.lost, s.doubled)})
}
