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
		Usage: "show notes: the history of a series, or the notes that are held, open, or from one channel only",
		Description: `Shows the notes that meet all conditions:

    notectl list -series I-ABC                      the history of one series, oldest first
    notectl list -state open                        the hold was released or ran out: not processed
    notectl list -seen-only-on ipn -before 24h      no webhook within a day: is the webhook set up?
    notectl list -transaction 8XB31234              the series in which this transaction was noted
    notectl list -event refund -after 24h -count    the number of refunds noted within a day
    notectl list -occurred-after 7d -sort occurred -limit 10

The server checks all conditions except -event and -occurred-after. notectl applies those
two to the server's answers, so they make a listing shorter but not faster. -sort and -count
read the whole listing first, and count each donation once. -limit then takes the first of
the sorted notes.

Notes are forgotten after the ledger's retention. If a condition reaches further back, a
line on standard error says so.

Without -series it reads all notes of the ledger, in no particular order. A note that is
made or forgotten meanwhile may appear twice or not at all. If a listing breaks off, an
error says so, and the exit code is 1.`,
		UsageText: "notectl list [options]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "series", Usage: "`ID` of the only series to show"},
			&cli.StringFlag{
				Name:      "state",
				Usage:     "`STATE` of a note: held, open or settled",
				Validator: cmdline.OneOf("held", "open", "settled"),
			},
			&cli.StringFlag{
				Name:  "seen-only-on",
				Usage: "`CHANNEL` of all messages of a note, such as ipn or webhook",
			},
			&cli.StringFlag{Name: "transaction", Usage: "`ID` of a transaction in any message of a note"},
			&cli.StringFlag{
				Name: "after",
				Usage: "`TIME` of the earliest note: 2026-03-01T14:05:00+01:00, \"2026-03-01 14:05\", " +
					"or 24h for a day ago, 7d for a week ago",
			},
			&cli.StringFlag{Name: "before", Usage: "`TIME` before which notes were noted, in the form of -after"},
			&cli.StringFlag{
				Name:      "event",
				Usage:     "`EVENT` of a note, such as payment; \"notectl note -help\" lists the events",
				Validator: func(s string) error { _, err := parseEvent(s); return err },
			},
			&cli.StringFlag{
				Name: "occurred-after",
				Usage: "`TIME` of the earliest donation by PayPal, in the form of -after; " +
					"without a time of PayPal the noted time counts",
			},
			&cli.StringFlag{
				Name:      "sort",
				Usage:     "`ORDER` of the notes: noted, occurred (both oldest first) or series",
				Validator: cmdline.OneOf("noted", "occurred", "series"),
			},
			&cli.BoolFlag{Name: "count", Usage: "show only the number of notes"},
			&cli.IntFlag{Name: "limit", Usage: "`NUMBER` of notes to show at most; 0 for all"},
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
	var anyNote *client.Note // any note shows the ledger's retention
	for note, err := range noted.List(ctx, request) {
		if err != nil {
			bar.Clear()
			err = errors.Join(err, l.brokeOff(), out.flush()) // show the notes so far all the same
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
	ids        map[string]bool // of gathered or counted notes: the server may send a note twice
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

// full reports whether no further note will be shown.
func (l *listing) full() bool { return l.sort == "" && l.limit > 0 && l.shown >= l.limit }

// end shows the gathered notes.
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

// brokeOff shows the gathered notes of a listing that broke off. It shows no count, which
// would be wrong.
func (l *listing) brokeOff() error {
	if l.count {
		return nil
	}
	return l.end()
}

// orders has the comparison for each value of -sort.
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

// occurred is the time of a donation, or the time of its note if PayPal gave none.
func occurred(note *client.Note) time.Time {
	if at := note.GetDonation().GetOccurredAt(); at != nil {
		return at.AsTime()
	}
	return note.GetNotedAt().AsTime()
}

// wantedHere returns the conditions that the contract does not have, as one function.
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

// warnOfReach warns if a condition reaches further back than the ledger's notes. Every note
// shows the ledger's retention: it is the time from the later of its two times to forget_at.
// After a listing without notes it asks for one note.
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
				a.warnf("the oldest time of the notes is unknown: %v", err)
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
