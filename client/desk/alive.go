package desk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/alive"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// DefaultSilentAfter is the shortest time without a message after which a channel can
// count as silent.
const DefaultSilentAfter = 24 * time.Hour

// The limits of the page: a person waits for it less than a second.
const (
	countPatience = 400 * time.Millisecond
	askPatience   = 700 * time.Millisecond
	certSoon      = 14 * 24 * time.Hour // before the end of a certificate
)

type aliveView struct {
	Tone, Sentence string
	Remarks        []string
	NoInbox        bool
	Channels       []channelView
	Count          *alive.Count
	Counting       string // the progress of the count
	Pictures       []alive.Picture
	Orders         []orderView
	IDs            []idsView
	Learned        []string // the servers' knowledge of ids
	Store          storeView
	Certificates   []certificateView
	CertsUnknown   string // why the certificates are unknown
}

type channelView struct {
	inbox.Lane
	Name, Age, Verdict string
	Last               time.Time
	Bad                bool
}

// An orderView says how far apart two channels tell of one donation.
type orderView struct {
	Title, Sentence string
	Parts           []partView
}

type partView struct {
	Name, Share string
	Count       int
	Width       string // of its bar, in per cent
}

type idsView struct {
	Event, Sentence string
	alive.Agreement
}

type storeView struct {
	Tone, Sentence string
	Remarks        []string
	Servers        []alive.View
	Losses         []lossView
	Totals         []totalView
}

type lossView struct{ Server, What, Epoch, Where string }

type totalView struct {
	Server string
	Since  time.Time
	alive.VerdictCount
}

type certificateView struct {
	Name, Left string
	Ends       time.Time
	Bad        bool
}

func (d *Desk) alivePage(w http.ResponseWriter, r *http.Request) {
	view := aliveView{NoInbox: d.box == nil}
	ctx, cancel := context.WithTimeout(r.Context(), askPatience)
	defer cancel()
	var servers []alive.View
	var serving error
	var both sync.WaitGroup
	both.Go(func() { servers = alive.LookAll(ctx, d.config.Admins) })
	both.Go(func() { serving = d.noted.Serving(ctx) })
	view.Count = d.counter.Count(r.Context(), countPatience)
	both.Wait()
	view.Pictures = view.Count.Pictures()
	view.Counting = counting(view.Count)
	view.Orders, view.IDs = ordersOf(view.Count), idsOf(view.Count)
	view.Learned = learnedOf(servers, d.config.Ledger)
	d.channels(r.Context(), &view)
	view.Store = storeOf(serving, servers, personOf(r))
	if len(view.Store.Losses) > 0 {
		view.Remarks = append(view.Remarks, "Noted's store has lost notes: see below.")
	}
	view.Certificates, view.CertsUnknown = d.certificates(servers)
	d.show(w, r, http.StatusOK, "alive", "Are both channels alive?", view)
}

// counting reports the progress of an unfinished count.
func counting(c *alive.Count) string {
	switch {
	case !c.Ended.IsZero():
		return ""
	case c.DaysToRead > 0:
		return fmt.Sprintf("Still counting: %d of %d days of the inbox have been read. Load the page again for more.",
			len(c.Days)-c.DaysToRead, len(c.Days))
	}
	return fmt.Sprintf("Still counting: %d notes have been read. Load the page again for more.", c.Notes)
}

// channels finds the last message of each channel, and judges the silence since.
func (d *Desk) channels(ctx context.Context, view *aliveView) {
	now := time.Now()
	var all []alive.Channel
	if d.box != nil {
		var err error
		if all, err = alive.Channels(ctx, d.box, d.config.Ledger, d.config.SilentAfter, now); err != nil {
			d.log.Error("the inbox cannot be read", "cause", err.Error())
			view.Tone, view.Sentence = "unclear", "Not known: the inbox does not answer. Try again in a minute."
			return
		}
	} else {
		all = byNotes(view.Count, d.config.Ledger)
	}
	for _, c := range all {
		line := channelView{Lane: c.Lane, Name: channelName(c.Channel), Last: c.Last, Bad: c.Silent}
		if !c.Last.IsZero() {
			line.Age = age(now.Sub(c.Last))
		}
		line.Verdict = d.judged(c, now)
		view.Channels = append(view.Channels, line)
	}
	own := slices.DeleteFunc(all, func(c alive.Channel) bool { return c.Ledger != d.config.Ledger })
	view.Tone, view.Sentence = d.whetherAlive(own, view, now)
}

// byNotes returns the channels in the notes of the last days.
func byNotes(count *alive.Count, ledger string) (all []alive.Channel) {
	for _, name := range []string{"ipn", "webhook"} {
		lane := inbox.Lane{Ledger: ledger, Channel: name}
		all = append(all, alive.Channel{Lane: lane, Last: count.Last[lane]})
	}
	for lane, last := range count.Last {
		if lane.Channel != "ipn" && lane.Channel != "webhook" {
			all = append(all, alive.Channel{Lane: lane, Last: last})
		}
	}
	slices.SortStableFunc(all, func(a, b alive.Channel) int { return strings.Compare(a.Channel, b.Channel) })
	return all
}

