package gateway_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// sameChecksum makes a body with a given prefix, suffix and CRC-32. Four bytes of
// printable ASCII between them set the checksum; it tries numbers before them until four
// such bytes exist.
func sameChecksum(prefix, suffix string, sum uint32) []byte {
	table := crc32.IEEETable
	var index [256]byte // :: the high byte of an entry → its place in the table
	for i, entry := range table {
		index[entry>>24] = byte(i)
	}
	// The register before the suffix, computed back from the value after it.
	after := ^sum
	for i := len(suffix) - 1; i >= 0; i-- {
		place := index[after>>24]
		after = (after^table[place])<<8 | uint32(place^suffix[i])
	}
	for number := 0; ; number++ {
		start := fmt.Sprintf("%s%d.", prefix, number)
		before := ^crc32.ChecksumIEEE([]byte(start))
		// The bytes of the other register say which table entries lead from the one to
		// the other, the last entry first.
		var places [4]byte
		register := after
		for i := 3; i >= 0; i-- {
			places[i] = index[register>>24]
			register = (register ^ table[places[i]]) << 8
		}
		patch := make([]byte, 4)
		register = before
		for i, place := range places {
			patch[i] = byte(register) ^ place
			register = register>>8 ^ table[place]
		}
		body := []byte(start + string(patch) + suffix)
		if !bytes.ContainsFunc(patch, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
			return body
		}
	}
}

// forged is a delivery with the headers of a genuine delivery and the forger's body with
// the same checksum.
func forged(genuine paypaltest.Delivery, g gift) paypaltest.Delivery {
	event := strings.TrimSuffix(g.event(), "}")
	genuine.Body = sameChecksum(event+`,"note":"`, `"}`, crc32.ChecksumIEEE(genuine.Body))
	return genuine
}

// The holder of one genuine delivery can make another body with its checksum, which the
// signature covers as well. PayPal does not say that its API would notice. Under a known
// transmission id the body is refused, whatever verifies webhooks.
func TestAnotherBodyUnderAKnownTransmission(t *testing.T) {
	genuineBody := payment("I-GENUINE").event()
	api := newPayPalAPI(t)
	api.genuine[genuineBody] = true
	for _, way := range []string{gateway.VerifyBySignature, gateway.VerifyByAPI} {
		t.Run(way, func(t *testing.T) {
			h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) {
				c.WebhookVerify, c.PayPalAPI = way, api.URL
				c.PayPalClientID, c.PayPalClientSecret = "client", "app-secret"
			})
			genuine := h.payPal.Webhook(genuineBody)
			other := forged(genuine, payment("I-FORGED"))
			api.genuine[string(other.Body)] = true
			h.mustTake(genuine)
			for range 2 {
				if status, reason := h.deliver(other); status != 400 || reason != "other_body" {
					t.Errorf("the forged body got %d %s, want 400 other_body", status, reason)
				}
				h.mustTake(genuine) // PayPal sends it again
			}
			events, notes := h.downstream.got(), h.notes("paypal-live")
			if len(events) != 1 || len(notes) != 1 || notes[0].GetDonation().GetSeriesId() != "I-GENUINE" {
				t.Errorf("the downstream got %v, Noted holds %v; want the genuine donation alone", events, notes)
			}
			if !strings.Contains(h.log.String(), `"reason":"other_body"`) {
				t.Errorf("the log does not tell of the forgery:\n%s", h.log)
			}
			h.counts(`noted_gateway_messages_total{channel="webhook",outcome="other_body"} 2`,
				`noted_gateway_verify_seconds_count{channel="webhook",outcome="invalid"} 2`,
				`noted_gateway_transmissions 1`, `noted_gateway_transmissions_dropped_total 0`)
		})
	}
}

// An unverified transmission is not remembered, so a forger who guesses an id blocks no
// genuine message. A message that could not be delivered is remembered nevertheless.
func TestWhatIsRemembered(t *testing.T) {
	h := newHarness(t)
	genuine := h.payPal.Webhook(payment("I-LATER").event())
	for range 3 {
		if status, reason := h.deliver(genuine.Flipped("completed")); status != 400 || reason != "invalid" {
			t.Errorf("a body that is not signed: got %d %s, want 400 invalid", status, reason)
		}
	}
	h.counts(`noted_gateway_transmissions 0`)
	h.server.Stop()
	if status, reason := h.deliver(genuine); status != 503 || reason != "noted" {
		t.Errorf("without Noted: got %d %s, want 503 noted", status, reason)
	}
	if status, reason := h.deliver(forged(genuine, payment("I-FORGED"))); status != 400 || reason != "other_body" {
		t.Errorf("the forged body got %d %s, want 400 other_body", status, reason)
	}
	if status, reason := h.deliver(genuine); status != 503 || reason != "noted" { // no refusal for good
		t.Errorf("the redelivery got %d %s, want 503 noted", status, reason)
	}
	h.counts(`noted_gateway_transmissions 1`)
}

