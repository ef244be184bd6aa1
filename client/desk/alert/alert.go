// Package alert tells people without monitoring that they must act: a message or a note
// has waited for a person longer than a day, a channel is silent, or the store has lost
// notes.
//
//	watch := alert.New(alert.Config{Noted: noted, Inbox: box, Ledger: "paypal-live", Send: mail, …})
//	watch.Run(ctx)
//
// It sends one message when a cause begins and one when it ends, with a link to a page of
// the desk.
//
// # Design
//
// The inbox's database keeps the alerts, so that a restart repeats none of them and two
// desks send one message. A message is sent before it is recorded: a desk that dies
// between the two sends it again, which is better than never.
//
// If a check fails, its cause is unknown. An unknown cause neither begins nor ends.
package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/alive"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The defaults of Config.
const (
	DefaultEvery   = time.Minute
	DefaultAgain   = 5 * time.Minute
	DefaultOverdue = 24 * time.Hour
)

// Config holds the settings of a watch. A zero duration means its default.
type Config struct {
	Noted  *client.Client
	Inbox  *inbox.Inbox // keeps the alerts
	Ledger string
	Admins []*alive.Admin // where Noted's servers report a loss of notes
	Send   Sender
	// PublicURL is the desk's address for people, such as https://desk.example.org.
	PublicURL string
	// Overdue is the time that a message or a note may wait for a person.
	Overdue time.Duration
	// SilentAfter is the same as the desk's.
	SilentAfter time.Duration
	// Every is the interval of the checks. Again is the delay before the next try of a
	// message that could not be sent.
	Every, Again time.Duration
	// Zone is the time zone of the people.
	Zone   *time.Location
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// A Message is about one cause.
type Message struct {
	ID      string // the same each time this message is sent
	Cause   string
	Over    bool
	Subject string
	Text    string
	Link    string
	At      time.Time
}

// A Sender delivers a message to people, over a mail server or a webhook.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// A Watch checks, and tells people.
type Watch struct {
	config  Config
	log     *slog.Logger
	failing map[string]bool // the failures in the log
	opened  opened
}

// New makes a watch.
func New(config Config) *Watch {
	for _, d := range []struct {
		field     *time.Duration
		otherwise time.Duration
	}{
		{&config.Overdue, DefaultOverdue},
		{&config.SilentAfter, 24 * time.Hour},
		{&config.Every, DefaultEvery},
		{&config.Again, DefaultAgain},
	} {
		if *d.field == 0 {
			*d.field = d.otherwise
		}
	}
	if config.Zone == nil {
		config.Zone = time.Local
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Watch{config: config, log: config.Logger, failing: map[string]bool{}}
}

// Run checks until the context ends.
func (w *Watch) Run(ctx context.Context) {
	ticker := time.NewTicker(w.config.Every)
	defer ticker.Stop()
	for {
		w.Look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Look checks once, and sends a message for each cause that has begun or ended.
func (w *Watch) Look(ctx context.Context) {
	var found []trouble
	known := map[string]bool{}
	for name, check := range map[string]func(context.Context) ([]trouble, error){
		person: w.forPerson, open: w.tooLong, givenUp: w.givenUp, silent: w.silent, lost: w.lost,
	} {
		troubles, err := check(ctx)
		if ctx.Err() != nil {
			return
		}
		known[name] = err == nil
		if w.trouble("looking for "+name, err); err == nil {
			found = append(found, troubles...)
		}
	}
	slices.SortFunc(found, func(a, b trouble) int { return strings.Compare(a.cause, b.cause) })
	for _, t := range found {
		w.trouble("telling of "+t.cause, w.begin(ctx, t))
	}
	causes, err := w.config.Inbox.Alerts(ctx)
	w.trouble("reading what was told", err)
	for _, cause := range causes {
		family, _, _ := strings.Cut(cause, ":")
		gone := !slices.ContainsFunc(found, func(t trouble) bool { return t.cause == cause })
		if gone && known[family] {
			w.trouble("telling that it is over: "+cause, w.end(ctx, cause))
		}
	}
}

// trouble logs a failure of the watch itself: once when it begins, and once when it ends.
func (w *Watch) trouble(act string, err error) {
	switch {
	case err != nil && !w.failing[act] && !errors.Is(err, context.Canceled):
		w.failing[act] = true
		w.log.Warn("a step of the alerts failed; it will be tried again", "act", act, "cause", err.Error())
	case err == nil && w.failing[act]:
		delete(w.failing, act)
		w.log.Info("a step of the alerts works again", "act", act)
	}
}

// begin tells people of a trouble unless they know.
func (w *Watch) begin(ctx context.Context, t trouble) error {
	a, err := w.config.Inbox.Raise(ctx, t.cause)
	if err != nil || a.Told {
		return err
	}
	return w.send(ctx, w.message(a, t.subject, t.text, t.page, false))
}

// end tells people that a trouble is over, if they know of it.
func (w *Watch) end(ctx context.Context, cause string) error {
	a, err := w.config.Inbox.Alert(ctx, cause)
	switch {
	case err != nil || a.Cause == "":
		return err
	case !a.Told:
		return w.config.Inbox.Told(ctx, cause, true)
	}
	subject, text, page := over(cause)
	return w.send(ctx, w.message(a, subject, text, page, true))
}

func (w *Watch) message(a inbox.Alert, subject, text, page string, over bool) Message {
	m := Message{
		Cause: a.Cause, Over: over, At: w.config.Now(), Link: strings.TrimRight(w.config.PublicURL, "/") + page,
		ID: fmt.Sprintf("%s-%s-%d", w.config.Ledger, a.Cause, a.Since.UnixMilli()),
	}
	if over {
		m.ID += "-over"
	}
	if m.Subject = subject; w.config.Ledger != "" {
		m.Subject = w.config.Ledger + ": " + subject
	}
	m.Text = fmt.Sprintf("%s\n\n%s\n\nFirst seen on %s. You get one more message when it is over.\n", text, m.Link,
		a.Since.In(w.config.Zone).Format("Mon 2 Jan 2006 at 15:04 MST"))
	if over {
		m.Text = fmt.Sprintf("%s\n\n%s\n\nIt was first seen on %s.\n", text, m.Link,
			a.Since.In(w.config.Zone).Format("Mon 2 Jan 2006 at 15:04 MST"))
	}
	return m
}

// send sends a message, unless another desk is sending it or it failed a moment ago.
func (w *Watch) send(ctx context.Context, m Message) error {
	taken, err := w.config.Inbox.Take(ctx, m.Cause, w.config.Again)
	if err != nil {
		return err
	}
	act := "sending"
	if !taken {
		return nil
	}
	sending, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = w.config.Send.Send(sending, m)
	if w.trouble(act, err); err != nil {
		return nil // trouble has logged it
	}
	w.log.Info("people were told", "about", m.Cause, "over", m.Over)
	return w.config.Inbox.Told(ctx, m.Cause, m.Over)
}
