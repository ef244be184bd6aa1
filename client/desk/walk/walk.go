// Package walk looks through a ledger of Noted for a person who does not wait: a walk goes
// on in the background, and shows what it has found so far.
//
//	found := walks.Look(ctx, walk.Want{Key: "open", Request: …, Most: 100}, time.Second)
//
// # Design
//
// A ledger can only be walked through, since the store has no index: a million notes take
// Noted many seconds. A short walk is not kept. One that takes
// longer is shared by all who ask the same, and its result serves them for a while; a note
// of it is read again before it is shown, so that what somebody has closed is gone at once.
package walk

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/donation-dedupe/noted/client"
)

// The bounds of walks.
const (
	longest = 5 * time.Minute
	atOnce  = 4
	kept    = 30 * time.Second       // a result serves so long, or
	keptFor = 5                      // so many times as long as the walk took
	short   = 250 * time.Millisecond // a walk of less is shown once
	mostOf  = 64                     // results that are kept
)

// A Want says what a walk looks for.
type Want struct {
	Key     string              // names it: the same for the same walk
	Request *client.ListRequest // of a whole ledger
	// Fits is what the request cannot say; nil for all. Its error ends the walk.
	Fits func(context.Context, *client.Note) (bool, error)
	Most int // a walk ends after so many notes
}

// A Found is what a walk has found.
type Found struct {
	Notes    []*client.Note
	More     bool      // the walk ended at the most that were wanted
	UnderWay bool      // the walk goes on: ask again
	Busy     bool      // too many others walk, so that this one has not begun
	Err      error     // why the walk did not come to its end
	Begun    time.Time // what came later it may not have met
	ended    time.Time
}

// Walks are the walks of a desk.
type Walks struct {
	noted *client.Client
	mu    sync.Mutex
	all   map[string]*walking // by key
	under int
}

// walking is a walk that is under way, or its result.
type walking struct {
	found Found
	told  bool          // somebody has seen its end
	done  chan struct{} // closed at its end
}

// New makes walks.
func New(noted *client.Client) *Walks { return &Walks{noted: noted, all: map[string]*walking{}} }

// Look returns what a walk finds. It joins the walk that is under way, or takes the result
// of the last one, or begins one, and waits for its end as long as its patience lasts.
func (w *Walks) Look(ctx context.Context, want Want, patience time.Duration) Found {
	asked := time.Now()
	w.mu.Lock()
	one := w.all[want.Key]
	if one != nil && one.stale(asked) {
		delete(w.all, want.Key)
		one = nil
	}
	if one == nil {
		if w.under == atOnce {
			w.mu.Unlock()
			return Found{Busy: true}
		}
		w.sweep(asked)
		one = &walking{found: Found{UnderWay: true, Begun: asked}, done: make(chan struct{})}
		w.all[want.Key] = one
		w.under++
		go w.walk(one, want)
	}
	w.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-one.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	w.mu.Lock()
	found := one.found
	one.told = !found.UnderWay
	w.mu.Unlock()
	if found.Begun.Before(asked) {
		w.renew(ctx, want, &found)
	}
	return found
}

// stale says whether a result is too old to be shown. The caller holds the lock.
func (one *walking) stale(now time.Time) bool {
	if one.found.UnderWay {
		return false
	}
	took := one.found.ended.Sub(one.found.Begun)
	// A short walk is told once, and so is that there is nothing or that the walk failed.
	once := took < short || len(one.found.Notes) == 0 || one.found.Err != nil
	return one.told && once || now.Sub(one.found.ended) > max(kept, keptFor*took)
}

// sweep drops results that nobody will see, and the oldest where there are many.
func (w *Walks) sweep(now time.Time) {
	for key, one := range w.all {
		if one.stale(now) || len(w.all) >= mostOf && !one.found.UnderWay {
			delete(w.all, key)
		}
	}
}

// walk walks to the end.
func (w *Walks) walk(one *walking, want Want) {
	ctx, cancel := context.WithTimeout(context.Background(), longest) // it goes on without the person
	defer cancel()
	request := proto.CloneOf(want.Request)
	for {
		page, err := w.page(ctx, request)
		if err != nil {
			if ctx.Err() != nil {
				err = errors.Join(ErrTooLong, err)
			}
			w.end(one, false, err)
			return
		}
		more, err := w.add(ctx, one, want, page.GetNotes())
		if more || err != nil {
			w.end(one, more, err)
			return
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			w.end(one, false, nil)
			return
		}
	}
}

// page asks for a page. Its deadline is the client's own, so that one that is slow does
// not use up the walk's time.
func (w *Walks) page(ctx context.Context, request *client.ListRequest) (*client.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, client.DefaultTimeout)
	defer cancel()
	return w.noted.Page(ctx, request)
}

// ErrTooLong means that a ledger could not be looked through in five minutes.
var ErrTooLong = errors.New("the ledger is too large to be looked through")

// add adds what is wanted of a page, and says whether there is more than is wanted.
func (w *Walks) add(ctx context.Context, one *walking, want Want, notes []*client.Note) (more bool, err error) {
	var fitting []*client.Note
	for _, note := range notes {
		ok := true
		if want.Fits != nil {
			if ok, err = want.Fits(ctx, note); err != nil {
				break
			}
		}
		if ok {
			fitting = append(fitting, note)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if room := want.Most - len(one.found.Notes); len(fitting) > room {
		fitting, more = fitting[:room], true
	}
	// What was shown shares the notes before: append never changes them.
	one.found.Notes = append(one.found.Notes, fitting...)
	return more, err
}

func (w *Walks) end(one *walking, more bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.found.UnderWay, one.found.More, one.found.Err = false, more, err
	one.found.ended = time.Now()
	w.under--
	close(one.done)
}

// renew reads the notes of an older walk again, and leaves out those that do not fit any
// more. A note that cannot be read stays as it was.
func (w *Walks) renew(ctx context.Context, want Want, found *Found) {
	var notes []*client.Note
	for _, old := range found.Notes {
		now := old
		if read, err := w.read(ctx, old); err == nil {
			now = read
		}
		if now != nil && fits(ctx, want, now) {
			notes = append(notes, now)
		}
	}
	found.Notes = notes
}

// read returns a note as it is now, nil where it is forgotten.
func (w *Walks) read(ctx context.Context, old *client.Note) (*client.Note, error) {
	request := &client.ListRequest{
		Ledger: old.GetDonation().GetLedger(), SeriesId: old.GetDonation().GetSeriesId(), PageSize: 1000,
	}
	for note, err := range w.noted.List(ctx, request) {
		if err != nil {
			return nil, err
		}
		if note.GetDonationId() == old.GetDonationId() {
			return note, nil
		}
	}
	return nil, nil
}

func fits(ctx context.Context, want Want, note *client.Note) bool {
	if state := want.Request.GetState(); state != 0 && note.GetState() != state {
		return false
	}
	if only := want.Request.GetSeenOnlyOn(); only != "" {
		for _, s := range note.GetSightings() {
			if s.GetMessage().GetChannel() != only {
				return false
			}
		}
	}
	if want.Fits == nil {
		return true
	}
	ok, err := want.Fits(ctx, note)
	return ok || err != nil
}
