package gateway_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
)

// snippet returns the one block of a language in README.md.
func snippet(t *testing.T, language string) string {
	t.Helper()
	readme := must(os.ReadFile("README.md"))
	found := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(found) != 1 {
		t.Fatalf("README.md has %d blocks of %s, want one", len(found), language)
	}
	return string(found[0][1])
}

// The example in README.md is the event that the downstream gets for the body in it.
func TestReadmeEvent(t *testing.T) {
	example := snippet(t, "json")
	var want event.Event
	if err := json.Unmarshal([]byte(example), &want); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, func(_ *gateway.Config, o *servertest.Options) { o.Redis, o.Frozen = "", want.Time() })
	h.mustTake(h.payPal.IPNBody(data(t, want).Original.Body))
	got := h.downstream.got()[0]
	got.SetID(want.ID()) // Noted's own, new each time
	var shown, delivered any
	json.Unmarshal([]byte(example), &shown)
	json.Unmarshal(must(json.Marshal(got)), &delivered)
	if diff := cmp.Diff(shown, delivered); diff != "" {
		t.Errorf("README.md shows another event than the downstream gets (- shown, + delivered):\n%s", diff)
	}
	types := string(must(os.ReadFile("README.md")))
	for e := range len(notedv1.Event_name) - 1 {
		name := strings.ToLower(strings.TrimPrefix(eventName(e+1), "EVENT_"))
		if !strings.Contains(types, "`"+name+"`") {
			t.Errorf("README.md does not name the event %s", name)
		}
	}
}

// A receiver from README.md, as a process.
type receiver struct {
	*processtest.Process
	t   *testing.T
	dir string // its working directory, where it keeps events
}

// newReceiver starts the receiver of README.md in a language.
func newReceiver(t *testing.T, language string) receiver {
	t.Helper()
	c := map[string]struct {
		program, file string
		args          func(addr string) []string
	}{
		// Without a php.ini, as in PHP's container images, PHP displays errors, and then
		// answers 200 after a fatal error unless told otherwise. A test makes a symbolic
		// link and removes it, so PHP must not remember where it led.
		"php": {"php", "donations.php", func(addr string) []string {
			return []string{"-d", "display_errors=1", "-d", "realpath_cache_size=0", "-S", addr, "donations.php"}
		}},
		"python": {"python3", "donations.py", func(string) []string { return []string{"donations.py"} }},
	}[language]
	path, err := exec.LookPath(c.program)
	if err != nil {
		t.Fatalf("%s is not installed; .ci/need %s installs it", c.program, c.program)
	}
	addr := processtest.FreeAddress()
	env := []string{"PORT=" + processtest.Port(addr)}
	r := receiver{processtest.New(t, addr, env, append([]string{path}, c.args(addr)...)...), t, ""}
	r.dir = filepath.Dir(r.Log)
	// The file may hold a second secret while one replaces the other.
	secrets := secret + "\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq=\n"
	for name, content := range map[string]string{c.file: snippet(t, language), "forward.secret": secrets} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// kept reads the files in a folder of the receiver, by name without the ending.
func (r receiver) kept(folder string) map[string]json.RawMessage {
	r.t.Helper()
	kept := map[string]json.RawMessage{}
	for _, name := range must(filepath.Glob(filepath.Join(r.dir, folder, "*.json"))) {
		kept[strings.TrimSuffix(filepath.Base(name), ".json")] = must(os.ReadFile(name))
	}
	return kept
}

// post sends a body under an id, a time and a signature, and returns the status.
func (r receiver) post(id string, at time.Time, body, signature string) int {
	r.t.Helper()
	request := must(http.NewRequest("POST", "http://"+r.Addr+"/donations", strings.NewReader(body)))
	request.Header.Set("webhook-id", id)
	request.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	request.Header.Set("webhook-signature", signature)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, must(os.ReadFile(r.Log)))
	}
	response.Body.Close()
	return response.StatusCode
}

// signed posts a body with the right signature.
func (r receiver) signed(id, body string) int {
	r.t.Helper()
	now := time.Now()
	return r.post(id, now, body, must(must(standardwebhooks.NewWebhook(secret)).Sign(id, now, []byte(body))))
}

// inReceivers runs a test with each receiver of README.md.
func inReceivers(t *testing.T, test func(t *testing.T, language string, r receiver)) {
	for _, language := range []string{"php", "python"} {
		t.Run(language, func(t *testing.T) { test(t, language, newReceiver(t, language)) })
	}
}

