package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

// AtStart looks once at the parts that the gateway needs, and logs those in trouble in the
// words of /readyz, which does not log them again: Noted, the rights in each ledger, the
// downstreams, and the clock. With an inbox /readyz depends on the inbox alone, so only this
// tells of the others. It also names the accounts in the inbox that this gateway does not
// have.
func (g *Gateway) AtStart(ctx context.Context) {
	g.tellWork()
	if trouble := g.clockTrouble(ctx); trouble != "" {
		g.log.AtStart("clock", "this machine's clock "+trouble)
	}
	strangers, err := g.processor.Strangers(ctx)
	if err != nil {
		return // the workers log that the database is away
	}
	for _, account := range slices.Sorted(maps.Keys(strangers)) {
		g.log.AtStart("inbox", fmt.Sprintf("%d messages wait for account %q, which this gateway does not have; if no "+
			"other gateway has it either, they are left to a person after an hour", strangers[account], account))
	}
}

// tellWork logs the parts without which donations can be neither noted nor delivered.
func (g *Gateway) tellWork() {
	r := &g.ready
	r.mu.Lock()
	defer r.mu.Unlock()
	now := g.config.Now()
	findings := g.workFindings(now)
	for _, f := range findings {
		if f.Trouble != "" && !strings.Contains(r.reason, f.Trouble) { // a look may have come before
			g.log.AtStart(f.Part, f.Trouble)
		}
	}
	if kept, _ := g.inboxReady(); !kept && r.looked.IsZero() {
		r.reason, r.looked = strings.Join(sentences(findings), "; "), now
	}
}

// clockTrouble compares the clock with the first of PayPal's hosts that answers; empty where
// they agree, or none answers.
func (g *Gateway) clockTrouble(ctx context.Context) string {
	for _, host := range g.hosts() {
		asking, cancel := context.WithTimeout(ctx, checkTimeout)
		date, err := host.Ask(asking)
		cancel()
		if err == nil && !date.IsZero() {
			return clockOff(date.Sub(g.config.Now()))
		}
	}
	return ""
}

// hosts are PayPal's hosts that verification asks.
func (g *Gateway) hosts() []verify.Host {
	accounts := g.config.accounts()
	return verify.Hosts(g.config.verifying(), takesIPNs(accounts), takesTests(accounts))
}

// clockOff says what a difference from PayPal's clock means; empty where it does no harm.
func clockOff(off time.Duration) string {
	if off.Abs() <= mostClockDifference {
		return ""
	}
	return fmt.Sprintf("differs from PayPal's by %v; set it, for instance with NTP", off.Round(time.Second))
}
