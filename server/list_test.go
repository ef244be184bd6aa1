package server_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A listing of the longest possible notes, in series with the longest ids, comes to its
// end. No page is longer than a stream may hold, and no page token longer than a request
// may be.
func TestListingOfLongNotes(t *testing.T) {
	const many, sightings = 200, 16
	for _, odd := range []string{`"`, `\`, `<`, `a`} {
		t.Run(odd, func(t *testing.T) {
			n := start(t, servertest.Options{Redis: redistest.Start(t).URL()})
			ledger := strings.Repeat(odd, 64)
			long := func(end int) string { return strings.Repeat(odd, 124) + fmt.Sprintf("%04d", end) }
			stream, err := n.NoteDonations(within(t, 30*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for i := range many * sightings {
					if stream.Send(&notedv1.NoteDonationsRequest{Request: &notedv1.NoteDonationRequest{
						Donation: &notedv1.Donation{
							Ledger:        ledger,
							SeriesId:      long(i / sightings),
							TransactionId: long(0),
							Amount:        "-999999999999999.99999999",
							CurrencyCode:  "EUR",
						},
						Message: &notedv1.Message{Channel: strings.Repeat("c", 32), Id: long(i % sightings)},
					}}) != nil {
						return
					}
				}
				stream.CloseSend()
			}()
			for range many * sightings {
				if answered, err := stream.Recv(); err != nil || answered.GetError() != nil {
					t.Fatal(answered, err)
				}
			}
			for _, size := range []int32{1, 1000} {
				found, most := map[string]bool{}, 0
				for request := (&notedv1.ListDonationsRequest{Ledger: ledger, PageSize: size}); ; {
					page, err := n.ListDonations(t.Context(), request)
					if err != nil {
						t.Fatalf(
							"after %d notes, with a page token of %d bytes: %v",
							len(found),
							len(request.PageToken),
							err,
						)
					}
					most = max(most, proto.Size(page)-len(page.NextPageToken))
					for _, note := range page.Notes {
						found[note.DonationId] = true
					}
					if request.PageToken = page.NextPageToken; request.PageToken == "" {
						break
					}
				}
				if len(found) != many {
					t.Errorf("listed %d notes in pages of %d, want %d", len(found), size, many)
				}
				if size > 1 && (most > 256<<10 || most < 200<<10) {
					t.Errorf("the largest page has %d bytes, want it a little under 256 KiB", most)
				}
			}
		})
	}
}

// However many callers ask for pages, callers that note are answered. A caller that asks
// for a page gets it, or is told that the server has too much to do.
func TestListingsLeaveTheStoreToNotes(t *testing.T) {
	// On a slow machine the pages that wait for a place take longer than a call may by
	// default.
	s := startConfigured(t, func(c *server.Config) { c.Redis, c.MaxDeadline = redistest.Start(t).URL(), time.Minute })
	fill(t, s, 200, 16)
	c := s.as(t, nil, "")
	done, stop := context.WithCancel(t.Context())
	var listing sync.WaitGroup
	var pages, refused atomic.Int64
	for range 200 {
		listing.Go(func() {
			for done.Err() == nil {
				_, err := c.ListDonations(t.Context(), &notedv1.ListDonationsRequest{PageSize: 1000})
				switch {
				case err == nil:
					pages.Add(1)
				case toldBy(err) == overloaded:
					refused.Add(1)
				default:
					t.Errorf("a listing: %v", err)
					return
				}
			}
		})
	}
	eventually(
		t,
		20*time.Second,
		"more pages are asked for than there is place",
		func() bool { return refused.Load() > 0 && pages.Load() > 0 },
	)
	for i := range 300 {
		if _, err := c.NoteDonation(within(t, 10*time.Second), series(fmt.Sprint("I-note-", i))); err != nil {
			t.Errorf("a note meanwhile: %v", err)
		}
	}
	stop()
	listing.Wait()
	t.Logf("%d pages given, %d refused", pages.Load(), refused.Load())
	if got := s.metric(t, "noted_calls_under_way"); got != 0 {
		t.Errorf("%v calls are still under way", got)
	}
}

// A page takes many round trips. If a caller's time ends in the midst of them, while the
// store answers each, the store must not count as dead.
func TestListingsOutOfTimeAreNoNews(t *testing.T) {
	redis := redistest.Start(t)
	var slow atomic.Bool
	proxy := redistest.StartProxy(t, redis.Addr(), func(request []byte) (d redistest.Disturbance) {
		if slow.Load() && !bytes.Contains(request, []byte("PING")) {
			d.DelayReply = 30 * time.Millisecond
		}
		return d
	})
	s := startConfigured(t, func(c *server.Config) { c.Redis = proxy.URL() })
	fill(t, s, 1500, 1)
	c := s.as(t, nil, "")
	slow.Store(true)
	var listing sync.WaitGroup
	for range 4 {
		listing.Go(func() {
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
				_, err := c.ListDonations(ctx, &notedv1.ListDonationsRequest{PageSize: 1000, SeenOnlyOn: "nowhere"})
				cancel()
				if status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("a listing without enough time: %v", err)
				}
			}
		})
	}
	listing.Wait()
	if got := s.metric(t, "noted_store_not_asked_total"); got != 0 {
		t.Errorf("%v questions were kept from a store that answers", got)
	}
	if _, err := c.NoteDonation(within(t, 10*time.Second), series("I-new")); err != nil {
		t.Errorf("a note afterwards: %v", err)
	}
}

// fill notes donations with long notes.
func fill(t *testing.T, s configuredServer, donations, sightings int) {
	t.Helper()
	stream, err := s.as(t, nil, "").NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := range donations * sightings {
			if stream.Send(&notedv1.NoteDonationsRequest{Request: &notedv1.NoteDonationRequest{
				Donation: &notedv1.Donation{
					SeriesId:      fmt.Sprint("I-", i/sightings),
					TransactionId: strings.Repeat("t", 128),
				},
				Message: &notedv1.Message{
					Channel: "ipn",
					Id:      strings.Repeat("m", 124) + fmt.Sprintf("%04d", i%sightings),
				},
			}}) != nil {
				return
			}
		}
		stream.CloseSend()
	}()
	for range donations * sightings {
		if answered, err := stream.Recv(); err != nil || answered.GetError() != nil {
			t.Fatal(answered, err)
		}
	}
}
