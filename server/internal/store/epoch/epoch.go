// Package epoch notices a store that has lost notes: it was emptied, restarted without
// persistence, restored from a backup, or replaced by a replica that lagged. Nothing else
// would show the loss: to a script a lost note looks like a note that was never made.
//
// # Design
//
// A mark in the store has the id of an epoch. Every server adds a beat to it each second.
// A server that finds no mark, another epoch, or an epoch without its own last beat, has
// found a store that lost notes. The script then begins a new epoch, so that all other
// servers notice too. A server that starts later notices only if it was told which epoch
// to expect.
//
// With -replicas a beat counts only once it is replicated; losing an unreplicated beat
// loses no acknowledged answer.
//
// On a cluster each part can lose notes by itself, so each primary has a mark.
package epoch

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// Epoch is one server's knowledge of the store's epoch. Its methods may be used by many
// goroutines.
type Epoch struct {
	beat   *wire.Script
	refuse bool

	beating sync.Mutex // one round at a time

	mu       sync.Mutex
	expected map[string]bool // the ids that an operator has named; nil accepts any epoch
	marks    []mark
	lost     Loss // not acknowledged yet
	seen     bool // a beat has seen every mark once
	doubtful bool // a new connection found another mark, and no beat has looked since
}

// A mark is a value in the store, and this server's last beat in it.
type mark struct {
	key, id string
	letters string // the last beat's
	beats   int64  // how many beats the epoch had by then
	short   error  // why too few replicas have the last beat; nil if they have it
}

// Loss says that the store has lost notes, and how a server noticed.
type Loss struct {
	At   time.Time // when a server noticed; zero if nothing is lost
	What string
}

// Config says which epoch to expect.
type Config struct {
	// Cluster is true where each part of the store has a mark of its own.
	Cluster bool
	// Expected is the id of the epoch, or ids joined by "+"; empty accepts any.
	Expected string
	// RefuseAfterLoss lets no call reach a store that has lost notes.
	RefuseAfterLoss bool
	// Beat is the script that adds a beat.
	Beat *wire.Script
}

// The mark's key has no space, so it is never a series'.
const markKey = wire.Prefix + "{epoch}"

// New knows nothing of the store yet.
func New(c Config) *Epoch {
	e := &Epoch{beat: c.Beat, refuse: c.RefuseAfterLoss, marks: []mark{{key: markKey}}}
	if c.Cluster {
		e.marks = nil
		for _, key := range wire.KeysOfAllParts("epoch") {
			e.marks = append(e.marks, mark{key: key})
		}
	}
	if c.Expected != "" {
		e.expected = map[string]bool{}
		for id := range strings.SplitSeq(c.Expected, "+") {
			e.expected[id] = true
		}
	}
	return e
}

