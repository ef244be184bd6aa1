package alert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/alive"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// A trouble is a cause that people must know of.
type trouble struct {
	cause         string // a family of causes, then a colon and the particular cause
	subject, text string
	page          string // a page of the desk
}

// The families of causes.
const (
	person  = "person"
	open    = "open"
	givenUp = "given-up"
	silent  = "silent"
	lost    = "lost"
)

// over is the message about the end of a trouble.
func over(cause string) (subject, text, page string) {
	family, of, _ := strings.Cut(cause, ":")
	switch family {
	case person:
		return "Over: nothing waits for a person for more than a day",
			"The messages that waited for a person are done.",
			"/waiting#person"
	case open:
		return "Over: no message waits longer than a day to be processed",
			"The messages that waited for more than a day are processed.",
			"/waiting#open"
	case givenUp:
		return "Over: no given-up donation is left", "The notes that a receiver gave up are settled or forgotten.",
			"/waiting#given-up"
	case silent:
		return "Over: " + channel(of) + " works again", "A message has come by " + channel(of) + " again.", "/alive"
	}
	return "Over: the loss of notes is acknowledged", "No server of Noted reports a loss any more.", "/alive#store"
}

func channel(name string) string {
	if name == "ipn" {
		return "IPN"
	}
	return name
}

func (w *Watch) forPerson(ctx context.Context) ([]trouble, error) {
	n, since, err := w.config.Inbox.Overdue(ctx, w.config.Now().Add(-w.config.Overdue), inbox.Person)
	if err != nil || n == 0 {
		return nil, err
	}
	return []trouble{{
		cause: person, page: "/waiting#person",
		subject: waited(n) + " for a person for more than a day",
		text: fmt.Sprintf("%s for a person, the oldest since %s. They stay until a person acts: look at each message, "+
			"and redo or close it.", waited(n), w.day(since)),
	}}, nil
}

func (w *Watch) tooLong(ctx context.Context) ([]trouble, error) {
	before := w.config.Now().Add(-w.config.Overdue)
	n, since, err := w.config.Inbox.Overdue(ctx, before, inbox.Waiting, inbox.Working)
	if err != nil || n == 0 {
		return nil, err
	}
	return []trouble{{
		cause: open, page: "/waiting#open",
		subject: waited(n) + " to be processed for more than a day",
		text: fmt.Sprintf("%s to be processed, the oldest since %s. The gateway keeps trying, and "+
			"a person must fix the cause: the page shows it.", waited(n), w.day(since)),
	}}, nil
}

func waited(n int) string {
	if n == 1 {
		return "One message has waited"
	}
	return fmt.Sprintf("%d messages have waited", n)
}

func (w *Watch) day(t time.Time) string { return t.In(w.config.Zone).Format("Mon 2 Jan 2006, 15:04") }

// The limits of the search for given-up notes, which walks the ledger.
const (
	openedEvery = time.Hour
	openedFor   = time.Minute
	openedMost  = 100
)

// opened is the last look.
type opened struct {
	at    time.Time
	notes int
	err   error
}

// givenUp searches once an hour for open notes without a waiting message in the inbox.
func (w *Watch) givenUp(ctx context.Context) ([]trouble, error) {
	if now := w.config.Now(); w.opened.at.IsZero() || now.Sub(w.opened.at).Abs() >= openedEvery {
		n, err := w.countGivenUp(ctx, now)
		if n > 0 {
			err = nil // one note is enough for a message
		}
		w.opened = opened{now, n, err}
	}
	if w.opened.err != nil || w.opened.notes == 0 {
		return nil, w.opened.err
	}
	return []trouble{{
		cause: givenUp, page: "/waiting#given-up", subject: "A receiver gave donations up more than a day ago",
		text: "Some of Noted's notes have been open for longer than a day, and no message in the inbox waits for " +
			"them. Check whether they are booked, and close or redo them.",
	}}, nil
}

func (w *Watch) countGivenUp(ctx context.Context, now time.Time) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, openedFor)
	defer cancel()
	request := &client.ListRequest{
		Ledger: w.config.Ledger, State: client.StateOpen, PageSize: 1000,
		NotedBefore: timestamppb.New(now.Add(-w.config.Overdue)),
	}
	for note, err := range w.config.Noted.List(ctx, request) {
		if err != nil {
			return n, err
		}
		found, err := w.config.Inbox.Find(ctx, note.GetDonationId(), openedMost)
		if err != nil {
			return n, err
		}
		if slices.ContainsFunc(found, func(m inbox.Message) bool { return m.State != inbox.Done }) {
			continue
		}
		if n++; n == openedMost {
			break
		}
	}
	return n, nil
}

func (w *Watch) silent(ctx context.Context) (all []trouble, err error) {
	channels, err := alive.Channels(ctx, w.config.Inbox, w.config.Ledger, w.config.SilentAfter, w.config.Now())
	for _, c := range channels {
		if !c.Silent {
			continue
		}
		why := "the longest pause of the days before was " + c.Pause.Round(time.Minute).String()
		if c.Others > 0 {
			why = "other channels have had messages since"
		}
		all = append(all, trouble{
			cause: silent + ":" + c.Channel, page: "/alive", subject: "No message comes by " + channel(c.Channel),
			text: fmt.Sprintf("The last message came by %s on %s, and %s. Check whether PayPal still sends there: "+
				"the address in its settings, the certificate of the web server, the gateway's log.",
				channel(c.Channel), w.day(c.Last), why),
		})
	}
	return all, err
}

// lost checks whether the store has lost notes. Without an admin listener the desk sees a
// loss only if Noted refuses calls because of it.
func (w *Watch) lost(ctx context.Context) ([]trouble, error) {
	t := trouble{cause: lost, page: "/alive#store", subject: "Noted's store has lost notes"}
	t.text = "Donations whose notes are lost count as new again, and would be booked twice. Find the lost " +
		"notes' donations, note them again, and acknowledge the loss on the page."
	if len(w.config.Admins) == 0 {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := w.config.Noted.Page(ctx, &client.ListRequest{Ledger: w.config.Ledger, PageSize: 1})
		if client.Reason(err) == "STORE_WENT_BACK" {
			return []trouble{t}, nil
		}
		return nil, err
	}
	var unknown error
	for _, v := range alive.LookAll(ctx, w.config.Admins) {
		if v.Lost {
			return []trouble{t}, nil
		}
		if v.Problem != "" {
			unknown = errors.Join(unknown, errors.New(v.Problem))
		}
	}
	return nil, unknown
}
