package store

import (
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
)

// epoch is how this process notices that the store has gone back in time: was emptied,
// restarted without persistence, restored from a backup, or taken over by a replica that
// lagged. Its notes are forgotten then, and nothing else would tell: to a script a lost
// note looks like one that never was.
//
// A marker in the store bears the id of its epoch, which goes on by a beat of every
// server each second. A process that finds no marker, another epoch, or an epoch without
// its own last beat, has found a store that went back. The script then begins a new
// epoch, so that all others notice, and those that start later if they were told which
// epoch to expect. With replicas asked for, only beats that they have count: what no
// caller was told cannot be lost.
//
// On a cluster each part can go back by itself; there are markers all over the slots, so
// that each primary has one.
type epoch struct {
	beating sync.Mutex // one round at a time

	mu       sync.Mutex
	expected map[string]bool // the ids that an operator has named; nil for whatever is there
	markers  []marker
	lost     Loss // not acknowledged yet
	looked   bool // every marker has been seen once
	doubtful bool // a new connection found the marker changed, and a beat must find out how
}

// A marker is one in the store, and this process's last beat there.
type marker struct {
	key, id, mark string
	beats         int64
	short         error // why too few replicas have the last beat; nil where they have it
}

// Loss says that the store has gone back, and how that was noticed.
type Loss struct {
	At   time.Time // when it was noticed; zero where nothing is lost
	What string
}

// The marker's key cannot be a series' (it has no space), and is for a cluster one of
// sixteen: their slots lie a sixteenth of all apart.
const markerKey = prefix + "{epoch}"

var clusterTags = []int{
	12218,
	1354,
	18830,
	1799,
	8560,
	49032,
	47682,
	14976,
	266,
	40460,
	69520,
	5967,
	3209,
	8706,
	9821,
	10788,
}

func clusterMarkers() (keys []string) {
	for _, tag := range clusterTags {
		keys = append(keys, prefix+"{epoch"+strconv.Itoa(tag)+"}")
	}
	return keys
}

func newEpoch(c Config) *epoch {
	e := &epoch{markers: []marker{{key: markerKey}}}
	if c.Mode == "cluster" {
		e.markers = nil
		for _, key := range clusterMarkers() {
			e.markers = append(e.markers, marker{key: key})
		}
	}
	if c.Epoch != "" {
		e.expected = map[string]bool{}
		for id := range strings.SplitSeq(c.Epoch, "+") {
			e.expected[id] = true
		}
	}
	return e
}

