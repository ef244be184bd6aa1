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

// The limits of a count.
const (
	DaysCounted = 14
	countFor    = 5 * time.Minute
	chunk       = 6 * time.Hour // the part of the journal in one read
	fresh       = time.Minute   // the time for which a count is fresh, or
	freshTimes  = 20            // this multiple of the count's own time
	onlyFrom    = 7 * 24 * time.Hour
	onlyTo      = 24 * time.Hour
	mostOnly    = 100
	published   = 1000 // notes after which an unfinished count is shown
)

// A Count is a count of the last days' messages and notes. An unfinished count shows its
// progress.
type Count struct {
	Begun, Ended time.Time                // Ended is zero during the count
	Days         []Day                    // the oldest first
	FromNotes    bool                     // there is no inbox: Days and Apart come from the notes
	DaysToRead   int                      // the days of the journal that are not counted yet
	Notes        int                      // read so far
	Last         map[inbox.Lane]time.Time // of each channel, from the notes
	Apart        map[Order]Spread
	IDs          map[string]Agreement // by event, as EVENT_PAYMENT
	Problem      string               // why it is incomplete

	// Only are payments of the last week that came over one channel only, although the
	// other has had a day. By the channel that told; at most a hundred.
	Only     map[string][]*client.Note
	OnlyMore map[string]bool
}

// A Day counts the verdicts of each lane: FIRST, DUPLICATE, HELD, or "" without a verdict
// yet.
type Day struct {
	Begin time.Time
	Lanes map[inbox.Lane]map[string]int
}

// An Order is the order of two channels: the first message came over First, the next over
// Then.
type Order struct{ First, Then string }

// Bounds divide the times between two channels' messages into parts. Longer times than
// the last bound have a part of their own.
var Bounds = [...]time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 24 * time.Hour}

// A Spread counts donations by the time between the channels' messages.
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

// Within returns the bound that a share of the donations is within, or 0 if that is
// beyond the last bound.
func (s Spread) Within(share float64) time.Duration {
	n := 0
	for i, bound := range Bounds {
		if n += s[i]; float64(n) >= share*float64(s.Total()) {
			return bound
		}
	}
	return 0
}

// An Agreement counts donations that came over two channels, each with a transaction id.
type Agreement struct{ Same, Other int }

// clone copies an unfinished count.
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

// A Counter counts in the background, one count at a time, and only on request.
type Counter struct {
	Noted  *client.Client
	Inbox  *inbox.Inbox // nil without an inbox
	Ledger string
	Zone   *time.Location // divides the days
	Log    *slog.Logger

	mu      sync.Mutex
	shown   *Count
	running chan struct{} // closed at the end of the running count; nil without a running count
}

// Count returns the last count if it is fresh. Otherwise it begins a count, waits for it
// as long as patience lasts, and returns its state then. The count goes on without the
// caller.
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
			c.shown = count.clone() // so that shown is set, however short the patience
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
	// A complete count is shown until the next count is complete.
	if c.shown == nil || c.shown.Ended.IsZero() || !count.Ended.IsZero() {
		c.shown = count.clone()
	}
}

func (c *Counter) run(count *Count) {
	// No caller waits for the whole count, so no context of a caller ends it.
	ctx, cancel := context.WithTimeout(context.Background(), countFor)
	defer cancel()
	c.show(count)
	if c.Inbox != nil {
		c.countJournal(ctx, count)
	}
	c.countNotes(ctx, count)
	if ctx.Err() != nil {
		count.Problem = "The ledger is too large to count in five minutes, so the counts are too low."
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

// heard is the first message of a donation that came over one channel so far.
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

// note counts a note. If a channel told twice, its first message counts.
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

// only keeps a payment that came over one channel, if the other channel has had its time.
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