// Beat adds a beat to every mark, and returns each loss that it finds. Lost is the loss
// that is not acknowledged yet. An error means that a part of the store gave no answer.
func (e *Epoch) Beat(ctx context.Context, w *wire.Client) (found []Loss, err error) {
	e.beating.Lock()
	defer e.beating.Unlock()
	e.mu.Lock()
	marks := slices.Clone(e.marks)
	e.mu.Unlock()

	fresh := randomLetters(10)
	first, rest := marks[:1], marks[1:]
	if first[0].id != "" {
		// The first mark decides which epoch begins, so that two servers which start at
		// once begin the same. Once it is known, all marks go in one round trip.
		first, rest = marks, nil
	}
	var errs []error
	for _, some := range [][]mark{first, rest} {
		if len(some) == 0 {
			continue
		}
		losses, err := e.beatOn(ctx, w, some, &fresh)
		found, errs = append(found, losses...), append(errs, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.marks = marks
	if err = errors.Join(errs...); err == nil {
		e.seen, e.doubtful = true, false
	}
	if len(found) > 0 {
		e.lost = found[len(found)-1]
	}
	return found, err
}

// beatOn adds a beat to some marks and changes them in place. fresh is the id of an epoch
// that may have to begin; it becomes the first id found.
func (e *Epoch) beatOn(ctx context.Context, w *wire.Client, marks []mark, fresh *string) (found []Loss, err error) {
	calls, letters := make([]*wire.Call, len(marks)), make([]string, len(marks))
	for i, m := range marks {
		letters[i] = randomLetters(4)
		calls[i] = &wire.Call{Script: e.beat, Key: m.key, Args: []any{
			cmp.Or(m.id, "-"), m.beats, cmp.Or(m.letters, "-"), letters[i], *fresh,
		}}
	}
	w.Run(Checking(ctx), calls)
	for i, c := range calls {
		m := &marks[i]
		var short error
		switch {
		case errors.Is(c.Err, wire.ErrNotReplicated):
			short, c.Err = c.Err, nil
		case errors.Is(c.Err, context.DeadlineExceeded) && w.WaitsForReplicas():
			// Redis checks the timeouts of WAIT only ten times a second, so its count may
			// come after the deadline every time. A note would fail in the same way.
			m.short = fmt.Errorf("%w: no replica acknowledged it in time", wire.ErrNotReplicated)
		}
		if c.Err != nil {
			err = c.Err
			if wire.Foreign(err) {
				err = fmt.Errorf("%w; its key is %q", err, m.key)
			}
			continue
		}
		if len(c.Words) != 4 {
			err = fmt.Errorf("%s.lua replied %q, which this release does not know", e.beat.Name, c.Words)
			continue
		}
		id := c.Words[2]
		beats, parse := strconv.ParseInt(c.Words[3], 10, 64)
		if parse != nil {
			return found, fmt.Errorf("reading a beat: %w", parse)
		}
		if what := e.changed(*m, c.Words[0], id); what != "" {
			found = append(found, Loss{At: time.Now(), What: what})
		}
		if i == 0 && m.id == "" && e.expected == nil {
			*fresh = id
		}
		switch {
		case short == nil:
			*m = mark{key: m.key, id: id, letters: letters[i], beats: beats}
		case m.id != id:
			*m = mark{key: m.key, id: id}
		}
		m.short = short
	}
	return found, err
}

// changed describes the loss that a beat has found; empty if there is no loss.
func (e *Epoch) changed(m mark, word, id string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := m.id
	if known == "" && e.expected != nil {
		known = e.names()
	}
	switch {
	case word == "LOST":
		return fmt.Sprintf("the store has lost the last beat of its epoch %s, and notes with it: a failover to a "+
			"replica that lagged, or an old backup; its epoch is now %s", known, id)
	case word == "BEGUN" && known != "":
		return fmt.Sprintf("the store had no mark of its epoch %s, so it was emptied, or restarted without its data; "+
			"its epoch is now %s", known, id)
	case m.id == "" && e.expected != nil && !e.expected[id], m.id != "" && m.id != id:
		return fmt.Sprintf("the store's epoch is %s, not %s: it has lost notes, as another server has noticed, or it "+
			"is another store", id, known)
	}
	return ""
}

// Unreplicated is the reason why the store can note nothing although it takes writes: too
// few replicas have the last beat. part is true if some marks of a cluster have enough.
// The reason is nil if all is well.
func (e *Epoch) Unreplicated() (reason error, part bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.marks {
		if m.short == nil {
			part = true
		} else {
			reason = m.short
		}
	}
	return reason, part && reason != nil
}

func (e *Epoch) names() string { return strings.Join(slices.Sorted(maps.Keys(e.expected)), "+") }

// ID is the id of the epoch, to expect at the next start. It is several ids joined by "+"
// on a cluster of which a part has lost notes, and empty before the first beat.
func (e *Epoch) ID() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := map[string]bool{}
	for _, m := range e.marks {
		if m.id != "" {
			ids[m.id] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(ids)), "+")
}

// Lost is the latest loss that is not acknowledged. Its time is zero if there is none.
func (e *Epoch) Lost() Loss {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lost
}

// Acknowledge accepts the store as it is.
func (e *Epoch) Acknowledge() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost = Loss{}
}

// Trusted returns an error while the store must not be asked: it has lost notes, or no
// beat has looked yet.
func (e *Epoch) Trusted() error {
	if !e.refuse {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case !e.lost.At.IsZero():
		return fmt.Errorf("%w: %s", wire.ErrWentBack, e.lost.What)
	case e.doubtful:
		return errOtherMark
	case !e.seen:
		return fmt.Errorf("%w: its epoch is not known yet", wire.ErrUnavailable)
	}
	return nil
}

var errOtherMark = fmt.Errorf("%w: a new connection found another mark", wire.ErrWentBack)

// Verify looks at the mark over a new connection before any call may use it. A restarted
// or failed-over Redis is reached only through new connections, so no call sees it before
// a beat has looked. A beat and other checks may use the connection in any case. On a
// cluster each node has marks of its own, so only beats notice a loss there.
func (e *Epoch) Verify(ctx context.Context, conn *redis.Conn) error {
	e.mu.Lock()
	known := e.marks[0]
	e.mu.Unlock()
	if known.beats == 0 {
		return nil
	}
	value, err := conn.Get(ctx, known.key).Result()
	switch {
	case redis.IsPermissionError(err):
		return nil // this Redis hides the mark: the beat tells
	case redis.HasErrorPrefix(err, "unknown command"):
		return nil // a sentinel, which the client library greets in the same way; it holds no notes
	case err != nil && !errors.Is(err, redis.Nil):
		return err // perhaps a Redis that is loading: this connection would answer once it has loaded
	}
	if known.stands(value) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.marks[0] != known && e.marks[0].stands(value) {
		return nil // a beat has noticed meanwhile
	}
	e.doubtful = true
	if ctx.Value(checkingKey{}) != nil {
		return nil
	}
	return errOtherMark
}

// stands tells whether this server's last beat is in the mark's value, by the rule of
// beat.lua.
func (m mark) stands(value string) bool {
	f := strings.Fields(value)
	if len(f) < 3 || f[0] != "1" || f[1] != m.id {
		return false
	}
	beats, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || beats < m.beats {
		return false
	}
	at := beats - m.beats
	return at >= int64(len(f)-3) || f[3+at] == m.letters
}

// checkingKey marks the context of a check.
type checkingKey struct{}

// Checking is the context of a check of the store, for which Verify refuses no
// connection.
func Checking(ctx context.Context) context.Context {
	return context.WithValue(ctx, checkingKey{}, true)
}

// randomLetters returns n random letters in lower case.
func randomLetters(n int) string { return strings.ToLower(rand.Text()[:n]) }