// An id is remembered until its transmission is too old to be taken. When the memory is
// full the oldest is dropped, and a metric counts it.
func TestTransmissionsAreForgotten(t *testing.T) {
	now := &clock{now: time.Now()}
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.Now, c.WebhookMaxAge = now.time, time.Hour })
	h.gateway.SetMostTransmissions(3)
	if gateway.MostTransmissions != 100_000 {
		t.Errorf("%d are remembered; change the files below too", gateway.MostTransmissions)
	}
	for file, says := range map[string]string{
		"README.md":         "A gateway remembers 100,000;",
		"../../SECURITY.md": "at most the last 100,000.",
		"../python/src/noted/core/receiver/webhook.py": "most: int = 100_000",
		"../ts/src/receiver/transmission.ts":           "const most = 100_000;",
	} {
		if !strings.Contains(string(must(os.ReadFile(file))), says) {
			t.Errorf("%s does not say %q", file, says)
		}
	}
	h.payPal.Serve("CERT-1", h.payPal.Signer(paypaltest.CertName, -time.Hour, 5*time.Hour))
	take := func(series string) paypaltest.Delivery {
		d := h.payPal.Signed([]byte(payment(series).event()), now.time(), paypaltest.WebhookID, "CERT-1", paypaltest.SigningKey())
		h.mustTake(d)
		return d
	}
	first := take("I-1")
	for i := 2; i <= 3; i++ {
		take(fmt.Sprintf("I-%d", i))
	}
	h.counts(`noted_gateway_transmissions 3`, `noted_gateway_transmissions_dropped_total 0`)
	last := take("I-4")
	h.counts(`noted_gateway_transmissions 3`, `noted_gateway_transmissions_dropped_total 1`)
	if status, reason := h.deliver(forged(last, payment("I-FORGED"))); status != 400 || reason != "other_body" {
		t.Errorf("under the newest id: got %d %s, want 400 other_body", status, reason)
	}
	h.mustTake(first) // its id is forgotten, and it is a duplicate
	now.pass(time.Hour + time.Minute)
	take("I-5")
	h.counts(`noted_gateway_transmissions 1`, `noted_gateway_transmissions_dropped_total 2`)
}

// The remaining gap and the remedy of the manual: if the forged body comes first, the
// genuine body is refused until the forged donation is forgotten and the gateway
// restarts.
func TestForgedBodyComesFirst(t *testing.T) {
	h := newHarness(t)
	gift := payment("I-FIRST")
	genuine := h.payPal.Webhook(gift.event())
	gift.amount = "1.00"
	h.mustTake(forged(genuine, gift)) // nothing tells that it is not PayPal's
	if status, reason := h.deliver(genuine); status != 400 || reason != "other_body" {
		t.Errorf("the genuine body got %d %s, want 400 other_body", status, reason)
	}
	note := h.notes("paypal-live")[0]
	_, err := h.noted.Forget(t.Context(), &client.ForgetRequest{
		Ledger: "paypal-live", SeriesId: "I-FIRST", DonationId: note.GetDonationId(), Reason: "forged",
	})
	if err != nil {
		t.Fatal(err)
	}
	h.gateway, h.front = h.open()
	h.mustTake(genuine)
	if notes := h.notes("paypal-live"); len(notes) != 1 || notes[0].GetDonation().GetAmount() != "25.00" {
		t.Errorf("Noted holds %v, want the genuine donation", notes)
	}
}

// A transmission that PayPal signs again is remembered for as long as the later signature
// counts.
func TestTransmissionThatIsSignedAnew(t *testing.T) {
	now := &clock{now: time.Now()}
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.Now, c.WebhookMaxAge = now.time, time.Hour })
	h.payPal.Serve("CERT-1", h.payPal.Signer(paypaltest.CertName, -time.Hour, 5*time.Hour))
	body := []byte(payment("I-ANEW").event())
	var latest paypaltest.Delivery
	for range 2 {
		latest = h.payPal.Signed(body, now.time(), paypaltest.WebhookID, "CERT-1", paypaltest.SigningKey()) // the id is the body's
		h.mustTake(latest)
		now.pass(40 * time.Minute)
	}
	if status, reason := h.deliver(forged(latest, payment("I-FORGED"))); status != 400 || reason != "other_body" {
		t.Errorf("the forged body got %d %s, want 400 other_body", status, reason)
	}
	h.counts(`noted_gateway_transmissions 1`)
}

// Of many simultaneous bodies under one id, one is taken.
func TestBodiesAtOnceUnderOneTransmission(t *testing.T) {
	h := newHarness(t)
	genuine := h.payPal.Webhook(payment("I-0").event())
	answers := make(chan int)
	const bodies = 20
	for i := range bodies {
		d := genuine
		if i > 0 {
			d = forged(genuine, payment(fmt.Sprintf("I-%d", i)))
		}
		go func() {
			status, _, _ := deliver(h.front.URL, d)
			answers <- status
		}()
	}
	counts := map[int]int{}
	for range bodies {
		counts[<-answers]++
	}
	if counts[200] != 1 || counts[400] != bodies-1 {
		t.Errorf("the answers were %v, want 200 once and 400 for all others", counts)
	}
}
