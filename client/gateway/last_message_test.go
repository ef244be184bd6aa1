package gateway_test

import (
	"net/http/httptest"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

var lastMessage = regexp.MustCompile(
	`(?m)^noted_gateway_last_message_timestamp_seconds\{account="(\w+)",channel="(\w+)"\} (\S+)$`)

// metrics is the gateway's page of metrics.
func (h *harness) metrics() string {
	recorder := httptest.NewRecorder()
	h.gateway.Metrics().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	return recorder.Body.String()
}

// lastMessages are the times of the metric, in seconds, by account and channel.
func (h *harness) lastMessages() map[string]float64 {
	all := map[string]float64{}
	for _, found := range lastMessage.FindAllStringSubmatch(h.metrics(), -1) {
		all[found[1]+" "+found[2]] = must(strconv.ParseFloat(found[3], 64))
	}
	return all
}

// TestLastMessage checks the time of the last message of each account on each channel. A
// test, a forgery and a message of a foreign receiver make no channel look alive. A
// gateway that starts knows the times in its inbox.
func TestLastMessage(t *testing.T) {
	for name, kept := range map[string]bool{"at once": false, "inbox": true} {
		t.Run(name, func(t *testing.T) {
			school := newDownstream(t)
			now := &movedClock{}
			var h *harness
			if kept {
				h, now = inboxHarness(t, two(school))
			} else {
				h = newHarness(t, two(school), func(c *gateway.Config, _ *servertest.Options) { c.Now = now.time })
			}
			began := time.Now().Add(-time.Second)
			h.mustTake(h.to(paypaltest.Account, payment("I-CHURCH")))
			h.mustTake(h.webhookFor(schoolWebhookID, payment("I-SCHOOL")))
			want := h.lastMessages()
			if len(want) != 2 || want["church ipn"] < float64(began.Unix()) || want["school webhook"] < float64(began.Unix()) {
				t.Fatalf("the last messages are %v, want church ipn and school webhook, since %d", want, began.Unix())
			}
			same := func(when string) {
				t.Helper()
				if got := h.lastMessages(); len(got) != 2 || got["church ipn"] != want["church ipn"] ||
					got["school webhook"] != want["school webhook"] {
					t.Errorf("%s the last messages are %v, want %v", when, got, want)
				}
			}
			now.pass(time.Minute)
			test := payment("I-TEST").fields()
			test.Set("test_ipn", "1")
			h.mustTake(h.payPal.IPN(test))
			h.deliver(h.to("stranger@example.net", payment("I-FOREIGN")))
			h.deliver(h.webhookFor("ANOTHER-WEBHOOK", payment("I-NO")))
			same("after a test, a foreign message and a forgery")
			if !kept {
				return
			}
			h.gateway.Close()
			h.gateway, h.front = h.open()
			eventually(t, "both accounts were looked at", func() bool { return len(h.lastMessages()) == 2 })
			same("after a restart")
		})
	}
}
