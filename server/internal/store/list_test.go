package store_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestListWhereRedisIsAnother checks that a page token counts only for the Redis process
// that gave it: each process has its own order of keys, so a walk that goes on in another
// would miss some.
func TestListWhereRedisIsAnother(t *testing.T) {
	const many, size = 2000, 50
	fill := func(s *store.Store) {
		t.Helper()
		for from := 0; from < many; from += 100 {
			requests := make([]store.NoteRequest, 100)
			for i := range requests {
				requests[i] = store.NoteRequest{
					Donation:  store.Donation{Ledger: "many", SeriesID: fmt.Sprint("I-", from+i), Event: pay},
					Message:   ipn,
					RequestID: "r",
					Rules:     defaultRules,
				}
			}
			soon(t, time.Minute, "a hundred are noted, at a second try on a busy machine", func() bool {
				_, errs := s.Notes(ctx(t), requests)
				return errors.Join(errs...) == nil
			})
		}
	}
	// page asks for a page until it is given or refused for good, as callers do: a
	// restarted Redis loads its data first, and a busy machine is slow.
	page := func(s *store.Store, token string) (reply store.ListReply, err error) {
		t.Helper()
		soon(t, time.Minute, "a page is given or refused", func() bool {
			reply, err = s.List(ctx(t), store.ListRequest{Ledger: "many", PageSize: size, PageToken: token})
			return !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded)
		})
		return reply, err
	}
	// rest is how many notes follow a page.
	rest := func(s *store.Store, token string) (notes int, err error) {
		t.Helper()
		seen := map[string]bool{}
		for token != "" {
			reply, err := page(s, token)
			if err != nil {
				return len(seen), err
			}
			for _, n := range reply.Notes {
				seen[n.DonationID+n.Donation.SeriesID] = true
			}
			token = reply.NextPageToken
		}
		return len(seen), nil
	}
	first := func(s *store.Store) (token string) {
		t.Helper()
		reply, err := page(s, "")
		if err != nil || len(reply.Notes) != size || reply.NextPageToken == "" {
			t.Fatalf("List: %d notes, token %q, %v", len(reply.Notes), reply.NextPageToken, err)
		}
		return reply.NextPageToken
	}
	check := func(s *store.Store, token string) {
		t.Helper()
		if n, err := rest(s, token); !errors.Is(err, store.ErrBadPageToken) {
			t.Errorf(
				"a page token of another Redis: %d of %d notes, %v; want %v",
				n,
				many-size,
				err,
				store.ErrBadPageToken,
			)
		}
		if n, err := rest(s, first(s)); err != nil || n < many-size {
			t.Errorf("from the start: %d of %d notes, %v", n, many-size, err)
		}
	}

	r := redistest.Start(t, "--appendonly", "yes")
	s := open(t, "standalone", r.URL())
	fill(s)
	token := first(s)
	if n, err := rest(s, old(t, token)); err != nil || n < many-size {
		t.Errorf("a token without a run_id, of an earlier release: %d of %d notes, %v", n, many-size, err)
	}
	r.Restart()
	check(s, token)

	w := sentinels(t)
	s = openWith(t, w.config(0))
	fill(s)
	token = first(s)
	before := w.primary()
	soon(t, time.Minute, "every replica has all notes", func() bool { // the notes did not wait for replicas
		for _, node := range w.Nodes {
			if told(t, node, "DBSIZE") != told(t, before, "DBSIZE") {
				return false
			}
		}
		return true
	})
	soon(t, time.Minute, "another is the primary", func() bool {
		now := w.primary()
		if now == before {
			w.HandOver(before)
			return false
		}
		return now != nil && now != before && strings.Contains(told(t, now, "INFO", "replication"), "role:master") &&
			w.Well()
	})
	check(s, token)
}

// TestLookAtAReplica checks that calls that only look are refused by a Redis that has
// become a replica: it could say that there is no note, while the note is on its primary
// or on its way to the replica.
func TestLookAtAReplica(t *testing.T) {
	empty := redistest.Start(t, "--repl-diskless-sync-delay", "0")
	r := redistest.Start(t)
	demote := func() {
		r.Do("REPLICAOF 127.0.0.1 " + strconv.Itoa(empty.Port()))
		soon(t, 20*time.Second, "it has the data of its primary", func() bool {
			return strings.Contains(told(t, r, "INFO", "replication"), "master_link_status:up") &&
				told(t, r, "DBSIZE") == "0"
		})
	}
	var turn atomic.Pointer[func()] // runs before the next listing of keys
	p := redistest.StartProxy(t, r.Addr(), func(request []byte) redistest.Disturbance {
		if f := turn.Load(); f != nil && bytes.Contains(bytes.ToLower(request), []byte("evalsha")) &&
			turn.CompareAndSwap(f, nil) {
			(*f)()
		}
		return redistest.Disturbance{}
	})
	s := open(t, "standalone", p.URL())
	fill := func() {
		t.Helper()
		r.Do("REPLICAOF NO ONE")
		for i := range 3 {
			note(t, s, holding(t, fmt.Sprint("I-", i), "r"))
		}
	}
	fill()
	queries := map[string]func() (notes int, err error){
		"List of the series": func() (int, error) {
			reply, err := s.List(ctx(t), store.ListRequest{Ledger: ledgerOf(t), SeriesID: "I-1", PageSize: 10})
			return len(reply.Notes), err
		},
		"List of the ledger": func() (int, error) {
			reply, err := s.List(ctx(t), store.ListRequest{Ledger: ledgerOf(t), PageSize: 10})
			return len(reply.Notes), err
		},
		"Exists": func() (int, error) {
			reply, err := s.Exists(ctx(t), holding(t, "I-1", "").Donation, ipn, defaultRules)
			return int(min(reply.Evidence, 1)), err
		},
	}
	check := func(when string) {
		t.Helper()
		for what, query := range queries {
			if n, err := query(); !errors.Is(err, store.ErrUnavailable) ||
				!strings.Contains(err.Error(), "is a replica") {
				t.Errorf(
					"%s: %s: %d notes, %v, want %v that says that it is a replica",
					what,
					when,
					n,
					err,
					store.ErrUnavailable,
				)
			}
		}
	}
	demote()
	check("as a replica")
	for what, query := range queries {
		fill()
		turn.Store(&demote)
		if n, err := query(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: it becomes a replica in between: %d notes, %v, want %v", what, n, err, store.ErrUnavailable)
		}
		if turn.Load() != nil {
			t.Errorf("%s: the call did not list keys, so the test proves nothing", what)
		}
	}
	fill()
	for what, query := range queries {
		if n, err := query(); err != nil || n == 0 {
			t.Errorf("%s of a primary again: %d notes, %v", what, n, err)
		}
	}
}

// old is a page token without a run_id, as earlier releases wrote it.
func old(t *testing.T, token string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "r")
	if raw, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}
