package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// TestNotesAreCounted checks that the metrics follow the store's notes: notes by state,
// the oldest open note, the notes that an operator undoes, and the last message of each
// channel.
func TestNotesAreCounted(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) {
		c.Redis = redis.URL()
		c.CensusRest(50 * time.Millisecond)
	})
	c := s.as(t, nil, "")
	began := time.Now().Truncate(time.Second)
	noted := func(series, channel string, hold time.Duration) *notedv1.NoteDonationResponse {
		t.Helper()
		r := held(inLedger("live", series), hold)
		r.Message = &notedv1.Message{Channel: channel, Id: "1"}
		response, err := c.NoteDonation(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	settled := noted("I-1", "ipn", 0)
	noted("I-2", "webhook", time.Minute)
	open := noted("I-3", "ipn", time.Minute)
	if _, err := c.ReleaseDonation(t.Context(), &notedv1.ReleaseDonationRequest{Receipt: open.Receipt}); err != nil {
		t.Fatal(err)
	}
	states := func(held, open, settled float64) func() bool {
		return func() bool {
			of := func(state string) float64 { return s.metric(t, "noted_notes", `ledger="live"`, `state="`+state+`"`) }
			return of("held") == held && of("open") == open && of("settled") == settled
		}
	}
	eventually(t, 20*time.Second, "one note in each state", states(1, 1, 1))
	if got, want := s.metric(t, "noted_notes_oldest_open_timestamp_seconds", `ledger="live"`),
		float64(open.Note.NotedAt.AsTime().Unix()); got != want {
		t.Errorf("the oldest open note is of %v, want %v", got, want)
	}
	if got := s.metric(t, "noted_notes_walk_timestamp_seconds"); got < float64(began.Unix()) {
		t.Errorf("the last walk ended at %v, want a time since the test began", got)
	}
	for _, channel := range []string{"ipn", "webhook"} {
		got := s.metric(t, "noted_last_message_timestamp_seconds", `ledger="live"`, fmt.Sprintf("channel=%q", channel))
		if got < float64(began.Unix())-1 || got > float64(time.Now().Unix())+1 {
			t.Errorf("the last message on %s was at %v, want a time since the test began", channel, got)
		}
	}

	for _, note := range []*notedv1.Note{settled.Note, open.Note} {
		_, err := c.ForgetDonation(t.Context(), &notedv1.ForgetDonationRequest{
			Ledger: "live", SeriesId: note.Donation.SeriesId, DonationId: note.DonationId, Reason: "a test",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := s.metric(t, "noted_forgets_total", `ledger="live"`); got != 2 {
		t.Errorf("noted_forgets_total is %v, want 2", got)
	}
	eventually(t, 20*time.Second, "only the held note is left", states(1, 0, 0))
	if strings.Contains(get(t, "http://"+s.AdminAddr()+"/metrics"), "noted_notes_oldest_open_timestamp_seconds{") {
		t.Error("there is an oldest open note where none is open")
	}

	// A store that is away is not counted, and not complained of.
	redis.Stop()
	eventually(t, 20*time.Second, "the store counts as away", func() bool { return s.metric(t, "noted_store_up") == 0 })
	redis.Restart()
	redis.Do("FLUSHALL")
	eventually(t, 20*time.Second, "the count follows", states(0, 0, 0))
	if s.logged(`"level":"ERROR"`, "counted")+s.logged(`"level":"WARN"`, "counted") > 0 {
		t.Errorf("the log complains of counting:\n%s", s.log)
	}
}

// TestStoreMemory wants the memory of the store and its limit, and no limit where there is
// none.
func TestStoreMemory(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	page := func() string { return get(t, "http://"+s.AdminAddr()+"/metrics") }
	eventually(t, 20*time.Second, "no limit", func() bool {
		return strings.Contains(page(), "\nnoted_store_memory_limit_bytes NaN\n")
	})
	if got := s.metric(t, "noted_store_memory_bytes"); got < 100<<10 || got > 1<<30 {
		t.Errorf("the store uses %v bytes, which no Redis does", got)
	}
	redis.Do("CONFIG SET maxmemory 200mb")
	eventually(t, 20*time.Second, "a limit", func() bool {
		return s.metric(t, "noted_store_memory_limit_bytes") == 200<<20
	})
}

// TestScriptTimes wants a time of each script that a call has run.
func TestScriptTimes(t *testing.T) {
	s := startConfigured(t, func(c *server.Config) { c.HTTPListen = "127.0.0.1:0" })
	c := s.as(t, nil, "")
	for range 3 {
		if _, err := c.NoteDonation(t.Context(), inLedger("", "I-1")); err != nil {
			t.Fatal(err)
		}
	}
	noteAtTheDoor(t, http.DefaultClient, "http://"+s.HTTPAddr(), `{"donation":{"series_id":"I-1"}}`, "")
	if got := s.metric(t, "noted_store_script_seconds_count", `script="note"`); got != 4 {
		t.Errorf("%v notes have a time, want 4", got)
	}
	if got := s.metric(t, "noted_store_script_seconds_count", `script="forget"`); got != 0 {
		t.Errorf("%v forgets have a time, and none was called", got)
	}
	for _, bucket := range []string{"0.0001", "0.0002", "0.0009"} {
		if !strings.Contains(get(t, "http://"+s.AdminAddr()+"/metrics"), `script="note",le="`+bucket+`"`) {
			t.Errorf("the histogram does not tell %s s apart", bucket)
		}
	}
}