// judged says what the silence of a channel means.
func (d *Desk) judged(c alive.Channel, now time.Time) string {
	quiet := !c.Last.IsZero() && now.Sub(c.Last) >= d.config.SilentAfter
	switch {
	case c.Last.IsZero() && d.box == nil:
		return fmt.Sprintf("in no note of the last %d days", alive.DaysCounted)
	case c.Last.IsZero():
		return "no message yet"
	case c.Silent && c.Others > 0:
		return "silent, while other channels have messages"
	case c.Silent:
		return "silent: its longest pause before was " + age(c.Pause)
	case d.box == nil:
		return "told"
	case quiet && c.Ledger != d.config.Ledger:
		return "quiet; not judged, because it belongs to another ledger"
	case quiet && c.Pause == 0:
		return "quiet; too few messages to judge"
	case quiet:
		return "quiet, as before: its longest pause was " + age(c.Pause)
	}
	return "alive"
}

// whetherAlive answers the page's question.
func (d *Desk) whetherAlive(own []alive.Channel, view *aliveView, now time.Time) (tone, sentence string) {
	var silent, told, never []string
	for _, c := range own {
		name := channelName(c.Channel)
		switch {
		case c.Silent:
			silent = append(silent, name+" for "+age(now.Sub(c.Last)))
		case c.Last.IsZero():
			never = append(never, name)
		default:
			told = append(told, "by "+name+" "+age(now.Sub(c.Last))+" ago")
		}
	}
	switch {
	case len(silent) > 0:
		return "no", "No: no message has come by " + strings.Join(silent, ", and by ") + "."
	case d.box == nil && len(told) == 0 && view.Counting != "":
		return "unclear", "Not known yet: the notes are still being counted."
	case d.box == nil && len(never) > 0:
		return "unclear", "Not known: the notes of the last days have no message by " +
			strings.Join(never, " and by ") + ", and this desk has no inbox."
	case len(told) == 0:
		return "wait", "No message has come yet, over any channel."
	case len(never) > 0:
		return "wait", "Only one channel works: the last message came " + strings.Join(told, " and ") +
			", and no message has ever come by " + strings.Join(never, " or by ") + "."
	}
	return "yes", "Yes: the last message came " + strings.Join(told, ", and ") + "."
}

// spanName writes a bound in a person's words.
func spanName(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return "a day"
	case d >= time.Hour:
		return "an hour"
	case d > time.Minute:
		return fmt.Sprintf("%d minutes", int(d/time.Minute))
	case d == time.Minute:
		return "a minute"
	}
	return fmt.Sprintf("%d seconds", int(d/time.Second))
}

func ordersOf(c *alive.Count) (all []orderView) {
	for order, spread := range c.Apart {
		total := spread.Total()
		o := orderView{
			Title: fmt.Sprintf("%s first, then %s: %d", channelName(order.First), channelName(order.Then), total),
		}
		if half, most := spread.Within(0.5), spread.Within(0.9); half > 0 && most > 0 {
			o.Sentence = "Half of them within " + spanName(half) + ", nine of ten within " + spanName(most) + "."
		} else {
			o.Sentence = "Many of them more than a day apart."
		}
		for i, n := range spread {
			name := "more than a day"
			if i < len(alive.Bounds) {
				name = "up to " + spanName(alive.Bounds[i])
			}
			share := 100 * float64(n) / float64(total)
			o.Parts = append(o.Parts, partView{name, fmt.Sprintf("%.0f %%", share), n, fmt.Sprintf("%.1f", share)})
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b orderView) int { return strings.Compare(a.Title, b.Title) })
	return all
}

func idsOf(c *alive.Count) (all []idsView) {
	for event, a := range c.IDs {
		v := idsView{Event: sentenceCase(spoken(event, "EVENT_")), Agreement: a}
		switch {
		case a.Other == 0:
			v.Sentence = "They agree."
		case a.Same == 0:
			v.Sentence = "They differ: each channel has ids of its own."
		default:
			v.Sentence = "They differ for some. Look at those before you trust the ids."
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b idsView) int { return strings.Compare(a.Event, b.Event) })
	return all
}

// learnedOf says what servers have learned about the ids of a ledger.
func learnedOf(servers []alive.View, ledger string) (all []string) {
	for _, v := range servers {
		for _, l := range v.Learned {
			if l.Ledger != ledger {
				continue
			}
			says := "no longer knows whether they agree"
			if l.Agree {
				says = "has learned that they agree, so that different ids mean two donations"
			}
			all = append(all, fmt.Sprintf("The server %s %s: %s, %s.", v.Server, says, spoken(l.Event, ""), l.Channels))
		}
	}
	return all
}

