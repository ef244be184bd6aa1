package store_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestReplicated checks that the note of an answer is on a replica when the answer comes.
func TestReplicated(t *testing.T) {
	fleets(t, func(t *testing.T, f fleet) {
		s := f.patient(t, 1)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 20 {
					series := fmt.Sprintf("I-%d-%d", i, j)
					reply, err := s.Note(ctx(t), holding(t, series, "r"))
					if err != nil || reply.Verdict != store.First {
						t.Errorf("Note(%s): %+v, %v", series, reply, err)
						return
					}
					if !f.onReplica(t, series, " *H") {
						t.Errorf("%s is FIRST, and no replica has it", series)
					}
					if _, err := s.Settle(ctx(t), reply.Receipt); err != nil {
						t.Errorf("Settle(%s): %v", series, err)
					}
					if f.onReplica(t, series, " *H") {
						t.Errorf("%s is settled, and on the replica it is still held", series)
					}
				}
			})
		}
		all.Wait()
	})
}

// onReplica tells whether the value of a series has this part on a replica.
func (f fleet) onReplica(t testing.TB, series, part string) bool {
	for _, r := range f.replicas {
		c := redis.NewClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1})
		conn := c.Conn()
		conn.ReadOnly(ctx(t)) // fails if there is no cluster, which does no harm
		value, _ := conn.Get(ctx(t), "noted:{"+ledgerOf(t)+" "+series+"}").Result()
		conn.Close()
		c.Close()
		if strings.Contains(value, part) {
			return true
		}
	}
	return false
}

// A replicatedAsk is a call that is made while no replica answers, and the error that it
// must return.
type replicatedAsk struct {
	name string
	ask  func(s *store.Store) error
	want error
}

// replicatedAsks are calls of all kinds, about the notes of receipts, by series, and
// about a forgotten note.
func replicatedAsks(t *testing.T, receipts map[string]string, gone store.NoteReply) []replicatedAsk {
	t.Helper()
	return []replicatedAsk{
		{
			"a new donation",
			func(s *store.Store) error { _, err := s.Note(ctx(t), holding(t, "new", "r")); return err },
			store.ErrNotReplicated,
		},
		{
			"a held donation again",
			func(s *store.Store) error { _, err := s.Note(ctx(t), holding(t, "new", "other")); return err },
			store.ErrNotReplicated,
		},
		{"without a hold", func(s *store.Store) error {
			r := holding(t, "final", "r")
			r.Hold = 0
			_, err := s.Note(ctx(t), r)
			return err
		}, store.ErrNotReplicated},
		{
			"a settled donation again",
			func(s *store.Store) error { _, err := s.Note(ctx(t), holding(t, "final", "other")); return err },
			store.ErrNotReplicated,
		},
		{"several at once", func(s *store.Store) error {
			_, errs := s.Notes(
				ctx(t),
				[]store.NoteRequest{
					holding(t, "a", "r"),
					holding(t, "b", "r"),
					holding(t, "a", "other"),
					holding(t, "c", "r"),
				},
			)
			for i, err := range errs {
				if !errors.Is(err, store.ErrNotReplicated) {
					return fmt.Errorf("note %d of several: %v", i, err)
				}
			}
			return errs[0]
		}, store.ErrNotReplicated},
		{
			"settle",
			func(s *store.Store) error { _, err := s.Settle(ctx(t), receipts["settled"]); return err },
			store.ErrNotReplicated,
		},
		{
			"release",
			func(s *store.Store) error { _, err := s.Release(ctx(t), receipts["released"]); return err },
			store.ErrNotReplicated,
		},
		{"extend", func(s *store.Store) error {
			_, err := s.Extend(ctx(t), receipts["extended"], time.Minute)
			return err
		}, store.ErrNotReplicated},
		{
			"settle a released donation",
			func(s *store.Store) error { _, err := s.Settle(ctx(t), receipts["released"]); return err },
			store.ErrNotReplicated,
		},
		{
			"release a settled donation",
			func(s *store.Store) error { _, err := s.Release(ctx(t), receipts["settled"]); return err },
			store.ErrNotReplicated,
		},
		{"extend a settled donation", func(s *store.Store) error {
			_, err := s.Extend(ctx(t), receipts["settled"], time.Minute)
			return err
		}, store.ErrNotReplicated},
		{
			"settle a forgotten donation",
			func(s *store.Store) error { _, err := s.Settle(ctx(t), gone.Receipt); return err },
			store.ErrNotReplicated,
		},
		{"forget a forgotten donation", func(s *store.Store) error {
			_, err := s.Forget(ctx(t), ledgerOf(t), "gone", gone.Note.DonationID)
			return err
		}, store.ErrNotReplicated},
		{"too old", func(s *store.Store) error {
			r := holding(t, "old", "r")
			r.Donation.OccurredAt = time.Now().Add(-2 * defaultRules.Retention)
			_, err := s.Note(ctx(t), r)
			return err
		}, store.ErrNotReplicated},
		{"a donation too many", func(s *store.Store) error {
			r := holding(t, "held", "another")
			r.Message, r.Donation.Event, r.Rules.SeriesLimit = webhook, pay+1, 1
			_, err := s.Note(ctx(t), r)
			return err
		}, store.ErrNotReplicated},
		{"a look", func(s *store.Store) error {
			d := holding(t, "new", "").Donation
			reply, err := s.Exists(ctx(t), d, ipn, defaultRules)
			if err == nil && reply.Evidence == 0 {
				err = errors.New("there is no note")
			}
			return err
		}, nil},
		{"a list", func(s *store.Store) error {
			_, err := s.List(ctx(t), store.ListRequest{Ledger: ledgerOf(t), SeriesID: "new", PageSize: 1})
			return err
		}, nil},
	}
}

