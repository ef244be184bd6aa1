package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// FormatVersion is the version of the format that notes.lua writes. Every Series.Text
// begins with it.
const FormatVersion = "1"

// Series is all notes of a series, as the store keeps them: text that a person can read,
// and that every later release reads. notes.lua describes it.
type Series struct {
	Ledger, SeriesID string
	Text             string
	ForgetAt         time.Time // when the last of its notes is forgotten
}

// partPatience bounds each step of an export or import, so that a frozen store causes an
// error and not a hang.
const partPatience = 10 * time.Second

// Export walks through all series of a ledger, or of all ledgers if every is set, in no
// particular order. It passes them to give in parts, with an error for each series that
// cannot be read, and stops at the first error of give. The export has every note that
// was answered before the walk began, unless the note is forgotten meanwhile; it may have
// later notes. A series may come twice. Any other error means that some series may be
// missing.
func (s *Store) Export(
	ctx context.Context, ledger string, every bool, give func(part []Series, unread []error) error,
) error {
	pattern := ledgerPattern(ledger)
	if every {
		pattern = wire.Prefix + "{* *}"
	}
	before, err := s.wire.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range before {
		run := ""
		for at := uint64(0); ; {
			page, err := s.exportPart(ctx, node, at, pattern, func(of string) bool { return every || of == ledger }, give)
			if err != nil {
				return err
			}
			if run != "" && page.Run != "" && page.Run != run {
				return fmt.Errorf("%w: Redis was restarted, or another has taken over, during the export; export again",
					ErrUnavailable)
			}
			run = page.Run
			if at = page.Next; at == 0 {
				break
			}
		}
	}
	after, err := s.wire.Nodes(ctx)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(before, after, func(a, b wire.Node) bool { return a.Addr == b.Addr }) {
		return fmt.Errorf("%w: the cluster's primaries changed during the export; export again", ErrUnavailable)
	}
	return nil
}

func (s *Store) exportPart(
	ctx context.Context, node wire.Node, from uint64, pattern string, wanted func(ledger string) bool,
	give func([]Series, []error) error,
) (wire.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, partPatience)
	defer cancel()
	page, err := node.Scan(ctx, from, pattern, scanCount)
	if err != nil {
		return page, err
	}
	var calls []*wire.Call
	for _, key := range page.Keys {
		if of, _, ok := seriesOf(key); ok && wanted(of) {
			calls = append(calls, &wire.Call{Script: exportScript, Key: key})
		}
	}
	if len(calls) == 0 {
		return page, nil
	}
	s.run(ctx, calls...)
	var part []Series
	var unread []error
	for _, c := range calls {
		switch {
		case Foreign(c.Err):
			unread = append(unread, c.Err)
		case c.Err != nil:
			return page, c.Err
		case c.Words[0] == "NONE":
		case c.Words[0] != "SERIES" || len(c.Words) != 4:
			return page, unexpected(exportScript, c.Words)
		default:
			forget, err := wire.Millis(c.Words[3])
			if err != nil {
				return page, err
			}
			ledger, series, _ := seriesOf(c.Key)
			part = append(part, Series{Ledger: ledger, SeriesID: series, Text: c.Words[2], ForgetAt: forget})
		}
	}
	return page, give(part, unread)
}

// Imported tells how an import changed the notes of a series. Notes are named by their
// donation ids.
type Imported struct {
	Added     int      // notes
	Changed   int      // notes that got sightings, a longer life, or a later state
	Anew      int      // notes of a donation that was noted anew here, while this store did not know the other
	LeftOut   []string // notes that may have been forgotten by hand here, so they were not brought back
	Doubtful  []string // notes here that may have been forgotten by hand where the export was made
	Namesakes []string // ids that two notes share now
}

// ErrNoSeries marks a Series that cannot be imported, since no export wrote it.
var ErrNoSeries = errors.New("it is not a series that an export wrote")

// Import brings series back, each in one step, beside the notes that the store has. It
// may be repeated: notes that are there are not added twice. import.lua says how notes
// are united. The results and the errors are in the order of the series; ErrNoSeries
// means that nothing was changed.
func (s *Store) Import(ctx context.Context, all []Series) ([]Imported, []error) {
	ctx, cancel := context.WithTimeout(ctx, partPatience)
	defer cancel()
	imported, errs := make([]Imported, len(all)), make([]error, len(all))
	calls := make([]*wire.Call, len(all)) // nil for a series that cannot be imported
	var sent []*wire.Call
	for i, series := range all {
		if errs[i] = series.check(); errs[i] == nil {
			calls[i] = &wire.Call{
				Script: importScript, Key: seriesKey(series.Ledger, series.SeriesID), Args: []any{series.Text, flag(s.replicated)},
			}
			sent = append(sent, calls[i])
		}
	}
	if len(sent) > 0 {
		s.run(ctx, sent...)
	}
	for i, c := range calls {
		if c == nil {
			continue
		}
		if errs[i] = c.Err; errs[i] == nil {
			imported[i], errs[i] = readImported(all[i], c.Words)
		}
	}
	return imported, errs
}

// check protects the store from text that it could not read again.
func (series Series) check() error {
	if series.SeriesID == "" || len(series.SeriesID) > maxName || len(series.Ledger) > maxName ||
		!printable(series.Ledger) || !printable(series.SeriesID) {
		return fmt.Errorf("%w: its ledger or its series id is not valid", ErrNoSeries)
	}
	text, ok := strings.CutPrefix(series.Text, FormatVersion)
	if !ok {
		return fmt.Errorf("%w: its text does not begin with %s, the version of the format", ErrNoSeries, FormatVersion)
	}
	if floor, rest, has := strings.Cut(text, "\n"); strings.HasPrefix(text, "~") {
		if _, err := strconv.ParseInt(floor[1:], 36, 64); err != nil {
			return fmt.Errorf("%w: its floor cannot be read", ErrNoSeries)
		}
		if !has || rest == "" {
			return nil
		}
		text = rest
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("%w: one of its notes is not printable ASCII", ErrNoSeries)
		}
		if _, _, err := readLine(series.Ledger, series.SeriesID, line); err != nil {
			return fmt.Errorf("%w: one of its notes cannot be read: %w", ErrNoSeries, err)
		}
	}
	return nil
}

// maxName is longer than the contract lets ledgers and series ids be.
const maxName = 256

func readImported(series Series, words []string) (r Imported, err error) {
	if words[0] == "UNREADABLE" {
		return r, fmt.Errorf("%w: the script cannot read it", ErrNoSeries)
	}
	if words[0] != "MERGED" || len(words) < 5 {
		return r, unexpected(importScript, words)
	}
	for i, to := range []*int{&r.Added, &r.Changed, &r.Anew} {
		if *to, err = strconv.Atoi(words[2+i]); err != nil {
			return r, unexpected(importScript, words)
		}
	}
	for _, name := range words[5:] {
		noted, err := strconv.ParseInt(name[1:], 36, 64)
		if err != nil {
			return r, unexpected(importScript, words)
		}
		id := donationID(series.Ledger, series.SeriesID, noted)
		switch name[0] {
		case '-':
			r.LeftOut = append(r.LeftOut, id)
		case '?':
			r.Doubtful = append(r.Doubtful, id)
		case '!':
			r.Namesakes = append(r.Namesakes, id)
		}
	}
	return r, nil
}
