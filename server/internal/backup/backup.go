// Package backup writes the notes of a store to a file, and brings them back into a store.
//
// A file is lines of JSON: a header, a line for each series, and an end that counts and
// checks them:
//
//	{"noted-export":1,"notes_format":"1","release":"v1.0.0","at":"2026-11-29T02:00:00.000Z","ledger":null}
//	{"ledger":"paypal-live","series":"I-ABC","forget_at":"2027-01-13T02:00:00.000Z","text":"1P3k9vQx0aZ…"}
//	{"end":true,"series":1,"unread":0,"sha256":"9f86d0…"}
//
// "at" is the store's clock before the walk began: each note that was answered until then
// is in the file. "text" is the series' value in Redis, described in notes.lua.
//
// # Design
//
// An export copies what is in the store, and does not go through the contract: a donation
// id is the time of its note and a hash, so no call could make the note of a given id
// without opening a door to forgers on every server. The text is the format that every
// later release reads, so an export of this release can be imported by later ones.
//
// An import unites a series with what is there in one script, so that it can run while
// servers answer, can break off anywhere, and can be repeated.
package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// fileVersion is the version of the file's own form.
const fileVersion = 1

// timeLayout is that of the file: UTC, to the millisecond.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

type header struct {
	Export  int     `json:"noted-export"`
	Format  string  `json:"notes_format"`
	Release string  `json:"release"`
	At      string  `json:"at"`
	Ledger  *string `json:"ledger"` // null for every ledger
}

type line struct {
	Ledger   string `json:"ledger"`
	Series   string `json:"series"`
	ForgetAt string `json:"forget_at"` // for people: the text tells it too
	Text     string `json:"text"`
}

type end struct {
	End    bool   `json:"end"`
	Series int    `json:"series"`
	Unread int    `json:"unread"` // series that could not be read, and are not in the file
	SHA256 string `json:"sha256"` // of all lines before, with their ends
}

// Exported is what an export has written.
type Exported struct {
	Series int
	Unread []error // one error for each series that is not in the file
	At     time.Time
}

// Export writes the series of a ledger, or of every ledger if it is nil. After an error
// the file is incomplete, and shows it by having no end.
func (b *Backup) Export(ctx context.Context, release string, ledger *string, to io.Writer) (Exported, error) {
	report, err := b.store.Check(ctx)
	if err != nil {
		return Exported{}, fmt.Errorf("asking the store: %w", err)
	}
	w := &writer{to: bufio.NewWriterSize(to, 1<<16), sum: sha256.New()}
	done := Exported{At: time.Now().Add(report.ClockOffset)}
	if err := w.write(header{
		Export: fileVersion, Format: store.FormatVersion, Release: release,
		At: done.At.UTC().Format(timeLayout), Ledger: ledger,
	}); err != nil {
		return done, err
	}
	of, every := "", ledger == nil
	if !every {
		of = *ledger
	}
	err = b.store.Export(ctx, of, every, func(part []store.Series, unread []error) error {
		done.Unread = append(done.Unread, unread...)
		for _, series := range part {
			if err := w.write(line{
				Ledger: series.Ledger, Series: series.SeriesID, Text: series.Text,
				ForgetAt: series.ForgetAt.UTC().Format(timeLayout),
			}); err != nil {
				return err
			}
			done.Series++
		}
		return nil
	})
	if err != nil {
		return done, fmt.Errorf("exporting: %w", err)
	}
	sum := hex.EncodeToString(w.sum.Sum(nil))
	if err := w.write(end{End: true, Series: done.Series, Unread: len(done.Unread), SHA256: sum}); err != nil {
		return done, err
	}
	return done, w.to.Flush()
}

// writer writes lines and sums them up.
type writer struct {
	to  *bufio.Writer
	sum hash.Hash
}

func (w *writer) write(v any) error {
	var text bytes.Buffer
	to := json.NewEncoder(&text)
	to.SetEscapeHTML(false) // a person reads it
	if err := to.Encode(v); err != nil {
		return err
	}
	w.sum.Write(text.Bytes())
	_, err := w.to.Write(text.Bytes())
	return err
}

// Contents tells what a file holds, by its own account.
type Contents struct {
	Release string
	At      time.Time
	Ledgers map[string]int // :: ledger → series
	Series  int
	Unread  int   // series that the export could not read
	Damage  error // why the file is not whole; nil if it is
}

// ErrNoExport marks a file from which nothing can be imported.
var ErrNoExport = errors.New("it is not an export that this release can read")

