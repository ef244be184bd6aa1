package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// inboxURL matches the beginning of an inbox's address.
var inboxURL = regexp.MustCompile(`(?i)^(sqlite|postgres|postgresql)://`)

// An openInbox is the inbox of a gateway. It is only read.
type openInbox struct {
	*inbox.Past
	messages []inbox.PastMessage // the messages to replay
}

// The reasons to leave a message of an inbox out.
const (
	wiped      = "body wiped"
	unverified = "not verified yet"
	discarded  = "not PayPal's"
	foreign    = "of another account"
	sandbox    = "of the sandbox, refused"
)

// leftOut is the reason not to replay a message; empty for a message to replay. The
// gateway would not ask Noted about most of these. It would ask about a wiped message,
// whose body is gone.
func leftOut(m inbox.PastMessage) string {
	switch {
	case m.State == inbox.Discarded:
		return discarded
	case !m.Verified:
		return unverified
	case m.State == inbox.Refused && m.Cause == "foreign":
		return foreign
	case m.State == inbox.Refused && m.Cause == "sandbox":
		return sandbox
	case m.Size == 0:
		return wiped
	}
	return ""
}

// readKeys reads the file of -inbox-key-file, which only inboxes need.
func (p *program) readKeys(sources []string) error {
	switch needed := slices.ContainsFunc(sources, inboxURL.MatchString); {
	case needed && p.keyFile == "":
		return cmdline.Usagef("-inbox-key-file: an inbox needs it, because its bodies are sealed")
	case !needed && p.keyFile != "":
		return cmdline.Usagef("-inbox-key-file: there is no inbox to open; give the URL of the gateway's -inbox")
	case !needed:
		return nil
	}
	content, err := os.ReadFile(p.keyFile)
	if err != nil {
		return cmdline.Usagef("-inbox-key-file: %w", err)
	}
	if p.keys, err = inbox.ReadKeys(content); err != nil {
		return cmdline.Usagef("-inbox-key-file: %w", err)
	}
	return nil
}

// openInbox reads the index of an inbox. Its place is not its URL, which may contain a
// password.
func (p *archive) openInbox(ctx context.Context, url string) error {
	past, err := inbox.OpenPast(ctx, inbox.Config{URL: url, Keys: p.keys})
	if err != nil {
		return err
	}
	box := &openInbox{Past: past}
	p.inboxes[int32(len(p.paths))] = box
	p.paths = append(p.paths, "inbox")
	all, err := past.Messages()
	if err != nil {
		return err
	}
	for _, m := range all {
		p.copied += m.Copies
		if why := leftOut(m); why != "" {
			p.left[why]++
			continue
		}
		box.messages = append(box.messages, m)
		p.size += m.Size
	}
	return nil
}

// readInbox yields the messages of an inbox. A body that cannot be opened is reported
// like a line without a message, and the replay goes on.
func (p *archive) readInbox(
	ctx context.Context, path int32, box *openInbox, message func(int32, []byte), progress func(int64),
) (read int64, err error) {
	for i, m := range box.messages {
		if ctx.Err() != nil {
			return read, ctx.Err()
		}
		at := arrival{
			at: m.ReceivedAt.UnixNano(), offset: int64(i), path: path, channel: channelIndex(m.Channel),
			ledger: p.ledger(m.Ledger),
		}
		body, err := box.Body(m.Row)
		if at.channel < 0 {
			err = fmt.Errorf("its channel is %q, which this program does not know", m.Channel)
		}
		if err != nil {
			p.trouble(at, err)
		} else {
			at.length = int32(len(body))
			p.add(at, body, message)
		}
		read += m.Size
		progress(read)
	}
	return read, nil
}

// ledger is the index of a ledger's name.
func (p *archive) ledger(name string) int16 {
	at := slices.Index(p.ledgers, name)
	if at < 0 {
		at = len(p.ledgers)
		p.ledgers = append(p.ledgers, name)
	}
	return int16(at)
}

// warnOfInboxes reports the messages of inboxes that the answer leaves out.
func (p *program) warnOfInboxes(past *archive) {
	if n := past.left.total(); n > 0 {
		p.warn(fmt.Sprintf("%d messages of the inbox are left out: %s", n, past.left.list()))
	}
	if past.copied > 0 {
		p.warn(fmt.Sprintf("%d copies from PayPal of messages in the inbox are left out: an inbox counts copies, "+
			"but does not keep their times", past.copied))
	}
	named := slices.DeleteFunc(slices.Clone(past.ledgers), func(name string) bool { return name == "" })
	if len(named) > 1 {
		p.warn("the inbox has messages of several ledgers, which stay apart: " + strings.Join(named, ", "))
	}
}
