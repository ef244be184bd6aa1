// Package walk searches a ledger of Noted in the background for a person who does not
// wait. It shows the results so far.
//
//	found := walks.Look(ctx, walk.Want{Key: "open", Request: …, Most: 100}, time.Second)
//
// # Design
//
// The store has no index, so a search walks the whole ledger. A million notes take Noted
// many seconds. The result of a short walk is not kept. A longer walk is shared by all
// callers with the same question, and its result serves them for a while. Its notes are
// read again before they are shown, so that a closed note disappears at once.
package walk

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/donation-dedupe/noted/client"
)

// The limits of walks.
const (
	longest = 5 * time.Minute
	atOnce  = 4
	kept    = 30 * time.Second       // the time for which a result is kept, or
	keptFor = 5                      // this multiple of the walk's own time
	short   = 250 * time.Millisecond // the result of a shorter walk is shown once
	mostOf  = 64                     // kept results
)

// A Want is the question of a walk.
type Want struct {
	Key     string              // the same for the same question
	Request *client.ListRequest // for a whole ledger
	// Fits is a condition that the request cannot express; nil for all notes. Its error
	// ends the walk.
	Fits func(context.Context, *client.Note) (bool, error)
	Most int // the number of notes after which a walk ends
}

// A Found is the result of a walk.
type Found struct {
	Notes    []*client.Note
	More     bool      // the walk ended at Most
	UnderWay bool      // the walk goes on: ask again
	Busy     bool      // this walk has not begun, because too many others are running
	Err      error     // why the walk ended early
	Begun    time.Time // the walk may miss notes that are newer
	ended    time.Time
}

// Walks are the walks of a desk.
type Walks struct {
	noted *client.Client
	mu    sync.Mutex
	all   map[string]*walking // by key
	under int
}

// walking is a running walk, or its result.
type walking struct {
	found Found
	told  bool          // a caller has seen its end
	done  chan struct{} // closed at its end
}

// New makes an empty set of walks.
func New(noted *client.Client) *Walks { return &Walks{noted: noted, all: map[string]*walking{}} }

// Look returns the result of a walk. It joins a running walk, takes the last result, or
// begins a walk. It waits for the end for as long as patience lasts.
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

// stale reports whether a result is too old to show. The caller holds the lock.
func (one *walking) stale(now time.Time) bool {
	if one.found.UnderWay {
		return false
	}
	took := one.found.ended.Sub(one.found.Begun)
	// A short walk is shown once, and so is a walk that failed or found nothing.
	once := took < short || len(one.found.Notes) == 0 || one.found.Err != nil
	return one.told && once || now.Sub(one.found.ended) > max(kept, keptFor*took)
}

// sweep drops results that no caller will see, and the oldest of too many.
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

// page requests a page. Its deadline is the client's own, so that a slow page does not
// use up the walk's time.
func (w *Walks) page(ctx context.Context, request *client.ListRequest) (*client.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, client.DefaultTimeout)
	defer cancel()
	return w.noted.Page(ctx, request)
}

// ErrTooLong means that a walk did not end within five minutes.
var ErrTooLong = errors.New("the ledger is too large to search")

// add adds the wanted notes of a page, and reports whether there are more.
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
	// No caller waits for the whole count, so no context of a caller ends it.
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

// renew reads the notes of an older walk again and drops those that no longer fit. A note
// that cannot be read stays unchanged.
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

// read returns a note as it is now, nil if it is forgotten.
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
