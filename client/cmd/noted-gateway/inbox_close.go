package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/closing/messages"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// closeInbox closes messages whose donations were booked by hand. It notes each open
// donation like the gateway and settles it with the reason, so that later messages of the
// donation are duplicates.
func closeInbox(ctx context.Context, i *inboxCommand) error {
	if strings.TrimSpace(i.reason) == "" {
		return cmdline.Usagef("-reason: give a reason, such as \"booked by hand, entry 4711\"; the audit keeps it")
	}
	all, err := i.selected(ctx)
	if err != nil {
		return err
	}
	noted, err := i.noted()
	if err != nil {
		return err
	}
	defer noted.Close()
	var failed []error
	for _, m := range all {
		if m.State != inbox.Waiting && m.State != inbox.Person {
			fmt.Fprintf(i.out, "%s: nothing to close, it is %s\n", m.Row, m.State)
			continue
		}
		if i.dryRun {
			fmt.Fprintf(i.out, "%s: would close %d donations\n", m.Row, len(m.Donations))
			continue
		}
		if err := i.close(ctx, noted, m.Row); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// noted connects to Noted with the gateway's own flags. Acts without a call to Noted need
// no right to read the gateway's token.
func (i *inboxCommand) noted() (*client.Client, error) {
	if wrong := i.reachNoted(); len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return client.New(i.config.Noted, i.config.NotedClient)
}

// close closes one message.
func (i *inboxCommand) close(ctx context.Context, noted *client.Client, row string) error {
	act := messages.Act{Actor: actor(), Reason: i.reason, Said: i.reason}
	err := messages.Close(ctx, noted, i.box, row, act, func(d inbox.Donation) {
		said := "is settled under donation id " + d.DonationID
		switch {
		case d.Outcome == inbox.Duplicate:
			said = "was settled meanwhile under donation id " + d.DonationID
		case d.Reason != "":
			said = "is closed; Noted cannot note it (" + d.Reason + ")"
		}
		fmt.Fprintf(i.out, "%s: %s of %s %s\n", row, d.Event, d.SeriesID, said)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", row, err)
	}
	fmt.Fprintf(i.out, "%s: closed\n", row)
	return nil
}
