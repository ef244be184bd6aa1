package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// noteIn returns the note of an answer, or nil.
func noteIn(answer proto.Message) *client.Note {
	switch answer := answer.(type) {
	case *notedv1.NoteDonationsResponse:
		return answer.GetResponse().GetNote()
	case *notedv1.ListDonationsResponse:
		if len(answer.GetNotes()) > 0 {
			return answer.GetNotes()[0]
		}
		return nil
	case interface{ GetNote() *client.Note }:
		return answer.GetNote()
	}
	return nil
}

// The ways in which an answer can be about another donation.
var misdirections = map[string]func(*client.Note){
	"another series": func(note *client.Note) { note.Donation.SeriesId = "I-OTHER" },
	"another ledger": func(note *client.Note) { note.Donation.Ledger = "other" },
	"no donation":    func(note *client.Note) { note.Donation = nil },
}

// misdirecting changes the note of every answer to rpc.
func misdirecting(rpc string, change func(*client.Note)) func(string, proto.Message, proto.Message) error {
	return func(name string, _, answer proto.Message) error {
		if note := noteIn(answer); name == rpc && note != nil {
			change(note)
		}
		return nil
	}
}

func TestAnswersAboutAnotherSeriesAreRefused(t *testing.T) {
	donation := &client.Donation{Ledger: "paypal-live", SeriesId: "I-1"}
	asks := map[string]func(context.Context, *client.Client) error{
		"NoteDonation": func(ctx context.Context, noted *client.Client) error {
			answer, err := noted.Note(ctx, &client.NoteRequest{Donation: donation})
			if answer != nil {
				t.Errorf("Note returned %v; want ErrWrongAnswer alone", answer)
			}
			return err
		},
		"DonationExists": func(ctx context.Context, noted *client.Client) error {
			found, err := noted.Exists(ctx, donation, nil)
			if found != nil {
				t.Errorf("Exists returned %v; want ErrWrongAnswer alone", found)
			}
			return err
		},
		"NoteDonations": func(ctx context.Context, noted *client.Client) (first error) {
			for result, err := range noted.Notes(ctx, slices.Values([]*client.NoteRequest{{Donation: donation}})) {
				if result.Response != nil {
					t.Errorf("Notes yielded %v; want ErrWrongAnswer alone", result.Response)
				}
				first = err
			}
			return first
		},
		"ListDonations": func(ctx context.Context, noted *client.Client) (last error) {
			for note, err := range noted.List(ctx, &client.ListRequest{Ledger: "paypal-live", SeriesId: "I-1"}) {
				if note != nil {
					t.Errorf("List yielded %v; want ErrWrongAnswer alone", note)
				}
				last = err
			}
			return last
		},
		"ForgetDonation": func(ctx context.Context, noted *client.Client) error {
			found, err := noted.Exists(ctx, donation, nil)
			if err != nil {
				return err
			}
			id := found.GetNote().GetDonationId()
			forget := &client.ForgetRequest{Ledger: "paypal-live", SeriesId: "I-1", DonationId: id, Reason: "test"}
			_, err = noted.Forget(ctx, forget)
			return err
		},
	}
	calls := notedv1.File_noted_v1_noted_proto.Services().Get(0).Methods()
	for i := range calls.Len() {
		if call := calls.Get(i); asks[string(call.Name())] == nil && call.Input().Fields().ByName("receipt") == nil {
			t.Errorf("%s names a series, and is missing here", call.Name())
		}
	}
	for rpc, ask := range asks {
		for name, change := range misdirections {
			t.Run(rpc+" "+name, func(t *testing.T) {
				p := newPeer(t, misdirecting(rpc, change))
				if _, err := notedv1.NewDedupeServiceClient(p.real).
					NoteDonation(t.Context(), &client.NoteRequest{Donation: donation}); err != nil {
					t.Fatal(err)
				}
				err := ask(t.Context(), dial(t, p.addr, client.Config{}))
				if !errors.Is(err, client.ErrWrongAnswer) || errors.Is(err, client.ErrUnavailable) ||
					client.Reason(err) != "" {
					t.Errorf("got %v; want ErrWrongAnswer", err)
				}
			})
		}
	}
}

