package gateway

import (
	"context"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

// SetWorkTime shortens how long a message is processed.
func (g *Gateway) SetWorkTime(d time.Duration) { g.processor.SetWorkTime(d) }

// FillUp makes the gateway as busy as it can be, until the returned function is called.
func (g *Gateway) FillUp() (release func()) {
	for range maxBusy {
		g.busy <- struct{}{}
	}
	return func() {
		for range maxBusy {
			<-g.busy
		}
	}
}

// InBodies returns the bytes that the bodies of messages take.
func (g *Gateway) InBodies() int64 { return maxBusy*g.config.MaxBody - g.room.left.Load() }

// SweepInbox sweeps the inbox once.
func (g *Gateway) SweepInbox(ctx context.Context) error { return g.processor.SweepInbox(ctx) }

// MostTransmissions is the number of remembered transmissions.
const MostTransmissions = verify.MostTransmissions

// SetMostTransmissions shrinks the memory of transmissions.
func (g *Gateway) SetMostTransmissions(most int) { g.webhooks.RememberAtMost(most) }

// PersonKinds are the types of events for a person.
var PersonKinds = []string{downstream.KindUndecided, downstream.KindUnknown}
