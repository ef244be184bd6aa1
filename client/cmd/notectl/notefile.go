package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/terminal"
	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
)

// noteFile notes every line of a file over one stream.
func (a *app) noteFile(ctx context.Context, cmd *cli.Command) (int, error) {
	said := append(donationFlags(), receivedAtFlag(), requestIDFlag())
	if err := noneOf(cmd, said, "each line of -f says this itself"); err != nil {
		return 0, err
	}
	file, size, err := a.open(cmd.String("f"))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	noted, err := a.dial(cmd)
	if err != nil {
		return 0, err
	}
	defer noted.Close()
	out := a.printer(cmd)
	bar := terminal.NewProgress(a.stdout, a.stderr, size, "noting")
	defer bar.Clear()
	in := &requestLines{from: file, ledger: cmd.String("ledger"), hold: holdOf(cmd)}

	var count tally
	var stopped error
	for result, err := range noted.Notes(ctx, in.requests()) {
		if err != nil && (errors.Is(err, client.ErrUnavailable) || ctx.Err() != nil) {
			stopped = err // not this line's fault: every further line would fail too
			break
		}
		if err == nil {
			err = unknownVerdict(result.Response)
		}
		count.add(result.Response.GetVerdict(), err)
		if size < 0 {
			bar.Set(int64(count.answers()))
		} else {
			bar.Set(in.read.Load())
		}
		bar.Hide()
		if err := out.result(a, result, err); err != nil {
			return 0, err
		}
		if err != nil && mayBeNoted(err) {
			a.warnf(
				`hint: it is unknown whether it has been noted; for the same answer repeat it with "request_id":%q in the line`,
				result.Request.GetRequestId(),
			)
		}
	}
	bar.Clear()
	if err := out.flush(); err != nil {
		return 0, err
	}
	troubles, more := in.troubles()
	for _, bad := range troubles {
		a.complain(bad)
	}
	if more > 0 {
		a.warnf("and %d more lines like these", more)
	}
	count.failed += len(troubles) + more
	if stopped != nil {
		a.warnf("stopped after %s", count)
		a.warnf(
			"hint: later lines may have been noted too; if every line has a request_id, note the same file again",
		)
		return 0, stopped
	}
	a.warnf("%s", count)
	return count.code(), nil
}

func (a *app) open(path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(a.stdin), -1, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("reading requests: %w", err)
	}
	size := int64(-1)
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return file, size, nil
}

// requestLines reads requests, one JSON object a line. The client's goroutine calls it.
type requestLines struct {
	from   io.Reader
	ledger string
	hold   *durationpb.Duration
	read   atomic.Int64 // bytes

	mu   sync.Mutex
	bad  []error
	more int // bad lines beyond those
}

func (in *requestLines) requests() iter.Seq[*client.NoteRequest] {
	return func(yield func(*client.NoteRequest) bool) {
		lines := bufio.NewScanner(in.from)
		lines.Buffer(nil, 1<<20)
		number := 0
		for lines.Scan() {
			number++
			in.read.Add(int64(len(lines.Bytes()) + 1))
			line := bytes.TrimSpace(lines.Bytes())
			// identify prints {"skipped":"why"} for a message without a donation.
			if len(line) == 0 || bytes.HasPrefix(line, []byte(`{"skipped":`)) {
				continue
			}
			request := &client.NoteRequest{}
			if err := protojson.Unmarshal(line, request); err != nil {
				in.trouble(fmt.Errorf("reading line %d: %w", number, err))
				continue
			}
			if request.Donation != nil && request.Donation.Ledger == "" {
				request.Donation.Ledger = in.ledger
			}
			if request.Hold == nil {
				request.Hold = in.hold
			}
			if !yield(request) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			if errors.Is(err, bufio.ErrTooLong) {
				err = errors.New("it is longer than 1 MiB")
			}
			in.trouble(fmt.Errorf("reading line %d: %w; this line and all later lines were not noted", number+1, err))
		}
	}
}

// trouble keeps the error of a line until the answers are written. It keeps only a few: a
// file of another kind can have a million bad lines.
func (in *requestLines) trouble(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.bad) == 20 {
		in.more++
		return
	}
	in.bad = append(in.bad, err)
}

func (in *requestLines) troubles() (first []error, more int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.bad, in.more
}

// tally counts answers.
type tally struct{ first, duplicate, held, failed int }

func (t *tally) add(verdict client.Verdict, err error) {
	switch {
	case err != nil:
		t.failed++
	case verdict == client.First:
		t.first++
	case verdict == client.Held:
		t.held++
	case verdict == client.Duplicate:
		t.duplicate++
	default:
		t.failed++ // its donation is undecided
	}
}

func (t tally) answers() int { return t.first + t.duplicate + t.held + t.failed }

func (t tally) code() int {
	switch {
	case t.failed > 0:
		return exitError
	case t.held > 0:
		return exitHeld
	case t.first > 0:
		return exitFirst
	}
	return exitDuplicate
}

func (t tally) String() string {
	return fmt.Sprintf("%d first, %d duplicate, %d held, %d failed", t.first, t.duplicate, t.held, t.failed)
}
