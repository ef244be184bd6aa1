package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/terminal"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (a *app) listCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "show notes: one series' history, or what is held, open, or told of on one channel only",
		Description: `All conditions must hold:

    notectl list -series I-ABC                      the history of one series, oldest first
    notectl list -state open                        released or run out: nobody has processed these
    notectl list -seen-only-on ipn -before 24h      no webhook came in a day: is the webhook set up?
    notectl list -transaction 8XB31234              in which series has this transaction been told of?
    notectl list -event refund -after 24h -count    how many refunds were noted in a day?
    notectl list -occurred-after 7d -sort occurred -limit 10

The server looks for all conditions but -event and -occurred-after. Those choose among its
answers here, so they make a listing shorter and no faster. -sort and -count gather the
whole listing first, and take each donation once. -limit then takes from the sorted notes.

Notes are forgotten after the ledger's retention. Where the question reaches further back
than notes do, a line on standard error says so.

Without -series it walks through all notes of the ledger, in no particular order; a note
that is made or forgotten meanwhile may be shown twice or not at all. A listing that breaks
off says so, and exits with 1.`,
		UsageText: "notectl list [options]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "series", Usage: "`ID` of the only series to show"},
			&cli.StringFlag{
				Name:      "state",
				Usage:     "`STATE` that a note must be in: held, open or settled",
				Validator: cmdline.OneOf("held", "open", "settled"),
			},
			&cli.StringFlag{
				Name:  "seen-only-on",
				Usage: "`CHANNEL` that all messages of a note came over, such as ipn or webhook",
			},
			&cli.StringFlag{Name: "transaction", Usage: "`ID` of a transaction that any message of a note told of"},
			&cli.StringFlag{
				Name:  "after",
				Usage: "`TIME` of the earliest note to show: 2026-03-01T14:05:00+01:00, \"2026-03-01 14:05\", or 24h for a day ago, 7d for a week ago",
			},
			&cli.StringFlag{Name: "before", Usage: "`TIME` that notes must be older than, written as for -after"},
			&cli.StringFlag{
				Name:      "event",
				Usage:     "`EVENT` that a note must be of, such as payment; \"notectl note -help\" lists them",
				Validator: func(s string) error { _, err := parseEvent(s); return err },
			},
			&cli.StringFlag{
				Name:  "occurred-after",
				Usage: "`TIME` of the earliest donation by PayPal's clock, written as for -after; without such a time it counts when it was noted",
			},
			&cli.StringFlag{
				Name:      "sort",
				Usage:     "`ORDER` of the notes: noted, occurred (both oldest first) or series",
				Validator: cmdline.OneOf("noted", "occurred", "series"),
			},
			&cli.BoolFlag{Name: "count", Usage: "say how many notes there are, and show none"},
			&cli.IntFlag{Name: "limit", Usage: "`NUMBER` of notes to show at most; 0 shows all"},
		},
		Action: a.act(a.list),
	}
}

func (a *app) list(ctx context.Context, cmd *cli.Command) (int, error) {
	request, err := listRequest(cmd)
	if err != nil {
		return 0, err
	}
	wanted, err := wantedHere(cmd)
	if err != nil {
		return 0, err
	}
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	out := a.printer(cmd)
	bar := terminal.NewProgress(a.stdout, a.stderr, -1, "listing")
	defer bar.Clear()
	l := &listing{sort: cmd.String("sort"), count: cmd.Bool("count"), limit: cmd.Int("limit"), show: out.listed}
	var anyNote *client.Note // wanted or not, it shows the ledger's retention
	for note, err := range noted.List(ctx, request) {
		if err != nil {
			bar.Clear()
			err = errors.Join(err, l.brokeOff(), out.flush()) // what there is, is shown all the same
			if l.shown > 0 {
				a.warnf("the listing broke off: there may be more notes than these")
			}
			return 0, err
		}
		anyNote = note
		if !wanted(note) {
			continue
		}
		if err := l.add(note); err != nil {
			return 0, err
		}
		bar.Set(int64(l.met))
		if l.full() {
			break
		}
	}
	bar.Clear()
	if err := l.end(); err != nil {
		return 0, err
	}
	switch {
	case l.count:
		err = out.count(l.met)
	case l.shown == 0:
		a.warnf("no such notes")
	}
	if err := errors.Join(err, out.flush()); err != nil {
		return 0, err
	}
	a.warnOfReach(ctx, cmd, noted, request, anyNote)
	return exitFirst, nil
}

// listing takes notes in the server's order and shows them in the wanted order.
type listing struct {
	sort  string
	count bool
	limit int
	show  func(*client.Note) error

	gathered   []*client.Note
	ids        map[string]bool // of what is gathered or counted: a walk may meet a note twice
	met, shown int
}

func (l *listing) add(note *client.Note) error {
	if l.sort == "" && !l.count {
		l.met++
		l.shown++
		return l.show(note)
	}
	if l.ids[note.GetDonationId()] {
		return nil
	}
	if l.ids == nil {
		l.ids = map[string]bool{}
	}
	l.ids[note.GetDonationId()] = true
	l.met++
	if !l.count {
		l.gathered = append(l.gathered, note)
	}
	return nil
}