// storeOf describes the store.
func storeOf(serving error, servers []alive.View, who person) (s storeView) {
	switch {
	case serving == nil:
		s.Tone, s.Sentence = "yes", "Noted answers, and can use its store."
	case errors.Is(serving, client.ErrStoreUnavailable):
		s.Tone = "no"
		s.Sentence = "Noted answers, but cannot use its store: no donation is noted now. PayPal sends its messages again."
	default:
		s.Tone, s.Sentence = "no", "Noted does not answer: no donation is noted now. PayPal sends its messages again."
	}
	if len(servers) == 0 {
		s.Remarks = append(s.Remarks, "This desk does not know whether the store has lost notes: "+
			"it was started without -noted-admin.")
	}
	for _, v := range servers {
		if v.Problem != "" {
			s.Remarks = append(s.Remarks, "The state of the server "+v.Server+" is unknown: "+v.Problem+".")
			continue
		}
		s.Servers = append(s.Servers, v)
		if v.NotReady != "" {
			s.Tone = "no"
			s.Remarks = append(s.Remarks, v.Server+" cannot note: "+v.NotReady)
		}
		for _, t := range v.Verdicts {
			s.Totals = append(s.Totals, totalView{v.Server, v.Started, t})
		}
		if !v.Lost {
			continue
		}
		s.Tone = "no"
		s.Sentence = "Noted's store has lost notes. Their donations count as new again, and would be booked twice."
		l := lossView{Server: v.Server, What: v.LostWhat, Epoch: v.Epoch}
		if who.May("admin") && v.Epoch != "" {
			l.Where = "/act?" + url.Values{"do": {"acknowledge"}, "id": {v.Epoch}}.Encode()
		}
		s.Losses = append(s.Losses, l)
	}
	return s
}

// certificates lists the certificates that the desk can see, and the end of each.
func (d *Desk) certificates(servers []alive.View) (all []certificateView, unknown string) {
	add := func(name string, ends time.Time) {
		left := time.Until(ends)
		c := certificateView{Name: name, Ends: ends, Left: "ended", Bad: left < certSoon}
		if left > 0 {
			c.Left = age(left)
		}
		all = append(all, c)
	}
	if d.config.NotedCertificate != nil {
		if ends := d.config.NotedCertificate(); !ends.IsZero() {
			add("of Noted, as this desk sees it", ends)
		}
	}
	for _, v := range servers {
		if !v.CertEnds.IsZero() {
			add("of the server "+v.Server, v.CertEnds)
		}
	}
	if len(all) == 0 {
		return nil, "This desk connects to Noted without TLS, and knows no server with a certificate."
	}
	return all, ""
}

// mayOrder refuses an act that a clerk may not do.
func (d *Desk) mayOrder(w http.ResponseWriter, r *http.Request, o order) bool {
	if o.Do != "acknowledge" || personOf(r).Role >= Admin {
		return true
	}
	d.deny(r, Admin)
	d.fail(w, r, http.StatusForbidden, "You may not do this.",
		"It needs the role "+Admin.String()+". Ask the person who runs this desk.")
	return false
}

// planAcknowledge plans to accept the loss of notes at each server that reports it.
func (d *Desk) planAcknowledge(ctx context.Context, o order) (p plan, err error) {
	p = plan{Title: "Acknowledge the loss", About: "The store's epoch " + o.ID, Button: "Acknowledge it"}
	var marks []any
	var lost []*alive.Admin
	for i, v := range alive.LookAll(ctx, d.config.Admins) {
		switch {
		case v.Problem != "":
			p.Warning = "The state of a server is unknown: " + v.Problem + ". Acknowledge the loss there later."
		case v.Lost && v.Epoch == o.ID:
			lost = append(lost, d.config.Admins[i])
			p.Changes = append(p.Changes, "The server "+v.Server+" accepts the store as it is: "+v.LostWhat+".")
		}
		marks = append(marks, v.Lost, v.Epoch)
	}
	if len(lost) == 0 {
		p.Refusal = "No server reports a loss under this epoch. It may already be acknowledged."
		return p, nil
	}
	p.Changes = append(p.Changes,
		"A server that refuses calls because of the loss answers them again.",
		"The lost notes stay lost. Note their donations again first, for example with notectl note -f.",
		"Start each server with -epoch "+o.ID+" from now on, so that it notices a loss while no server runs.")
	p.rests(marks...)
	p.do = func(ctx context.Context, who person, reason string) (err error) {
		for _, admin := range lost {
			err = errors.Join(err, admin.Acknowledge(ctx, o.ID))
		}
		if err != nil || d.box == nil {
			return err
		}
		act := inbox.Act{Actor: who.Name, Name: "acknowledge", Reason: reason}
		if err := d.box.Record(ctx, act); err != nil {
			return fmt.Errorf("the loss IS acknowledged, but the inbox did not keep the audit's line: %w", err)
		}
		return nil
	}
	return p, nil
}
