package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/url"
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

// The example in README.md is what the downstream gets for the body in it.
func TestReadmeEvent(t *testing.T) {
	example := snippet(t, "json")
	var want event.Event
	if err := json.Unmarshal([]byte(example), &want); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, func(_ *gateway.Config, o *servertest.Options) { o.Redis, o.Frozen = "", want.Time() })
	h.mustTake(h.payPal.ipnBody(data(t, want).Original.Body))
	got := h.shop.got()[0]
	got.SetID(want.ID()) // Noted's own, new each time
	var shown, handedOn any
	json.Unmarshal([]byte(example), &shown)
	json.Unmarshal(must(json.Marshal(got)), &handedOn)
	if diff := cmp.Diff(shown, handedOn); diff != "" {
		t.Errorf("README.md shows another event than the downstream gets (- shown, + handed on):\n%s", diff)
	}
	types := string(must(os.ReadFile("README.md")))
	for e := range 14 {
		if name := strings.ToLower(strings.TrimPrefix(eventName(e+1), "EVENT_")); !strings.Contains(types, "`"+name+"`") {
			t.Errorf("README.md does not name the event %s", name)
		}
	}
}

// The receivers in README.md take what is signed, once, and nothing else.
func TestReadmeReceivers(t *testing.T) {
	for language, c := range map[string]struct {
		program, file string
		args          func(addr string) []string
	}{
		"php":    {"php", "donations.php", func(addr string) []string { return []string{"-S", addr, "donations.php"} }},
		"python": {"python3", "donations.py", func(string) []string { return []string{"donations.py"} }},
	} {
		t.Run(language, func(t *testing.T) {
			path, err := exec.LookPath(c.program)
			if err != nil {
				t.Skip(c.program + " is not installed")
			}
			receiver := newProcess(t, path, func(addr, _ string) []string { return c.args(addr) })
			_, port, _ := strings.Cut(receiver.addr, ":")
			t.Setenv("PORT", port)
			dir := filepath.Dir(receiver.log)
			for name, content := range map[string]string{c.file: snippet(t, language), "forward.secret": secret + "\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := receiver.start(); err != nil {
				t.Fatal(err)
			}
			h := newHouse(t, func(c *gateway.Config, _ *servertest.Options) { c.ForwardTo = "http://" + receiver.addr + "/donations" })
			gift := payment("I-README")
			h.mustTake(h.payPal.ipn(gift.fields()))
			h.mustTake(h.payPal.webhook(gift.event()))
			booked, _ := filepath.Glob(filepath.Join(dir, "*.json"))
			if len(booked) != 1 {
				text, _ := os.ReadFile(receiver.log)
				t.Fatalf("booked %q, want one donation\n%s", booked, text)
			}
			var donation map[string]string
			if err := json.Unmarshal(must(os.ReadFile(booked[0])), &donation); err != nil || donation["series_id"] != "I-README" {
				t.Errorf("booked %v, %v", donation, err)
			}

			signer, body := must(standardwebhooks.NewWebhook(secret)), `{"id":"forged","data":{"donation":{}}}`
			now := time.Now()
			for name, post := range map[string]struct {
				at        time.Time
				signature string
			}{
				"old":       {now.Add(-time.Hour), must(signer.Sign("forged", now.Add(-time.Hour), []byte(body)))},
				"forged":    {now, must(signer.Sign("forged", now, []byte(body+" ")))},
				"no scheme": {now, strings.TrimPrefix(must(signer.Sign("forged", now, []byte(body))), "v1,")},
				"nothing":   {now, ""},
			} {
				request := must(http.NewRequest("POST", "http://"+receiver.addr+"/donations", strings.NewReader(body)))
				request.Header.Set("webhook-id", "forged")
				request.Header.Set("webhook-timestamp", strconv.FormatInt(post.at.Unix(), 10))
				request.Header.Set("webhook-signature", post.signature)
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s: got %d, want 401", name, response.StatusCode)
				}
			}
			if booked, _ := filepath.Glob(filepath.Join(dir, "*.json")); len(booked) != 1 {
				t.Errorf("booked %q", booked)
			}
		})
	}
}

// ipnBody makes a genuine IPN of a body.
func (p *payPal) ipnBody(body string) delivery {
	d := p.ipn(url.Values{})
	d.body = []byte(body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[body] = true
	return d
}
