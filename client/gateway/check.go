package gateway

import (
	"context"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

// A Finding is the state of one part that a gateway needs.
type Finding struct {
	Part    string // such as "Noted" or "ledger paypal-live"
	Trouble string // what is wrong and what to do; empty if all is well
	Unasked string // why it could not be asked, and where to look instead; else empty
}

// checkTimeout limits each call of Check.
const checkTimeout = 5 * time.Second

// mostClockDifference is the largest difference from PayPal's clock that refuses no
// message: PayPal's may be ahead of ours by as much.
const mostClockDifference = verify.Ahead

// Check tests once every part that a gateway with these settings needs. It takes no
// messages, notes nothing, and delivers nothing except a signed ping, which is not a
// donation, to each downstream with an HTTP endpoint. Its error is the same as New's.
func Check(ctx context.Context, config Config) ([]Finding, error) {
	g, err := newGateway(config, true)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	var all []Finding
	add := func(part, trouble string) { all = append(all, Finding{Part: part, Trouble: trouble}) }

	asking, asked := context.WithTimeout(ctx, 2*checkTimeout)
	all = g.notedFindings(asking, g.config.Now())
	asked()
	for _, a := range g.accounts {
		g.checkDownstream(ctx, a, add)
	}
	g.checkPayPal(ctx, add)
	all = append(all, g.unaskedWebhooks()...)
	if kept, err := g.inboxReady(); kept {
		trouble := ""
		if err != nil {
			trouble = inboxTrouble
		}
		add("inbox", trouble)
	}
	return all, nil
}

// checkDownstream tests the downstream of an account. To a listener of PayPal's own
// messages it only connects, because a listener knows no pings.
func (g *Gateway) checkDownstream(ctx context.Context, a openAccount, add func(part, trouble string)) {
	for _, l := range []struct{ channel, url string }{
		{"ipn", a.settings.ForwardIPNTo}, {"webhook", a.settings.ForwardWebhookTo},
	} {
		if a.Listeners[l.channel] != nil {
			add(g.part(a, listenerNames[l.channel]), connectTrouble(ctx, l.url))
		}
	}
	if a.Downstream == nil {
		return
	}
	trouble := connectTrouble(ctx, a.settings.ForwardTo)
	pinging, pinged := context.WithTimeout(ctx, g.config.ForwardTimeout)
	defer pinged()
	if trouble == "" {
		if err := a.Downstream.Ping(pinging); err != nil {
			trouble = err.Error()
		}
	}
	add(g.part(a, "downstream"), trouble)
}

func connectTrouble(ctx context.Context, address string) string {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := peer.Connect(ctx, address); err != nil {
		return "cannot be reached (" + peer.Trouble(err) + "); check that it runs, and its address"
	}
	return ""
}

// checkPayPal calls the hosts that verification needs, and compares the clock with
// theirs.
func (g *Gateway) checkPayPal(ctx context.Context, add func(part, trouble string)) {
	var furthest time.Duration
	answered := false
	for _, host := range g.hosts() {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		date, err := host.Ask(ctx)
		cancel()
		trouble := ""
		switch off := date.Sub(g.config.Now()); {
		case err != nil:
			trouble = "does not answer (" + peer.Trouble(err) + "); check this machine's network and its proxy"
		case !date.IsZero() && off.Abs() >= furthest.Abs():
			furthest, answered = off, true
		}
		add(host.Name, trouble)
	}
	for _, a := range g.accounts {
		if g.config.WebhookVerify != VerifyByAPI {
			break // only PayPal's API knows the ids
		}
		for _, s := range a.settings.subscriptions() {
			part := g.webhookPart(a, s.ID)
			ctx, cancel := context.WithTimeout(ctx, 2*checkTimeout)
			add(part, g.webhooks.IDTrouble(ctx, s))
			cancel()
		}
	}
	if answered {
		add("clock", clockOff(furthest))
	}
}

// webhookPart is the name of a webhook's id among the parts.
func (g *Gateway) webhookPart(a openAccount, id string) string {
	if len(g.accounts) > 1 || len(a.WebhookIDs) > 1 {
		return g.part(a, "webhook id "+id)
	}
	return "webhook id"
}

// unaskedWebhooks names the webhooks' ids that a gateway which verifies by signature cannot ask
// about, so that silence is not taken for health.
func (g *Gateway) unaskedWebhooks() (all []Finding) {
	if g.config.WebhookVerify == VerifyByAPI {
		return nil
	}
	for _, a := range g.accounts {
		for _, s := range a.settings.subscriptions() {
			all = append(all, Finding{Part: g.webhookPart(a, s.ID), Unasked: "not asked; compare " + s.ID +
				" with the id in PayPal's dashboard, which alone has it without -webhook-verify=api"})
		}
	}
	return all
}
