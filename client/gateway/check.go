package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

// A Finding is the state of one part that a gateway needs.
type Finding struct {
	Part    string // such as "Noted" or "ledger paypal-live"
	Trouble string // what is wrong and what to do about it; empty where all is well
}

// checkTimeout bounds each question of Check.
const checkTimeout = 5 * time.Second

// mostClockDifference is how far the clock may be off before messages are refused: PayPal's
// may be ahead of ours by as much.
const mostClockDifference = verify.Ahead

// Check asks once about every part that a gateway with these settings needs. It takes no
// messages, notes nothing, and delivers nothing. Its error is that of New.
func Check(ctx context.Context, config Config) ([]Finding, error) {
	g, err := newGateway(config, true)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	var all []Finding
	add := func(part, trouble string) { all = append(all, Finding{part, trouble}) }

	now := g.config.Now()
	serving, asked := context.WithTimeout(ctx, checkTimeout)
	noted, gone := servingTrouble(g.noted.Serving(serving))
	asked()
	add("Noted", noted)
	for _, l := range []struct{ ledger, name string }{
		{g.config.Ledger, "donations"}, {g.config.SandboxLedger, "PayPal's tests"},
	} {
		if l.ledger == "" && l.name != "donations" || gone {
			continue
		}
		rights, asked := context.WithTimeout(ctx, checkTimeout)
		add(fmt.Sprintf("ledger %q", l.ledger), g.denied(rights, now, l.ledger, l.name))
		asked()
	}
	g.checkDownstream(ctx, add)
	g.checkPayPal(ctx, add)
	if kept, err := g.inboxReady(); kept {
		trouble := ""
		if err != nil {
			trouble = inboxTrouble
		}
		add("inbox", trouble)
	}
	return all, nil
}

// checkDownstream asks where donations are delivered to. An HTTP server is only connected
// to: it may be posted donations alone.
func (g *Gateway) checkDownstream(ctx context.Context, add func(part, trouble string)) {
	for _, l := range []struct{ part, url string }{
		{"listener for IPNs", g.config.ForwardIPNTo}, {"listener for webhooks", g.config.ForwardWebhookTo},
	} {
		if l.url != "" && l.url != NoListener {
			add(l.part, connectTrouble(ctx, l.url))
		}
	}
	if g.downs == nil {
		return
	}
	trouble := connectTrouble(ctx, g.config.ForwardTo)
	ready, asked := context.WithTimeout(ctx, checkTimeout)
	defer asked()
	if trouble == "" && g.downs.Ready(ready) != nil {
		trouble = "it answers, but not as it should; look at its address, user and password"
	}
	add("downstream", trouble)
}

func connectTrouble(ctx context.Context, address string) string {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := peer.Connect(ctx, address); err != nil {
		return "cannot be reached (" + peer.Trouble(err) + "); look whether it runs, and at its address"
	}
	return ""
}

// checkPayPal asks the hosts that verification needs, and compares the clock with theirs.
func (g *Gateway) checkPayPal(ctx context.Context, add func(part, trouble string)) {
	var furthest time.Duration
	answered := false
	for _, host := range verify.Hosts(g.config.verifying(), len(g.config.Accounts) > 0, g.config.SandboxLedger != "") {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		date, err := host.Ask(ctx)
		cancel()
		trouble := ""
		switch off := date.Sub(g.config.Now()); {
		case err != nil:
			trouble = "cannot be asked (" + peer.Trouble(err) + "); look at this machine's network, and at its proxy"
		case !date.IsZero() && off.Abs() >= furthest.Abs():
			furthest, answered = off, true
		}
		add(host.Name, trouble)
	}
	if g.webhooks != nil && g.config.WebhookVerify == VerifyByAPI {
		ctx, cancel := context.WithTimeout(ctx, 2*checkTimeout)
		add("webhook id", g.webhooks.IDTrouble(ctx))
		cancel()
	}
	if trouble := ""; answered {
		if furthest.Abs() > mostClockDifference {
			trouble = fmt.Sprintf("differs from PayPal's by %v; set it, for instance with NTP", furthest.Round(time.Second))
		}
		add("clock", trouble)
	}
}
