package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A call that finds every connection to the store in use gets a reason of its own and is
// counted; it has noted nothing. A busy store does not count as dead, so the server goes
// on asking it.
func TestPoolExhausted(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() + "?pool_size=1&read_timeout=20s" })
	c := s.as(t, nil, "")
	if _, err := c.NoteDonation(t.Context(), series("I-known")); err != nil {
		t.Fatal(err)
	}
	redis.Do("CLIENT PAUSE 20000 WRITE")
	want := told{code: codes.Unavailable, reason: "noted.v1/POOL_EXHAUSTED", retry: true}
	var holder chan error
	var began time.Time
	eventually(t, 20*time.Second, "a call has the connection", func() bool {
		if holder == nil {
			holder, began = make(chan error, 1), time.Now()
			go func(end chan error) {
				_, err := c.NoteDonation(within(t, 20*time.Second), series("I-holder"))
				end <- err
			}(holder)
		}
		select {
		case err := <-holder: // the watch had the connection
			if toldBy(err) != want {
				t.Fatalf("a call: %v, want %+v", err, want)
			}
			holder = nil
		default:
		}
		return holder != nil && time.Since(began) > time.Second // without a connection it would have ended
	})
	counted := s.metric(t, "noted_store_pool_timeouts_total")
	eventually(
		t,
		20*time.Second,
		"the watch has found no connection three times",
		func() bool { return s.metric(t, "noted_store_pool_timeouts_total") >= counted+3 },
	)
	if got := get(t, "http://"+s.AdminAddr()+"/readyz"); !strings.HasPrefix(got, "200") {
		t.Errorf(
			"/readyz says %s, want 200: a store that is busy is not dead, and other servers would have its calls too",
			got,
		)
	}
	before := s.metric(t, "noted_refusals_total", `reason="POOL_EXHAUSTED"`)
	const calls = 30
	ends := make(chan error, calls)
	for i := range calls {
		go func() {
			_, err := c.NoteDonation(within(t, 20*time.Second), series(fmt.Sprint("I-", i)))
			ends <- err
		}()
	}
	for range calls {
		if err := <-ends; toldBy(err) != want {
			t.Errorf("with one connection, which is taken: %v, want %+v", err, want)
		}
	}
	// If these failures counted, the breaker would be open by now and would refuse this
	// call.
	if _, err := c.NoteDonation(t.Context(), series("I-more")); toldBy(err) != want {
		t.Errorf("one more call: %v, want %+v", err, want)
	}
	if open, refused := s.metric(
		t,
		"noted_store_breaker_open",
	), s.metric(
		t,
		"noted_store_not_asked_total",
	); open != 0 ||
		refused != 0 {
		t.Errorf(
			"the breaker is open: %v, calls refused unasked: %v; want 0 and 0, since the store is only busy",
			open,
			refused,
		)
	}
	redis.Do("CLIENT UNPAUSE")
	if err := <-holder; err != nil {
		t.Errorf("the call that had the connection: %v, want an answer", err)
	}
	if got := s.metric(t, "noted_store_pool_timeouts_total"); got == 0 {
		t.Error("noted_store_pool_timeouts_total counts no call")
	}
	if got := s.metric(
		t,
		"noted_refusals_total",
		`rpc="NoteDonation"`,
		`code="Unavailable"`,
		`reason="POOL_EXHAUSTED"`,
	) - before; got != calls+1 {
		t.Errorf("noted_refusals_total counts %v more, want %v", got, calls+1)
	}
	first := 0
	for i := range calls {
		answer, err := c.NoteDonation(t.Context(), series(fmt.Sprint("I-", i)))
		if err != nil {
			t.Fatal(err)
		}
		if answer.Verdict == notedv1.Verdict_VERDICT_FIRST {
			first++
		}
	}
	if first != calls {
		t.Errorf("afterwards %d donations are FIRST, want the %d whose calls found no connection", first, calls)
	}
}
