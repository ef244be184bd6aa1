package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/terminal"
	"github.com/jedib0t/go-pretty/v6/text"
)

// A sweptWindow is the outcome of a replay with one match window.
type sweptWindow struct {
	window     time.Duration
	donations  int
	duplicates count // by evidence
	onlyOn     count
	undecided  int
	changed    []int32 // items whose answer differs from the answer with the previous window
}

// sweep writes a line for each window, then a line for each answer that changes between
// two windows.
func (r *report) sweep() error {
	windows := make([]sweptWindow, len(r.windows))
	for w := range windows {
		windows[w] = r.sweptWindow(w)
	}
	if !r.out.JSON {
		fmt.Fprintln(
			r.out.Out,
			strings.TrimRight(
				fmt.Sprintf(
					"%-8s  %9s  %10s  %9s  %11s  %9s  %7s",
					"WINDOW",
					"DONATIONS",
					"DUPLICATES",
					"OF PAIRED",
					"ONE CHANNEL",
					"UNDECIDED",
					"CHANGED",
				),
				" ",
			),
		)
	}
	for w, s := range windows {
		if r.out.JSON {
			if err := r.object(
				"window",
				jsonWindow{
					cmdline.FormatSpan(s.window),
					s.window == r.rules.MatchWindow,
					s.donations,
					s.duplicates.total(),
					s.duplicates,
					s.onlyOn,
					s.undecided,
					len(s.changed),
				},
			); err != nil {
				return err
			}
			continue
		}
		changed := ""
		if w > 0 {
			changed = fmt.Sprint(len(s.changed))
		}
		line := fmt.Sprintf(
			"%-8s  %9d  %10d  %9d  %11d  %9d  %7s",
			cmdline.FormatSpan(s.window),
			s.donations,
			s.duplicates.total(),
			s.duplicates["paired"],
			s.onlyOn.total(),
			s.undecided,
			changed,
		)
		if s.window == r.rules.MatchWindow {
			line += "  " + r.out.Paint(text.FgCyan, "-match-window")
		}
		fmt.Fprintln(r.out.Out, strings.TrimRight(line, " "))
	}
	if err := r.changes(windows); err != nil {
		return err
	}
	if !r.out.JSON {
		fmt.Fprintln(r.out.Out, "\n"+r.plateau(windows))
	}
	return r.out.Out.Flush()
}

func (r *report) sweptWindow(window int) sweptWindow {
	s := sweptWindow{window: r.windows[window], duplicates: count{}, onlyOn: count{}}
	_ = r.donationsOf(window, func(t told) error { // donationsOf fails only if its function fails
		s.donations++
		for evidence, n := range t.evidence {
			s.duplicates[evidence] += n
		}
		if len(t.channels) == 1 {
			s.onlyOn[t.channels[0]]++
		}
		return nil
	})
	for i, answer := range r.answers[window] {
		if answer.first == undecided {
			s.undecided++
		}
		if window > 0 && answer.first != r.answers[window-1][i].first {
			s.changed = append(s.changed, int32(i))
		}
	}
	return s
}

// changes writes the answers that differ from those with the previous window.
func (r *report) changes(windows []sweptWindow) error {
	headed := false
	for w, s := range windows {
		if !r.rows {
			break
		}
		for _, at := range s.changed {
			pair, err := r.pair(r.items[at])
			if err != nil {
				return err
			}
			donation, _ := client.FromPayPal(pair, r.ledger(at))
			before, after := r.answers[w-1][at], r.answers[w][at]
			if r.out.JSON {
				d, err := contractJSON(donation)
				if err != nil {
					return err
				}
				m := r.past.arrivals[r.items[at].arrival]
				err = r.object("change", jsonChange{
					cmdline.FormatSpan(s.window), jsonTime(m.time()), r.past.place(m), pair.Message.Channel, d,
					jsonAnswer(before, at), jsonAnswer(after, at),
				})
				if err != nil {
					return err
				}
				continue
			}
			if !headed {
				headed = true
				fmt.Fprintln(
					r.out.Out,
					"\nFROM      "+strings.TrimRight(
						fmt.Sprintf(
							"%-24s  %-17s  %-15s  %12s  %-8s  %s",
							"ARRIVED AT",
							"SERIES",
							"EVENT",
							"AMOUNT",
							"CHANNEL",
							"CHANGE",
						),
						" ",
					),
				)
			}
			fmt.Fprintf(
				r.out.Out,
				"%-8s  %-24s  %-17s  %-15s  %12s  %-8s  %s\n",
				cmdline.FormatSpan(s.window),
				localTime(r.at(r.items[at])),
				donation.GetSeriesId(),
				terminal.EventName(terminal.EventOf(donation)),
				terminal.Amount(donation),
				pair.Message.Channel,
				changeOf(before, after, at),
			)
		}
	}
	return nil
}

func changeOf(before, after answer, at int32) string {
	was, is := spokenAnswer(before, at), spokenAnswer(after, at)
	if before.verdict(at) == client.Duplicate && after.verdict(at) == client.Duplicate {
		is += " of another donation"
	}
	return was + ", now " + is
}

func spokenAnswer(a answer, at int32) string {
	switch a.verdict(at) {
	case client.First:
		return "FIRST"
	case client.Duplicate:
		return "DUPLICATE " + evidenceName(a.evidence)
	}
	return "undecided"
}

// plateau names the range of windows that give the same answers as the configured window.
func (r *report) plateau(windows []sweptWindow) string {
	set := 0
	for w, s := range windows {
		if s.window == r.rules.MatchWindow {
			set = w
		}
	}
	from, to := set, set
	for from > 0 && len(windows[from].changed) == 0 {
		from--
	}
	for to+1 < len(windows) && len(windows[to+1].changed) == 0 {
		to++
	}
	if from == to {
		return fmt.Sprintf(
			"no other window tried gives the answers of %s",
			cmdline.FormatSpan(windows[set].window),
		)
	}
	return fmt.Sprintf(
		"the answers are the same from %s to %s",
		cmdline.FormatSpan(windows[from].window),
		cmdline.FormatSpan(windows[to].window),
	)
}

// The output of -sweep -o json.
type (
	jsonWindow struct {
		MatchWindow string `json:"match_window"`
		Set         bool   `json:"set"` // whether it is -match-window
		Donations   int    `json:"donations"`
		Duplicates  int    `json:"duplicates"`
		ByEvidence  count  `json:"duplicates_by_evidence"`
		OnlyOn      count  `json:"donations_seen_only_on"`
		Undecided   int    `json:"undecided"`
		Changed     int    `json:"changed"`
	}
	jsonChange struct {
		MatchWindow string          `json:"match_window"` // the first window that gives After
		At          string          `json:"at"`
		From        string          `json:"from"`
		Channel     string          `json:"channel"`
		Donation    json.RawMessage `json:"donation"`
		Before      jsonVerdicts    `json:"before"`
		After       jsonVerdicts    `json:"after"`
	}
	jsonVerdicts struct {
		Verdict  string `json:"verdict"`
		Evidence string `json:"evidence"`
	}
)

func jsonAnswer(a answer, at int32) jsonVerdicts {
	return jsonVerdicts{a.verdict(at).String(), a.evidence.String()}
}
