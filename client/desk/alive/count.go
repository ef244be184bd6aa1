package alive

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The bounds of a count.
const (
	DaysCounted = 14
	countFor    = 5 * time.Minute
	chunk       = 6 * time.Hour // of the journal that is read at once
	fresh       = time.Minute   // a count is good for so long, or
	freshTimes  = 20            // for so many times as long as it took
	onlyFrom    = 7 * 24 * time.Hour
	onlyTo      = 24 * time.Hour
	mostOnly    = 100
	published   = 1000 // notes after which a count that is under way is shown
)

// A Count is what the last days' messages and notes say. One that is still under way says
// how far it is.
type Count struct {
	Begun, Ended time.Time                // Ended is zero while it is under way
	Days         []Day                    // the oldest first
	FromNotes    bool                     // there is no inbox: Days and Apart are the notes'
	DaysToRead   int                      // of the journal, which are not counted yet
	Notes        int                      // read so far
	Last         map[inbox.Lane]time.Time // of each channel, by the notes
	Apart        map[Order]Spread
	IDs          map[string]Agreement // by event, as EVENT_PAYMENT
	Problem      string               // why it is not complete

	// Only are payments that only one channel told of, by that channel, where the other had
	// a day and the payment is of the last week: a hundred at most.
	Only     map[string][]*client.Note
	OnlyMore map[string]bool
}

// A Day counts the verdicts of each lane: FIRST, DUPLICATE, HELD, or "" for none yet.
type Day struct {
	Begin time.Time
	Lanes map[inbox.Lane]map[string]int
}

// An Order is which channel told of a donation first, and which then.
type Order struct{ First, Then string }

// Bounds part how far apart two channels tell of one donation. What is more than the last
// is in a part of its own.
var Bounds = [...]time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 24 * time.Hour}

// A Spread counts donations by how far apart the channels told of them.
type Spread [len(Bounds) + 1]int

func (s *Spread) add(apart time.Duration) {
	for i, bound := range Bounds {
		if apart <= bound {
			s[i]++
			return
		}
	}
	s[len(Bounds)]++
}

// Total is the number of donations.
func (s Spread) Total() (n int) {
	for _, each := range s {
		n += each
	}
	return n
}

// Within returns the bound within which a share of the donations came, or 0 where that is
// more than the last bound.
func (s Spread) Within(share float64) time.Duration {
	n := 0
	for i, bound := range Bounds {
		if n += s[i]; float64(n) >= share*float64(s.Total()) {
			return bound
		}
	}
	return 0
}

// An Agreement counts donations that two channels told of, each with a transaction id.
type Agreement struct{ Same, Other int }

// clone copies a count that is under way.
func (c *Count) clone() *Count {
	copied := *c
	copied.Days = make([]Day, len(c.Days))
	for i, day := range c.Days {
		lanes := make(map[inbox.Lane]map[string]int, len(day.Lanes))
		for lane, verdicts := range day.Lanes {
			lanes[lane] = maps.Clone(verdicts)
		}
		copied.Days[i] = Day{day.Begin, lanes}
	}
	copied.Last, copied.Apart, copied.IDs = maps.Clone(c.Last), maps.Clone(c.Apart), maps.Clone(c.IDs)
	copied.Only, copied.OnlyMore = maps.Clone(c.Only), maps.Clone(c.OnlyMore)
	return &copied
}

// add counts a verdict on the day of a time.
func (c *Count) add(lane inbox.Lane, verdict string, at time.Time) {
	for i := len(c.Days) - 1; i >= 0; i-- {
		day := &c.Days[i]
		if at.Before(day.Begin) {
			continue
		}
		if day.Lanes[lane] == nil {
			day.Lanes[lane] = map[string]int{}
		}
		day.Lanes[lane][verdict]++
		return
	}
}

func (c *Count) apart(order Order, apart time.Duration) {
	spread := c.Apart[order]
	spread.add(apart)
	c.Apart[order] = spread
}

// A Counter counts in the background, once at a time, and only when it is asked.
type Counter struct {
	Noted  *client.Client
	Inbox  *inbox.Inbox // nil where there is none
	Ledger string
	Zone   *time.Location // of the days
	Log    *slog.Logger

	mu      sync.Mutex
	shown   *Count
	running chan struct{} // closed at the end of the count that is under way; nil without one
}

// Count returns the last count if it is fresh. Otherwise it begins one and waits for it as
// long as the caller's patience lasts, and returns it as far as it is then. The count goes
// on without the caller.
func (c *Counter) Count(ctx context.Context, patience time.Duration) *Count {
	c.mu.Lock()
	if c.running == nil {
		if s := c.shown; s != nil && time.Since(s.Ended) < max(fresh, freshTimes*s.Ended.Sub(s.Begun)) {
			c.mu.Unlock()
			return s
		}
		c.running = make(chan struct{})
		count := c.begin(time.Now())
		if c.shown == nil {
			c.shown = count.clone() // so that there is one, however short the patience
		}
		go c.run(count)
	}
	running := c.running
	c.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-running:
	case <-timer.C:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown
}

func (c *Counter) show(count *Count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A complete count is shown until the next one is complete.
	if c.shown == nil || c.shown.Ended.IsZero() || !count.Ended.IsZero() {
		c.shown = count.clone()
	}
}

func (c *Counter) run(count *Count) {
	// Nobody waits for it who could cancel it.
	ctx, cancel := context.WithTimeout(context.Background(), countFor)
	defer cancel()
	c.show(count)
	if c.Inbox != nil {
		c.countJournal(ctx, count)
	}
	c.countNotes(ctx, count)
	if ctx.Err() != nil {
		count.Problem = "The ledger is too large to be counted in five minutes, so the counts are too low."
	}
	count.DaysToRead, count.Ended = 0, time.Now()
	c.show(count)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.running)
	c.running = nil
}

