package desk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/alive"
	"github.com/donation-dedupe/noted/client/desk/walk"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The limits of the waiting page.
const (
	mostWaiting = 100                 // lines of a section
	refusedFor  = 14 * 24 * time.Hour // the time for which a refused message is shown
)

// A section is one kind of waiting entries, grouped by last cause.
type section struct {
	ID, Title, Meaning string
	Groups             []group
	Count              int
	More               bool   // some entries are not shown
	Problem            string // why the entries are unknown
}

type group struct {
	Cause string
	Lines []line
}

// A line is one waiting message or note.
type line struct {
	At      time.Time
	Age     string
	What    string
	Where   string // the address of its story
	Actions []link
}

// add adds a line under its cause.
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
	NoInbox  bool
}

func (d *Desk) waitingPage(w http.ResponseWriter, r *http.Request) {
	view := waitingView{NoInbox: d.box == nil}
	if d.box != nil {
		view.Sections = d.waitingMessages(r.Context())
	}
	var looking sync.WaitGroup
	var count *alive.Count
	looking.Go(func() { count = d.counter.Count(r.Context(), min(d.config.Patience, countPatience)) })
	view.Sections = append(view.Sections, d.waitingNotes(r.Context())...)
	looking.Wait()
	view.Sections = append(view.Sections, d.onlySections(count)...)
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
			section{ID: "person", Title: "For a person", Meaning: "These stay until a person acts."},
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
				Meaning: "PayPal sent these, and the gateway does not know their type. Each may be a donation.",
			},
			inbox.Filter{States: []inbox.State{inbox.Refused}, Cause: "unknown"},
			everything,
		},
		{
			section{
				ID: "refused", Title: "Refused, but verified",
				Meaning: "PayPal sent these in the last 14 days. They are not for this gateway, or it cannot read them.",
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
			s.Problem = "The inbox does not answer, so this is not known."
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

// age writes how long an entry has waited.
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

// A notesSection is a section of notes and the condition for them.
type notesSection struct {
	section
	want  walk.Want
	cause string
}

// waitingNotes are the sections from Noted: open notes without a waiting message in the
// inbox, and held notes.
func (d *Desk) waitingNotes(ctx context.Context) (all []section) {
	now := time.Now()
	sections := []notesSection{
		{
			section{
				ID: "given-up", Title: "Given up",
				Meaning: "Noted has an open note, and no message in the inbox waits for it: " +
					"a receiver without an inbox gave up or died.",
			},
			walk.Want{
				Key: "open", Request: &client.ListRequest{State: client.StateOpen}, Fits: d.waitsNowhere,
			},
			"Its receiver gave up or died",
		},
		{
			section{ID: "held", Title: "Held", Meaning: "Somebody is processing these right now."},
			walk.Want{Key: "held", Request: &client.ListRequest{State: client.StateHeld}},
			"In work",
		},
	}
	var looking sync.WaitGroup
	for i := range sections {
		s := &sections[i]
		s.want.Most, s.want.Request.Ledger, s.want.Request.PageSize = mostWaiting, d.config.Ledger, 1000
		looking.Go(func() { d.listNotes(ctx, s, now) })
	}
	looking.Wait()
	for _, s := range sections {
		all = append(all, s.section)
	}
	return all
}

// onlySections are the payments that one channel has and another lacks.
func (d *Desk) onlySections(count *alive.Count) (all []section) {
	now := time.Now()
	for _, channel := range []string{"ipn", "webhook"} {
		s := section{
			ID: "only-" + channel, Title: "Told by " + channelName(channel) + " only",
			Meaning: "The other channel did not tell of these payments of the last week within a day. That changes " +
				"nothing in the books. If there are many, the other channel loses messages.",
			Problem: counting(count), More: count.OnlyMore[channel],
		}
		for _, note := range count.Only[channel] {
			one := donation{note: note, event: note.GetDonation().GetEvent().String()}
			at := timeOf(note.GetNotedAt())
			s.add("The other channel did not tell", line{
				At: at, Age: age(now.Sub(at)), What: one.title(),
				Where: "/?" + url.Values{"q": {note.GetDonation().GetSeriesId()}}.Encode(),
			})
		}
		all = append(all, s)
	}
	return all
}

// listNotes finds the notes of a section.
func (d *Desk) listNotes(ctx context.Context, s *notesSection, now time.Time) {
	found := d.walks.Look(ctx, s.want, d.config.Patience)
	switch {
	case found.Busy:
		s.Problem = "Other people are searching Noted's ledger right now. Load the page again in a minute."
	case found.UnderWay:
		s.Problem = "The search of Noted's ledger goes on; there may be more. Load the page again in a few seconds."
	case errors.Is(found.Err, walk.ErrTooLong):
		s.Problem = "Noted's ledger is too large to search in time; there may be more."
	case errors.Is(found.Err, errInbox):
		s.Problem = "Not all open notes could be looked up in the inbox; there may be more."
	case found.Err != nil:
		s.Problem = "Noted could not be asked (" + reasonOf(found.Err) + "), so this is not known."
	}
	s.More = found.More
	for _, note := range found.Notes {
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
			At: since, Age: age(now.Sub(since)), What: one.title(),
			Where: "/?" + url.Values{"q": {one.series}}.Encode(),
		}
		if s.ID == "given-up" {
			l.Actions = d.actionsOn(&one)
		}
		s.add(s.cause, l)
	}
}

// errInbox means that the inbox could not be read.
var errInbox = errors.New("the inbox cannot be read")

// waitsNowhere reports whether a note has no message in the inbox that waits, either for
// the gateway or for a person.
func (d *Desk) waitsNowhere(ctx context.Context, note *client.Note) (bool, error) {
	if d.box == nil {
		return true, nil
	}
	messages, err := d.box.Find(ctx, note.GetDonationId(), mostMessages)
	if err != nil {
		return true, fmt.Errorf("%w: %w", errInbox, err)
	}
	return !slices.ContainsFunc(messages, func(m inbox.Message) bool { return m.State != inbox.Done }), nil
}
