package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// A cursor is the position of a listing. A page token is its JSON in base64. Only this
// store reads it, and a caller who makes one sees only notes that it could list anyway.
type cursor struct {
	Ledger string   `json:"l"`
	Series string   `json:"s"`           // the series to list; empty for a ledger
	Node   string   `json:"n,omitempty"` // the cluster's node that is being walked through
	Scan   uint64   `json:"c,omitempty"` // where SCAN goes on there
	More   bool     `json:"m,omitempty"` // whether SCAN has more keys there
	Wait   []string `json:"w,omitempty"` // keys that SCAN has given and that have not been listed
	After  int64    `json:"a,omitempty"` // the notes of the first of them up to this one have been listed
	Past   string   `json:"p,omitempty"` // the node's keys up to this one are listed, or wait
	Run    string   `json:"r,omitempty"` // the run_id of the process that gave Scan: every process has its own order

	scanned string // the node whose keys wait
	whole   bool   // and they are all of its keys behind Past, in order
	size    int    // of the notes listed so far
}

// A page ends after this many keys, even if few of their notes were wanted, so that it
// ends before its caller's deadline.
const (
	scanCount    = 100
	mostKeysRead = 2000
)

// List pages through the notes of one series in the order in which they were made, or
// through those of a ledger in no order.
func (s *Store) List(ctx context.Context, r ListRequest) (ListReply, error) {
	if err := s.trusted(); err != nil {
		return ListReply{}, err
	}
	at, err := start(r)
	if err != nil {
		return ListReply{}, err
	}
	reply := ListReply{}
	var nodes []wire.Node // asked for once a page, since a cluster's client looks them up each time
	for read := 0; read < mostKeysRead; {
		if len(at.Wait) == 0 {
			if !at.More {
				return reply, nil
			}
			if nodes == nil {
				if nodes, err = s.wire.Nodes(ctx); err != nil {
					return ListReply{}, err
				}
			}
			if err := scan(ctx, nodes, &at, oneLedger); err != nil {
				return ListReply{}, err
			}
			read++ // a scan that finds nothing is work, too
			continue
		}
		full, err := s.listKeys(ctx, r, &at, &reply)
		if err != nil {
			return ListReply{}, err
		}
		if full {
			break
		}
		read += scanCount
	}
	if len(at.Wait) == 0 && !at.More {
		return reply, nil
	}
	if at.whole && len(at.Wait) > 0 {
		// The node gave all its keys at once, as the embedded store does with any number
		// of keys. The token does not carry them: the next page asks again for those
		// behind this key.
		at.Wait, at.Past = at.Wait[:1], at.Wait[0]
		at.Node, at.Scan, at.More = at.scanned, 0, true
	}
	var token bytes.Buffer
	to := base64.NewEncoder(base64.RawURLEncoding, &token)
	text := json.NewEncoder(to)
	text.SetEscapeHTML(false) // escaped, a token of ids full of < would not fit into a request
	if err := errors.Join(text.Encode(at), to.Close()); err != nil {
		return ListReply{}, fmt.Errorf("writing a page token: %w", err)
	}
	reply.NextPageToken = token.String()
	return reply, nil
}

