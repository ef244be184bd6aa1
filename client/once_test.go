package client_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/server/servertest"
	"google.golang.org/grpc/codes"
)

// nothing is a function that Once must run, and succeeds.
func nothing(context.Context, *client.Note) error { return nil }

// mustNotRun is a function that Once must not run.
func mustNotRun(t *testing.T) func(context.Context, *client.Note) error {
	return func(context.Context, *client.Note) error {
		t.Error("Once ran the function")
		return nil
	}
}

// only returns the one note of a series.
func only(t *testing.T, noted *client.Client, id string) *client.Note {
	t.Helper()
	var notes []*client.Note
	for note, err := range noted.List(context.WithoutCancel(t.Context()), &client.ListRequest{SeriesId: id}) {
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, note)
	}
	if len(notes) != 1 {
		t.Fatalf("List of %s: got %d notes; want 1", id, len(notes))
	}
	return notes[0]
}

func TestOnceSettles(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	message := &client.Message{Channel: "ipn", Id: "1"}
	var ran *client.Note
	verdict, err := noted.Once(t.Context(), series("I-1"), message, func(ctx context.Context, note *client.Note) error {
		if inner, err := noted.Once(ctx, series("I-1"), message, mustNotRun(t)); inner != client.Held || err != nil {
			t.Errorf("Once while another runs: got %v, %v; want Held", inner, err)
		}
		ran = note
		return nil
	})
	if verdict != client.First || err != nil {
		t.Fatalf("Once: got %v, %v; want First", verdict, err)
	}
	if note := only(
		t,
		noted,
		"I-1",
	); note.GetState() != client.StateSettled ||
		note.GetDonationId() != ran.GetDonationId() {
		t.Errorf("Once left %v; want it settled", note)
	}
	if verdict, err := noted.Once(
		t.Context(),
		series("I-1"),
		nil,
		mustNotRun(t),
	); verdict != client.Duplicate ||
		err != nil {
		t.Errorf("Once again: got %v, %v; want Duplicate", verdict, err)
	}
}

func TestOnceReleases(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	broken := errors.New("the books are closed")
	for name, process := range map[string]func(context.Context, *client.Note) error{
		"I-error": func(context.Context, *client.Note) error { return broken },
		"I-panic": func(context.Context, *client.Note) error { panic(broken) },
	} {
		verdict, err := func() (verdict client.Verdict, err error) {
			defer func() {
				if thrown := recover(); thrown != nil {
					verdict, err = client.First, thrown.(error)
				}
			}()
			return noted.Once(t.Context(), series(name), nil, process)
		}()
		if verdict != client.First || err != broken {
			t.Errorf("Once of %s: got %v, %v; want First and its own error", name, verdict, err)
		}
		if note := only(t, noted, name); note.GetState() != client.StateOpen {
			t.Errorf("Once of %s left %v; want it open", name, note)
		}
		if verdict, err := noted.Once(t.Context(), series(name), nil, nothing); verdict != client.First || err != nil {
			t.Errorf("Once after %s: got %v, %v; want First", name, verdict, err)
		}
	}
}

// A goroutine that ends inside the function, as t.FailNow does, has not processed the
// donation.
func TestOnceReleasesOnGoexit(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		noted.Once(
			t.Context(),
			series("I-1"),
			nil,
			func(context.Context, *client.Note) error { runtime.Goexit(); return nil },
		)
	}()
	<-done
	if note := only(t, noted, "I-1"); note.GetState() != client.StateOpen {
		t.Errorf("Once left %v; want it open", note)
	}
}