func (c *Counter) begin(now time.Time) *Count {
	count := &Count{
		Begun: now, FromNotes: c.Inbox == nil, Last: map[inbox.Lane]time.Time{}, Apart: map[Order]Spread{},
		IDs: map[string]Agreement{}, Only: map[string][]*client.Note{}, OnlyMore: map[string]bool{},
	}
	y, m, d := now.In(c.Zone).Date()
	for i := range DaysCounted {
		begin := time.Date(y, m, d-DaysCounted+1+i, 0, 0, 0, 0, c.Zone)
		count.Days = append(count.Days, Day{begin, map[inbox.Lane]map[string]int{}})
	}
	if c.Inbox != nil {
		count.DaysToRead = DaysCounted
	}
	return count
}

// heard is when a channel first told of a donation that no other has told of yet.
type heard struct {
	channel string
	at      time.Time
}

// countJournal counts the journal, the newest day first.
func (c *Counter) countJournal(ctx context.Context, count *Count) {
	alone := map[string]heard{} // by donation id
	for i := len(count.Days) - 1; i >= 0; i-- {
		end := time.Now()
		if i+1 < len(count.Days) {
			end = count.Days[i+1].Begin
		}
		for from := count.Days[i].Begin; from.Before(end); from = from.Add(chunk) {
			to := from.Add(chunk)
			if to.After(end) {
				to = end
			}
			err := c.Inbox.Decisions(ctx, from, to, func(d inbox.Decision) {
				count.add(d.Lane, d.Verdict, d.ReceivedAt)
				if d.DonationID == "" || d.Ledger != c.Ledger {
					return
				}
				count.pair(alone, d)
			})
			if err != nil {
				c.Log.Warn("the inbox cannot be counted", "cause", err.Error())
				count.Problem = "The inbox could not be read to its end, so the counts are too low."
				return
			}
		}
		count.DaysToRead--
		c.show(count)
	}
}

// pair finds the other channel of a donation.
func (c *Count) pair(alone map[string]heard, d inbox.Decision) {
	now := heard{d.Channel, d.ReceivedAt}
	other, ok := alone[d.DonationID]
	switch {
	case !ok:
		alone[d.DonationID] = now
	case other.channel == d.Channel:
		if now.at.Before(other.at) {
			alone[d.DonationID] = now
		}
	default:
		delete(alone, d.DonationID)
		if now.at.Before(other.at) {
			now, other = other, now
		}
		c.apart(Order{other.channel, now.channel}, now.at.Sub(other.at))
	}
}

// countNotes counts the notes of the days.
func (c *Counter) countNotes(ctx context.Context, count *Count) {
	request := &client.ListRequest{
		Ledger: c.Ledger, NotedAfter: timestamppb.New(count.Days[0].Begin), PageSize: 1000,
	}
	for note, err := range c.Noted.List(ctx, request) {
		if err != nil {
			if ctx.Err() == nil {
				c.Log.Warn("the ledger cannot be counted", "cause", err.Error())
				count.Problem = "Noted's ledger could not be listed to its end, so the counts are too low."
			}
			return
		}
		count.note(c.Ledger, note)
		if count.Notes++; count.Notes%published == 0 {
			c.show(count)
		}
	}
}

// note counts a note. Of a channel that told twice the first message counts.
func (c *Count) note(ledger string, note *client.Note) {
	var channels []heard
	ids := map[string]string{}
	for i, s := range note.GetSightings() {
		channel, at := s.GetMessage().GetChannel(), s.GetSeenAt().AsTime()
		if received := s.GetMessage().GetReceivedAt(); received != nil {
			at = received.AsTime()
		}
		lane := inbox.Lane{Ledger: ledger, Channel: channel}
		if c.Last[lane].Before(at) {
			c.Last[lane] = at
		}
		if c.FromNotes {
			verdict := "DUPLICATE"
			if i == 0 {
				verdict = "FIRST"
			}
			c.add(lane, verdict, at)
		}
		if ids[channel] == "" {
			ids[channel] = s.GetTransactionId()
		}
		known := false
		for k := range channels {
			if channels[k].channel == channel {
				known = true
				if at.Before(channels[k].at) {
					channels[k].at = at
				}
			}
		}
		if !known {
			channels = append(channels, heard{channel, at})
		}
	}
	if len(channels) == 1 {
		c.only(channels[0].channel, note)
	}
	if len(channels) != 2 {
		return
	}
	first, then := channels[0], channels[1]
	if then.at.Before(first.at) {
		first, then = then, first
	}
	if c.FromNotes {
		c.apart(Order{first.channel, then.channel}, then.at.Sub(first.at))
	}
	if a, b := ids[first.channel], ids[then.channel]; a != "" && b != "" {
		event := note.GetDonation().GetEvent().String()
		agreement := c.IDs[event]
		if a == b {
			agreement.Same++
		} else {
			agreement.Other++
		}
		c.IDs[event] = agreement
	}
}

// only keeps a payment that one channel told of, if the other has had its time.
func (c *Count) only(channel string, note *client.Note) {
	age := c.Begun.Sub(note.GetNotedAt().AsTime())
	event := note.GetDonation().GetEvent()
	if age < onlyTo || age > onlyFrom || event != client.EventPayment && event != 0 {
		return
	}
	if len(c.Only[channel]) == mostOnly {
		c.OnlyMore[channel] = true
		return
	}
	c.Only[channel] = append(c.Only[channel], note)
}