// full says whether no further note can be shown.
func (l *listing) full() bool { return l.sort == "" && l.limit > 0 && l.shown >= l.limit }

// end shows what is gathered.
func (l *listing) end() error {
	slices.SortStableFunc(l.gathered, orders[l.sort])
	for _, note := range l.gathered {
		if l.limit > 0 && l.shown >= l.limit {
			break
		}
		if err := l.show(note); err != nil {
			return err
		}
		l.shown++
	}
	return nil
}

// brokeOff shows what is gathered of a listing that has no end. A count of it would be
// wrong, so there is none.
func (l *listing) brokeOff() error {
	if l.count {
		return nil
	}
	return l.end()
}

// orders are those of -sort.
var orders = map[string]func(a, b *client.Note) int{
	"noted":    byNoted,
	"occurred": func(a, b *client.Note) int { return cmp.Or(occurred(a).Compare(occurred(b)), byNoted(a, b)) },
	"series": func(a, b *client.Note) int {
		return cmp.Or(strings.Compare(a.GetDonation().GetSeriesId(), b.GetDonation().GetSeriesId()), byNoted(a, b))
	},
}

func byNoted(a, b *client.Note) int {
	return cmp.Or(
		a.GetNotedAt().AsTime().Compare(b.GetNotedAt().AsTime()),
		strings.Compare(a.GetDonationId(), b.GetDonationId()),
	)
}

// occurred is when a donation happened, as far as it is known.
func occurred(note *client.Note) time.Time {
	if at := note.GetDonation().GetOccurredAt(); at != nil {
		return at.AsTime()
	}
	return note.GetNotedAt().AsTime()
}

// wantedHere returns the conditions that the contract does not have.
func wantedHere(cmd *cli.Command) (func(*client.Note) bool, error) {
	if cmd.Bool("count") && cmd.Int("limit") > 0 {
		return nil, usageError{inCommand{errors.New("-limit: -count counts all notes"), cmd.FullName()}}
	}
	var event client.Event
	if name := cmd.String("event"); name != "" {
		var err error
		if event, err = parseEvent(name); err != nil {
			return nil, err
		}
	}
	after, err := parseMoment(cmd.String("occurred-after"))
	if err != nil {
		return nil, err
	}
	return func(note *client.Note) bool {
		return (event == 0 || terminal.EventOf(note.GetDonation()) == event) &&
			(after == nil || !occurred(note).Before(after.AsTime()))
	}, nil
}

// warnOfReach says how far notes reach back where the question reaches further. Every note
// shows its ledger's retention: it is forgotten that long after the later of its times. A
// listing without a note is followed by a question for any note.
func (a *app) warnOfReach(
	ctx context.Context,
	cmd *cli.Command,
	noted *client.Client,
	request *client.ListRequest,
	note *client.Note,
) {
	occurredAfter, _ := parseMoment(cmd.String("occurred-after")) // wantedHere has read it before
	var earliest *timestamppb.Timestamp
	for _, moment := range []*timestamppb.Timestamp{request.GetNotedAfter(), request.GetNotedBefore(), occurredAfter} {
		if moment != nil && (earliest == nil || moment.AsTime().Before(earliest.AsTime())) {
			earliest = moment
		}
	}
	if earliest == nil {
		return
	}
	if note == nil {
		for found, err := range noted.List(ctx, &client.ListRequest{Ledger: request.GetLedger(), PageSize: 1}) {
			if err != nil {
				a.warnf("how far notes reach back is not known: %v", err)
				return
			}
			note = found
			break
		}
	}
	if note == nil {
		return // an empty ledger does not show its retention
	}
	last := note.GetNotedAt().AsTime()
	if at := occurred(note); at.After(last) {
		last = at
	}
	retention := note.GetForgetAt().AsTime().Sub(last).Round(time.Second)
	if reach := now().Add(-retention); earliest.AsTime().Before(reach) {
		a.warnf("notes reach back to %s (%s): older ones are forgotten, and missing here",
			terminal.Local(timestamppb.New(reach)), cmdline.FormatSpan(retention))
	}
}

func listRequest(cmd *cli.Command) (*client.ListRequest, error) {
	if err := none(cmd); err != nil {
		return nil, err
	}
	request := &client.ListRequest{
		Ledger:        cmd.String("ledger"),
		SeriesId:      cmd.String("series"),
		SeenOnlyOn:    cmd.String("seen-only-on"),
		TransactionId: cmd.String("transaction"),
		PageSize:      500,
	}
	if state := cmd.String("state"); state != "" {
		request.State = client.State(notedv1.State_value["STATE_"+strings.ToUpper(state)])
	}
	here := cmd.IsSet("event") || cmd.IsSet("occurred-after") || cmd.IsSet("sort") // a page may hold few of these
	if limit := cmd.Int("limit"); limit > 0 && limit < 500 && !here {
		request.PageSize = int32(limit)
	}
	var err error
	if request.NotedAfter, err = parseMoment(cmd.String("after")); err != nil {
		return nil, err
	}
	request.NotedBefore, err = parseMoment(cmd.String("before"))
	return request, err
}
