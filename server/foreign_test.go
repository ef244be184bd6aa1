package server_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// What another program has written under the key of a series is that series' trouble alone: its callers are told, as often as they ask, and everybody else is answered.
func TestForeignSeries(t *testing.T) {
	redis := redistest.Start(t)
	s := startGuarded(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	for name, value := range map[string]string{"another program's": "hello", "a later release's": "2P…", "almost ours": "1Pabcdefghimi8x3k2f x! 25.00USD ipn:a -"} {
		redis.Do(`SET "noted:{ I-1}" "` + value + `"`)
		for range 20 {
			_, err := c.NoteDonation(t.Context(), series("I-1"))
			if got := toldBy(err); got.code != codes.Unavailable || !got.retry || !strings.HasSuffix(got.reason, "/STORE_UNAVAILABLE") && !strings.HasSuffix(got.reason, "/OUTCOME_UNKNOWN") {
				t.Fatalf("%s: %v, want UNAVAILABLE", name, err)
			}
		}
		if redis.Do(`GET "noted:{ I-1}"`); s.metric(t, "noted_store_breaker_open") != 0 {
			t.Errorf("%s: the store counts as dead", name)
		}
		if _, err := c.NoteDonation(t.Context(), series("I-2")); err != nil {
			t.Errorf("%s: another series: %v", name, err)
		}
	}
	if got := s.metric(t, "noted_store_not_asked_total"); got != 0 {
		t.Errorf("%v calls were refused without asking the store, want none", got)
	}
	if strings.Contains(s.log.String(), "mi8x3k2f") {
		t.Error("the log has what stands under the key")
	}
}
