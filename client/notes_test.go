package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/server/servertest"
)

// numbered yields n requests, each with a different series.
func numbered(n int) iter.Seq[*client.NoteRequest] {
	return func(yield func(*client.NoteRequest) bool) {
		for i := range n {
			if !yield(&client.NoteRequest{Donation: series(fmt.Sprintf("I-%d", i))}) {
				return
			}
		}
	}
}

func TestNotesAnswersInOrder(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	for _, want := range []client.Verdict{client.First, client.Duplicate} {
		n := 0
		for result, err := range noted.Notes(t.Context(), numbered(400)) {
			id := fmt.Sprintf("I-%d", n)
			if err != nil || result.Response.GetVerdict() != want || result.Request.GetDonation().GetSeriesId() != id ||
				result.Response.GetNote().GetDonation().GetSeriesId() != id {
				t.Fatalf("result %d: got %v, %v; want %v of %s", n, result, err, want, id)
			}
			n++
		}
		if n != 400 {
			t.Errorf("Notes: got %d results; want 400", n)
		}
	}
	for result, err := range noted.Notes(t.Context(), numbered(0)) {
		t.Errorf("Notes of nothing: got %v, %v", result, err)
	}
}

func TestNotesGoesOnAfterABadRequest(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	requests := []*client.NoteRequest{
		{Donation: series("I-1")},
		{Donation: series("")},       // a field that the server refuses
		{Donation: series("I-\xff")}, // not UTF-8: cannot be sent, and breaks the stream
		{Donation: series("I-2")},
		nil,
		{Donation: series("I-3")},
	}
	var got []string
	for result, err := range noted.Notes(t.Context(), slices.Values(requests)) {
		switch {
		case errors.Is(err, client.ErrInvalidRequest):
			got = append(got, "invalid")
		case err != nil:
			got = append(got, "refused")
		default:
			got = append(got, result.Response.GetVerdict().String())
		}
	}
	want := []string{"VERDICT_FIRST", "invalid", "refused", "VERDICT_FIRST", "invalid", "VERDICT_FIRST"}
	if !slices.Equal(got, want) {
		t.Errorf("Notes: got %s; want %s", got, want)
	}
}

// A stream that breaks several times neither loses nor doubles a donation: every donation
// is First once.
func TestNotesSurvivesBrokenStreams(t *testing.T) {
	server := servertest.New(t)
	proxy := newProxy(t, server.Addr())
	noted := dial(t, proxy.addr(), client.Config{})
	n := 0
	for result, err := range noted.Notes(t.Context(), numbered(1200)) {
		if err != nil || result.Response.GetVerdict() != client.First {
			t.Fatalf("result %d: got %v, %v; want First", n, result, err)
		}
		n++
		switch n % 400 {
		case 100: // the replies to later requests are lost until the stream breaks
			proxy.set(true, false)
			time.AfterFunc(20*time.Millisecond, func() { proxy.set(false, false); proxy.cut() })
		case 300:
			proxy.cut()
		}
	}
	if n != 1200 {
		t.Errorf("Notes: got %d results; want 1200", n)
	}
}

func TestNotesFailsEachWhileTheServerIsAway(t *testing.T) {
	noted := dial(t, "127.0.0.1:1", client.Config{})
	n := 0
	for result, err := range noted.Notes(t.Context(), numbered(3)) {
		if result.Request == nil || !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("result %d: got %v, %v; want its request and ErrUnavailable", n, result, err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("Notes: got %d results; want 3", n)
	}
}

func TestNotesEnds(t *testing.T) {
	noted := dial(t, servertest.New(t).Addr(), client.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	forever := func(yield func(*client.NoteRequest) bool) {
		for yield(&client.NoteRequest{Donation: series("I-1")}) {
		}
	}
	n, last := 0, error(nil)
	for _, err := range noted.Notes(ctx, forever) {
		if n++; n == 100 {
			cancel()
		}
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the last result of Notes whose context ended: got %v; want context.Canceled", last)
	}
	for range noted.Notes(t.Context(), forever) {
		break
	}
}
