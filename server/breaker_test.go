package server_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

var storeUnavailable = told{code: codes.Unavailable, reason: "noted.v1/STORE_UNAVAILABLE", retry: true}

// The server soon stops asking a frozen store: it refuses callers at once, in unary calls
// and on the stream. The store never saw a refused request, so after its return each
// donation is still FIRST for one caller.
func TestBreaker(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis, c.MaxDeadline = redis.URL(), 300*time.Millisecond })
	c := s.as(t, nil, "")
	first, err := c.NoteDonation(t.Context(), held(series("I-held"), time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.NoteDonations(within(t, 60*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	redis.Pause()
	eventually(t, 20*time.Second, "the breaker is open", func() bool {
		c.NoteDonation(t.Context(), series("I-trip"))
		return s.metric(t, "noted_store_breaker_open") == 1
	})
	// From now on the store is asked only for a trial now and then.
	refused := s.metric(t, "noted_store_not_asked_total")
	calls := map[string]func(ctx context.Context) error{
		"NoteDonation": func(ctx context.Context) error { _, err := c.NoteDonation(ctx, series("I-1")); return err },
		"DonationExists": func(ctx context.Context) error {
			_, err := c.DonationExists(ctx, &notedv1.DonationExistsRequest{Donation: series("I-1").Donation})
			return err
		},
		"SettleDonation": func(ctx context.Context) error {
			_, err := c.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: first.Receipt})
			return err
		},
		"ReleaseDonation": func(ctx context.Context) error {
			_, err := c.ReleaseDonation(ctx, &notedv1.ReleaseDonationRequest{Receipt: first.Receipt})
			return err
		},
		"ExtendHold": func(ctx context.Context) error {
			_, err := c.ExtendHold(
				ctx,
				&notedv1.ExtendHoldRequest{Receipt: first.Receipt, Hold: held(series(""), time.Minute).Hold},
			)
			return err
		},
		"ListDonations": func(ctx context.Context) error {
			_, err := c.ListDonations(ctx, &notedv1.ListDonationsRequest{})
			return err
		},
		"ForgetDonation": func(ctx context.Context) error {
			_, err := c.ForgetDonation(
				ctx,
				&notedv1.ForgetDonationRequest{SeriesId: "I-held", DonationId: first.Note.DonationId, Reason: "test"},
			)
			return err
		},
	}
	wantEveryCall(t, func(rpc string) bool { return rpc == "NoteDonations" || calls[rpc] != nil }) // the stream follows
	for name, call := range calls {
		// A trial waits for its deadline; the next call is refused at once.
		eventually(
			t,
			10*time.Second,
			name+" is told STORE_UNAVAILABLE",
			func() bool { return toldBy(call(t.Context())) == storeUnavailable },
		)
	}
	eventually(t, 10*time.Second, "the stream tells it too", func() bool {
		if err := stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-1")}); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetError().GetReason() == "STORE_UNAVAILABLE"
	})
	if got := s.metric(t, "noted_store_not_asked_total") - refused; got < float64(len(calls)) {
		t.Errorf("%v answers were given without asking the store, want %d and more", got, len(calls))
	}

	redis.Resume()
	eventually(
		t,
		10*time.Second,
		"the store is asked again",
		func() bool { return s.metric(t, "noted_store_breaker_open") == 0 },
	)
	verdicts := map[notedv1.Verdict]int{}
	for range 5 {
		answer, err := c.NoteDonation(t.Context(), series("I-1"))
		if err != nil {
			t.Fatal(err)
		}
		verdicts[answer.Verdict]++
	}
	if verdicts[notedv1.Verdict_VERDICT_FIRST] != 1 {
		t.Errorf("afterwards the donation is %v, want FIRST once: no refusal has noted it", verdicts)
	}
	if _, err := c.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: first.Receipt}); err != nil {
		t.Errorf("settling the donation that was held before: %v", err)
	}
}

// With a dead store and a hundred callers that come again and again, almost no call
// reaches the store, and every call is answered. The first call that finds the store back
// opens the way for all.
func TestBreakerKeepsCallersFromADeadStore(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	if _, err := c.NoteDonation(t.Context(), series("I-0")); err != nil {
		t.Fatal(err)
	}
	asked := scripts(t, redis)
	redis.Pause()
	eventually(
		t,
		20*time.Second,
		"the watch opens the breaker, without any caller",
		func() bool { return s.metric(t, "noted_store_breaker_open") == 1 },
	)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for range 20 {
				if _, err := c.NoteDonation(
					within(t, 5*time.Second),
					series("I-1"),
				); status.Code(err) != codes.Unavailable &&
					status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("with a dead store: %v", err)
				}
			}
		})
	}
	all.Wait()
	if got := s.metric(t, "noted_store_not_asked_total"); got < 1900 {
		t.Errorf("of 2000 calls %v were answered without asking the store, want nearly all", got)
	}
	redis.Resume()
	eventually(t, 10*time.Second, "calls are answered", func() bool {
		_, err := c.NoteDonation(t.Context(), series("I-2"))
		return err == nil
	})
	if got := scripts(t, redis) - asked; got > 100 {
		t.Errorf("the store has run %d scripts since, want a few", got)
	}
}

// A Redis that replies is not dead, even if each reply is an error: a Redis without
// writes still knows its duplicates.
func TestBreakerLeavesARefusingStoreAlone(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	if _, err := c.NoteDonation(t.Context(), series("I-1")); err != nil {
		t.Fatal(err)
	}
	redis.Do("CONFIG SET min-replicas-to-write 1")
	for i := range 50 {
		_, err := c.NoteDonation(t.Context(), series("I-2"))
		if status.Code(err) != codes.Unavailable {
			t.Fatalf("a new donation: %v, want UNAVAILABLE", err)
		}
		if answer, err := c.DonationExists(
			t.Context(),
			&notedv1.DonationExistsRequest{Donation: series("I-1").Donation},
		); err != nil ||
			!answer.Exists {
			t.Fatalf("round %d, a known donation: %v, %v", i, answer, err)
		}
	}
	if got := s.metric(t, "noted_store_not_asked_total"); got != 0 {
		t.Errorf("%v calls were refused without asking the store, want none", got)
	}
}

// A caller's short deadline does not make the store count as dead.
func TestImpatientCallersDoNotOpenTheBreaker(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis, c.MaxDeadline = redis.URL(), 3*time.Millisecond })
	c := s.as(t, nil, "")
	redis.Pause()
	for range 20 {
		c.NoteDonation(t.Context(), series("I-1"))
	}
	redis.Resume()
	if got := s.metric(t, "noted_store_not_asked_total"); got != 0 {
		t.Errorf("%v calls were refused without asking the store, want none of them", got)
	}
}

// BenchmarkDeadStore times an answer while the store is dead, client and network
// included.
//
//	go test -run '^$' -bench DeadStore -benchtime 10000x ./server
func BenchmarkDeadStore(b *testing.B) {
	redis := redistest.Start(b)
	client := notedv1.NewDedupeServiceClient(servertest.Start(b, servertest.Options{Redis: redis.URL()}).Conn())
	redis.Pause()
	for paused := time.Now(); time.Since(paused) < 4*time.Second; { // until the watch has found it dead
		ctx, cancel := context.WithTimeout(b.Context(), 200*time.Millisecond)
		client.NoteDonation(ctx, series("I-1"))
		cancel()
	}
	for b.Loop() {
		if _, err := client.NoteDonation(b.Context(), series("I-1")); toldBy(err) != storeUnavailable {
			b.Fatal(err)
		}
	}
}
