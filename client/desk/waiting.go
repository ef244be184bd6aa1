package desk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The bounds of the page of what waits.
const (
	mostWaiting = 100                 // lines of a section
	refusedFor  = 14 * 24 * time.Hour // how long a refused message is shown
)

// A section is one kind of what waits, grouped by its last cause.
type section struct {
	ID, Title, Meaning string
	Groups             []group
	Count              int
	More               bool   // there is more than is shown
	Problem            string // why it is not known
}

type group struct {
	Cause string
	Lines []line
}

// A line is one message, or one note, that waits.
type line struct {
	At      time.Time
	Age     string
	What    string
	Where   string // the address of its story
	Actions []link
}

// add puts a line to its cause.
func (s *section) add(cause string, l line) {
	s.Count++
	at := slices.IndexFunc(s.Groups, func(g group) bool { return g.Cause == cause })
	if at < 0 {
		s.Groups = append(s.Groups, group{Cause: cause})
		at = len(s.Groups) - 1
	}
	s.Groups[at].Lines = append(s.Groups[at].Lines, l)
}

type waitingView struct {
	Sections []section
	Count    int
	NoInbox  bool
}

func (d *Desk) waitingPage(w http.ResponseWriter, r *http.Request) {
	view := waitingView{NoInbox: d.box == nil}
	if d.box != nil {
		view.Sections = d.waitingMessages(r.Context())
	}
	view.Sections = append(view.Sections, d.waitingNotes(r.Context())...)
	for _, s := range view.Sections {
		view.Count += s.Count
	}
	d.show(w, r, http.StatusOK, "waiting", "What waits for somebody?", view)
}

// waitingMessages are the sections of the inbox.
func (d *Desk) waitingMessages(ctx context.Context) (all []section) {
	everything := func(inbox.Message) bool { return true }
	for _, each := range []struct {
		section
		filter inbox.Filter
		shown  func(inbox.Message) bool
	}{
		{
			section{ID: "person", Title: "For a person", Meaning: "Nothing happens to these by itself."},
			inbox.Filter{States: []inbox.State{inbox.Person}},
			everything,
		},
		{
			section{ID: "open", Title: "Open", Meaning: "The gateway tries these again by itself."},
			inbox.Filter{States: []inbox.State{inbox.Waiting, inbox.Working}},
			everything,
		},
		{
			section{
				ID: "unknown", Title: "Of an unknown type",
				Meaning: "PayPal sent these, and the gateway does not know what they are. Each may be a donation.",
			},
			inbox.Filter{States: []inbox.State{inbox.Refused}, Cause: "unknown"},
			everything,
		},
		{
			section{
				ID: "refused", Title: "Refused, but verified",
				Meaning: "PayPal sent these in the last 14 days, and they are not for this gateway, or cannot be read.",
			},
			inbox.Filter{States: []inbox.State{inbox.Refused}, Since: time.Now().Add(-refusedFor)},
			func(m inbox.Message) bool { return m.Cause != "unknown" },
		},
	} {
		s := each.section
		err := d.box.List(ctx, each.filter, func(m inbox.Message) error {
			if !each.shown(m) {
				return nil
			}
			if s.Count == mostWaiting {
				s.More = true
				return errEnough
			}
			s.add(sentenceCase(explain(m.Cause)), d.lineOf(m))
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			d.log.Error("the inbox cannot be read", "cause", err.Error())
			s.Problem = "The inbox could not be asked, so what waits there is not known."
		}
		all = append(all, s)
	}
	return all
}

// lineOf is the line of a message.
func (d *Desk) lineOf(m inbox.Message) line {
	what := channelName(m.Channel)
	if m.Type != "" {
		what += " " + m.Type
	}
	for i := range m.Donations {
		if m.Donations[i].Outcome == "" || m.Donations[i].Outcome.ForPerson() || m.State == inbox.Refused {
			one := donation{event: m.Donations[i].Event, told: []told{{Message: m, pair: pairOf(m.Donations[i])}}}
			what = one.title() + ", by " + channelName(m.Channel)
			break
		}
	}
	if m.Tries > 0 && m.State != inbox.Refused {
		what += ", tried " + times(m.Tries)
	}
	return line{
		At: m.ReceivedAt, Age: age(time.Since(m.ReceivedAt)), What: what,
		Where:   "/?" + url.Values{"q": {m.Row}}.Encode(),
		Actions: rowActions(told{Message: m}),
	}
}

// age writes how long something waits.
func age(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		switch n := int(d / unit.of); {
		case n > 1:
			return fmt.Sprintf("%d %ss", n, unit.name)
		case n == 1:
			return "1 " + unit.name
		}
	}
	return "under a minute"
}

// waitingNotes are the sections of Noted: what is held, and what is open without a message
// in the inbox.
func (d *Desk) waitingNotes(ctx context.Context) []section {
	held := section{ID: "held", Title: "Held", Meaning: "Somebody is processing these right now."}
	open := section{
		ID:    "given-up",
		Title: "Given up",
		Meaning: "Noted has an open note, and no message in the inbox waits for it: " +
			"a receiver without an inbox gave up or died.",
	}
	for _, each := range []struct {
		*section
		state client.State
	}{{&held, client.StateHeld}, {&open, client.StateOpen}} {
		d.listNotes(ctx, each.section, each.state)
	}
	return []section{open, held}
}

func (d *Desk) listNotes(ctx context.Context, s *section, state client.State) {
	ctx, cancel := context.WithTimeout(ctx, d.config.Patience)
	defer cancel()
	request := &client.ListRequest{Ledger: d.config.Ledger, State: state, PageSize: 1000}
	for note, err := range d.noted.List(ctx, request) {
		switch {
		case err != nil && ctx.Err() != nil:
			s.Problem = "Noted's ledger is too large to be looked through in time; there may be more."
			return
		case err != nil:
			s.Problem = "Noted could not be asked (" + reasonOf(err) + "), so this is not known."
			return
		}
		if state == client.StateOpen {
			waits, err := d.waitsInInbox(ctx, note)
			if err != nil {
				s.Problem = "Not all open notes could be looked up in the inbox in time; there may be more."
				return
			}
			if waits {
				continue
			}
		}
		if s.Count == mostWaiting {
			s.More = true
			return
		}
		one := donation{
			ledger: d.config.Ledger, series: note.GetDonation().GetSeriesId(), id: note.GetDonationId(), note: note,
			event: note.GetDonation().GetEvent().String(),
		}
		since := timeOf(note.GetNotedAt())
		for _, sighting := range note.GetSightings() {
			if at := timeOf(sighting.GetMessage().GetReceivedAt()); !at.IsZero() && at.Before(since) {
				since = at
			}
		}
		l := line{
			At: since, Age: age(time.Since(since)), What: one.title(),
			Where: "/?" + url.Values{"q": {one.series}}.Encode(),
		}
		cause := "Its receiver gave up or died"
		if state == client.StateHeld {
			cause = "In work"
		} else {
			l.Actions = d.actionsOn(&one)
		}
		s.add(cause, l)
	}
}

// waitsInInbox says whether the inbox will see to a note by itself, or shows it above.
func (d *Desk) waitsInInbox(ctx context.Context, note *client.Note) (bool, error) {
	if d.box == nil {
		return false, nil
	}
	messages, err := d.box.Find(ctx, note.GetDonationId(), mostMessages)
	waits := func(m inbox.Message) bool { return m.State != inbox.Done }
	return slices.ContainsFunc(messages, waits), err
}