func start(r ListRequest) (cursor, error) {
	at := cursor{Ledger: r.Ledger, Series: r.SeriesID}
	if r.PageToken == "" {
		if r.SeriesID == "" {
			at.More = true
		} else {
			at.Wait = []string{seriesKey(r.Ledger, r.SeriesID)}
		}
		return at, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(r.PageToken)
	if err != nil {
		return at, ErrBadPageToken
	}
	if json.Unmarshal(raw, &at) != nil || at.Ledger != r.Ledger || at.Series != r.SeriesID {
		return at, ErrBadPageToken
	}
	for _, key := range at.Wait {
		ledger, series, ok := seriesOf(key)
		if !ok || ledger != r.Ledger || r.SeriesID != "" && series != r.SeriesID {
			return at, ErrBadPageToken
		}
	}
	return at, nil
}

// listKeys lists the waiting keys, many in one round trip, until the page is full.
func (s *Store) listKeys(ctx context.Context, r ListRequest, at *cursor, reply *ListReply) (full bool, err error) {
	calls := make([]*wire.Call, min(len(at.Wait), scanCount))
	for i := range calls {
		calls[i] = &wire.Call{Script: listScript, Key: at.Wait[i], Args: []any{writeTransaction(r.TransactionID)}}
	}
	s.run(ctx, calls...)
	for _, c := range calls {
		if c.Err != nil {
			return false, c.Err
		}
		if c.Words[0] != "NOTES" {
			return false, unexpected(listScript, c.Words)
		}
		now, err := wire.Millis(c.Words[1])
		if err != nil {
			return false, err
		}
		notes, err := readNotes(at.Wait[0], c.Words[2:], now)
		if err != nil {
			return false, err
		}
		for _, n := range notes {
			if n.NotedAt.UnixMilli() <= at.After || !r.wants(n) {
				continue
			}
			if len(reply.Notes) == r.PageSize ||
				r.PageBytes > 0 && len(reply.Notes) > 0 && at.size+n.size() > r.PageBytes {
				return true, nil
			}
			at.size += n.size()
			reply.Notes = append(reply.Notes, n)
			at.After = n.NotedAt.UnixMilli()
		}
		at.Wait, at.After = at.Wait[1:], 0
	}
	return false, nil
}

// readNotes reads a series' lines and sorts the notes, the oldest first. If the store's
// clock was set back, the lines are in another order.
func readNotes(key string, lines []string, now time.Time) ([]Note, error) {
	ledger, series, _ := seriesOf(key)
	notes := make([]Note, len(lines))
	for i, line := range lines {
		var err error
		if notes[i], err = readNote(ledger, series, line, now); err != nil {
			return nil, located(key, wire.NothingDone(err))
		}
	}
	slices.SortFunc(notes, func(a, b Note) int { return a.NotedAt.Compare(b.NotedAt) })
	return notes, nil
}

func (r ListRequest) wants(n Note) bool {
	if r.State != 0 && n.State != r.State ||
		!r.NotedAfter.IsZero() && n.NotedAt.Before(r.NotedAfter) ||
		!r.NotedBefore.IsZero() && !n.NotedAt.Before(r.NotedBefore) ||
		r.TransactionID != "" &&
			!slices.ContainsFunc(n.Sightings, func(s Sighting) bool { return s.TransactionID == r.TransactionID }) {
		return false
	}
	return r.SeenOnlyOn == "" ||
		!slices.ContainsFunc(n.Sightings, func(s Sighting) bool { return s.Message.Channel != r.SeenOnlyOn })
}

// Which ledgers a scan is of: that of its cursor, or all.
const (
	oneLedger   = false
	everyLedger = true
)

// scan fetches keys to list: one step through a node, then on to the next node.
func scan(ctx context.Context, nodes []wire.Node, at *cursor, every bool) error {
	i := 0
	if at.Node != "" {
		i = slices.IndexFunc(nodes, func(n wire.Node) bool { return n.Addr == at.Node })
		if i < 0 {
			return fmt.Errorf(
				"%w: the cluster has changed since the page before; list again from the start",
				ErrBadPageToken,
			)
		}
	}
	pattern := ledgerPattern(at.Ledger)
	if every {
		pattern = everyPattern
	}
	page, err := nodes[i].Scan(ctx, at.Scan, pattern, scanCount)
	if err != nil {
		return err
	}
	if at.Scan != 0 && at.Run != "" && page.Run != "" && page.Run != at.Run {
		return fmt.Errorf("%w: the store was restarted, or another has taken over, since the page before; "+
			"list again from the start", ErrBadPageToken)
	}
	for _, key := range page.Keys {
		// A key that matches the pattern need not be ours.
		if ledger, _, ok := seriesOf(key); ok && (every || ledger == at.Ledger) && key > at.Past {
			at.Wait = append(at.Wait, key)
		}
	}
	if at.whole = at.Scan == 0 && page.Next == 0; at.whole {
		slices.Sort(at.Wait)
	}
	at.scanned, at.Node, at.Scan, at.Run = nodes[i].Addr, nodes[i].Addr, page.Next, page.Run
	if page.Next == 0 {
		at.Past, at.Run = "", ""
		if at.More = i+1 < len(nodes); at.More {
			at.Node = nodes[i+1].Addr
		}
	}
	return nil
}
