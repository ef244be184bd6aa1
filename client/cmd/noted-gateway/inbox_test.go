package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A desk is an inbox with messages, a Noted, and the environment for noted-gateway inbox.
type desk struct {
	t     *testing.T
	noted *client.Client
	box   *inbox.Inbox
	env   map[string]string
}

func newDesk(t *testing.T) *desk {
	server, dir := servertest.New(t), t.TempDir()
	noted, err := client.New(server.Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	line, url := inbox.NewKeyLine(), "sqlite://"+filepath.Join(dir, "inbox.db")
	keys, _ := inbox.ReadKeys([]byte(line))
	box, err := inbox.Open(t.Context(), inbox.Config{URL: url, Account: "live", Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	os.WriteFile(filepath.Join(dir, "key"), []byte(line), 0o600)
	return &desk{t, noted, box, map[string]string{
		"GATEWAY_INBOX": url, "GATEWAY_INBOX_KEY_FILE": filepath.Join(dir, "key"), "GATEWAY_LEDGER": "live",
		"GATEWAY_NOTED": server.Addr(),
	}}
}

// keep puts a message of one payment into the inbox, tries it once and sets its state.
func (d *desk) keep(id string, at time.Time, state inbox.State, cause string) (row string) {
	d.t.Helper()
	pair := `{"donation":{"ledger":"live","series_id":"I-` + id + `","event":"EVENT_PAYMENT","transaction_id":"T` + id +
		`"},"message":{"channel":"ipn","id":"` + id + `"}}`
	err := d.box.Keep(d.t.Context(), inbox.Arrival{
		Ledger:     "live",
		Channel:    "ipn",
		ID:         id,
		Type:       "web_accept",
		IDs:        inbox.IDs{Transaction: "T" + id, Series: "I-" + id},
		ReceivedAt: at,
		State:      inbox.Waiting,
		Header:     http.Header{},
		Body:       []byte("payer_email=canary@example.net"),
		Donations: []inbox.Donation{{
			SeriesID: "I-" + id, Event: "EVENT_PAYMENT", TransactionID: "T" + id, Pair: json.RawMessage(pair),
		}},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	c, err := d.box.Claim(d.t.Context())
	if err == nil {
		err = d.box.Finish(d.t.Context(), c, inbox.Result{State: state, Cause: cause, After: time.Hour})
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return c.Row
}

// run runs an act. It must have the exit code.
func (d *desk) run(want int, args ...string) (stdout, stderr string) {
	d.t.Helper()
	code, stdout, stderr := try(d.t, d.env, append([]string{"inbox"}, args...)...)
	if code != want {
		d.t.Fatalf("inbox %q: exit %d, want %d\n%s%s", args, code, want, stdout, stderr)
	}
	return stdout, stderr
}

func (d *desk) message(row string) (found inbox.Message) {
	d.t.Helper()
	err := d.box.List(
		d.t.Context(),
		inbox.Filter{Rows: []string{row}},
		func(m inbox.Message) error { found = m; return nil },
	)
	if err != nil {
		d.t.Fatal(err)
	}
	return found
}

// note notes the payment of a message as the gateway does.
func (d *desk) note(id string) *client.NoteResponse {
	d.t.Helper()
	answer, err := d.noted.Note(d.t.Context(), &client.NoteRequest{
		Donation: &client.Donation{
			Ledger:        "live",
			SeriesId:      "I-" + id,
			Event:         client.EventPayment,
			TransactionId: "T" + id,
		},
		Message: &client.Message{
			Channel: "ipn",
			Id:      id,
		},
		Hold:      durationpb.New(time.Minute),
		RequestId: client.NewRequestID(),
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return answer
}

// Every filter selects the right messages, in list, show and export.
func TestInboxFilters(t *testing.T) {
	d := newDesk(t)
	day := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	a := d.keep("A", day, inbox.Person, "downstream: it answered 422: unknown_fund")
	b := d.keep("B", day.Add(24*time.Hour), inbox.Done, "")
	c := d.keep("C", day.Add(48*time.Hour), inbox.Waiting, "downstream: it answered 500")
	for _, test := range []struct {
		args []string
		want []string
	}{
		{nil, []string{a, b, c}},
		{[]string{b}, []string{b}},
		{[]string{"-state", "person,waiting"}, []string{a, c}},
		{[]string{"-since", "2026-03-02"}, []string{b, c}},
		{[]string{"-since", "2026-03-02T10:00:00Z", "-until", "2026-03-03T10:00:00Z"}, []string{b}},
		{[]string{"-channel", "webhook"}, nil},
		{[]string{"-series", "I-C"}, []string{c}},
		{[]string{"-transaction", "TA"}, []string{a}},
		{[]string{"-cause", "downstream: it answered 4"}, []string{a}},
		{[]string{"-cause", "downstream", "-state", "waiting"}, []string{c}},
	} {
		for _, act := range []string{"list", "show", "export"} {
			stdout, _ := d.run(0, append([]string{act}, test.args...)...)
			if strings.Contains(stdout, "canary") {
				t.Errorf("%s %q shows a body", act, test.args)
			}
			for _, row := range []string{a, b, c} {
				want := false
				for _, wanted := range test.want {
					want = want || wanted == row
				}
				if strings.Contains(stdout, row) != want {
					t.Errorf("%s %q: shows %s: %v, want %v", act, test.args, row, !want, want)
				}
			}
		}
	}
	stdout, _ := d.run(0, "export", "-bodies", a)
	var whole struct {
		Body      []byte `json:"body_base64"`
		Donations []struct {
			Pair struct{ Donation map[string]string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &whole); err != nil || !strings.Contains(string(whole.Body), "canary") ||
		whole.Donations[0].Pair.Donation["series_id"] != "I-A" {
		t.Errorf("exported %s: %v", stdout, err)
	}
}

// redo makes messages due at a rate, changes nothing with -dry-run, needs a filter or rows,
// and is recorded.
func TestInboxRedo(t *testing.T) {
	d := newDesk(t)
	var rows []string
	for _, id := range []string{"A", "B", "C"} {
		rows = append(rows, d.keep(id, time.Now(), inbox.Person, "patience ended"))
	}
	d.run(2, "redo")
	d.run(1, "redo", "no-such-row")
	d.run(0, "redo", "-state", "person", "-dry-run")
	if m := d.message(rows[0]); m.State != inbox.Person {
		t.Errorf("-dry-run changed %+v", m)
	}
	wiped := d.keep("D", time.Now().Add(-1000*time.Hour), inbox.Done, "")
	later, err := inbox.Open(t.Context(), inbox.Config{
		URL:     d.env["GATEWAY_INBOX"],
		Account: "live",
		Now:     func() time.Time { return time.Now().Add(inbox.DefaultKeep + time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(later.Sweep(t.Context()), later.Close()); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"redo", wiped, "-dry-run"}, {"redo", wiped}} {
		if stdout, stderr := d.run(1, args...); strings.Contains(stdout, "process again") ||
			!strings.Contains(stderr, "ask PayPal to send the message again") {
			t.Errorf("%v of a message without its body: %s%s", args, stdout, stderr)
		}
	}
	before := time.Now()
	d.run(0, "redo", "-state", "person", "-since", "2026-01-01", "-rate", "0.1", "-reason", "the shop is back")
	for i, row := range rows {
		m := d.message(row)
		if m.State != inbox.Waiting || !m.Redo ||
			m.NextAt.Sub(before).Round(10*time.Second) != time.Duration(i)*10*time.Second {
			t.Errorf("row %d: %+v, want it due %d0 s after the act", i, m, i)
		}
	}
	if stdout, _ := d.run(0, "show", rows[0]); !strings.Contains(stdout, `"Reason": "the shop is back"`) {
		t.Errorf("the audit lacks the act: %s", stdout)
	}
}

// close settles open donations and reports settled ones. It leaves donations that are held,
// or noted under another id.
func TestInboxClose(t *testing.T) {
	d := newDesk(t)
	open := d.keep("OPEN", time.Now(), inbox.Person, "downstream: it answered 422")
	fresh := d.keep("FRESH", time.Now(), inbox.Waiting, "downstream: it answered 500")
	settled := d.keep("SETTLED", time.Now(), inbox.Person, "")
	held := d.keep("HELD", time.Now(), inbox.Person, "")
	done := d.keep("DONE", time.Now(), inbox.Done, "")

	noted := d.note("OPEN")
	if _, err := d.noted.Release(t.Context(), noted.GetReceipt(), "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.noted.Settle(t.Context(), d.note("SETTLED").GetReceipt(), ""); err != nil {
		t.Fatal(err)
	}
	d.note("HELD")

	d.run(2, "close", open) // no reason
	d.run(0, "close", open, "-reason", "booked by hand", "-dry-run")
	if m := d.message(open); m.State != inbox.Person || len(m.Donations[0].Outcome) != 0 {
		t.Errorf("-dry-run changed %+v", m)
	}
	d.run(0, "close", open, fresh, settled, "-reason", "booked by hand")
	for row, want := range map[string]inbox.Outcome{open: inbox.Closed, fresh: inbox.Closed, settled: inbox.Duplicate} {
		if m := d.message(
			row,
		); m.State != inbox.Done || m.Donations[0].Outcome != want ||
			m.Donations[0].DonationID == "" {
			t.Errorf("%s: %+v, want %s", row, m, want)
		}
	}
	if m := d.message(open); m.Donations[0].DonationID != noted.GetNote().GetDonationId() {
		t.Errorf("closed under %s, want %s", m.Donations[0].DonationID, noted.GetNote().GetDonationId())
	}
	for _, id := range []string{"OPEN", "FRESH"} {
		if answer := d.note(id); answer.GetVerdict() != client.Duplicate {
			t.Errorf("%s: after close Noted says %v, want DUPLICATE", id, answer.GetVerdict())
		}
	}
	if _, stderr := d.run(1, "close", held, "-reason", "booked by hand"); !strings.Contains(stderr, "try again in") {
		t.Errorf("a held donation: %s", stderr)
	}
	if m := d.message(held); m.State != inbox.Person {
		t.Errorf("a held donation: %+v", m)
	}
	if stdout, _ := d.run(0, "close", done, "-reason", "x"); !strings.Contains(stdout, "nothing to close") {
		t.Errorf("a finished message: %s", stdout)
	}
	acts, err := d.box.Acts(t.Context(), open)
	if err != nil || len(acts) != 1 || acts[0].Name != "close" || acts[0].Reason != "booked by hand" ||
		acts[0].Actor == "" {
		t.Errorf("the audit has %+v, %v", acts, err)
	}
}

// The verb that the help and README.md name suffices for unknown, and the gateway's verb for
// close.
func TestInboxRights(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	help, _ := d.run(0, "-help")
	readme, err := os.ReadFile("../../gateway/README.md")
	if err != nil {
		t.Fatal(err)
	}
	verb := regexp.MustCompile(`It also needs a token with the verb (\w+)\.`).FindStringSubmatch(help)
	if verb == nil || !strings.Contains(string(readme), "It needs a token with the verb `"+verb[1]+"`.") {
		t.Fatalf("the help and README.md do not name the same verb for unknown: %q", verb)
	}
	var lines []string
	for _, verb := range []string{verb[1], "note"} {
		lines = append(lines, fmt.Sprintf(`%[1]q: {"token_sha256": ["%[2]x"], "ledgers": ["live"], "verbs": [%[1]q]}`,
			verb, sha256.Sum256([]byte(verb))))
		if err := os.WriteFile(filepath.Join(dir, verb), []byte(verb), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	callers := filepath.Join(dir, "callers.json")
	if err := os.WriteFile(callers, []byte("{"+strings.Join(lines, ",")+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.env["GATEWAY_NOTED"] = servertest.Start(t, servertest.Options{Callers: callers}).Addr()
	d.env["GATEWAY_NOTED_TOKEN"] = filepath.Join(dir, "note")
	row := d.keep("BOOKED", time.Now(), inbox.Person, "downstream: it answered 422")
	if stdout, _ := d.run(0, "close", row, "-reason", "booked by hand"); !strings.Contains(stdout, row+": closed") {
		t.Errorf("close prints\n%s", stdout)
	}
	d.env["GATEWAY_NOTED_TOKEN"] = filepath.Join(dir, verb[1])
	if stdout, _ := d.run(0, "unknown", "-since", "2026-01-01"); strings.Contains(stdout, "I-BOOKED") {
		t.Errorf("unknown prints\n%s", stdout)
	}
}

// Mistakes are reported without secrets.
func TestInboxUsage(t *testing.T) {
	d := newDesk(t)
	for want, args := range map[string][]string{
		"is not an act": {"empty"}, "is not a state": {"list", "-state", "lost"}, "is not a time": {"list", "-since", "yesterday"},
		"must be positive": {"redo", "-rate", "0", "x"},
	} {
		if _, stderr := d.run(2, args...); !strings.Contains(stderr, want) {
			t.Errorf("%q: %s", args, stderr)
		}
	}
	d.env["GATEWAY_INBOX"] = "postgres://u:hush@127.0.0.1:1/d?sslmode=disable"
	if _, stderr := d.run(1, "list"); strings.Contains(stderr, "hush") {
		t.Errorf("the error shows the password: %s", stderr)
	}
	if stdout, _ := d.run(
		0,
		"-help",
	); !strings.Contains(stdout, "-dry-run") ||
		!strings.Contains(stdout, "GATEWAY_INBOX") {
		t.Errorf("the help is %s", stdout)
	}
}
