package gateway_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// readmeToken runs the command of README.md that makes a gateway's token.
func readmeToken(t *testing.T) (token, line string) {
	t.Helper()
	found := regexp.MustCompile("```\nnotectl (token .+)\n```").FindSubmatch(must(os.ReadFile("README.md")))
	if found == nil {
		t.Fatal("README.md shows no notectl token")
	}
	printed, err := exec.Command(processtest.Built(t, "notectl"), strings.Fields(string(found[1]))...).Output()
	if err != nil {
		t.Fatalf("notectl %s: %v", found[1], err)
	}
	token, line, _ = strings.Cut(strings.TrimSpace(string(printed)), "\n")
	return token, line
}

// The rights that README.md gives a gateway suffice for all its work.
func TestReadmeRights(t *testing.T) {
	token, line := readmeToken(t)
	callers, log := filepath.Join(t.TempDir(), "callers.json"), &buffer{}
	writeCallers(t, callers, line)
	h := newHarness(t, func(c *gateway.Config, o *servertest.Options) {
		o.Callers, o.Log = callers, log
		c.NotedClient.Token, c.SandboxLedger = presents(token), "paypal-sandbox"
		c.Hold, c.ForwardTimeout = time.Second, 900*time.Millisecond
	})
	if got := lookAt(t, h.front.URL); got.status != http.StatusOK {
		t.Errorf("/readyz is %d %s", got.status, got.text)
	}

	gift := payment("I-RIGHTS")
	refused := func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true }
	h.downstream.refusing(refused)
	if status, reason := h.deliver(h.payPal.IPN(gift.fields())); status != 503 || reason != "forward" { // released
		t.Errorf("with the downstream away: got %d %s, want 503 forward", status, reason)
	}
	extended := make(chan struct{})
	h.downstream.refusing(func(_ http.ResponseWriter, r *http.Request, _ event.Event) bool {
		select { // long enough for the hold to be extended
		case <-extended:
		case <-r.Context().Done():
		}
		return false
	})
	go func() {
		defer close(extended)
		deadline := time.Now().Add(10 * time.Second)
		for !strings.Contains(log.String(), "ExtendHold") && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
	}()
	h.mustTake(h.payPal.IPN(gift.fields())) // FIRST and settled
	h.downstream.refusing(nil)
	h.mustTake(h.payPal.Webhook(gift.event())) // DUPLICATE
	test := payment("I-TEST").fields()
	test.Set("test_ipn", "1")
	h.mustTake(h.payPal.IPN(test))
	old := payment("I-OLD")
	old.at = time.Now().Add(-60 * 24 * time.Hour)
	h.mustTake(h.payPal.IPN(old.fields()))

	types := ""
	for _, e := range h.downstream.got() {
		types += e.Type() + " "
	}
	if want := "noted.donation.payment noted.donation.payment noted.undecided "; types != want {
		t.Errorf("the downstream got %q, want %q", types, want)
	}
	for _, call := range []string{"NoteDonation", "ReleaseDonation", "ExtendHold", "SettleDonation"} {
		if !strings.Contains(log.String(), call) {
			t.Errorf("the gateway never called %s: this test does not show that it may", call)
		}
	}
	if strings.Contains(log.String(), "audit: denied") {
		t.Errorf("the gateway was denied a call:\n%s", log)
	}
}

// The manual, the three programs and Noted's file of callers agree on the existing
// rights, and on the rights that a gateway needs.
func TestProgramsAgreeOnRights(t *testing.T) {
	sentence := "A gateway needs the verb note in each of its ledgers"
	for name, args := range map[string][]string{
		"noted": {"-help"}, "noted-gateway": {"-help"}, "notectl": {"token", "-help"},
	} {
		printed, err := exec.Command(processtest.Built(t, name), args...).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !strings.Contains(strings.Join(strings.Fields(string(printed)), " "), sentence) {
			t.Errorf("%s %s does not say: %s", name, strings.Join(args, " "), sentence)
		}
	}
	readme := strings.ReplaceAll(strings.Join(strings.Fields(string(must(os.ReadFile("README.md")))), " "), "`", "")
	if !strings.Contains(readme, sentence) {
		t.Errorf("README.md does not say: %s", sentence)
	}
	if _, line := readmeToken(t); !strings.HasSuffix(line, `"verbs":["note"]}`) {
		t.Errorf("README.md grants %s, want the verb note", line)
	}

	// Each program lists the verbs when it is given an unknown verb.
	callers := filepath.Join(t.TempDir(), "callers.json")
	writeCallers(t, callers, caller("a", "token", `"*"`, `"nonsense"`))
	verbs := func(expression, name string, args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // one that takes it would run on
		defer cancel()
		printed, err := exec.CommandContext(ctx, processtest.Built(t, name), args...).CombinedOutput()
		found := regexp.MustCompile(expression).FindSubmatch(printed)
		if err == nil || found == nil {
			t.Fatalf("%s takes an unknown verb, or does not list the known ones: %v\n%s", name, err, printed)
		}
		return string(found[1])
	}
	server := verbs(`there is no verb "nonsense"; there are (.+)`, "noted", "-dev",
		"-listen", "127.0.0.1:0", "-http-listen", "off", "-admin-listen", "off", "-callers", callers)
	notectl := verbs(`"nonsense" is not a verb: use (.+)`, "notectl", "token", "-verbs", "nonsense", "a")
	if notectl != server {
		t.Errorf("notectl grants %s, and the server knows %s", notectl, server)
	}
	doctor := string(must(os.ReadFile("../cmd/notectl/doctor/contract.go")))
	for verb := range strings.SplitSeq(server, ", ") {
		if !strings.Contains(doctor, `{"`+verb+`", func(`) {
			t.Errorf("notectl doctor does not try the verb %s", verb)
		}
		for name, args := range map[string][]string{"noted": {"-help"}, "notectl": {"token", "-help"}} {
			printed := must(exec.Command(processtest.Built(t, name), args...).Output())
			if !regexp.MustCompile(`(?:\b` + verb + `)\s+(?:grants|allows)\s`).Match(printed) {
				t.Errorf("%s %s does not say what the verb %s is for", name, strings.Join(args, " "), verb)
			}
		}
	}
}
