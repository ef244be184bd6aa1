package process

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/gateway/internal/traces"
)

// deliver sends an event to the downstream of a message's account, which has
// ForwardTimeout to accept it. answer is the downstream's word of acceptance.
func (p *Processor) deliver(
	ctx context.Context, m *message, e *downstream.Event, note *client.Note,
) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.ForwardTimeout)
	defer cancel()
	ctx, span := traces.Begin(ctx, "deliver "+e.Kind, trace.SpanKindProducer)
	began := time.Now()
	body, err := e.JSON()
	if err == nil {
		life := note.GetForgetAt().AsTime().Sub(note.GetNotedAt().AsTime())
		answer, err = m.account.Downstream.Accept(ctx, e, body, life)
	}
	p.config.Metrics.Delivered(strings.TrimPrefix(e.Kind, "noted."), err, time.Since(began))
	span.End(failureOf(err))
	return answer, err
}

// deliverOriginal sends PayPal's own message to the listener of its channel, which has
// ForwardTimeout to accept it, but no longer than the donations' hold. answer is the
// listener's.
func (p *Processor) deliverOriginal(
	ctx context.Context, m *message, heldUntil time.Time,
) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(p.config.ForwardTimeout, time.Until(heldUntil)))
	defer cancel()
	ctx, span := traces.Begin(ctx, "deliver original", trace.SpanKindProducer)
	began := time.Now()
	answer, err = m.account.Listeners[m.Channel].Accept(ctx, &m.Message)
	p.config.Metrics.Delivered("original", err, time.Since(began))
	span.End(failureOf(err))
	return answer, err
}

// failureOf is the failure in the span of a delivery that was not accepted.
func failureOf(err error) string {
	if err == nil {
		return ""
	}
	return notAccepted
}
