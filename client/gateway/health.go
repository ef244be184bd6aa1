package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client"
)

// How long a look at readiness may take, and for how long it holds: however often the public asks, Noted is asked once a second.
const (
	readyTimeout = 2 * time.Second
	readyHolds   = time.Second
)

// readiness is the last look.
type readiness struct {
	mu     sync.Mutex
	looked time.Time
	reason string // why not; empty for ready
}

// healthz says that the process answers.
func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz says whether a donation could be handed on now, as far as that can be known.
func (g *Gateway) readyz(w http.ResponseWriter, _ *http.Request) {
	if reason := g.ready.look(g.unready); reason != "" {
		http.Error(w, "not ready: "+reason, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (r *readiness) look(unready func() string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.looked) >= readyHolds {
		r.reason = unready()
		r.looked = time.Now()
	}
	return r.reason
}

// unready says what is away. Noted is asked for a donation that is not there: only that goes all the way to its store.
func (g *Gateway) unready() string {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	_, err := g.noted.Exists(ctx, &client.Donation{Ledger: g.config.Ledger, SeriesId: "noted.gateway:ready"}, nil)
	if err != nil && !errors.Is(err, client.ErrVerbDenied) { // a caller that may note but not look is ready
		return "noted"
	}
	if g.downs.ready(ctx) != nil {
		return "downstream"
	}
	return ""
}