// TestNotReplicated checks that no answer depends on data that only the primary has:
// neither at first nor on a repeat, for every caller and connection, and whether or not
// the primary knows the scripts. Refusals count as answers: they too may depend on notes
// that a replaced primary made alone. Calls that only look are answered as ever.
func TestNotReplicated(t *testing.T) {
	fleets(t, func(t *testing.T, f fleet) {
		before, patient := f.open(t, 1), f.patient(t, 1)
		receipts := map[string]string{}
		for _, series := range []string{"held", "settled", "released", "extended", "forgotten"} {
			receipts[series] = note(t, patient, holding(t, series, "r")).Receipt
		}
		forget := note(t, patient, holding(t, "forgotten", "r")).Note.DonationID
		gone := note(t, patient, holding(t, "gone", "r"))
		if _, err := patient.Forget(ctx(t), ledgerOf(t), "gone", gone.Note.DonationID); err != nil {
			t.Fatal(err)
		}
		for _, r := range f.replicas {
			r.Pause()
		}
		asks := replicatedAsks(t, receipts, gone)
		f.ran = &store.Ran{}
		// On 7.2 and later WAIT counts from the connection's own last write, so each
		// repeat comes on a connection that has written nothing.
		for _, round := range []string{"at first", "on the repeat", "on the repeat, without scripts"} {
			if strings.HasSuffix(round, "without scripts") {
				for _, p := range f.primaries {
					p.Do("SCRIPT FLUSH")
				}
			}
			for _, a := range asks {
				if err := a.ask(f.open(t, 1)); !errors.Is(err, a.want) {
					t.Errorf("%s, %s: got error %v, want %v", a.name, round, err, a.want)
				}
			}
		}
		f.ran.WantAll(t, "beat")
		if _, err := f.open(t, 1).
			Forget(ctx(t), ledgerOf(t), "forgotten", forget); !errors.Is(
			err,
			store.ErrNotReplicated,
		) {
			t.Errorf("Forget: got error %v, want %v", err, store.ErrNotReplicated)
		}
		began := time.Now()
		if _, err := before.Note(
			ctx(t),
			holding(t, "new", "r"),
		); !errors.Is(err, store.ErrNotReplicated) ||
			time.Since(began) > 2*time.Second {
			t.Errorf("with a timeout of 200ms: %v after %v", err, time.Since(began))
		}

		for _, r := range f.replicas {
			r.Resume()
		}
		var first store.NoteReply
		soon(t, 20*time.Second, "the replicas are back", func() bool {
			var err error
			first, err = before.Note(ctx(t), holding(t, "new", "r"))
			return err == nil
		})
		wantVerdict(t, first, store.First, store.SameRequest)
		if first.Receipt == "" || first.Note.Attempt != 1 {
			t.Errorf(
				"asked again, the request got receipt %q at attempt %d, want its own",
				first.Receipt,
				first.Note.Attempt,
			)
		}
		for _, series := range []string{"settled", "released"} {
			if f.onReplica(t, series, " *H") {
				t.Errorf("%s is not the same on the replica", series)
			}
		}
	})
}

