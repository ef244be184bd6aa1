package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestReplyLost loses one reply after the script has run. The script runs once, the
// caller gets an unknown outcome, and by the same request id it learns that the donation
// is its own. A plain client over the same connection shows what would happen otherwise.
func TestReplyLost(t *testing.T) {
	server := redistest.Start(t)
	var lose atomic.Bool
	through := redistest.StartProxy(t, server.Addr(), func(request []byte) redistest.Disturbance {
		about := isScript(request) || bytes.Contains(request, []byte("\nset\r"))
		return redistest.Disturbance{DropReply: about && lose.CompareAndSwap(true, false)}
	})
	s := open(t, "standalone", through.URL())
	ledger := ledgerOf(t)
	request := func(id, series string) store.NoteRequest {
		return store.NoteRequest{
			Donation:  store.Donation{Ledger: ledger, SeriesID: series, Event: 1},
			Message:   ipn,
			RequestID: id,
			Hold:      time.Minute,
			Rules:     defaultRules,
		}
	}
	note(t, s, request("warm-up", "I-0")) // so that Redis knows the script, and the store knows the time
	before := scriptsRun(t, server)

	lose.Store(true)
	_, err := s.Note(ctx(t), request("a", "I-1"))
	if !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("Note with its reply lost: %v, want ErrOutcomeUnknown", err)
	}
	if ran := scriptsRun(t, server) - before; ran != 1 {
		t.Errorf("the script ran %d times, want once", ran)
	}
	other := note(t, s, request("b", "I-1"))
	wantVerdict(t, other, store.Held, store.SameMessage)
	again := note(t, s, request("a", "I-1"))
	wantVerdict(t, again, store.First, store.SameRequest)
	if again.Note.Attempt != 1 || again.Note.DonationID != other.Note.DonationID {
		t.Errorf(
			"asked again: attempt %d of %s, want 1 of %s",
			again.Note.Attempt,
			again.Note.DonationID,
			other.Note.DonationID,
		)
	}
	if third := note(t, s, request("a", "I-1")); third.Receipt == "" || third.Receipt != again.Receipt {
		t.Errorf("asked once more: receipt %q, want %q", third.Receipt, again.Receipt)
	}

	lose.Store(true)
	if _, err := s.Settle(ctx(t), again.Receipt); !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("Settle with its reply lost: %v, want ErrOutcomeUnknown", err)
	}
	if n, err := s.Settle(ctx(t), again.Receipt); err != nil || n.State != store.StateSettled {
		t.Errorf("Settle again: state %d, %v", n.State, err)
	}

	plain := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(through.URL(), "redis://")})
	defer plain.Close()
	if err := plain.Ping(ctx(t)).Err(); err != nil {
		t.Fatal(err)
	}
	lose.Store(true)
	if first, err := plain.SetNX(ctx(t), ledger, "x", time.Minute).Result(); first || err != nil {
		t.Errorf(
			"a plain client's SET NX with its reply lost: %v, %v; want false, or the proxy loses no reply",
			first,
			err,
		)
	}
}

// TestReplyTooLate delays a reply until its caller has gone, although the script has run
// in time. The deadline does not tell whether the donation was noted; asking again under
// the same request id does.
func TestReplyTooLate(t *testing.T) {
	server := redistest.Start(t)
	var slow atomic.Bool
	through := redistest.StartProxy(t, server.Addr(), func(request []byte) redistest.Disturbance {
		if isScript(request) && slow.CompareAndSwap(true, false) {
			return redistest.Disturbance{DelayReply: 300 * time.Millisecond}
		}
		return redistest.Disturbance{}
	})
	s := open(t, "standalone", through.URL())
	r := store.NoteRequest{
		Donation:  store.Donation{Ledger: ledgerOf(t), SeriesID: "I-0", Event: 1},
		Message:   ipn,
		RequestID: "warm-up",
		Hold:      time.Minute,
		Rules:     defaultRules,
	}
	note(t, s, r)
	r.Donation.SeriesID, r.RequestID = "I-1", "a"
	slow.Store(true)
	short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Note(short, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Note with a slow reply: %v, want its caller's deadline", err)
	}
	if look, err := s.Exists(
		ctx(t),
		r.Donation,
		r.Message,
		defaultRules,
	); err != nil ||
		look.Note.State != store.StateHeld {
		t.Errorf("Exists: state %d, %v; want it held", look.Note.State, err)
	}
	wantVerdict(t, note(t, s, r), store.First, store.SameRequest)
}

