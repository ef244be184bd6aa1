package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/terminal"
)

// watchRest limits the server's load: after a listing watch rests for this many times the
// listing's duration.
const watchRest = 10

func (a *app) watchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", UsageText: "notectl watch [options]",
		Usage: "show notes as they are made and change, until Ctrl-C",
		Description: `Shows a line for each note from within -window that is made, seen again, taken over, settled,
released or forgotten by hand. With -o json each line is the note as in "list".

The contract has no call for changes, so watch lists these notes repeatedly: every -every, and
never for more than a tenth of the time. Without -series the server walks the whole ledger for
each listing. Of several changes between two listings, watch shows only the last state. It
waits for an unreachable server.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "series", Usage: "`ID` of the only series to watch"},
			&cli.DurationFlag{
				Name:  "every",
				Value: 2 * time.Second,
				Usage: "`DURATION` between two listings; at least 100ms",
			},
			&cli.DurationFlag{
				Name:  "window",
				Value: 15 * time.Minute,
				Usage: "`DURATION` for which a note is watched after it was noted",
			},
			&cli.DurationFlag{Name: "for", HideDefault: true, Usage: "`DURATION` to watch; without it until Ctrl-C"},
		},
		Action: a.act(a.watch),
	}
}

// watched is a note in the last listing.
type watched struct {
	note   *client.Note
	missed int // listings in a row without it: a walk can miss a note once
}

func (a *app) watch(ctx context.Context, cmd *cli.Command) (int, error) {
	if err := none(cmd); err != nil {
		return 0, err
	}
	every, window := cmd.Duration("every"), cmd.Duration("window")
	if every < 100*time.Millisecond || window < every {
		return 0, usageError{
			inCommand{errors.New("-every must be at least 100ms, and -window longer than that"), cmd.FullName()},
		}
	}
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	if long := cmd.Duration("for"); long > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, long)
		defer cancel()
	}
	a.warnf("watching notes of the last %s, listed every %s", seconds(window), every)
	out := a.printer(cmd)
	known, first, away := map[string]*watched{}, true, false
	for {
		began := now()
		notes, err := a.recent(ctx, noted, cmd, began.Add(-window))
		switch {
		case ctx.Err() != nil:
			return exitFirst, nil // asked to stop
		case errors.Is(err, client.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			if !away {
				a.warnf("%v; still watching", err)
			}
			away = true
		case err != nil:
			return 0, err
		default:
			away = false
			if err := a.changes(out, known, notes, began.Add(-window), first); err != nil {
				return 0, err
			}
			first = false
		}
		select {
		case <-time.After(max(every, watchRest*now().Sub(began))):
		case <-ctx.Done():
			return exitFirst, nil
		}
	}
}

// recent lists the notes that were noted since a time, the oldest first.
func (a *app) recent(
	ctx context.Context, noted *client.Client, cmd *cli.Command, since time.Time,
) (notes []*client.Note, err error) {
	request := &client.ListRequest{
		Ledger: cmd.String("ledger"), SeriesId: cmd.String("series"), NotedAfter: timestamppb.New(since), PageSize: 500,
	}
	for note, err := range noted.List(ctx, request) {
		if err != nil {
			return nil, err
		}
		notes = append(notes, note)
	}
	slices.SortStableFunc(notes, byNoted)
	return notes, nil
}

// changes shows the changes since the last listing. The first listing shows nothing,
// because the changes count from it.
func (a *app) changes(
	out *printer, known map[string]*watched, notes []*client.Note, since time.Time, first bool,
) error {
	met := map[string]bool{}
	for _, note := range notes {
		id := note.GetDonationId()
		if met[id] {
			continue // a walk can return a note twice
		}
		met[id] = true
		before := known[id]
		known[id] = &watched{note: note}
		if first {
			continue
		}
		var was *client.Note
		if before != nil {
			was = before.note
		}
		if what := changed(was, note); what != "" {
			if err := out.change(what, note); err != nil {
				return err
			}
		}
	}
	for id, w := range known {
		if met[id] {
			continue
		}
		w.missed++
		if w.note.GetNotedAt().AsTime().Before(since.Add(time.Second)) {
			delete(known, id) // it is older than the window
		} else if w.missed == 2 {
			delete(known, id)
			if err := out.change("forgotten", w.note); err != nil {
				return err
			}
		}
	}
	return nil
}

// changed says what happened to a note since the last listing; empty without a change.
// was is nil for a new note.
func changed(was, is *client.Note) string {
	state := terminal.Spoken(is.GetState().String(), "STATE_")
	switch {
	case was == nil:
		return "noted, " + state
	case is.GetAttempt() > was.GetAttempt():
		return fmt.Sprintf("attempt %d, %s", is.GetAttempt(), state)
	case is.GetState() != was.GetState():
		return state
	case len(is.GetSightings()) > len(was.GetSightings()):
		return "seen on " + is.GetSightings()[len(is.GetSightings())-1].GetMessage().GetChannel()
	case is.GetHeldUntil().AsTime().After(was.GetHeldUntil().AsTime()):
		return "hold extended"
	}
	return ""
}

// change writes a line of watch.
func (p *printer) change(what string, note *client.Note) error {
	if p.JSON {
		return p.jsonLine(note)
	}
	donation := note.GetDonation()
	fmt.Fprintf(p.Out, "%s  %-18s  %-10s  %-16s  %12s  %-12s  %s\n",
		now().Format(time.TimeOnly), what, terminal.EventName(terminal.EventOf(donation)), donation.GetSeriesId(),
		terminal.Amount(donation), seenOn(note), note.GetDonationId())
	return p.Out.Flush()
}