// The receivers in README.md accept signed events, once, and nothing else.
func TestReadmeReceivers(t *testing.T) {
	inReceivers(t, func(t *testing.T, language string, r receiver) {
		h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) {
			c.ForwardTo = "http://" + r.Addr + "/donations"
		})
		gift := payment("I-README")
		h.mustTake(h.payPal.IPN(gift.fields()))
		h.mustTake(h.payPal.Webhook(gift.event()))
		booked := r.kept("donations")
		if len(booked) != 1 {
			t.Fatalf("booked %q, want one donation\n%s", booked, must(os.ReadFile(r.Log)))
		}
		for id, text := range booked {
			var donation map[string]string
			err := json.Unmarshal(text, &donation)
			want := h.notes("paypal-live")[0].GetDonationId()
			if err != nil || donation["series_id"] != "I-README" || id != want {
				t.Errorf("booked %s as %s, %v", text, id, err)
			}
		}

		if trouble := checked(t, h.config)["downstream"]; trouble != "" || len(r.kept("donations"))+len(r.kept("for-a-person")) != 1 {
			t.Errorf("the ping of the check: %q, and kept are %q and %q", trouble, r.kept("donations"), r.kept("for-a-person"))
		}

		body := `{"id":"forged","type":"noted.donation.payment","data":{"donation":{}}}`
		signer, now := must(standardwebhooks.NewWebhook(secret)), time.Now()
		emptyKey := must(must(standardwebhooks.NewWebhookRaw(nil)).Sign("forged", now, []byte(body)))
		for name, post := range map[string]struct {
			at        time.Time
			signature string
		}{
			"old":        {now.Add(-time.Hour), must(signer.Sign("forged", now.Add(-time.Hour), []byte(body)))},
			"to come":    {now.Add(time.Hour), must(signer.Sign("forged", now.Add(time.Hour), []byte(body)))},
			"forged":     {now, must(signer.Sign("forged", now, []byte(body+" ")))},
			"other id":   {now, must(signer.Sign("other", now, []byte(body)))},
			"other time": {now, must(signer.Sign("forged", now.Add(time.Minute), []byte(body)))},
			"no scheme":  {now, strings.TrimPrefix(must(signer.Sign("forged", now, []byte(body))), "v1,")},
			"no key":     {now, emptyKey},
			"nothing":    {now, ""},
		} {
			if status := r.post("forged", post.at, body, post.signature); status != http.StatusUnauthorized {
				t.Errorf("%s: got %d, want 401", name, status)
			}
		}
		if language == "php" { // which reads its secret each time
			os.Remove(filepath.Join(r.dir, "forward.secret"))
			if status := r.post("forged", now, body, emptyKey); status != http.StatusInternalServerError {
				t.Errorf("signed with no key, where the receiver has none: got %d, want 500", status)
			}
		}
		if booked := r.kept("donations"); len(booked) != 1 {
			t.Errorf("booked %q", booked)
		}
	})
}

// everyType makes a PayPal message for each type of event.
func everyType(p *paypaltest.PayPal) map[string]paypaltest.Delivery {
	ipn := func(series string, changes ...string) paypaltest.Delivery {
		fields := payment(series).fields()
		for i := 0; i < len(changes); i += 2 {
			fields.Set(changes[i], changes[i+1])
		}
		return p.IPN(fields)
	}
	old := payment("I-OLD")
	old.at = time.Now().Add(-60 * 24 * time.Hour)
	return map[string]paypaltest.Delivery{
		"noted.donation.payment":           ipn("I-1"),
		"noted.donation.payment_pending":   ipn("I-2", "payment_status", "Pending"),
		"noted.donation.payment_failed":    ipn("I-3", "payment_status", "Failed"),
		"noted.donation.refund":            ipn("I-4", "payment_status", "Refunded", "parent_txn_id", "9P4"),
		"noted.donation.reversal":          ipn("I-5", "payment_status", "Reversed", "parent_txn_id", "9P5"),
		"noted.donation.reversal_canceled": ipn("I-6", "payment_status", "Canceled_Reversal", "parent_txn_id", "9P6"),
		"noted.donation.adjustment":        ipn("I-7", "txn_type", "adjustment", "parent_txn_id", "9P7"),
		"noted.donation.signup":            ipn("I-8", "txn_type", "subscr_signup", "subscr_id", "I-8"),
		"noted.donation.change":            ipn("I-9", "txn_type", "subscr_modify", "subscr_id", "I-9"),
		"noted.donation.suspension":        ipn("I-10", "txn_type", "recurring_payment_suspended"),
		"noted.donation.cancellation":      ipn("I-11", "txn_type", "subscr_cancel", "subscr_id", "I-11"),
		"noted.donation.expiry":            ipn("I-12", "txn_type", "subscr_eot", "subscr_id", "I-12"),
		"noted.donation.dispute":           ipn("I-13", "txn_type", "new_case", "case_id", "PP-D-13"),
		"noted.donation.reactivation": p.Webhook(
			`{"id":"WH-14","event_type":"BILLING.SUBSCRIPTION.RE-ACTIVATED","resource":{"id":"I-14"}}`),
		"noted.undecided": p.IPN(old.fields()),
		"noted.unknown":   ipn("I-15", "txn_type", "brand_new"),
	}
}