// TestAnswersAreWritten checks that each answer that needs replicas writes, so that WAIT
// has something to wait for, and that the writes change nothing.
func TestAnswersAreWritten(t *testing.T) {
	f := pair(t, 1)
	f.ran = &store.Ran{}
	s := f.open(t, 1)
	note(t, s, holding(t, "held", "r"))
	settled := note(t, s, holding(t, "settled", "r"))
	released := note(t, s, holding(t, "released", "r"))
	// The offset of the replication would not do: WAIT moves it by asking the replicas
	// for theirs. This counter counts changes of the data.
	changes := func() string {
		for line := range strings.Lines(told(t, f.primaries[0], "INFO", "persistence")) {
			if count, ok := strings.CutPrefix(line, "rdb_changes_since_last_save:"); ok {
				return count
			}
		}
		t.Fatal("no rdb_changes_since_last_save")
		return ""
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	_, err := s.Settle(ctx(t), settled.Receipt)
	must(err)
	_, err = s.Release(ctx(t), released.Receipt)
	must(err)
	gone := note(t, s, holding(t, "gone", "r"))
	_, err = s.Forget(ctx(t), ledgerOf(t), "gone", gone.Note.DonationID)
	must(err)
	refused := func(_ store.Note, err error) {
		t.Helper()
		if err == nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotReplicated) {
			t.Errorf("a refusal: %v", err)
		}
	}
	kept := left(t, f.primaries[0].Addr(), ledgerOf(t))
	f.ran.Forget()
	for name, ask := range map[string]func(){
		"FIRST again":     func() { wantVerdict(t, note(t, s, holding(t, "held", "r")), store.First, store.SameRequest) },
		"HELD":            func() { wantVerdict(t, note(t, s, holding(t, "held", "other")), store.Held, store.SameMessage) },
		"DUPLICATE":       func() { wantVerdict(t, note(t, s, holding(t, "settled", "other")), store.Duplicate, store.SameMessage) },
		"HOLD_RELEASED":   func() { refused(s.Settle(ctx(t), released.Receipt)) },
		"ALREADY_SETTLED": func() { refused(s.Extend(ctx(t), settled.Receipt, time.Minute)) },
		"NOT_FOUND":       func() { refused(s.Settle(ctx(t), gone.Receipt)) },
		"forgotten again": func() { refused(s.Forget(ctx(t), ledgerOf(t), "gone", gone.Note.DonationID)) },
		"TOO_EARLY": func() {
			r := holding(t, "old", "r")
			r.Donation.OccurredAt = time.Now().Add(-2 * defaultRules.Retention)
			if _, err := s.Note(ctx(t), r); !errors.Is(err, store.ErrTooEarly) {
				t.Errorf("Note of a donation that is too old: %v", err)
			}
		},
		"settled before":  func() { _, err := s.Settle(ctx(t), settled.Receipt); must(err) },
		"released before": func() { _, err := s.Release(ctx(t), released.Receipt); must(err) },
	} {
		for range 3 {
			was := changes()
			if ask(); changes() == was {
				t.Errorf("%s: the answer was not written", name)
			}
		}
	}
	f.ran.WantAll(t, "exists", "list", "beat") // the first two write nothing, and a beat is no answer
	if diff := cmp.Diff(kept, left(t, f.primaries[0].Addr(), ledgerOf(t))); diff != "" {
		t.Errorf("the answers changed the store (-before +after):\n%s", diff)
	}
}

// TestRefusalsWhenFull checks the refusals of a Redis without memory, with -replicas: for
// a note that was forgotten by hand, for a note past its end whose key Redis still has,
// for a released note, which stays, and for new donations.
func TestRefusalsWhenFull(t *testing.T) {
	primary := redistest.StartWithClock(t, "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
	f := fleet{
		mode: "standalone", url: primary.URL(), primaries: []*redistest.Server{primary},
		replicas: []*redistest.Server{redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(primary.Port()))},
	}
	f.linked(t)
	now := time.Now().Truncate(time.Second)
	primary.StopClock(now)
	s := f.open(t, 1)
	brief := holding(t, "forgotten", "r")
	brief.Rules.Retention = time.Hour
	forgotten, live, gone := note(t, s, brief), note(t, s, holding(t, "live", "r")), note(t, s, holding(t, "gone", "r"))
	if _, err := s.Forget(ctx(t), ledgerOf(t), "gone", gone.Note.DonationID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Release(ctx(t), live.Receipt); err != nil {
		t.Fatal(err)
	}
	primary.StopClock(now.Add(time.Hour)) // in a key's last millisecond Redis still has it
	if got := told(t, primary, "EXISTS", keyOf(t, "forgotten")); got != "1" {
		t.Fatalf("EXISTS of a note that is just forgotten = %s, want 1", got)
	}
	primary.Do("CONFIG SET maxmemory 1")
	old := holding(t, "old", "r")
	old.Donation.OccurredAt = now.Add(-2 * defaultRules.Retention)
	settle := func(receipt string) func() error {
		return func() error { _, err := s.Settle(ctx(t), receipt); return err }
	}
	forget := func() error { _, err := s.Forget(ctx(t), ledgerOf(t), "gone", gone.Note.DonationID); return err }
	for name, c := range map[string]struct {
		ask  func() error
		want error
	}{
		"settle, forgotten by hand": {settle(gone.Receipt), store.ErrNotFound},
		"forget, forgotten by hand": {forget, store.ErrNotFound},
		"settle, past its end":      {settle(forgotten.Receipt), store.ErrNotFound},
		"settle, released":          {settle(live.Receipt), store.ErrHoldReleased},
		"too old":                   {func() error { _, err := s.Note(ctx(t), old); return err }, store.ErrTooEarly},
		"a new donation": {
			func() error { _, err := s.Note(ctx(t), holding(t, "new", "r")); return err }, store.ErrStoreFull,
		},
	} {
		if err := c.ask(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if look, err := s.Exists(
		ctx(t),
		holding(t, "live", "").Donation,
		ipn,
		defaultRules,
	); err != nil ||
		look.Note.DonationID != live.Note.DonationID {
		t.Errorf("the note that stays: %+v, %v; want %s", look, err, live.Note.DonationID)
	}
}
