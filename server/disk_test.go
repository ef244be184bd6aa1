package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A Redis whose disk is full makes new donations unavailable, and the operator hears of
// it. Known donations are answered, and the service recovers by itself.
func TestDiskFull(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes")
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	note := func(id string) (notedv1.Verdict, error) {
		answer, err := c.NoteDonation(t.Context(), series(id))
		return answer.GetVerdict(), err
	}
	if _, err := note("I-known"); err != nil {
		t.Fatal(err)
	}
	const trouble, noBeat = "persistence does not work", "epoch cannot be kept"
	if s.logged(trouble) != 0 {
		t.Fatal("the log tells of trouble before there is any")
	}
	redis.FillDisk()
	if _, err := note("I-edge"); err != nil { // with this write Redis notices
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the log tells the cause", func() bool {
		return s.logged(trouble, "append-only file", "takes no new notes") == 1 && s.logged(noBeat) == 1
	})
	for i := range 20 {
		if _, err := note("I-new"); toldBy(err) != storeUnavailable {
			t.Fatalf("a new donation: %v, want %+v", err, storeUnavailable)
		}
		if verdict, err := note("I-known"); err != nil || verdict != notedv1.Verdict_VERDICT_DUPLICATE {
			t.Fatalf("round %d, a known donation: %v, %v, want DUPLICATE", i, verdict, err)
		}
	}
	if got := get(t, "http://"+s.AdminAddr()+"/readyz"); !strings.HasPrefix(got, "200") {
		t.Errorf("/readyz: %s, want 200: known donations are answered", got)
	}
	if got := s.metric(t, "noted_store_not_asked_total"); got != 0 {
		t.Errorf("%v calls were refused without asking the store, want none", got)
	}
	redis.FreeDisk()
	var verdict notedv1.Verdict
	eventually(t, 20*time.Second, "a new donation is noted again", func() bool {
		var err error
		verdict, err = note("I-new")
		return err == nil
	})
	if verdict != notedv1.Verdict_VERDICT_FIRST {
		t.Errorf("the donation that was refused: %v, want FIRST", verdict)
	}
	if got := fmt.Sprint(s.logged(trouble), s.logged(noBeat)); got != "1 1" {
		t.Errorf("the log has the trouble and the failed beats %s times, want once each", got)
	}
}