func TestOnceTellsOfALostHold(t *testing.T) {
	server := servertest.New(t)
	noted := dial(t, server.Addr(), client.Config{})

	verdict, err := noted.Once(t.Context(), series("I-taken"), nil, func(ctx context.Context, note *client.Note) error {
		server.Advance(61 * time.Second)
		if answer, err := noted.Note(
			ctx,
			held("I-taken"),
		); err != nil ||
			answer.GetEvidence() != client.EvidenceTakenOver {
			t.Fatalf("Note after the hold ran out: got %v, %v; want it taken over", answer, err)
		}
		return nil
	})
	if verdict != client.First || !errors.Is(err, client.ErrNotSettled) || !errors.Is(err, client.ErrHoldLost) {
		t.Errorf("Once whose hold was taken over: got %v, %v; want First, ErrNotSettled and ErrHoldLost", verdict, err)
	}

	verdict, err = noted.Once(
		t.Context(),
		series("I-settled"),
		nil,
		func(ctx context.Context, note *client.Note) error {
			server.Advance(61 * time.Second)
			if verdict, err := noted.Once(
				ctx,
				series("I-settled"),
				nil,
				nothing,
			); verdict != client.First ||
				err != nil {
				t.Errorf("Once after the hold ran out: got %v, %v; want First", verdict, err)
			}
			return nil
		},
	)
	if verdict != client.First || !errors.Is(err, client.ErrNotSettled) ||
		!errors.Is(err, client.ErrSettledByAnother) || !errors.Is(err, client.ErrNoteGone) {
		t.Errorf(
			"Once that another settled: got %v, %v; want First, ErrNotSettled, ErrSettledByAnother and ErrNoteGone",
			verdict,
			err,
		)
	}

	verdict, err = noted.Once(t.Context(), series("I-late"), nil, func(context.Context, *client.Note) error {
		server.Advance(61 * time.Second)
		return nil
	})
	if verdict != client.First || err != nil {
		t.Errorf("Once whose hold ran out without a takeover: got %v, %v; want First", verdict, err)
	}
}

func TestOnceEndsTheContextWhenTheHoldIsLost(t *testing.T) {
	server := servertest.New(t)
	noted := dial(t, server.Addr(), client.Config{Hold: time.Second})
	verdict, err := noted.Once(t.Context(), series("I-1"), nil, func(ctx context.Context, note *client.Note) error {
		server.Advance(2 * time.Second)
		if _, err := noted.Note(ctx, held("I-1")); err != nil {
			t.Error(err)
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, client.ErrHoldLost) {
				t.Errorf("the context ended because of %v; want ErrHoldLost", cause)
			}
			return ctx.Err()
		case <-time.After(10 * time.Second):
			t.Error("the context did not end")
			return nil
		}
	})
	if verdict != client.First || !errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrHoldLost) ||
		errors.Is(err, client.ErrNotSettled) {
		t.Errorf("Once: got %v, %v; want First, the function's error and ErrHoldLost", verdict, err)
	}
}

// Without the server the hold may run out. The function must learn that another attempt
// may process the donation.
func TestOnceEndsTheContextWhenTheHoldRunsOut(t *testing.T) {
	server := servertest.New(t)
	proxy := newProxy(t, server.Addr())
	noted := dial(t, proxy.addr(), client.Config{Hold: 600 * time.Millisecond, SettleTimeout: 300 * time.Millisecond})
	start := time.Now()
	verdict, err := noted.Once(t.Context(), series("I-1"), nil, func(ctx context.Context, note *client.Note) error {
		proxy.set(false, true)
		proxy.cut()
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Error("the context did not end")
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("the context of a hold of 600ms ended after %s", took)
		}
		return nil // succeeds nevertheless
	})
	if verdict != client.First || !errors.Is(err, client.ErrNotSettled) || !errors.Is(err, client.ErrUnavailable) {
		t.Errorf(
			"Once without a server at its end: got %v, %v; want First, ErrNotSettled and ErrUnavailable",
			verdict,
			err,
		)
	}
}

func TestOnceExtends(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{Hold: time.Second})
	verdict, err := noted.Once(t.Context(), series("I-1"), nil, func(ctx context.Context, note *client.Note) error {
		until := note.GetHeldUntil().AsTime()
		for range 4 {
			eventually(t, "the hold is extended", func() bool {
				later := only(t, noted, "I-1").GetHeldUntil().AsTime()
				defer func() { until = later }()
				return later.After(until)
			})
		}
		return ctx.Err()
	})
	if verdict != client.First || err != nil {
		t.Errorf("Once for longer than its hold: got %v, %v; want First", verdict, err)
	}
}

