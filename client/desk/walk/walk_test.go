package walk_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/walk"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// fill makes open notes, each in its own series.
func fill(t *testing.T, noted *client.Client, n int) {
	t.Helper()
	for i := range n {
		answer, err := noted.Note(t.Context(), &client.NoteRequest{
			Donation: &client.Donation{Ledger: "walk", SeriesId: fmt.Sprint("I-", i)}, Hold: durationpb.New(time.Minute),
		})
		if err == nil {
			_, err = noted.Release(t.Context(), answer.GetReceipt(), "a test")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A person gets the results of a walk so far. The walk goes on, is shared, and serves
// later questions. Changed notes are not among their answers.
func TestLook(t *testing.T) {
	server := servertest.Start(t, servertest.Options{Redis: "redis://" + processtest.Redis(t).Addr})
	noted, err := client.New(server.Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	fill(t, noted, 6)
	walks := walk.New(noted)
	open := make(chan struct{})
	begun := 0 // guarded by open: the walk reads it alone until then
	want := walk.Want{
		Key: "open", Most: 5,
		Request: &client.ListRequest{Ledger: "walk", State: client.StateOpen, PageSize: 2},
		Fits: func(context.Context, *client.Note) (bool, error) {
			if begun++; begun == 3 { // the second page
				<-open
			}
			return true, nil
		},
	}
	found := walks.Look(t.Context(), want, 10*time.Millisecond)
	if !found.UnderWay || found.More || found.Err != nil || len(found.Notes) > 2 {
		t.Fatalf("a walk that waits has found %+v", found)
	}
	joined := make(chan walk.Found)
	go func() { joined <- walks.Look(t.Context(), walk.Want{Key: "open", Request: want.Request}, time.Minute) }()
	time.Sleep(300 * time.Millisecond) // so that the walk counts as long and is kept
	close(open)
	found = <-joined
	if found.UnderWay || !found.More || found.Err != nil || len(found.Notes) != 5 {
		t.Fatalf("at its end it has found %+v", found)
	}
	closed := found.Notes[0]
	_, err = noted.Forget(t.Context(), &client.ForgetRequest{
		Ledger: "walk", SeriesId: closed.GetDonation().GetSeriesId(), DonationId: closed.GetDonationId(), Reason: "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	again := walks.Look(t.Context(), walk.Want{Key: "open", Request: want.Request}, 0)
	if len(again.Notes) != 4 || !again.Begun.Equal(found.Begun) {
		t.Errorf("after one was forgotten the same walk shows %+v", again)
	}
}

// An empty result is not kept, and an error is reported.
func TestNothing(t *testing.T) {
	server := servertest.New(t)
	noted, err := client.New(server.Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	walks := walk.New(noted)
	want := walk.Want{Key: "all", Most: 5, Request: &client.ListRequest{Ledger: "walk"}}
	if found := walks.Look(t.Context(), want, time.Minute); found.UnderWay || found.Err != nil || len(found.Notes) > 0 {
		t.Errorf("of an empty ledger: %+v", found)
	}
	fill(t, noted, 1)
	if found := walks.Look(t.Context(), want, time.Minute); len(found.Notes) != 1 {
		t.Errorf("after a note: %+v", found)
	}
	broken := errors.New("broken")
	want.Key, want.Fits = "broken", func(context.Context, *client.Note) (bool, error) { return false, broken }
	if found := walks.Look(t.Context(), want, time.Minute); !errors.Is(found.Err, broken) {
		t.Errorf("where the look fails: %+v", found)
	}
	server.Stop()
	want.Key, want.Fits = "away", nil
	if found := walks.Look(t.Context(), want, 5*time.Second); !errors.Is(found.Err, client.ErrUnavailable) {
		t.Errorf("where Noted is away: %+v", found)
	}
}

// At most four walks go on at a time.
func TestBusy(t *testing.T) {
	noted, err := client.New(servertest.New(t).Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	fill(t, noted, 1)
	walks := walk.New(noted)
	open := make(chan struct{})
	t.Cleanup(func() { close(open) })
	for i := range 5 {
		found := walks.Look(t.Context(), walk.Want{
			Key: fmt.Sprint(i), Most: 5, Request: &client.ListRequest{Ledger: "walk"},
			Fits: func(context.Context, *client.Note) (bool, error) { <-open; return true, nil },
		}, time.Millisecond)
		if found.Busy != (i == 4) {
			t.Errorf("walk %d: %+v", i, found)
		}
	}
}
