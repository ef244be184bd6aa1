package process

import (
	"context"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
)

// deliver gives an event to the downstream, which has ForwardTimeout to accept it.
func (p *Processor) deliver(ctx context.Context, e *downstream.Event, note *client.Note) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.ForwardTimeout)
	defer cancel()
	began := time.Now()
	body, err := e.JSON()
	if err == nil {
		life := note.GetForgetAt().AsTime().Sub(note.GetNotedAt().AsTime())
		err = p.config.Downstream.Accept(ctx, e, body, life)
	}
	p.config.Metrics.Delivered(strings.TrimPrefix(e.Kind, "noted."), err, time.Since(began))
	return err
}