func TestOnceSettlesAfterTheCallerHasGone(t *testing.T) {
	server := servertest.New(t)
	proxy := newProxy(t, server.Addr())
	noted := dial(t, proxy.addr(), client.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	verdict, err := noted.Once(ctx, series("I-1"), nil, func(ctx context.Context, note *client.Note) error {
		cancel()
		<-ctx.Done()
		proxy.set(false, true) // no server for settling either
		proxy.cut()
		time.AfterFunc(time.Second, func() { proxy.set(false, false) })
		return nil
	})
	if verdict != client.First || err != nil {
		t.Errorf("Once: got %v, %v; want First", verdict, err)
	}
	if note := only(t, dial(t, server.Addr(), client.Config{}), "I-1"); note.GetState() != client.StateSettled {
		t.Errorf("Once left %v; want it settled", note)
	}
}

// Once waits for a server that is too busy to settle: the donation is processed, and its
// note must become final.
func TestOnceOutwaitsABusyServer(t *testing.T) {
	f := &failing{
		errs: []error{
			nil,
			detailed(codes.ResourceExhausted, "RATE_LIMITED", 10*time.Millisecond),
			detailed(codes.ResourceExhausted, "OVERLOADED", 10*time.Millisecond),
		},
	}
	noted := dial(t, servertest.New(t).Addr(), f.config())
	if verdict, err := noted.Once(t.Context(), series("I-1"), nil, nothing); verdict != client.First || err != nil {
		t.Errorf("Once: got %v, %v; want First", verdict, err)
	}
	if f.calls != 4 {
		t.Errorf("Once made %d calls; want 4", f.calls)
	}
}

func TestOnceDoesNotRunOnAnError(t *testing.T) {
	server := servertest.New(t)
	noted := dial(t, server.Addr(), client.Config{})
	if verdict, err := noted.Once(
		t.Context(),
		series(""),
		nil,
		mustNotRun(t),
	); verdict != client.Undecided ||
		!errors.Is(err, client.ErrInvalidRequest) {
		t.Errorf("Once of no series: got %v, %v; want Undecided and ErrInvalidRequest", verdict, err)
	}
	away := dial(t, "127.0.0.1:1", client.Config{})
	if verdict, err := away.Once(
		t.Context(),
		series("I-1"),
		nil,
		mustNotRun(t),
	); verdict != client.Undecided ||
		!errors.Is(err, client.ErrUnavailable) {
		t.Errorf("Once without a server: got %v, %v; want Undecided and ErrUnavailable", verdict, err)
	}
}

func TestOnceOfAHundredRunsOne(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	var runs, first, others atomic.Int32
	var callers sync.WaitGroup
	for range 100 {
		callers.Go(func() {
			verdict, err := noted.Once(
				t.Context(),
				&client.Donation{SeriesId: "I-1", TransactionId: "T-1"},
				nil,
				func(context.Context, *client.Note) error {
					runs.Add(1)
					return nil
				},
			)
			switch {
			case err != nil:
				t.Error(err)
			case verdict == client.First:
				first.Add(1)
			default:
				others.Add(1)
			}
		})
	}
	callers.Wait()
	if runs.Load() != 1 || first.Load() != 1 || others.Load() != 99 {
		t.Errorf(
			"100 callers: the function ran %d times, %d were First, %d others; want 1, 1, 99",
			runs.Load(),
			first.Load(),
			others.Load(),
		)
	}
}

func TestHoldIsConfigured(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{Hold: 5 * time.Minute})
	noted.Once(t.Context(), series("I-1"), nil, func(_ context.Context, note *client.Note) error {
		if left := note.GetHeldUntil().AsTime().Sub(note.GetNotedAt().AsTime()); left != 5*time.Minute {
			t.Errorf("Once held for %s; want 5m", left)
		}
		return nil
	})
	if _, err := client.New("127.0.0.1:1", client.Config{Hold: 16 * time.Minute}); err == nil {
		t.Error("New made a client with a hold of 16m; want an error")
	}
}
