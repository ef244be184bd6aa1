package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/process"
)

// maxBusy is the number of messages that are processed at a time. Further messages get
// 503. This limits the cost of forged messages, because each needs a call to PayPal.
// Total body memory, partial reads included, is capped at maxBusy × MaxBody. Slow senders
// hold little of it and take no place from a complete message.
const maxBusy = 256

// receive takes one message, from its first byte to the answer.
func (g *Gateway) receive(w http.ResponseWriter, r *http.Request, c *process.Channel) {
	began := time.Now()
	outcome, kind, err := g.take(w, r, c)
	var refused *answer.Refusal
	if err != nil && !errors.As(err, &refused) {
		refused = answer.Again("internal", "something went wrong here; come again") // every part returns a refusal
	}
	if refused != nil {
		outcome = refused.Reason
		g.log.Refused(c.Name, kind, g.remote(r), refused)
	}
	g.metrics.Message(c.Name, outcome, refused, time.Since(began))
	answer.Write(w, refused)
}

// take does the work of receive. kind is PayPal's type of the message, set after
// verification.
func (g *Gateway) take(w http.ResponseWriter, r *http.Request, c *process.Channel) (outcome, kind string, err error) {
	body, err := g.read(w, r, c)
	defer g.room.free(cap(body))
	if err != nil {
		w.Header().Set("Connection", "close") // do not wait for the rest of the body
		return "", "", err
	}
	select {
	case g.busy <- struct{}{}:
		defer func() { <-g.busy }()
	default:
		return "", "", errBusy
	}
	return g.processor.Take(context.WithoutCancel(r.Context()), c, r.Header, body) // see Design
}
