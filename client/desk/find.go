package desk

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/closing/messages"
	"github.com/donation-dedupe/noted/client/desk/walk"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The limits of one question.
const (
	mostMessages = 200    // of the journal
	mostSiblings = 20     // ids that find the other channel's messages
	mostSeries   = 50     // for which Noted is asked
	mostNotes    = 500    // of one series
	mostRead     = 20_000 // messages to read for an amount and a day
	lateness     = 5      // days of PayPal's repeats: a message of a day may come so late
)

// A told is a message of the journal, with the donation in question.
type told struct {
	inbox.Message
	Donation *inbox.Donation // nil if the message has no donation
	Acts     []inbox.Act

	pair *client.NoteRequest // the gateway's request to Noted; nil if it cannot be read
}

// A donation is everything known about one donation.
type donation struct {
	ledger, series, event, transaction string

	id   string       // Noted's id, from the note or the journal
	note *client.Note // nil without a note
	told []told       // by the time of receipt
}

// A finding is the answer of both sources.
type finding struct {
	question
	asked     bool // to search the whole ledger, even after a result
	walked    bool // the ledger was walked
	donations []*donation
	alone     []told // messages without a donation

	noJournal    bool      // the desk has no inbox
	journalError error     // the inbox failed
	journalFrom  time.Time // the time of its oldest message
	cut          bool      // some results are not shown
	unverified   int       // messages without known ids, where the journal has found none
	notedError   error     // Noted failed
	unfinished   bool      // the walk of Noted's ledger has not ended
	underWay     bool      // the walk goes on
	retention    time.Duration
}

// find asks both sources.
func (d *Desk) find(ctx context.Context, q question, all bool) *finding {
	f := &finding{question: q, asked: all, noJournal: d.box == nil}
	messages := d.journal(ctx, f)
	for _, m := range messages {
		f.add(d.tell(ctx, m))
	}
	notes := d.notes(ctx, f)
	for _, note := range notes {
		f.match(note)
	}
	if f.notedError == nil {
		d.reach(ctx, f, notes)
	}
	slices.SortStableFunc(f.donations, func(a, b *donation) int { return b.at().Compare(a.at()) })
	return f
}

