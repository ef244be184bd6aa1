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

// AtStart checks once the parts that the gateway needs, and logs those in trouble in the
// words of /readyz, which does not log them again: Noted, the rights in each ledger, the
// downstreams, and the clock. With an inbox /readyz depends on the inbox alone, so only
// AtStart reports the other parts. It also names the accounts in the inbox that this
// gateway does not have.
func (g *Gateway) AtStart(ctx context.Context) {
	g.tellWork()
	if trouble := g.clockTrouble(ctx); trouble != "" {
		g.log.AtStart("clock", "this machine's clock "+trouble)
	}
	waiting, err := g.processor.ForeignAccounts(ctx)
	if err != nil {
		return // the workers log that the database does not answer
	}
	for _, account := range slices.Sorted(maps.Keys(waiting)) {
		g.log.AtStart("inbox", fmt.Sprintf("%d messages wait for account %q, which this gateway does not have; if no "+
			"other gateway has it either, they wait for a person after an hour", waiting[account], account))
	}
}

// tellWork logs the parts without which the gateway cannot note or deliver donations.
func (g *Gateway) tellWork() {
	r := &g.ready
	r.mu.Lock()
	defer r.mu.Unlock()
	now := g.config.Now()
	findings := g.workFindings(now)
	for _, f := range findings {
		if f.Trouble != "" && !strings.Contains(r.reason, f.Trouble) { // an earlier check may have logged it
			g.log.AtStart(f.Part, f.Trouble)
		}
	}
	if kept, _ := g.inboxReady(); !kept && r.looked.IsZero() {
		r.reason, r.looked = strings.Join(sentences(findings), "; "), now
	}
}

// clockTrouble compares the clock with that of the first of PayPal's hosts that answers;
// empty if they agree or no host answers.
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

// hosts are the PayPal hosts that verification calls.
func (g *Gateway) hosts() []verify.Host {
	accounts := g.config.accounts()
	return verify.Hosts(g.config.verifying(), takesIPNs(accounts), takesTests(accounts))
}

// clockOff is the trouble with a difference from PayPal's clock; empty for a harmless
// difference.
func clockOff(off time.Duration) string {
	if off.Abs() <= mostClockDifference {
		return ""
	}
	return fmt.Sprintf("differs from PayPal's by %v; set it, for instance with NTP", off.Round(time.Second))
}