// Read reads a file to its end, and gives each series to take, which may be nil. A file
// that was cut short or changed causes no error: take gets each series that can be read,
// and Contents.Damage says what is wrong. It is ErrNoExport if the header cannot be read,
// or is of a later form.
func Read(from io.Reader, take func(store.Series) error) (Contents, error) {
	r := bufio.NewReaderSize(from, 1<<16)
	c := Contents{Ledgers: map[string]int{}}
	first, err := r.ReadBytes('\n')
	var h header
	if err != nil || json.Unmarshal(first, &h) != nil || h.Export == 0 {
		return c, fmt.Errorf("%w: its first line is not that of an export", ErrNoExport)
	}
	if h.Export > fileVersion || h.Format != store.FormatVersion {
		return c, fmt.Errorf("%w: release %s has written it, in form %d with notes of format %s; import it with that "+
			"release or a later one", ErrNoExport, h.Release, h.Export, h.Format)
	}
	c.Release = h.Release
	if c.At, err = time.Parse(timeLayout, h.At); err != nil {
		return c, fmt.Errorf("%w: its time %q cannot be read", ErrNoExport, h.At)
	}
	sum := sha256.New()
	sum.Write(first)
	bad := 0
	for {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // the last line has no end, or there is none
			c.Damage = fmt.Errorf("it ends in the middle, after %d series: it was cut short", c.Series)
			return c, nil
		}
		if err != nil {
			return c, err
		}
		var e end
		if json.Unmarshal(text, &e) == nil && e.End {
			c.Unread = e.Unread
			if bad > 0 || e.Series != c.Series || e.SHA256 != hex.EncodeToString(sum.Sum(nil)) {
				c.Damage = fmt.Errorf("it was changed since it was written: it has %d series, and its end tells of %d",
					c.Series, e.Series)
			}
			return c, nil
		}
		sum.Write(text)
		var l line
		if json.Unmarshal(text, &l) != nil || l.Series == "" {
			bad++
			continue
		}
		c.Series++
		c.Ledgers[l.Ledger]++
		if take == nil {
			continue
		}
		if err := take(store.Series{Ledger: l.Ledger, SeriesID: l.Series, Text: l.Text}); err != nil {
			return c, err
		}
	}
}

// Imported sums up how the notes changed.
type Imported struct {
	Series, Added, Changed, Anew int
	LeftOut, Doubtful, Namesakes []Donation
	Refused                      []error // one error for each series that could not be imported
}

// Donation is where a person finds a note.
type Donation struct{ Ledger, Series, ID string }

// batch is how many series go to the store at a time.
const batch = 100

// Import brings the series of a file into the store, those of one ledger if it is not nil.
// It stops at an error of the store; what was imported until then stays, and importing
// again goes on.
func (b *Backup) Import(ctx context.Context, from io.Reader, ledger *string, evictingToo bool) (Imported, error) {
	var done Imported
	report, err := b.store.Check(ctx)
	if err != nil {
		return done, fmt.Errorf("asking the store: %w", err)
	}
	if report.Evicts && !evictingToo {
		return done, fmt.Errorf("%s evicts keys when its memory is full (maxmemory-policy %s), so imported notes would be "+
			"forgotten: set maxmemory-policy noeviction, or import with -allow-eviction", report.Server, report.Policy)
	}
	var waiting []store.Series
	send := func() error {
		imported, errs := b.store.Import(ctx, waiting)
		for i, series := range waiting {
			switch err := errs[i]; {
			case errors.Is(err, store.ErrNoSeries), err != nil && store.Foreign(err):
				done.Refused = append(done.Refused, fmt.Errorf("the series %q of the ledger %q: %w",
					series.SeriesID, series.Ledger, err))
			case err != nil:
				return err
			default:
				done.add(series, imported[i])
			}
		}
		waiting = waiting[:0]
		return nil
	}
	_, err = Read(from, func(series store.Series) error {
		if ledger != nil && series.Ledger != *ledger {
			return nil
		}
		if waiting = append(waiting, series); len(waiting) < batch {
			return nil
		}
		return send()
	})
	if err == nil && len(waiting) > 0 {
		err = send()
	}
	if err != nil {
		return done, fmt.Errorf("importing, after %d series: %w", done.Series, err)
	}
	return done, nil
}

func (d *Imported) add(series store.Series, r store.Imported) {
	d.Series++
	d.Added += r.Added
	d.Changed += r.Changed
	d.Anew += r.Anew
	for _, of := range []struct {
		to  *[]Donation
		ids []string
	}{{&d.LeftOut, r.LeftOut}, {&d.Doubtful, r.Doubtful}, {&d.Namesakes, r.Namesakes}} {
		for _, id := range of.ids {
			*of.to = append(*of.to, Donation{series.Ledger, series.SeriesID, id})
		}
	}
}
