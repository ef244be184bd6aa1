package server_test

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A value of another program under a series' key harms that series alone: its callers get
// an error each time, and all other callers are answered.
func TestForeignSeries(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	for name, value := range map[string]string{
		"another program's": "hello", "a later release's": "2P…",
		"almost ours": "1Pabcdefghimi8x3k2f x! 25.00USD ipn:a -",
	} {
		redis.Do(`SET "noted:{ I-1}" "` + value + `"`)
		for range 20 {
			_, err := c.NoteDonation(t.Context(), series("I-1"))
			if got := toldBy(
				err,
			); got.code != codes.Unavailable || !got.retry ||
				!strings.HasSuffix(got.reason, "/STORE_UNAVAILABLE") &&
					!strings.HasSuffix(got.reason, "/OUTCOME_UNKNOWN") {
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
		t.Errorf("%v calls were refused without asking the store, want 0", got)
	}
	if strings.Contains(s.log.String(), "mi8x3k2f") {
		t.Error("the log has the value under the key")
	}
}

// If a listing fails because of another program's value, the log names the ledger and
// gives a command that prints the key. It does not hold the key, which names a donor's
// series.
func TestForeignSeriesIsFound(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) { c.Redis = redis.URL() })
	c := s.as(t, nil, "")
	for _, ledger := range []string{"live", "sandbox"} {
		if _, err := c.NoteDonation(
			t.Context(),
			&notedv1.NoteDonationRequest{Donation: &notedv1.Donation{Ledger: ledger, SeriesId: "I-ours"}},
		); err != nil {
			t.Fatal(err)
		}
	}
	for what, write := range map[string]string{
		"text":          `SET "noted:{live I-theirs0canary}" "hello"`,
		"a list":        `RPUSH "noted:{live I-theirs0canary}" "hello"`,
		"almost a note": `SET "noted:{live I-theirs0canary}" "1Pabcdefghimi8x3k2f x! 25.00USD ipn:a -"`,
	} {
		redis.Do(`DEL "noted:{live I-theirs0canary}"`)
		redis.Do(write)
		before := len(s.log.String())
		for _, series := range []string{"", "I-theirs0canary"} {
			if _, err := c.ListDonations(
				t.Context(),
				&notedv1.ListDonationsRequest{Ledger: "live", SeriesId: series},
			); toldBy(err).code != codes.Unavailable ||
				strings.Contains(err.Error(), "redis-cli") {
				t.Errorf("%s: %v, want UNAVAILABLE without details", what, err)
			}
		}
		if _, err := c.ListDonations(t.Context(), &notedv1.ListDonationsRequest{Ledger: "sandbox"}); err != nil {
			t.Errorf("%s: another ledger: %v", what, err)
		}
		log := s.log.String()[before:]
		command := regexp.MustCompile(`it is in the ledger \\+"live\\+", .*?(\(.*?; done\))`).FindStringSubmatch(log)
		if command == nil {
			t.Fatalf("%s: the log does not say where:\n%s", what, log)
		}
		shell := exec.Command(
			"sh",
			"-c",
			strings.ReplaceAll(command[1], "redis-cli", "redis-cli -p "+strconv.Itoa(redis.Port())),
		)
		if out, err := shell.CombinedOutput(); strings.TrimSpace(string(out)) != "noted:{live I-theirs0canary}" {
			t.Errorf("%s: %s: %q, %v, want the key", what, command[1], out, err)
		}
		if strings.Contains(log, "I-theirs0canary") {
			t.Errorf("%s: the log has the key", what)
		}
	}
}
