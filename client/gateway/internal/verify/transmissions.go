package verify

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/metrics"
)

// MostTransmissions limits the memory of transmissions to about 20 MB: enough for 1,300
// webhooks an hour over 73 hours.
const MostTransmissions = 100_000

// transmissions remembers the body of each verified transmission. PayPal's signature
// covers only the CRC-32 of a body, so the holder of one delivery can make another body
// with that checksum. Another body under a known id is refused.
//
// It remembers verified transmissions only, so other senders can neither fill the memory
// nor block a genuine body. One gap remains: a forger may hold a genuine delivery that
// did not come to this gateway since its start. If the forged body comes first, the
// gateway refuses the genuine body.
type transmissions struct {
	metrics *metrics.Metrics

	mu    sync.Mutex
	most  int
	known map[string]transmitted // :: transmission id → its first body
	order []string               // the ids, oldest first
}

// transmitted is the memory of one transmission.
type transmitted struct {
	body  [sha256.Size]byte
	until time.Time // after this time the transmission is too old to be taken
}

var errOtherBody = &answer.Refusal{
	Status: http.StatusBadRequest, Reason: "other_body",
	Text: "another body came under this transmission id before, so one of the two is forged; " +
		"compare the delivered donation with the event in PayPal's dashboard",
}

func newTransmissions(metrics *metrics.Metrics) *transmissions {
	return &transmissions{metrics: metrics, most: MostTransmissions, known: make(map[string]transmitted)}
}

// admit remembers a verified transmission, or refuses it if another body came under its
// id. A full memory drops the oldest transmission, which PayPal repeats for the shortest
// time.
func (t *transmissions) admit(id string, body []byte, until, now time.Time) error {
	sum := sha256.Sum256(body)
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.order) > 0 && t.known[t.order[0]].until.Before(now) {
		t.drop()
	}
	defer func() { t.metrics.Transmissions(len(t.known)) }()
	before, ok := t.known[id]
	if ok && before.body != sum && !before.until.Before(now) {
		return errOtherBody
	}
	if !ok {
		if len(t.order) >= t.most {
			t.drop()
			t.metrics.TransmissionDropped()
		}
		t.order = append(t.order, id)
	}
	if !ok || before.until.Before(until) { // signed again
		t.known[id] = transmitted{body: sum, until: until}
	}
	return nil
}

// drop forgets the oldest transmission.
func (t *transmissions) drop() {
	delete(t.known, t.order[0])
	t.order = t.order[1:]
}