// Beat lets the epoch go on, and returns in how many ways the store has gone back since
// the beat before; Lost says what is not acknowledged yet. The error means that a part of
// the store could not be asked.
func (s *Store) Beat(ctx context.Context) (found []Loss, err error) {
	e := s.epoch
	e.beating.Lock()
	defer e.beating.Unlock()
	e.mu.Lock()
	markers := slices.Clone(e.markers)
	e.mu.Unlock()

	fresh := newMark(10)
	first, rest := markers[:1], markers[1:]
	if first[0].id != "" { // which epoch begins, if one must, is decided by the first marker, lest two servers that start at once begin two
		first, rest = markers, nil
	}
	var errs []error
	for _, some := range [][]marker{first, rest} {
		if len(some) == 0 {
			continue
		}
		losses, err := s.beat(ctx, some, &fresh)
		found, errs = append(found, losses...), append(errs, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.markers = markers
	if err = errors.Join(errs...); err == nil {
		e.looked, e.doubtful = true, false
	}
	if len(found) > 0 {
		e.lost = found[len(found)-1]
	}
	return found, err
}

// beat beats on some markers, in place. fresh is for an epoch that must begin, and
// becomes the first one found.
func (s *Store) beat(ctx context.Context, markers []marker, fresh *string) (found []Loss, err error) {
	calls, marks := make([]call, len(markers)), make([]string, len(markers))
	for i, m := range markers {
		marks[i] = newMark(4)
		calls[i] = call{
			script: beatScript,
			key:    m.key,
			args:   []any{or(m.id, "-"), m.beats, or(m.mark, "-"), marks[i], *fresh},
		}
	}
	for i, r := range s.runPast(looking(ctx), calls) {
		m := &markers[i]
		var short error
		if errors.Is(r.err, ErrNotReplicated) {
			short, r.err = r.err, nil
		}
		if r.err == nil && (len(r.words) != 4 || refusal(r.words) != nil) {
			r.err = unexpected(beatScript, r.words)
		}
		if r.err != nil {
			err = r.err
			continue
		}
		id := r.words[2]
		beats, parse := strconv.ParseInt(r.words[3], 10, 64)
		if parse != nil {
			return found, fmt.Errorf("reading a beat: %w", parse)
		}
		if what := s.epoch.changed(*m, r.words[0], id); what != "" {
			found = append(found, Loss{At: time.Now(), What: what})
		}
		if i == 0 && m.id == "" && s.epoch.expected == nil {
			*fresh = id
		}
		switch {
		case short == nil:
			*m = marker{key: m.key, id: id, mark: marks[i], beats: beats}
		case m.id != id:
			*m = marker{key: m.key, id: id}
		}
		m.short = short
	}
	return found, err
}

// changed says what a beat has found that means a loss; empty where all is well.
func (e *epoch) changed(m marker, word, id string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := m.id
	if known == "" && e.expected != nil {
		known = e.names()
	}
	switch {
	case word == "LOST":
		return fmt.Sprintf(
			"the store has lost the last beat of its epoch %s, and notes with it: a failover to a replica that lagged, or an old backup; its epoch is now %s",
			known,
			id,
		)
	case word == "BEGUN" && known != "":
		return fmt.Sprintf(
			"the store had no marker of its epoch %s, so it was emptied, or restarted without its data; its epoch is now %s",
			known,
			id,
		)
	case m.id == "" && e.expected != nil && !e.expected[id], m.id != "" && m.id != id:
		return fmt.Sprintf(
			"the store's epoch is %s, not %s: it has lost notes, as another server has noticed, or it is another store",
			id,
			known,
		)
	}
	return ""
}

// Unreplicated is why nothing can be noted although the store takes writes: the replicas
// that are asked for did not have the last beat. part says that this is so of some of a
// cluster's primaries only. The error is nil where all is well.
func (s *Store) Unreplicated() (why error, part bool) {
	s.epoch.mu.Lock()
	defer s.epoch.mu.Unlock()
	for _, m := range s.epoch.markers {
		if m.short == nil {
			part = true
		} else {
			why = m.short
		}
	}
	if why == nil {
		return nil, false
	}
	return asUnreplicated(why, s.replicas), part
}

func (e *epoch) names() string { return strings.Join(slices.Sorted(maps.Keys(e.expected)), "+") }

// Epoch is the id of the store's epoch, for the next start; on a cluster of which a part
// has gone back, ids joined by "+". Empty before the first beat.
func (s *Store) Epoch() string {
	s.epoch.mu.Lock()
	defer s.epoch.mu.Unlock()
	ids := map[string]bool{}
	for _, m := range s.epoch.markers {
		if m.id != "" {
			ids[m.id] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(ids)), "+")
}

// Lost is the loss that was noticed last and that nobody has acknowledged; its time is
// zero where there is none.
func (s *Store) Lost() Loss {
	s.epoch.mu.Lock()
	defer s.epoch.mu.Unlock()
	return s.epoch.lost
}

// Acknowledge takes the store for good as it is.
func (s *Store) Acknowledge() {
	s.epoch.mu.Lock()
	defer s.epoch.mu.Unlock()
	s.epoch.lost = Loss{}
}

// trusted is an error while the store must not be asked: it cannot run Noted, it has gone
// back, or nobody has looked yet whether it has.
func (s *Store) trusted() error {
	if err := s.unsuitable.Load(); err != nil {
		return *err
	}
	if !s.refuseLost {
		return nil
	}
	e := s.epoch
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case !e.lost.At.IsZero():
		return fmt.Errorf("%w: %s", ErrWentBack, e.lost.What)
	case e.doubtful:
		return fmt.Errorf("%w: a new connection found another marker", ErrWentBack)
	case !e.looked:
		return fmt.Errorf("%w: its epoch is not known yet", ErrUnavailable)
	}
	return nil
}

// verify looks at the marker over a new connection, before any call may use it: a store
// that was restarted or taken over is met over new connections only, so no call is
// answered from it before a beat has looked. A beat and what else looks after the store
// may use it all the same. On a cluster nobody looks over new connections, since each
// node has markers of its own: the beats tell.
func (s *Store) verify(ctx context.Context, conn *redis.Conn) error {
	e := s.epoch
	e.mu.Lock()
	known := e.markers[0]
	e.mu.Unlock()
	if known.beats == 0 {
		return nil
	}
	value, err := conn.Get(ctx, known.key).Result()
	switch {
	case redis.IsPermissionError(err):
		return nil // a Redis that hides it: the beat tells
	case redis.HasErrorPrefix(err, "unknown command"):
		return nil // a sentinel, which the client connects to in the same way: who cannot GET holds no notes
	case err != nil && !errors.Is(err, redis.Nil):
		return err // one that is still loading among them: by this connection it would answer when it has loaded
	}
	if known.stands(value) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.markers[0] != known && e.markers[0].stands(value) {
		return nil // a beat has noticed meanwhile
	}
	e.doubtful = true
	if ctx.Value(lookKey{}) != nil {
		return nil
	}
	return fmt.Errorf("%w: a new connection found another marker", ErrWentBack)
}

// stands tells whether this process's last beat is in the marker's value, as beat.lua
// does.
func (m marker) stands(value string) bool {
	f := strings.Fields(value)
	if len(f) < 3 || f[0] != "1" || f[1] != m.id {
		return false
	}
	beats, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || beats < m.beats {
		return false
	}
	at := beats - m.beats
	return at >= int64(len(f)-3) || f[3+at] == m.mark
}

// lookKey marks the context of what looks after the store.
type lookKey struct{}

func looking(ctx context.Context) context.Context { return context.WithValue(ctx, lookKey{}, true) }

// newMark is n random letters.
func newMark(n int) string { return strings.ToLower(rand.Text()[:n]) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