// The receivers keep every type of event in its place: donations in the books, events for
// a person beside them, with the reason and the message.
func TestReadmeReceiversTakeEveryType(t *testing.T) {
	inReceivers(t, func(t *testing.T, _ string, r receiver) {
		h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) {
			c.ForwardTo, c.ForwardUnknown = "http://"+r.Addr+"/donations", true
		})
		messages := everyType(h.payPal)
		for number := range len(notedv1.Event_name) - 1 {
			name := "noted.donation." + strings.ToLower(strings.TrimPrefix(eventName(number+1), "EVENT_"))
			if _, ok := messages[name]; !ok {
				t.Errorf("this test sends no %s", name)
			}
		}
		for _, kind := range gateway.PersonKinds {
			if _, ok := messages[kind]; !ok {
				t.Errorf("this test sends no %s", kind)
			}
		}
		for kind, message := range messages {
			donations, person := r.kept("donations"), r.kept("for-a-person")
			if status, reason := h.deliver(message); status != http.StatusOK {
				t.Errorf("%s: got %d %s\n%s", kind, status, reason, must(os.ReadFile(r.Log)))
				continue
			}
			added := func(folder string, before map[string]json.RawMessage) (added []json.RawMessage) {
				for id, text := range r.kept(folder) {
					if _, ok := before[id]; !ok {
						added = append(added, text)
					}
				}
				return added
			}
			newDonations, newPerson := added("donations", donations), added("for-a-person", person)
			event, isDonation := strings.CutPrefix(kind, "noted.donation.")
			switch {
			case isDonation && len(newDonations) == 1 && len(newPerson) == 0:
				var donation struct{ Event string }
				if json.Unmarshal(newDonations[0], &donation); donation.Event != "EVENT_"+strings.ToUpper(event) {
					t.Errorf("%s: booked %s", kind, newDonations[0])
				}
			case !isDonation && len(newDonations) == 0 && len(newPerson) == 1:
				var d told
				json.Unmarshal(newPerson[0], &d)
				isWhole := len(d.Open) == 1 && d.Original.Body == string(message.Body)
				if !isWhole || d.Open[0].Reason == "" || d.Open[0].Explanation == "" {
					t.Errorf("%s: a person is shown %s", kind, newPerson[0])
				}
			default:
				t.Errorf("%s: booked %s, and for a person there is %s", kind, newDonations, newPerson)
			}
		}
	})
}

// The receivers do not accept unknown events, or events that they cannot keep, so these
// come again.
func TestReadmeReceiversAcceptNothingThatTheyDoNotKeep(t *testing.T) {
	const good = `{"type":"noted.donation.payment","data":{"donation":{"series_id":"I-1"}}}`
	inReceivers(t, func(t *testing.T, _ string, r receiver) {
		refuses := func(name, id, body string) {
			t.Helper()
			if status := r.signed(id, body); status < 400 {
				t.Errorf("%s: got %d, want an error", name, status)
			}
		}
		accepts := func(id, body string) {
			t.Helper()
			if status := r.signed(id, body); status != http.StatusNoContent {
				t.Errorf("%s: got %d, want 204\n%s", id, status, must(os.ReadFile(r.Log)))
			}
		}
		for _, kind := range []string{"noted.brand_new", "noted.donation.brand_new", "noted.donation.", "payment", ""} {
			refuses("type "+kind, "unknown-type", strings.Replace(good, "noted.donation.payment", kind, 1))
		}
		for _, body := range []string{
			"", "{", "[]", "null", "7", `"text"`, "{}", `{"type":7}`, `{"type":null}`,
			strings.Replace(good, `"noted.donation.payment"`, "true", 1),
			"\xff", good[:len(good)-1], good + "}",
			`{"type":"noted.donation.payment"}`, `{"type":"noted.donation.payment","data":{}}`,
			`{"type":"noted.undecided"}`,
		} {
			refuses("body "+body, "broken", body)
		}
		if found := must(filepath.Glob(filepath.Join(r.dir, "*", "*.json"))); len(found) != 0 {
			t.Errorf("kept %q of the refused events", found)
		}

		accepts("whole", good)
		const forPerson = `{"type":"noted.undecided","data":{"open":[]}}`
		for folder, body := range map[string]string{"donations": good, "for-a-person": forPerson} {
			os.MkdirAll(filepath.Join(r.dir, folder), 0o700)
			full := filepath.Join(r.dir, folder, ".full.tmp")
			if err := os.Symlink("/dev/full", full); err != nil {
				t.Fatal(err)
			}
			refuses("a full disk", "full", body)
			os.Remove(full)
			occupied := filepath.Join(r.dir, folder, "full.json")
			if err := os.MkdirAll(filepath.Join(occupied, "below"), 0o700); err != nil {
				t.Fatal(err)
			}
			refuses("a name that is taken by a folder", "full", body)
			os.RemoveAll(occupied)
			accepts("full", body) // it comes again, and there is room
			accepts("full", body)
			if text := r.kept(folder)["full"]; !json.Valid(text) {
				t.Errorf("kept %q in %s", text, folder)
			}
		}
	})
}