// journal finds messages in the inbox.
func (d *Desk) journal(ctx context.Context, f *finding) (found []inbox.Message) {
	if d.box == nil {
		return nil
	}
	known := map[string]bool{}
	add := func(messages []inbox.Message) {
		for _, m := range messages {
			if !known[m.Row] && len(found) < mostMessages {
				known[m.Row] = true
				found = append(found, m)
			}
		}
	}
	var err error
	var messages []inbox.Message
	if f.bySum() {
		messages, err = d.journalOf(ctx, f)
	} else {
		messages, err = d.box.Find(ctx, f.id, mostMessages)
	}
	add(messages)
	f.cut = f.cut || len(messages) == mostMessages
	// The other channel's message may have none of the ids in the question.
	siblings := map[string]bool{f.id: true}
	for _, m := range messages {
		for _, each := range m.Donations {
			for _, id := range []string{each.DonationID, each.AcceptedID, each.TransactionID} {
				if id == "" || siblings[id] || len(siblings) > mostSiblings || err != nil {
					continue
				}
				siblings[id] = true
				if messages, err = d.box.Find(ctx, id, mostMessages); err == nil {
					add(messages)
				}
			}
		}
	}
	if err == nil {
		f.journalFrom, err = d.box.Oldest(ctx)
	}
	if err == nil && len(found) == 0 {
		f.unverified, err = d.box.Unverified(ctx, f.day)
	}
	f.journalError = err
	slices.SortStableFunc(found, func(a, b inbox.Message) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
	return found
}

var errEnough = errors.New("enough")

// journalOf finds the messages with an amount and a day.
func (d *Desk) journalOf(ctx context.Context, f *finding) (found []inbox.Message, err error) {
	read := 0
	window := inbox.Filter{Since: f.day, Until: f.until().AddDate(0, 0, lateness)}
	err = d.box.List(ctx, window, func(m inbox.Message) error {
		if read++; read > mostRead || len(found) == mostMessages {
			f.cut = true
			return errEnough
		}
		for _, each := range m.Donations {
			pair := pairOf(each)
			if f.fits(pair.GetDonation().GetAmount(), pair.GetDonation().GetCurrencyCode(),
				timeOf(pair.GetDonation().GetOccurredAt()), m.ReceivedAt) {
				found = append(found, m)
				break
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

// pairOf reads a donation of the journal; nil if that fails.
func pairOf(d inbox.Donation) *client.NoteRequest { return messages.Request(d) }

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// tell makes an entry for each donation of a message, or one entry without a donation.
func (d *Desk) tell(ctx context.Context, m inbox.Message) (all []told) {
	acts, err := d.box.Acts(ctx, m.Row)
	if err != nil {
		d.log.Warn("the acts cannot be read", "row", m.Row, "cause", err.Error())
	}
	if len(m.Donations) == 0 || m.State == inbox.Refused || m.State == inbox.Discarded {
		return []told{{Message: m, Acts: acts}}
	}
	for i := range m.Donations {
		each := &m.Donations[i]
		all = append(all, told{Message: m, Donation: each, Acts: acts, pair: pairOf(*each)})
	}
	return all
}

// add sorts entries by donation.
func (f *finding) add(all []told) {
	for _, t := range all {
		if t.Donation == nil {
			f.alone = append(f.alone, t)
			continue
		}
		each := donation{
			ledger: t.Ledger, series: asked(t.Donation), event: t.Donation.Event,
			transaction: t.Donation.TransactionID, id: t.Donation.DonationID,
		}
		if !f.relevant(t) {
			continue
		}
		at := slices.IndexFunc(f.donations, func(other *donation) bool { return other.same(each) })
		if at < 0 {
			f.donations = append(f.donations, &each)
			at = len(f.donations) - 1
		}
		known := f.donations[at]
		known.told = append(known.told, t)
		if known.id == "" {
			known.id = each.id
		}
	}
}

// relevant leaves out the other donations of a message with several.
func (f *finding) relevant(t told) bool {
	if len(t.Message.Donations) == 1 || !f.bySum() {
		return true
	}
	pair := t.pair.GetDonation()
	return f.fits(pair.GetAmount(), pair.GetCurrencyCode(), timeOf(pair.GetOccurredAt()), t.ReceivedAt)
}

// asked is the series id with which the gateway asked Noted.
func asked(d *inbox.Donation) string {
	if d.AskedSeries != "" {
		return d.AskedSeries
	}
	return d.SeriesID
}

// same reports whether two entries of the journal belong to one donation. Without Noted's
// id only the same transaction proves that.
func (a *donation) same(b donation) bool {
	if a.id != "" && b.id != "" {
		return a.id == b.id
	}
	return a.ledger == b.ledger && a.series == b.series && a.event == b.event &&
		a.transaction == b.transaction && a.transaction != ""
}

// at is the time of the donation, or of its first message.
func (a *donation) at() time.Time {
	if occurred := a.note.GetDonation().GetOccurredAt(); occurred != nil {
		return occurred.AsTime()
	}
	if len(a.told) > 0 {
		if occurred := a.told[0].pair.GetDonation().GetOccurredAt(); occurred != nil {
			return occurred.AsTime()
		}
		return a.told[0].ReceivedAt
	}
	return timeOf(a.note.GetNotedAt())
}

// notes asks Noted about the series in the journal and in the question. If that finds
// nothing, it walks the ledger for as long as the desk's patience lasts.
func (d *Desk) notes(ctx context.Context, f *finding) (found []*client.Note) {
	type series struct{ ledger, id string }
	var all []series
	for _, each := range f.donations {
		if s := (series{each.ledger, each.series}); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if s := (series{d.config.Ledger, f.id}); f.id != "" && !slices.Contains(all, s) {
		all = append(all, s)
	}
	if len(all) > mostSeries {
		all, f.cut = all[:mostSeries], true
	}
	for _, s := range all {
		n := 0
		for note, err := range d.noted.List(ctx, &client.ListRequest{Ledger: s.ledger, SeriesId: s.id}) {
			if err != nil {
				if !errors.Is(err, client.ErrInvalidRequest) { // the id cannot be a series id
					f.notedError = err
				}
				break
			}
			if f.wants(note) || f.isKnown(note) {
				found = append(found, note)
			}
			if n++; n == mostNotes {
				f.cut = true
				break
			}
		}
		if f.notedError != nil {
			return found
		}
	}
	if f.asked || len(found) == 0 && len(f.donations) == 0 {
		f.walked = true
		for _, note := range d.walk(ctx, f) {
			known := func(other *client.Note) bool { return other.GetDonationId() == note.GetDonationId() }
			if !slices.ContainsFunc(found, known) {
				found = append(found, note)
			}
		}
	}
	return found
}

// transactionPattern matches PayPal's transaction ids. No message id and no donation id
// matches it.
var transactionPattern = regexp.MustCompile(`^[0-9A-Z]{17}$`)

// walk searches the whole ledger.
func (d *Desk) walk(ctx context.Context, f *finding) []*client.Note {
	patience := d.config.Patience
	if f.asked {
		patience *= 10
	}
	want := walk.Want{
		Request: &client.ListRequest{Ledger: d.config.Ledger, PageSize: 1000}, Most: mostMessages,
		Fits: func(_ context.Context, note *client.Note) (bool, error) { return f.wants(note), nil },
	}
	if f.bySum() {
		want.Key = "sum " + f.amount.RatString() + f.currency + f.day.String()
		want.Request.NotedAfter = timestamppb.New(f.day)
	} else {
		want.Key = "id " + f.id
	}
	// For a transaction id Noted itself filters, and sends no other notes. Here the desk
	// filters by message id and donation id.
	if transactionPattern.MatchString(f.id) {
		want.Request.TransactionId = f.id
	}
	found := d.walks.Look(ctx, want, patience)
	switch {
	case found.UnderWay:
		f.underWay = true
	case found.Busy, errors.Is(found.Err, walk.ErrTooLong):
		f.unfinished = true
	default:
		f.notedError = found.Err
	}
	f.cut = f.cut || found.More
	return found.Notes
}

// wants reports whether a note answers the question.
func (f *finding) wants(note *client.Note) bool {
	about := note.GetDonation()
	if f.bySum() {
		return f.fits(
			about.GetAmount(),
			about.GetCurrencyCode(),
			timeOf(about.GetOccurredAt()),
			timeOf(note.GetNotedAt()),
		)
	}
	if f.id == about.GetSeriesId() || f.id == about.GetTransactionId() || f.id == note.GetDonationId() {
		return true
	}
	return slices.ContainsFunc(note.GetSightings(), func(s *client.Sighting) bool {
		return f.id == s.GetTransactionId() || f.id == s.GetMessage().GetId()
	})
}

// isKnown reports whether the journal has a message of the note.
func (f *finding) isKnown(note *client.Note) bool {
	return slices.ContainsFunc(f.donations, func(each *donation) bool { return each.isOf(note) })
}

// isOf reports whether a note belongs to the donation, by Noted's id or by a message that
// both have.
func (a *donation) isOf(note *client.Note) bool {
	if a.id != "" {
		return a.id == note.GetDonationId()
	}
	about := note.GetDonation()
	if a.ledger != about.GetLedger() || a.series != about.GetSeriesId() || a.event != about.GetEvent().String() {
		return false
	}
	return slices.ContainsFunc(a.told, func(t told) bool { return sightingOf(note, t) >= 0 })
}

// sightingOf returns the index of the message among a note's sightings, or -1.
func sightingOf(note *client.Note, t told) int {
	return slices.IndexFunc(note.GetSightings(), func(s *client.Sighting) bool {
		return s.GetMessage().GetChannel() == t.Channel && s.GetMessage().GetId() == t.ID
	})
}

// match assigns a note to its donation. Entries of the journal that share a note become
// one donation.
func (f *finding) match(note *client.Note) {
	var known *donation
	f.donations = slices.DeleteFunc(f.donations, func(each *donation) bool {
		switch {
		case !each.isOf(note):
		case known == nil:
			known = each
		default:
			known.told = append(known.told, each.told...)
			return true
		}
		return false
	})
	about := note.GetDonation()
	if known == nil {
		known = &donation{ledger: about.GetLedger(), series: about.GetSeriesId(), event: about.GetEvent().String()}
		f.donations = append(f.donations, known)
	}
	known.note, known.id = note, note.GetDonationId()
	if known.transaction == "" {
		known.transaction = about.GetTransactionId()
	}
	slices.SortStableFunc(known.told, func(a, b told) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
}

// reach finds how long Noted keeps notes. A note's forget_at is the retention after
// occurred_at, or after noted_at if that is later.
func (d *Desk) reach(ctx context.Context, f *finding, notes []*client.Note) {
	if len(notes) == 0 {
		page, err := d.noted.Page(ctx, &client.ListRequest{Ledger: d.config.Ledger, PageSize: 1})
		if err != nil {
			f.notedError = err
			return
		}
		if notes = page.GetNotes(); len(notes) == 0 {
			return
		}
	}
	begin := timeOf(notes[0].GetNotedAt())
	if occurred := timeOf(notes[0].GetDonation().GetOccurredAt()); occurred.After(begin) {
		begin = occurred
	}
	f.retention = timeOf(notes[0].GetForgetAt()).Sub(begin)
}

// spoken writes a name of the contract in a person's words.
func spoken(name, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, prefix), "_", " "))
}