// scriptsRun is how many scripts Redis has run.
func scriptsRun(t *testing.T, server *redistest.Server) int {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	info, err := client.Info(ctx(t), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for line := range strings.Lines(info) {
		var calls int
		for _, command := range []string{"evalsha", "eval"} {
			if n, _ := fmt.Sscanf(line, "cmdstat_"+command+":calls=%d", &calls); n == 1 {
				sum += calls
			}
		}
	}
	return sum
}

// TestFrozen freezes Redis until the callers have given up. When Redis goes on, it finds
// their scripts, which must do nothing.
func TestFrozen(t *testing.T) {
	server := redistest.Start(t)
	ledger := ledgerOf(t)
	donation := func(i int) store.Donation {
		return store.Donation{Ledger: ledger, SeriesID: fmt.Sprintf("I-%d", i), Event: 1}
	}
	// A store sends three scripts at a time, and never sends those that still wait when
	// their callers go. So each caller has a store of its own.
	stores := make([]*store.Store, 10)
	for i := range stores {
		stores[i] = open(t, "standalone", server.URL())
		note(
			t,
			stores[i],
			store.NoteRequest{Donation: donation(100 + i), Message: ipn, RequestID: "warm-up", Rules: defaultRules},
		)
	}
	before := scriptsRun(t, server)
	const patience = 200 * time.Millisecond
	server.Pause()
	var all sync.WaitGroup
	for i, s := range stores {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			began := time.Now()
			_, err := s.Note(
				ctx,
				store.NoteRequest{Donation: donation(i), Message: ipn, RequestID: "late", Rules: defaultRules},
			)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Note on a frozen Redis: %v, want its caller's deadline", err)
			}
			if took := time.Since(began); took > 5*patience {
				t.Errorf("Note on a frozen Redis took %v of %v", took, patience)
			}
		})
	}
	all.Wait()
	server.Resume()
	found := func() int { return scriptsRun(t, server) - before }
	for deadline := time.Now().Add(10 * time.Second); found() < len(stores); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("Redis has found %d scripts, want %d, or the test proves nothing", found(), len(stores))
		}
	}
	for i, s := range stores {
		reply, err := s.Exists(ctx(t), donation(i), ipn, defaultRules)
		if err != nil || reply.Evidence != 0 {
			t.Errorf("donation %d was noted after its caller had gone: %+v, %v", i, reply, err)
		}
	}
}

// TestHundredCallers lets a hundred callers ask for one donation: one gets FIRST. Once
// that is settled, a hundred more callers all get DUPLICATE.
func TestHundredCallers(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		d := store.Donation{
			Ledger:       ledgerOf(t),
			SeriesID:     "I-1",
			Event:        1,
			OccurredAt:   time.Now(),
			Amount:       "25.00",
			CurrencyCode: "USD",
		}
		race := func(name string) (verdicts map[store.Verdict]int, receipt string) {
			verdicts = map[store.Verdict]int{}
			replies := make([]store.NoteReply, 100)
			start := make(chan struct{})
			var all sync.WaitGroup
			for i := range replies {
				all.Go(func() {
					<-start
					err := store.ErrUnavailable
					// A cluster's connections are made on demand, and a hundred callers
					// need more at once than the pool allows. After each of these errors
					// a caller asks again, under the same request id.
					again := func() bool {
						return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrPoolExhausted) ||
							errors.Is(err, store.ErrOutcomeUnknown)
					}
					for c := ctx(t); again() && c.Err() == nil; {
						replies[i], err = s.Note(c, store.NoteRequest{
							Donation:  d,
							Message:   []store.Message{ipn, webhook}[i%2],
							Hold:      10 * time.Minute,
							RequestID: fmt.Sprint(name, i),
							Rules:     defaultRules,
						})
					}
					if err != nil {
						t.Errorf("Note: %v", err)
					}
				})
			}
			close(start)
			all.Wait()
			for _, r := range replies {
				verdicts[r.Verdict]++
				receipt += r.Receipt
				if r.Note.DonationID != replies[0].Note.DonationID {
					t.Errorf("the donation has the ids %s and %s", r.Note.DonationID, replies[0].Note.DonationID)
				}
			}
			return verdicts, receipt
		}
		verdicts, receipt := race("a")
		if verdicts[store.First] != 1 || verdicts[store.Held] != 99 {
			t.Errorf("a hundred callers: %d FIRST, %d HELD, want 1 and 99", verdicts[store.First], verdicts[store.Held])
		}
		if _, err := s.Settle(ctx(t), receipt); err != nil {
			t.Errorf("Settle with the only receipt: %v", err)
		}
		if verdicts, _ := race("b"); verdicts[store.Duplicate] != 100 {
			t.Errorf("a hundred more: %d DUPLICATE, want 100", verdicts[store.Duplicate])
		}
	})
}
