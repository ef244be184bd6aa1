package gateway_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A replayed is noted-replay's result for one donation.
type replayed struct {
	Series, Ledger string
	Verdicts       []string // with the channel and the time, in the order of receipt
}

// noted-replay reads the inbox of a running gateway: every message that the gateway asked
// Noted about, at the time of its receipt and in its ledger. It counts the messages that
// it leaves out, with the reason.
func TestReplayReadsTheInbox(t *testing.T) {
	program := filepath.Join(t.TempDir(), "noted-replay")
	if output, err := exec.Command("go", "build", "-o", program, "../../server/cmd/noted-replay").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, output)
	}
	for name, address := range map[string]func() string{
		"sqlite":     func() string { return "sqlite://" + filepath.Join(t.TempDir(), "in box.db") },
		"postgresql": func() string { return inboxtest.StartPostgres(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			keyFile, line := filepath.Join(t.TempDir(), "key"), inbox.NewKeyLine()
			if err := os.WriteFile(keyFile, []byte(line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			url := address()
			h, now := inboxHarness(t, func(c *gateway.Config, _ *servertest.Options) {
				c.InboxURL, c.InboxKeys = url, must(inbox.ReadKeys([]byte(line)))
				c.SandboxLedger = "paypal-test"
			})
			want := aPastOfAllKinds(t, h, now)

			command := exec.Command(program, "-o", "json", "-inbox-key-file", keyFile, url)
			var complaints strings.Builder
			command.Stderr = &complaints
			output, err := command.Output()
			if err != nil {
				t.Fatalf("noted-replay: %v\n%s", err, complaints.String())
			}
			got, summary := readReplay(t, string(output))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("donations (-want +got):\n%s", diff)
			}
			left := map[string]int{
				"body wiped": 1, "not verified yet": 1, "not PayPal's": 1, "of another account": 1, "of the sandbox, refused": 1,
			}
			if diff := cmp.Diff(left, summary.Left); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
			if summary.Messages != 5 || summary.Copies != 1 || summary.Asides["unknown"] != 1 || summary.Asides["malformed"] != 1 {
				t.Errorf("the summary is %+v", summary)
			}
			for _, wanted := range []string{
				"noted-replay: 5 messages of the inbox are left out: body wiped 1, ",
				"noted-replay: 1 copies from PayPal of messages in the inbox are left out",
				"noted-replay: the inbox has messages of several ledgers, which stay apart: paypal-live, paypal-test",
			} {
				if !strings.Contains(complaints.String(), wanted) {
					t.Errorf("standard error lacks %q:\n%s", wanted, complaints.String())
				}
			}

			swept, err := exec.Command(program, "-sweep", "-inbox-key-file", keyFile, url).CombinedOutput()
			if err != nil || !strings.Contains(string(swept), "the answers are the same from 1m to 24h") ||
				!strings.Contains(string(swept), "5 messages of the inbox are left out") {
				t.Errorf("noted-replay -sweep: %v\n%s", err, swept)
			}

			if err := os.WriteFile(keyFile, []byte(inbox.NewKeyLine()), 0o600); err != nil {
				t.Fatal(err)
			}
			command = exec.Command(program, "-summary", "-inbox-key-file", keyFile, url)
			text, err := command.CombinedOutput()
			if err == nil || strings.Count(string(text), "which is not in the key file") != 5 {
				t.Errorf("with another key: %v\n%s", err, text)
			}
		})
	}
}