// A listing of a whole ledger names no series. The ledger without a name is checked too.
func TestListOfALedgerTakesEverySeries(t *testing.T) {
	p := newPeer(t, misdirecting("", nil))
	noted := dial(t, p.addr, client.Config{})
	for i := range 3 {
		if _, err := noted.Note(
			t.Context(),
			&client.NoteRequest{Donation: series(fmt.Sprintf("I-%d", i))},
		); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, err := range noted.List(t.Context(), &client.ListRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("List: got %d notes; want 3", n)
	}
}

func TestOnceDoesNotRunOnAnAnswerAboutAnotherSeries(t *testing.T) {
	for _, verdict := range []client.Verdict{client.First, client.Duplicate, client.Held} {
		p := newPeer(t, func(_ string, _, answer proto.Message) error {
			answer.(*client.NoteResponse).Verdict = verdict
			noteIn(answer).Donation.SeriesId = "I-OTHER"
			return nil
		})
		got, err := dial(t, p.addr, client.Config{}).Once(t.Context(), series("I-1"), nil, mustNotRun(t))
		if got != client.Undecided || !errors.Is(err, client.ErrWrongAnswer) {
			t.Errorf(
				"Once that was answered %v about another series: got %v, %v; want Undecided and ErrWrongAnswer",
				verdict, got, err,
			)
		}
	}
}

// Once settles, extends and releases only the note that it got.
func TestOnceRefusesAnAnswerAboutAnotherNote(t *testing.T) {
	failed := errors.New("the books are closed")
	misdirections := map[string]func(*client.Note){
		"another donation": func(note *client.Note) { note.DonationId = "d-other" },
	}
	for name, change := range misdirections {
		p := newPeer(t, misdirecting("SettleDonation", change))
		noted := dial(t, p.addr, client.Config{SettleTimeout: 2 * time.Second})
		verdict, err := noted.Once(t.Context(), series("I-1"), nil, nothing)
		if verdict != client.First || !errors.Is(err, client.ErrNotSettled) || !errors.Is(err, client.ErrWrongAnswer) {
			t.Errorf(
				"Once whose settling was answered about %s: got %v, %v; want First, ErrNotSettled and ErrWrongAnswer",
				name, verdict, err,
			)
		}

		p = newPeer(t, misdirecting("ReleaseDonation", change))
		noted = dial(t, p.addr, client.Config{})
		verdict, err = noted.Once(
			t.Context(),
			series("I-1"),
			nil,
			func(context.Context, *client.Note) error { return failed },
		)
		if verdict != client.First || !errors.Is(err, failed) || !errors.Is(err, client.ErrWrongAnswer) {
			t.Errorf(
				"Once whose release was answered about %s: got %v, %v; want First, its own error and ErrWrongAnswer",
				name, verdict, err,
			)
		}

		p = newPeer(t, misdirecting("ExtendHold", change))
		noted = dial(t, p.addr, client.Config{Hold: 3 * time.Second})
		verdict, err = noted.Once(t.Context(), series("I-1"), nil, func(ctx context.Context, _ *client.Note) error {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(10 * time.Second):
				return failed
			}
		})
		if verdict != client.First || !errors.Is(err, client.ErrWrongAnswer) {
			t.Errorf(
				"Once whose extensions are answered about %s: got %v, %v; want the context ended by ErrWrongAnswer",
				name, verdict, err,
			)
		}
	}
}

// The first try to settle gets a wrong answer. The second waits until time is up.
func TestALastTryWithoutAnAnswerDoesNotHideTheReason(t *testing.T) {
	var settles atomic.Int64
	p := newPeer(t, func(rpc string, _, answer proto.Message) error {
		if rpc == "SettleDonation" {
			if settles.Add(1) > 1 {
				<-t.Context().Done()
			}
			noteIn(answer).DonationId = "d-other"
		}
		return nil
	})
	noted := dial(t, p.addr, client.Config{SettleTimeout: 2 * time.Second})
	_, err := noted.Once(t.Context(), series("I-1"), nil, nothing)
	if settles.Load() < 2 || !errors.Is(err, client.ErrNotSettled) || !errors.Is(err, client.ErrWrongAnswer) {
		t.Errorf("after %d tries to settle: %v; want ErrNotSettled and ErrWrongAnswer", settles.Load(), err)
	}
}

// The first try of a plain call is answered. The second waits until time is up, or until
// the caller gives up. It may have noted, so the error is not the first try's.
func TestALastTryOfACallDoesNotHideTheReason(t *testing.T) {
	for name, test := range map[string]struct {
		hangs func(cancel context.CancelFunc)
		want  error
	}{
		"time is up":          {func(context.CancelFunc) {}, context.DeadlineExceeded},
		"the caller gives up": {func(cancel context.CancelFunc) { cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			var tries atomic.Int64
			p := newPeer(t, func(string, proto.Message, proto.Message) error {
				if tries.Add(1) > 1 {
					test.hangs(cancel)
					<-t.Context().Done()
				}
				return detailed(codes.Unavailable, "STORE_UNAVAILABLE", 0)
			})
			_, err := dial(t, p.addr, client.Config{}).Note(ctx, &client.NoteRequest{Donation: series("I-1")})
			if tries.Load() != 2 || !errors.Is(err, test.want) || errors.Is(err, client.ErrStoreUnavailable) ||
				!strings.Contains(err.Error(), "an earlier try failed: STORE_UNAVAILABLE: ") {
				t.Errorf("after %d tries: %v; want %v that tells of STORE_UNAVAILABLE", tries.Load(), err, test.want)
			}
		})
	}
}

