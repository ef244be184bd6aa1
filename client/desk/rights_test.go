package desk_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/server/servertest"
)

// The rights that README.md gives a desk suffice: its first verb for people who only look,
// and the verbs of its command for all the work of clerks.
func TestReadmeRights(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile("The desk needs\\s+the\\s+verb\\s+`(\\w+)`").FindSubmatch(readme)
	all := regexp.MustCompile(`(?m)^notectl token -verbs (\S+) `).FindSubmatch(readme)
	if first == nil || all == nil {
		t.Fatal("README.md does not name the verbs of a desk, or does not show how to make its token")
	}
	h := newHarness(t)
	callers, log := filepath.Join(t.TempDir(), "callers.json"), &buffer{}
	line := func(name, verbs string) string {
		return fmt.Sprintf(`%q: {"token_sha256": ["%x"], "ledgers": [%q], "verbs": ["%s"]}`,
			name, sha256.Sum256([]byte(name)), week.Ledger, strings.ReplaceAll(verbs, ",", `", "`))
	}
	text := "{" + line("looker", string(first[1])) + ",\n" + line("clerk", string(all[1])) + "}"
	if err := os.WriteFile(callers, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := servertest.Start(t, servertest.Options{Redis: "redis://" + h.store.Addr, Callers: callers, Log: log})
	deskOf := func(token string) *visitor {
		noted, err := client.New(server.Addr(), client.Config{
			Token: func(context.Context) (string, error) { return token, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { noted.Close() })
		return h.open(func(c *desk.Config) { c.Inbox, c.Noted = h.box, noted }).visitor()
	}
	look := func(v *visitor) {
		t.Helper()
		wantAll(t, "the answer", v.ask(h.cases[week.Booked]), "Yes: ")
		for _, path := range []string{"/waiting", "/agree", "/alive", "/shadow", "/audit"} {
			if status, page := v.get(path); status != http.StatusOK {
				t.Errorf("%s: status %d: %s", path, status, page)
			}
		}
		same := func(_, amount string) (string, bool) { return amount, true }
		if status, _, page := v.upload(h.report(same)); status != http.StatusOK {
			t.Errorf("comparing a report: status %d: %s", status, page)
		}
	}
	look(deskOf("looker"))
	clerk := deskOf("clerk")
	look(clerk)
	act := func(query url.Values) {
		t.Helper()
		_, page := clerk.get("/act?" + query.Encode())
		if status, page := clerk.do(http.MethodPost, "/act", fill(page, "reason", "a test")); status != http.StatusOK ||
			!strings.Contains(page, "Done: ") {
			t.Errorf("%s: status %d: %s", query.Encode(), status, page)
		}
	}
	act(url.Values{"do": {"redo"}, "row": {h.rowOf(week.Waiting)}})
	act(url.Values{"do": {"close"}, "row": {h.rowOf(week.Rejected)}})
	for do, name := range map[string]string{"close": week.Crashed, "forget": week.Booked} {
		note := h.noteOf(name)
		act(url.Values{
			"do": {do}, "ledger": {week.Ledger},
			"series": {note.GetDonation().GetSeriesId()}, "id": {note.GetDonationId()},
		})
	}

	for _, call := range []string{
		"ListDonations", "DonationExists", "NoteDonation", "SettleDonation", "ForgetDonation",
	} {
		if !strings.Contains(log.String(), call) {
			t.Errorf("the desk never called %s: this test does not show that it may", call)
		}
	}
	if strings.Contains(log.String(), "audit: denied") {
		t.Errorf("the desk was denied a call:\n%s", log)
	}
}