// aPastOfAllKinds delivers messages of every kind to a gateway, and returns the donations
// that a replay must find.
func aPastOfAllKinds(t *testing.T, h *harness, now *movedClock) []replayed {
	t.Helper()
	box := h.box()
	h.payPal.Serve("CERT-1", h.payPal.Signer(paypaltest.CertName, -time.Hour, 60*24*time.Hour))
	at := func() string { return now.time().UTC().Format("2006-01-02T15:04") }
	h.mustTake(h.payPal.IPN(payment("I-WIPED").fields()))
	inState(t, box, inbox.Done, 1)
	now.pass(15 * 24 * time.Hour)
	if err := box.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}

	gift := payment("I-BOTH")
	first := at()
	h.mustTake(h.payPal.IPN(gift.fields()))
	h.mustTake(h.payPal.IPN(gift.fields())) // a copy
	drained(t, box)
	now.pass(3 * time.Hour)
	second := at()
	h.mustTake(h.payPal.Signed([]byte(gift.event()), now.time(), paypaltest.WebhookID, "CERT-1", paypaltest.SigningKey()))
	test := gift.fields()
	test.Set("test_ipn", "1")
	third := at()
	h.mustTake(h.payPal.IPN(test)) // the same ids in the ledger for tests: another donation
	drained(t, box)
	// A test waits for Noted while the ledger for tests is taken away.
	h.gateway.Close()
	noted := h.config.Noted
	h.config.Noted = processtest.FreeAddress()
	h.gateway, h.front = h.open()
	test.Set("recurring_payment_id", "I-REFUSED")
	test.Set("txn_id", "9REFUSED")
	h.mustTake(h.payPal.IPN(test))
	h.gateway.Close()
	h.config.Noted, h.config.SandboxLedger = noted, ""
	h.gateway, h.front = h.open()
	now.pass(time.Hour)
	inState(t, box, inbox.Refused, 1)

	foreign := payment("I-FOREIGN").fields()
	foreign.Set("receiver_email", "somebody@example.net")
	h.mustTake(h.payPal.IPN(foreign))
	unknown := payment("I-UNKNOWN").fields()
	unknown.Set("txn_type", "miracle")
	unknown.Del("payment_status")
	h.mustTake(h.payPal.IPN(unknown))
	malformed := payment("I-BAD").fields()
	malformed.Del("recurring_payment_id")
	malformed.Del("txn_id")
	h.mustTake(h.payPal.IPN(malformed))

	h.payPal.Disturb(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true })
	h.mustTake(h.payPal.IPN(payment("I-FORGED").fields()).Flipped("25.00"))
	eventually(t, "the forged message is tried", func() bool {
		waits := messages(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting}})
		return len(waits) == 1 && waits[0].Tries > 0
	})
	h.payPal.Disturb(nil)
	now.pass(time.Hour)
	inState(t, box, inbox.Discarded, 1)
	h.payPal.Disturb(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true })
	h.mustTake(h.payPal.IPN(payment("I-UNSURE").fields()))

	return []replayed{
		{"I-BOTH", "paypal-live", []string{"ipn " + first + " VERDICT_FIRST", "webhook " + second + " VERDICT_DUPLICATE"}},
		{"I-BOTH", "paypal-test", []string{"ipn " + third + " VERDICT_FIRST"}},
	}
}

// A replaySummary is the last line of noted-replay -o json.
type replaySummary struct {
	Messages int
	Asides   map[string]int `json:"asides_by_kind"`
	Left     map[string]int `json:"left_out_of_inbox_by_reason"`
	Copies   int            `json:"copies_left_out_of_inbox"`
}

func readReplay(t *testing.T, output string) (all []replayed, summary replaySummary) {
	t.Helper()
	for line := range strings.Lines(output) {
		var l struct {
			Donation *struct {
				Donation struct {
					Series string `json:"series_id"`
					Ledger string
				}
				Messages []struct {
					At, Channel, Verdict, From string
				}
			}
			Summary *replaySummary
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("reading %q: %v", line, err)
		}
		if l.Summary != nil {
			summary = *l.Summary
		}
		if l.Donation == nil {
			continue
		}
		r := replayed{Series: l.Donation.Donation.Series, Ledger: l.Donation.Donation.Ledger}
		for _, m := range l.Donation.Messages {
			if !strings.HasPrefix(m.From, "inbox ") {
				t.Errorf("a message is from %q, want a row of the inbox", m.From)
			}
			r.Verdicts = append(r.Verdicts, m.Channel+" "+m.At[:len("2006-01-02T15:04")]+" "+m.Verdict)
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b replayed) int { return strings.Compare(a.Ledger, b.Ledger) })
	return all, summary
}