// The first try to extend gets a wrong answer. Later tries wait until the hold has run out.
func TestALastTryToExtendDoesNotHideTheReason(t *testing.T) {
	var extensions atomic.Int64
	p := newPeer(t, func(rpc string, _, answer proto.Message) error {
		if rpc == "ExtendHold" {
			if extensions.Add(1) > 1 {
				<-t.Context().Done()
			}
			noteIn(answer).DonationId = "d-other"
		}
		return nil
	})
	noted := dial(t, p.addr, client.Config{Hold: 6 * time.Second})
	_, err := noted.Once(t.Context(), series("I-1"), nil, func(ctx context.Context, _ *client.Note) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if extensions.Load() < 2 || !errors.Is(err, client.ErrWrongAnswer) {
		t.Errorf("after %d tries to extend: %v; want ErrWrongAnswer", extensions.Load(), err)
	}
}

// Once settles again after one wrong answer: a repeat is safe.
func TestOnceAsksAgainAfterAWrongAnswer(t *testing.T) {
	settles := 0
	p := newPeer(t, func(rpc string, _, answer proto.Message) error {
		if rpc == "SettleDonation" {
			if settles++; settles == 1 {
				noteIn(answer).Donation.SeriesId = "I-OTHER"
			}
		}
		return nil
	})
	verdict, err := dial(t, p.addr, client.Config{}).Once(t.Context(), series("I-1"), nil, nothing)
	if verdict != client.First || err != nil || settles != 2 {
		t.Errorf("Once: got %v, %v after %d settlings; want First after 2", verdict, err, settles)
	}
}

// When one answer of a stream belongs to another request, the later ones may too, so the
// stream ends.
func TestNotesLeavesAStreamThatMixesAnswersUp(t *testing.T) {
	var left atomic.Bool
	n := 0
	p := newPeer(t, func(rpc string, _, answer proto.Message) error {
		if rpc != "NoteDonations" || left.Load() {
			return nil
		}
		if n++; n >= 3 { // every later answer is the one to the request before
			noteIn(answer).Donation.SeriesId = fmt.Sprintf("I-%d", n-2)
		}
		return nil
	})
	i := 0
	for result, err := range dial(t, p.addr, client.Config{}).Notes(t.Context(), numbered(20)) {
		switch {
		case errors.Is(err, client.ErrWrongAnswer) && i == 2:
			left.Store(true)
		case err != nil || result.Response.GetVerdict() != client.First:
			t.Errorf("result %d: got %v, %v; want only result 2 to be ErrWrongAnswer", i, result.Response, err)
		}
		if got, want := result.Request.GetDonation().GetSeriesId(), fmt.Sprintf("I-%d", i); got != want {
			t.Errorf("result %d is of %s; want %s", i, got, want)
		}
		i++
	}
	if i != 20 || !left.Load() {
		t.Errorf("Notes: got %d results, the stream left: %t; want 20, true", i, left.Load())
	}
}

// Each reason that forbids a decision leaves the donation undecided. No reason is a
// duplicate.
func TestOnceOfAReason(t *testing.T) {
	for reason, want := range map[string]struct {
		code codes.Code
		err  error
	}{
		"REQUEST_ID_REUSED":  {codes.InvalidArgument, client.ErrRequestIDReused},
		"RECEIVED_TOO_EARLY": {codes.OutOfRange, client.ErrReceivedTooEarly},
		"STORE_UNSUITABLE":   {codes.FailedPrecondition, client.ErrStoreUnsuitable},
	} {
		f := &failing{errs: []error{detailed(want.code, reason, 0)}}
		p := newPeer(t, misdirecting("", nil))
		noted := dial(t, p.addr, f.config())
		verdict, err := noted.Once(t.Context(), series("I-1"), nil, mustNotRun(t))
		if verdict != client.Undecided || !errors.Is(err, want.err) || errors.Is(err, client.ErrInvalidRequest) ||
			errors.Is(err, client.ErrUnavailable) ||
			f.calls != 1 {
			t.Errorf(
				"Once answered %s: got %v, %v after %d calls; want Undecided and %v after 1",
				reason,
				verdict,
				err,
				f.calls,
				want.err,
			)
		}
		if verdict, err := noted.Once(t.Context(), series("I-1"), nil, nothing); verdict != client.First || err != nil {
			t.Errorf("Once after %s: got %v, %v; want First", reason, verdict, err)
		}
	}

	// The store becomes unsuitable before settling.
	f := &failing{errs: []error{nil, detailed(codes.FailedPrecondition, "STORE_UNSUITABLE", 0)}}
	verdict, err := dial(
		t,
		newPeer(t, misdirecting("", nil)).addr,
		f.config(),
	).Once(t.Context(), series("I-1"), nil, nothing)
	if verdict != client.First || !errors.Is(err, client.ErrNotSettled) || !errors.Is(err, client.ErrStoreUnsuitable) {
		t.Errorf(
			"Once settled with STORE_UNSUITABLE: got %v, %v; want First, ErrNotSettled and ErrStoreUnsuitable",
			verdict,
			err,
		)
	}
}
