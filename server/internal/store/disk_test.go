package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestDiskFull lets Redis's append-only file grow no further. Calls that must write fail
// as calls that did nothing, and the store stays as it was. Known donations are still
// answered. Check tells the trouble, and beats find no loss. When there is room again,
// everything recovers by itself, and a restart forgets nothing.
func TestDiskFull(t *testing.T) {
	r := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	ran := &store.Ran{}
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone", Took: ran.Took})
	beat(t, s, 0, "the first")
	settled, open := note(t, s, holding(t, "settled", "r")), note(t, s, holding(t, "open", "r"))
	if _, err := s.Settle(ctx(t), settled.Receipt); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		note(t, s, holding(t, fmt.Sprint("before-", i), "r"))
	}
	if report, err := s.Check(ctx(t)); err != nil || report.Trouble != "" {
		t.Fatalf("Check before: trouble %q, %v", report.Trouble, err)
	}

	r.FillDisk()
	note(
		t,
		s,
		holding(t, "edge", "r"),
	) // with this note Redis notices: it is in memory, and on disk as soon as there is room
	soon(t, 10*time.Second, "Check tells that the append-only file cannot be written", func() bool {
		report, err := s.Check(ctx(t))
		return err == nil && strings.Contains(report.Trouble, "append-only file")
	})
	kept := left(t, r.Addr(), ledgerOf(t))
	ran.Forget()
	for name, ask := range map[string]func() error{
		"a new donation": func() error { _, err := s.Note(ctx(t), holding(t, "new", "r")); return err },
		"a new donation on a stream": func() error {
			_, errs := s.Notes(ctx(t), []store.NoteRequest{holding(t, "new", "r"), holding(t, "settled", "other")})
			if errs[1] != nil {
				t.Errorf("a known donation behind a new one: %v", errs[1])
			}
			return errs[0]
		},
		"settle":  func() error { _, err := s.Settle(ctx(t), open.Receipt); return err },
		"release": func() error { _, err := s.Release(ctx(t), open.Receipt); return err },
		"extend":  func() error { _, err := s.Extend(ctx(t), open.Receipt, time.Hour); return err },
		"forget": func() error {
			_, err := s.Forget(ctx(t), ledgerOf(t), "settled", settled.Note.DonationID)
			return err
		},
		"a new message that would be paired": func() error {
			second := holding(t, "settled", "other")
			second.Message = webhook
			_, err := s.Note(ctx(t), second)
			return err
		},
		"a beat": func() error {
			found, err := s.Beat(ctx(t))
			if len(found) > 0 {
				t.Errorf("with a full disk a beat finds the losses %v, want none", found)
			}
			return err
		},
	} {
		if err := ask(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "MISCONF") {
			t.Errorf("%s: %v, want %v and Redis's reason", name, err, store.ErrUnavailable)
		}
	}
	wantVerdict(t, note(t, s, holding(t, "settled", "other")), store.Duplicate, store.SameMessage)
	wantVerdict(t, note(t, s, holding(t, "open", "other")), store.Held, store.SameMessage)
	wantVerdict(t, note(t, s, holding(t, "open", "r")), store.First, store.SameRequest)
	for series, want := range map[string]store.Evidence{"settled": store.SameMessage, "new": 0} {
		if got, err := s.Exists(
			ctx(t),
			holding(t, series, "").Donation,
			ipn,
			defaultRules,
		); err != nil ||
			got.Evidence != want {
			t.Errorf("Exists(%s): evidence %d, %v, want %d", series, got.Evidence, err, want)
		}
	}
	if _, err := s.Settle(ctx(t), settled.Receipt); err != nil {
		t.Errorf("settling a settled donation: %v", err)
	}
	ran.WantAll(t, "list")
	if diff := cmp.Diff(kept, left(t, r.Addr(), ledgerOf(t))); diff != "" {
		t.Errorf("the full disk changed the store (-before +after):\n%s", diff)
	}

	r.FreeDisk()
	soon(t, 10*time.Second, "a new donation is noted again", func() bool {
		got, err := s.Note(ctx(t), holding(t, "new", "r"))
		return err == nil && got.Verdict == store.First
	})
	if report, err := s.Check(ctx(t)); err != nil || report.Trouble != "" {
		t.Errorf("Check afterwards: trouble %q, %v", report.Trouble, err)
	}
	if _, err := s.Settle(ctx(t), open.Receipt); err != nil {
		t.Errorf("the hold from before: %v", err)
	}
	beat(t, s, 0, "afterwards")
	told(t, r, "CONFIG", "SET", "appendfsync", "always") // so that everything is on disk
	kept = left(t, r.Addr(), ledgerOf(t))
	r.Kill()
	r.Restart()
	beat(t, s, 0, "after a crash")
	if diff := cmp.Diff(kept, left(t, r.Addr(), ledgerOf(t))); diff != "" {
		t.Errorf("a crash afterwards changed the store (-before +after):\n%s", diff)
	}
}

// TestSnapshotFails is the same for a Redis that keeps snapshots and cannot write one.
func TestSnapshotFails(t *testing.T) {
	r := redistest.Start(t, "--save", "3600", "1")
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone"})
	note(t, s, holding(t, "known", "r"))
	r.FillDisk()
	r.Do("BGSAVE")
	soon(t, 10*time.Second, "Check tells that the snapshot failed", func() bool {
		report, err := s.Check(ctx(t))
		return err == nil && strings.Contains(report.Trouble, "snapshot")
	})
	if _, err := s.Note(
		ctx(t),
		holding(t, "new", "r"),
	); !errors.Is(err, store.ErrUnavailable) ||
		!strings.Contains(fmt.Sprint(err), "MISCONF") {
		t.Errorf("a new donation: %v, want %v and Redis's reason", err, store.ErrUnavailable)
	}
	wantVerdict(t, note(t, s, holding(t, "known", "other")), store.Held, store.SameMessage)
	r.FreeDisk()
	r.Do("BGSAVE")
	soon(t, 10*time.Second, "a new donation is noted again", func() bool {
		got, err := s.Note(ctx(t), holding(t, "new", "r"))
		return err == nil && got.Verdict == store.First
	})
	if report, err := s.Check(ctx(t)); err != nil || report.Trouble != "" {
		t.Errorf("Check afterwards: trouble %q, %v", report.Trouble, err)
	}
}
